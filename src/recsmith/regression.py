"""Has a system got worse? A new run's figures against a stored card, within what the card's seeds say is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from recsmith.card_files import card_at, run_card
from recsmith.errors import UserError
from recsmith.evaluation.accuracy import ACCURACY
from recsmith.measurement import MeasuredRun, measure
from recsmith.protocols import Progress
from recsmith.recipe_files import recipe_folder

LEVEL = 0.95
"""Share of new runs of an unchanged system that pass, metric by metric."""
_EXACT = 1e-6
"""What counts as equal for a system without chance."""

Verdict = Literal["within", "worse", "better"]


@dataclass(frozen=True)
class Checked:
    """One metric of the new run."""

    metric: str
    stored: float
    new: float
    allowed: float
    """How far apart they may lie by chance."""

    @property
    def verdict(self) -> Verdict:
        """`worse` and `better` are further away than chance allows."""
        if abs(self.new - self.stored) <= self.allowed:
            return "within"
        return "better" if self.new > self.stored else "worse"


@dataclass(frozen=True)
class CardCheck:
    """A run against a card."""

    run: str
    card: str
    spread: str
    """Where the allowance comes from."""
    metrics: tuple[Checked, ...]

    @property
    def worse(self) -> list[str]:
        """Metrics that fell by more than chance allows."""
        return [checked.metric for checked in self.metrics if checked.verdict == "worse"]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        rows = [{**asdict(checked), "difference": checked.new - checked.stored, "verdict": checked.verdict} for checked in self.metrics]
        return {"run": self.run, "card": self.card, "spread": self.spread, "metrics": rows, "worse": self.worse}


def check_card(folder: str | Path, against: str | Path | None = None, *, progress: Progress | None = None) -> CardCheck:
    """The accuracy figures of a run against a stored card: a file, a run folder, or by default the card in `recipes/cards`.

    With n ≥ 2 seeds in the card a figure may lie t(.975, n - 1) · sd · √(1 + 1/n) from their mean (the prediction interval of one more
    run). With one seed, a closed-form system must come out the same, and a trained one may differ by twice the standard error over the
    cases, because the spread of its seeds is unknown. Raises `UserError` when there is no card, or for other data or another protocol.
    """
    new = run_card(Path(folder))
    path = stored_card(new) if against is None else Path(against)
    card = card_at(path)
    _require_same(folder, new, path, card)
    figures: Mapping[str, float] = new.get("metrics") or {}
    measured = None if figures and not _needs_cases(card) else measure(folder, progress=progress)
    if not figures:
        assert measured is not None
        figures = measured.evaluation.metrics
    common = [name for name in card["metrics"] if name.partition("@")[0] in ACCURACY and name in figures]
    if not common:
        raise UserError(f"`{path}` and `{folder}` have no accuracy metric in common; give the card of a run that was evaluated")
    spread, allowed = _allowances(card, measured, common)
    rows = [Checked(name, float(card["metrics"][name]), float(figures[name]), allowed[name]) for name in common]
    return CardCheck(str(folder), str(path), spread, tuple(rows))


def stored_card(new: Mapping[str, Any]) -> Path:
    """The card in `recipes/cards` of the same recipe on the same data. Raises `UserError` when there is none."""
    path = recipe_folder() / "cards" / f"{new.get('recipe')}-{new.get('data', {}).get('name')}.json"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob(f"{new.get('recipe')}-*.json"))
        have = f"; there are: {', '.join(known)}" if known else ""
        raise UserError(f"no card of `{new.get('recipe')}` on `{new.get('data', {}).get('name')}` is stored{have}; give --against CARD")
    return path


def pool_cards(folders: Sequence[str | Path]) -> dict[str, Any]:
    """One card of several runs that differ in their seed only: means in `metrics` and `validation`, standard deviations in `spread`.

    Raises `UserError` for fewer than two runs, for seeds that occur twice, and for runs of different recipe, data or protocol.
    """
    if len(folders) < 2:
        raise UserError("a card of several seeds needs two runs or more; give the folders of runs that differ in --seed")
    cards = [run_card(Path(folder)) for folder in folders]
    for folder, card in zip(folders[1:], cards[1:], strict=True):
        _require_same(folders[0], cards[0], folder, card)
    seeds = [seed for card in cards for seed in card["seeds"]]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {seeds} are not all different; a spread needs runs with different --seed")
    pooled = dict(cards[0]) | {"seeds": seeds, "run": None, "command": " && ".join(str(card.get("command")) for card in cards)}
    for part in ("metrics", "validation"):
        pooled[part] = {name: float(np.mean([card[part][name] for card in cards])) for name in cards[0].get(part, {})}
    pooled["spread"] = {name: float(np.std([card["metrics"][name] for card in cards], ddof=1)) for name in cards[0]["metrics"]}
    rows = pooled.get("reported", {}).get("rows", {})
    for name, row in rows.items():
        rows[name] = {"ours": pooled["metrics"][name], "paper": row["paper"], "difference": pooled["metrics"][name] - row["paper"]}
    return pooled


def _allowances(card: Mapping[str, Any], measured: MeasuredRun | None, metrics: Sequence[str]) -> tuple[str, dict[str, float]]:
    seeds, spread = len(card.get("seeds", [])), card.get("spread") or {}
    if seeds >= 2 and spread:
        factor = float(stats.t.ppf((1 + LEVEL) / 2, seeds - 1)) * (1 + 1 / seeds) ** 0.5
        return f"{seeds} seeds: a new run lies within {factor:.2f} sd", {name: factor * float(spread.get(name, 0.0)) for name in metrics}
    if measured is None:
        return "no chance in it: one answer in closed form", dict.fromkeys(metrics, _EXACT)
    per_case = measured.evaluation.per_case
    errors = {name: float(np.nanstd(per_case[name], ddof=1) / np.sqrt(np.count_nonzero(~np.isnan(per_case[name])))) for name in metrics}
    return "one seed, so its spread is unknown: twice the standard error over the cases", {name: 2 * errors[name] for name in metrics}


def _needs_cases(card: Mapping[str, Any]) -> bool:
    """Whether the allowance comes from the new run's own cases: a trained system with one seed."""
    return bool(card.get("training")) and not (len(card.get("seeds", [])) >= 2 and card.get("spread"))


def _require_same(folder: str | Path, new: Mapping[str, Any], other: str | Path, card: Mapping[str, Any]) -> None:
    found = {
        "recipe": (new.get("recipe"), card.get("recipe")),
        "data": (new.get("data", {}).get("hash"), card.get("data", {}).get("hash")),
        "protocol": (_protocol(new), _protocol(card)),
    }
    different = [f"{name}: {ours} / {theirs}" for name, (ours, theirs) in found.items() if ours != theirs]
    if different:
        raise UserError(
            f"`{folder}` and `{other}` are not of the same kind ({'; '.join(different)}); give a card of the same recipe and data"
        )


def _protocol(card: Mapping[str, Any]) -> str:
    """Hash of the protocol, also of a card that was written before protocols had one."""
    from recsmith.data import SplitConfig

    known = {name: value for name, value in card.get("protocol", {}).items() if name in SplitConfig.model_fields}
    return SplitConfig.parse(known, where="protocol").hash
