"""Measures that only generators need: what was invented, repeated or left out, how codes are used, how likely a list was."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsmith.data import Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.exposure import entropy
from recsmith.evaluation.relevance import Relevance
from recsmith.protocols import RankedLists


@dataclass(frozen=True)
class GenerationQuality:
    """What became of everything that was generated; the rates are shares of all outputs, so they can be added up."""

    outputs: int
    invalid: float
    """Outputs that denote nothing: empty, not parsable, no path in the code tree."""
    hallucinated: float
    """Outputs that name something the catalogue does not have."""
    duplicate: float
    """Outputs that repeat an item of the same list."""
    usable: float
    """The rest."""
    short_lists: float
    """Share of the lists with fewer usable outputs than asked for."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def generation_quality(
    outputs: Sequence[Sequence[Hashable | None]], known: Container[Any] | Callable[[Any], bool], *, k: int | None = None
) -> GenerationQuality:
    """Rates over generated lists before anything was repaired; None (or "") is an output that could not be read.

    `known` is the catalogue, or says of an output whether it names an item. `k` is the length that was asked for; None: what the
    list has. Raises `DataError` when nothing was generated.
    """
    is_known = known if callable(known) else known.__contains__
    kinds = [_kinds(row, is_known) for row in outputs]
    total = sum(map(len, kinds))
    if not total:
        raise DataError("nothing was generated, so there is nothing to measure; give at least one output")

    def share(kind: str) -> float:
        return sum(row.count(kind) for row in kinds) / total

    short = sum(row.count("usable") < (len(row) if k is None else k) for row in kinds) / len(kinds)
    return GenerationQuality(total, share("invalid"), share("hallucinated"), share("duplicate"), share("usable"), short)


def _kinds(row: Sequence[Hashable | None], is_known: Callable[[Any], bool]) -> list[str]:
    seen: set[Hashable] = set()
    kinds = []
    for output in row:
        if output is None or output == "":
            kinds.append("invalid")
        elif not is_known(output):
            kinds.append("hallucinated")
        elif output in seen:
            kinds.append("duplicate")
        else:
            kinds.append("usable")
            seen.add(output)
    return kinds


@dataclass(frozen=True)
class CodeUse:
    """How a table of codes is used, whether a catalogue's or a generated one."""

    entropy_bits: tuple[float, ...]
    """Of the codes at each level."""
    usage: tuple[float, ...]
    """Share of each level's codes that occur."""
    collision_rate: float
    """Share of the rows whose codes another row has too."""
    distinct: int

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def code_use(codes: np.ndarray, sizes: Sequence[int]) -> CodeUse:
    """Entropy, usage and collisions of codes int64 `[row, level]` with `sizes` codes per level; raises `DataError` when they do not fit."""
    if codes.ndim != 2 or codes.shape[1] != len(sizes) or not len(codes):
        raise DataError(f"codes of shape {codes.shape} do not fit {len(sizes)} levels; give [row, {len(sizes)}] with at least one row")
    counts = [np.bincount(column, minlength=size) for column, size in zip(codes.T, sizes, strict=True)]
    _, repeats = np.unique(codes, axis=0, return_counts=True)
    shared = float(repeats[repeats > 1].sum() / len(codes))
    used = tuple(float(np.count_nonzero(count) / size) for count, size in zip(counts, sizes, strict=True))
    return CodeUse(tuple(entropy(count) for count in counts), used, shared, len(repeats))


@dataclass(frozen=True)
class TemperatureRow:
    """What drawing at one temperature costs and brings."""

    temperature: float
    diversity: float
    """Mean Jaccard distance between two draws of the same case; 0 = always the same list."""
    entropy_bits: float
    """Entropy of the items over all draws."""
    distinct: int
    """Items that were drawn at all."""
    recall: float
    """Mean recall of the draws."""


Draw = Callable[[float, int], RankedLists]
"""Temperature and number of the draw → lists for the same cases."""


def temperature_curve(
    draw: Draw, temperatures: Sequence[float], targets: Histories, *, item_count: int, draws: int = 4
) -> list[TemperatureRow]:
    """Diversity against accuracy as the temperature rises, `draws` lists per case and temperature; `UserError` for fewer than 2 draws."""
    if draws < 2:
        raise UserError(f"draws = {draws} does not work; diversity is that between draws, so give at least 2")
    rows = []
    for temperature in temperatures:
        lists = [draw(temperature, number).items for number in range(draws)]
        pairs = [_jaccard_distance(lists[i], lists[j], item_count) for i in range(draws) for j in range(i)]
        counts = np.bincount(np.concatenate([part[part >= 0] for part in lists]), minlength=item_count)
        recall = np.mean([_recall(part, targets, item_count) for part in lists])
        rows.append(TemperatureRow(temperature, float(np.mean(pairs)), entropy(counts), int(np.count_nonzero(counts)), float(recall)))
    return rows


def list_log_likelihood(scores: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Log-probability of each list under Plackett–Luce with these scores as logits, float64 `[case]`; -1 ends a list.

    `scores` float `[case, item]`, -inf for what cannot be drawn; `items` int64 `[case, k]`. Items are drawn one after the other without
    replacement (Luce 1959; Plackett 1975). A list with an item of score -inf has -inf.
    """
    logits = scores.astype(np.float64)
    rows = np.arange(len(items))
    total = np.zeros(len(items))
    for place in range(items.shape[1]):
        item, listed = items[:, place], items[:, place] >= 0
        chosen = logits[rows, np.maximum(item, 0)]
        total += np.where(listed, chosen - _logsumexp(logits), 0.0)
        logits[rows[listed], item[listed]] = -np.inf
    return total


def target_log_likelihood(scores: np.ndarray, targets: Histories) -> np.ndarray:
    """Mean log-probability of a case's targets under the softmax of its scores `[case, item]`, float64 `[case]`; nan without targets."""
    known = targets.where(targets.values >= 0)
    rows = known.rows
    values = scores[rows, known.values] - _logsumexp(scores.astype(np.float64))[rows]
    sums = np.bincount(rows, values, minlength=len(scores))
    return np.divide(sums, known.lengths, out=np.full(len(scores), np.nan), where=known.lengths > 0)


def _logsumexp(logits: np.ndarray) -> np.ndarray:
    top = logits.max(axis=1, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return (safe + np.log(np.exp(logits - safe).sum(axis=1, keepdims=True)))[:, 0]


def _jaccard_distance(first: np.ndarray, other: np.ndarray, item_count: int) -> float:
    """Mean over cases of 1 - |A ∩ B| / |A ∪ B| of two lists without repetitions."""
    width = other.shape[1]
    common = Relevance.of(first, Histories(other.reshape(-1), np.arange(len(other) + 1) * width), item_count=item_count).hits.sum(axis=1)
    union = (first >= 0).sum(axis=1) + (other >= 0).sum(axis=1) - common
    return float((1 - np.divide(common, union, out=np.ones(len(first)), where=union > 0)).mean())


def _recall(items: np.ndarray, targets: Histories, item_count: int) -> float:
    relevance = Relevance.of(items, targets, item_count=item_count)
    known = relevance.targets > 0
    return float((relevance.hits.sum(axis=1)[known] / relevance.targets[known]).mean()) if known.any() else float("nan")
