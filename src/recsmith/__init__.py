"""recsmith: generative recommendation, end to end.

from recsmith import Dataset, fit, load
data = Dataset.from_csv("ratings.csv", columns={"user": "userId", "item": "movieId", "time": "timestamp"})
recommender = fit("tiger", data)
recommender.recommend(users=[1, 2], k=10)        # a table: user_id, item_id, score, rank
recommender.save("runs/mine"); recommender = load("runs/mine")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsmith.runtime import prepare_environment

if TYPE_CHECKING:
    from recsmith.data import Dataset
    from recsmith.evaluation import evaluate
    from recsmith.fitting import fit
    from recsmith.recommender import Recommender, load

__version__ = "0.1.0"
__all__ = ["Dataset", "Recommender", "evaluate", "fit", "load"]

_HOMES = {
    "Dataset": "recsmith.data",
    "Recommender": "recsmith.recommender",
    "load": "recsmith.recommender",
    "fit": "recsmith.fitting",
    "evaluate": "recsmith.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        prepare_environment()
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module `recsmith` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
