"""The recommender whose vectors a language model reads: a model of this library that learns by gradient from events alone."""

from __future__ import annotations

from typing import Any

from recsmith.errors import ConfigError
from recsmith.tuning_language.collaborative import CollaborativeConfig, CollaborativePart


def collaborator(config: CollaborativeConfig, *, items: int) -> CollaborativePart:
    """An unfitted part. Raises `ConfigError` for a model that cannot be one."""
    from recsmith.models import MODELS

    make: Any = MODELS.get(config.name)
    fits = make.answers == "scores" and make.learns == "gradient" and not getattr(make, "reads", ())
    if not fits or not all(hasattr(make, name) for name in ("queries", "answer_vectors")):
        raise ConfigError(
            f"collaborative model `{config.name}` does not fit: it must learn by gradient from events alone and score by inner products; "
            "for example sasrec, gru4rec or lrurec"
        )
    settings = make.Config.parse(config.settings, where="model.collaborative.settings")
    return CollaborativePart(make(settings, items=items), config.training)
