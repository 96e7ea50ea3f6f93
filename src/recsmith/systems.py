"""Every system that the field's surveys name, and which of them recsmith has: a table in `systems.tsv`, a status from recipes and cards.

The table holds names and where the surveys cite them. Status is computed when asked for, never written down, so it cannot go stale.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

Status = Literal["works", "partial", "planned"]
Kind = Literal["named", "cited", "capability"]

ENOUGH_USERS = 5000
"""Users that the data of a card must have before a system counts as working."""

GROUPS: dict[int, str] = {
    1: "data, representations and baselines",
    2: "generators over interactions",
    3: "semantic IDs and item tokenizers",
    4: "feature-based foundation models",
    5: "language models as they are: prompts and retrieval",
    6: "language models tuned for recommendation",
    7: "explanation",
    8: "conversation",
    9: "agents and tools",
    10: "simulated users",
    11: "multimodal understanding",
    12: "content, bundles, playlists, advertisements",
    13: "knowledge graphs",
    14: "evaluation",
    15: "deployment: latency, cold start, updates, cost",
    16: "privacy, safety, fairness, alignment",
}

SURVEYS: dict[str, str] = {
    "Deldjoo 2024": "Deldjoo et al., 2024: A review of modern recommender systems using generative models (Gen-RecSys)",
    "Huang 2025": "Huang et al., 2025: A survey of foundation model-powered recommender systems",
    "Chen 2024": "Chen et al., 2024: When large language models meet personalization",
    "Wang 2024": "Wang et al., 2024: Towards next-generation LLM-based recommender systems",
}
"""Short names of the surveys, as the column `cited` uses them."""

_BASELINES = 1


@dataclass(frozen=True)
class System:
    """One row of the table."""

    name: str
    recipe: str | None
    """Recipe that builds it, None until there is one."""
    group: int
    """Key of `GROUPS`."""
    paper: str
    """The paper, as the recipe cites it; without a recipe, where the surveys name the system."""
    status: Status
    """works: a recipe, and a card on data of at least `ENOUGH_USERS` users; partial: a recipe only; planned: neither."""
    reached: dict[str, dict[str, float]] = field(default_factory=dict)
    """Data set, with view and split (`task_of`) → test metric → value, from the cards."""
    id: str | None = None
    """Group and number, such as "2.21"; None for a recipe of ours that no survey names."""
    kind: Kind = "named"
    """Named by a survey, only cited by one, or a capability that one describes without a name."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Row:
    id: str
    kind: Kind
    name: str
    recipe: str
    cited: str


def systems(*, recipes: Path | None = None) -> list[System]:
    """All systems in order of group and number, then our recipes that no survey names (closed-form baselines, so in group 1).

    `recipes` is the folder with the recipes and, in `cards/`, their cards; None takes ours.
    """
    folder = _our_recipes() if recipes is None else recipes
    ready = {path.stem: _header(path) for path in sorted(folder.glob("*.toml"))}
    cards = _cards(folder / "cards")
    listed = [_listed(row, ready, cards) for row in _table()]
    names = {row.recipe for row in _table() if row.recipe}
    extra = [
        _built(header.get("title", name), name, header, cards, group=_BASELINES)
        for name, header in ready.items()
        if not any(_belongs(name, listed_name) for listed_name in names)
    ]
    return sorted([*listed, *extra], key=lambda system: system.group)


def _listed(row: _Row, ready: dict[str, dict[str, Any]], cards: list[dict[str, Any]]) -> System:
    group = int(row.id.partition(".")[0])
    if row.recipe not in ready:
        return System(row.name, None, group, row.cited, "planned", id=row.id, kind=row.kind)
    return _built(row.name, row.recipe, ready[row.recipe], cards, group=group, id=row.id, kind=row.kind, cited=row.cited)


def _built(
    name: str,
    recipe: str,
    header: dict[str, Any],
    cards: list[dict[str, Any]],
    *,
    group: int,
    id: str | None = None,
    kind: Kind = "named",
    cited: str = "",
) -> System:
    own = [card for card in cards if _belongs(str(card.get("recipe")), recipe)]
    proven = any(card.get("data", {}).get("users", 0) >= ENOUGH_USERS for card in own)
    reached = {task_of(card): dict(card["metrics"]) for card in own if card.get("metrics") and "name" in card.get("data", {})}
    return System(name, recipe, group, header.get("paper", cited), "works" if proven else "partial", reached, id, kind)


def task_of(card: dict[str, Any]) -> str:
    """What a card's figures are about: the data set, what of it was used, and the split where it is not leave-one-out."""
    view = card["data"].get("source", {}).get("view", {})
    split = card.get("protocol", {}).get("name", "leave-one-out")
    used = [f"{name} = {value}" for name, value in view.items() if value]
    return ", ".join([card["data"]["name"], *used, *([] if split == "leave-one-out" else [split])])


def _belongs(recipe: str, system_recipe: str) -> bool:
    """Whether a recipe is that of a system, or a variant of it such as `tiger-paper`."""
    return recipe == system_recipe or recipe.startswith(f"{system_recipe}-")


@cache
def _table() -> tuple[_Row, ...]:
    lines = files("recsmith").joinpath("systems.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(_Row(*line.split("\t")) for line in lines[1:])  # type: ignore[arg-type]


def _header(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _cards(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def _our_recipes() -> Path:
    from recsmith.recipe_files import recipe_folder

    return recipe_folder()


def summary(rows: Iterable[System]) -> dict[int, dict[Status, int]]:
    """Group → status → number of systems."""
    counts: dict[int, dict[Status, int]] = {group: {"works": 0, "partial": 0, "planned": 0} for group in GROUPS}
    for row in rows:
        counts[row.group][row.status] += 1
    return counts
