"""Cross-domain transfer as a protocol: what is a start from another domain worth, at shares of the target's training people?

One fit on the source; then, for each share of the target's people, one fit that starts from it and one from nothing, with the same budget.
Both answer the same test cases of the target over its full catalogue, and the difference is tested case by case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsmith import fitting
from recsmith.artifacts import write_json
from recsmith.comparison import Comparison, RunFigure, compare_runs
from recsmith.config import merge
from recsmith.data import Dataset
from recsmith.encoders.text import resolved_name
from recsmith.errors import ConfigError, UserError, suggestion
from recsmith.evaluation.significance import PairedComparison, holm
from recsmith.fitting import resolve_recipe
from recsmith.models import MODELS
from recsmith.protocols import Progress
from recsmith.recipe import Recipe, load_recipe
from recsmith.recipe_files import recipe_names
from recsmith.run_set import finished_card
from recsmith.training import Message

SHARES = (0.05, 1.0)
SUMMARY = "transfer.json"


@dataclass(frozen=True)
class TransferRow:
    """The two fits at one share of the target's training people."""

    share: float
    people: int
    """People of the target whose events train."""
    nothing: Mapping[str, Any]
    """Card of the run that started from nothing."""
    started: Mapping[str, Any]
    """Card of the run that started from the source's."""
    pair: PairedComparison
    """Started against nothing, p corrected by Holm over the shares."""
    verdict: str


@dataclass(frozen=True)
class Transfer:
    """A source, a target, and what the start was worth at each share."""

    recipe: str
    metric: str
    seed: int
    source: Mapping[str, Any]
    """Card of the source's run."""
    rows: tuple[TransferRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        first = self.rows[0].nothing
        return {
            "recipe": self.recipe,
            "metric": self.metric,
            "split": "test",
            "protocol": first["protocol"]["name"],
            "seed": self.seed,
            "correction": "holm",
            "source": {"run": self.source["run"], "data": self.source["data"]},
            "target": {key: first["data"][key] for key in ("name", "hash", "users", "items", "events")},
            "rows": [_plain(row) for row in self.rows],
        }


@dataclass(frozen=True)
class _Fits:
    """What all fits of one transfer share."""

    out: Path
    seed: int
    progress: Progress | None
    message: Message | None
    command: str | None

    def card(self, recipe: Recipe, data: Dataset, place: str) -> dict[str, Any]:
        """The card of the run at `place` inside the folder, fitted and measured unless an earlier call has finished it."""
        out = self.out / place
        found = finished_card(recipe, data, out, self.seed)
        if found is not None:
            return found
        if self.message is not None:
            self.message(f"fitting {place}")
        return fitting.run(recipe, data, out=out, seed=self.seed, progress=self.progress, message=self.message, command=self.command)


def transfer(
    recipe: str | Recipe,
    source: Dataset,
    target: Dataset,
    *,
    out: str | Path,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    metric: str = "NDCG@10",
    settings: Mapping[str, Any] | None = None,
    source_settings: Mapping[str, Any] | None = None,
    started_settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    message: Message | None = None,
    command: str | None = None,
) -> Transfer:
    """Fit on `source`, then at each share of the training people of `target` from that run and from nothing; compare on the test cases.

    People are drawn by `seed`, those of a small share are among those of a large one; validation and test cases stay the same. `settings`
    hold for every fit, `source_settings` change the source's alone, `started_settings` (of the model only) those that start from it.

    The runs stand in `out` (`source`, `share-0.05/started`, `share-0.05/nothing`, …) beside `transfer.json`; a finished one is not fitted
    again. Before anything is fitted, raises `UserError` for a recipe that cannot start from other data, an encoder whose vectors differ
    between catalogues, shares outside (0, 1], and an `out` whose source run is another one or gone.
    """
    shares = _checked(shares)
    given = merge({"split": {"seed": seed}}, settings or {})
    plain = resolve_recipe(recipe, given)
    first, started = plain.with_settings(source_settings or {}), plain.with_settings(_of_the_model(started_settings or {}))
    for used in (first, started):
        require_startable(used)
    _require_unset(plain)
    if source.select(first.view).hash == target.select(plain.view).hash:
        raise UserError(f"`{source.name}` and `{target.name}` hold the same data; give two domains, the source first")

    fits = _Fits(Path(out), seed, progress, message, command)
    source_run = _source(fits, first, source)
    started = started.with_settings({"start": {"run": source_run["run"]}})
    pairs = [(share, _pair(fits, plain, started, target, share)) for share in shares]
    compared = [compare_runs([nothing["run"], begun["run"]], metric=metric, seed=seed, progress=progress) for _, (nothing, begun) in pairs]
    rows = [_row(share, pair, comparison, p) for (share, pair), comparison, p in zip(pairs, compared, _corrected(compared), strict=True)]
    found = Transfer(plain.name, metric, seed, source_run, tuple(rows))
    write_json(fits.out / SUMMARY, found.as_dict())
    return found


def require_startable(recipe: Recipe) -> None:
    """Raises `UserError` unless weights learned on one catalogue mean the same on another."""
    if not _startable(recipe):
        names = ", ".join(name for name in recipe_names() if _startable(load_recipe(name)))
        raise UserError(f"`{recipe.name}` learns something for each item, which other data cannot start from; recipes that can: {names}")
    if recipe.encoder is not None and resolved_name(recipe.encoder.name) == "tfidf":
        raise UserError(
            f"`{recipe.name}` would read tfidf vectors, whose numbers mean something else in every catalogue; give an encoder that is the "
            "same for both, such as --set encoder.name=minilm"
        )


def _startable(recipe: Recipe) -> bool:
    model = MODELS.get(recipe.model.name)
    return model.learns == "gradient" and bool(getattr(model, "inductive", False))


def _require_unset(recipe: Recipe) -> None:
    """The two settings that a transfer varies itself."""
    if recipe.split.train_share != 1:
        raise ConfigError("setting `split.train_share` is what a transfer varies; give the shares instead, such as --shares 0.05,1.0")
    if recipe.start.run is not None:
        raise ConfigError("setting `start.run` is what a transfer varies; leave it out, the source's run takes its place")


def _checked(shares: Sequence[float]) -> list[float]:
    """The shares, smallest first."""
    if not shares or len(set(shares)) < len(shares) or not all(0 < share <= 1 for share in shares):
        raise UserError(f"shares {list(shares)} do not work; give different numbers above 0 and up to 1, such as 0.05,1.0")
    return sorted(shares)


def _of_the_model(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    other = sorted(set(settings) - {"model"})
    if other:
        raise ConfigError(
            f"`{other[0]}` cannot be set for the started fits alone: both fits have the same budget and cases; "
            f"{suggestion(other[0], ['model'])}, or set it for all fits"
        )
    return settings


def _source(fits: _Fits, recipe: Recipe, data: Dataset) -> dict[str, Any]:
    found = finished_card(recipe, data, fits.out / "source", fits.seed)
    if found is not None:
        return found
    if any(fits.out.glob("share-*/started")):
        raise UserError(f"`{fits.out}` holds runs that started from a source run that is gone; give another folder, or delete it")
    return fits.card(recipe, data, "source")


def _pair(fits: _Fits, plain: Recipe, started: Recipe, target: Dataset, share: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cards of the fits from nothing and from the source."""
    drawn = {"split": {"train_share": share}}
    return (
        fits.card(plain.with_settings(drawn), target, f"share-{share:g}/nothing"),
        fits.card(started.with_settings(drawn), target, f"share-{share:g}/started"),
    )


def _corrected(compared: Sequence[Comparison]) -> list[float]:
    return [float(p) for p in holm([_against(comparison.figures[1]).p_value for comparison in compared])]


def _row(share: float, pair: tuple[dict[str, Any], dict[str, Any]], comparison: Comparison, p: float) -> TransferRow:
    nothing, started = pair
    corrected = replace(comparison.figures[1], against_first=replace(_against(comparison.figures[1]), adjusted_p=p))
    people = int(nothing["data"]["train_users"])
    return TransferRow(share, people, nothing, started, _against(corrected), comparison.verdict(corrected))


def _against(figure: RunFigure) -> PairedComparison:
    assert figure.against_first is not None  # two runs of one data set and protocol always share their cases
    return figure.against_first


def _plain(row: TransferRow) -> dict[str, Any]:
    pair = row.pair
    return {
        "share": row.share,
        "people": row.people,
        "train_events": row.nothing["data"]["train_events"],
        "nothing": _of_run(row.nothing, pair.baseline),
        "started": {**_of_run(row.started, pair.value), "start": row.started["start"]},
        "pairs": pair.pairs,
        "difference": pair.difference,
        "interval": [pair.interval.low, pair.interval.high],
        "level": pair.interval.level,
        "p": pair.p_value,
        "p_holm": pair.adjusted_p,
        "smallest_detectable": None if math.isnan(pair.detectable) else pair.detectable,
        "verdict": row.verdict,
    }


def _of_run(card: Mapping[str, Any], value: float) -> dict[str, Any]:
    training = card["training"]
    return {
        "run": card["run"],
        "value": value,
        "metrics": card["metrics"],
        "steps": training["steps"],
        "best epoch": training["best epoch"],
        "seconds": card["seconds"]["fit"],
    }
