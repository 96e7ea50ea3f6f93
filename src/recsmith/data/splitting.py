"""The five split protocols. Each is a rule that says which events of a log train, and which cases validate and test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from recsmith.data.histories import Cases, Histories
from recsmith.data.split import TIE_RULE, Log, Split, SplitConfig
from recsmith.errors import ConfigError, DataError
from recsmith.seeding import generator

Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class _Part:
    """The cases of one part, as ranges of events of the log (`[case]` each)."""

    rows: np.ndarray
    """User of each case, int64."""
    starts: np.ndarray
    """First target, as a position among all events, int64."""
    stops: np.ndarray
    """End of the targets, int64."""
    visible: np.ndarray | None = None
    """Which events may stand in a history, bool `[event]`; None allows all before the first target."""


@dataclass(frozen=True)
class _Cut:
    train: np.ndarray
    """Which events train, bool `[event]`."""
    validation: _Part
    test: _Part
    figures: Figures = field(default_factory=dict)


def split_log(log: Log, config: SplitConfig) -> Split:
    """Cut a log by the protocol `config.name`.

    Raises `ConfigError` when the shares leave nothing to train on and `DataError` when the log cannot be cut so (no times, too few
    events). Figures: `events`, `users`, `users_too_short`, `validation_cases`, `test_cases`, `train_events`, `tie_rule`,
    `validation_ties` and `test_ties` (cases whose target depends on the tie rule), `test_targets_untrained`, and the protocol's own.
    """
    if config.validation_share + config.test_share >= 1:
        given = f"validation_share + test_share = {config.validation_share + config.test_share:g}"
        raise ConfigError(f"{given} leaves nothing to train on; their sum must be below 1")
    cut = _PROTOCOLS[config.name](log.histories, config)
    train = log.histories.where(cut.train)
    validation, test = (_cases(log.histories, part, train) for part in (cut.validation, cut.test))
    if not len(test):
        raise DataError(f"split `{config.name}` finds no test case in {len(log.users):,} users and {len(log.histories.values):,} events; "
                        "use another split or more data")  # fmt: skip
    split = Split(config, train, validation, test, len(log.items), {})
    return replace(split, figures=_figures(log, cut, split))


def shuffle_ties(log: Log, seed: int) -> Log:
    """The same log with events of equal time in random order inside each user: shows what a figure owes to the tie rule."""
    histories = log.histories
    if histories.times is None:
        return log
    noise = generator(seed, "shuffle-ties").random(len(histories.values))
    order = np.lexsort((noise, histories.times, histories.rows))
    weights = None if histories.weights is None else histories.weights[order]
    return replace(log, histories=Histories(histories.values[order], histories.offsets, histories.times[order], weights))


# ---- protocols -----------------------------------------------------------------------------------------------------------


def _leave_one_out(histories: Histories, config: SplitConfig) -> _Cut:
    """Users with fewer than 3 events only train."""
    rows = np.flatnonzero(histories.lengths >= 3)
    ends = histories.offsets[1:][rows]
    train = np.ones(len(histories.values), dtype=bool)
    train[ends - 1] = False
    train[ends - 2] = False
    return _Cut(train, _Part(rows, ends - 2, ends - 1), _Part(rows, ends - 1, ends), _too_short(histories, rows))


def _ratio(histories: Histories, config: SplitConfig) -> _Cut:
    """Per user, the last share tests and the share before it validates: rounded, at least one event each, at least one left to train."""
    lengths = histories.lengths
    tested, validated = (_share_of(lengths, share) for share in (config.test_share, config.validation_share))
    rows = np.flatnonzero(lengths > tested + validated)
    ends = histories.offsets[1:][rows]
    test_starts = ends - tested[rows]
    starts = test_starts - validated[rows]
    train = ~_covered(len(histories.values), starts, ends)
    validation = _only_nonempty(_Part(rows, starts, test_starts))
    return _Cut(train, validation, _only_nonempty(_Part(rows, test_starts, ends)), _too_short(histories, rows))


def _global_temporal(histories: Histories, config: SplitConfig) -> _Cut:
    """Two cut times for everybody; an event exactly at a cut belongs to the later part. Cases: people with events on both sides of it."""
    times = histories.times
    if times is None:
        raise DataError("split `global-temporal` needs times and the log has none; name the column (--columns time=ts) or use `ratio`")
    shares = [1 - config.validation_share - config.test_share, 1 - config.test_share]
    first, second = np.quantile(times, shares, method="higher")
    if times.min() >= first or times.max() < second:
        raise DataError(f"split `global-temporal` cannot cut: too many events share one time ({first:.0f}); use another split")
    starts, test_starts = (_first_at(histories, cut) for cut in (first, second))
    ends = histories.offsets[1:]
    everybody = np.arange(len(histories))
    validation = _only_nonempty(_Part(everybody, starts, test_starts), histories)
    test = _only_nonempty(_Part(everybody, test_starts, ends), histories)
    return _Cut(times < first, validation, test, {"validation_from": float(first), "test_from": float(second)})


def _strong_generalisation(histories: Histories, config: SplitConfig) -> _Cut:
    """Held-out people give no event to training (Liang et al. 2018). Deviations: their *last* events are the targets, not random ones,
    and targets that nobody in training has are kept (and counted in `test_targets_untrained`)."""
    eligible = np.flatnonzero(histories.lengths >= 2)
    counts = [round(share * len(eligible)) for share in (config.test_share, config.validation_share)]
    drawn = generator(config.seed, "strong-generalisation").permutation(eligible)
    tested, validated = np.sort(drawn[: counts[0]]), np.sort(drawn[counts[0] : sum(counts)])
    train = np.ones(len(histories.values), dtype=bool)
    for rows in (tested, validated):
        train &= ~_covered(len(train), histories.offsets[rows], histories.offsets[rows + 1])
    parts = []
    for rows in (validated, tested):
        ends = histories.offsets[rows + 1]
        hidden = np.clip(_share_of(histories.lengths[rows], config.target_share), 1, histories.lengths[rows] - 1)
        parts.append(_Part(rows, ends - hidden, ends))
    return _Cut(train, parts[0], parts[1], _too_short(histories, eligible))


def _item_cold_start(histories: Histories, config: SplitConfig) -> _Cut:
    """Held-out items occur in no training event. A case is a person's first event with a held-out item that follows a warm event;
    histories hold warm items only. The person's later warm events still train, as is usual in this protocol."""
    items = np.unique(histories.values)
    counts = [round(share * len(items)) for share in (config.test_share, config.validation_share)]
    drawn = generator(config.seed, "item-cold-start").permutation(items)
    group = np.zeros(int(items.max(initial=-1)) + 1, dtype=np.int8)
    group[drawn[: counts[0]]] = 2
    group[drawn[counts[0] : sum(counts)]] = 1
    groups = group[histories.values]
    warm = groups == 0
    warm_before = np.cumsum(warm) - warm
    warm_before -= np.repeat(np.concatenate([[0], np.cumsum(warm)])[histories.offsets[:-1]], histories.lengths)
    parts = []
    for number in (1, 2):
        candidates = np.flatnonzero((groups == number) & (warm_before > 0))
        rows, first = np.unique(histories.rows[candidates], return_index=True)
        parts.append(_Part(rows, candidates[first], candidates[first] + 1, visible=warm))
    return _Cut(warm, parts[0], parts[1], {"validation_items": counts[1], "test_items": counts[0]})


_PROTOCOLS: dict[str, Callable[[Histories, SplitConfig], _Cut]] = {
    "leave-one-out": _leave_one_out,
    "ratio": _ratio,
    "global-temporal": _global_temporal,
    "strong-generalisation": _strong_generalisation,
    "item-cold-start": _item_cold_start,
}


# ---- what they share -------------------------------------------------------------------------------------------------------


def _cases(histories: Histories, part: _Part, train: Histories) -> Cases:
    before = histories._gather(histories.offsets[part.rows], part.starts - histories.offsets[part.rows])
    if part.visible is not None:
        seen = replace(histories, values=part.visible.astype(np.int64))._gather(
            histories.offsets[part.rows], part.starts - histories.offsets[part.rows]
        )
        before = before.where(seen.values.astype(bool))
    users = np.where(train.lengths[part.rows] > 0, part.rows, -1)
    return Cases(users.astype(np.int64), before, histories._gather(part.starts, part.stops - part.starts))


def _figures(log: Log, cut: _Cut, split: Split) -> Figures:
    histories, figures = log.histories, dict[str, float | int | str]()
    figures |= {"users": len(log.users), "items": len(log.items), "events": len(histories.values)}
    figures |= {"train_events": len(split.train.values), "train_users": int((split.train.lengths > 0).sum())}
    figures |= {"validation_cases": len(split.validation), "test_cases": len(split.test)}
    untrained = ~split.trained_items
    figures["validation_targets_untrained"] = int(untrained[split.validation.targets.values].sum())
    figures["test_targets_untrained"] = int(untrained[split.test.targets.values].sum())
    figures["tie_rule"] = TIE_RULE if histories.times is not None else "no times: the order of the file is the order of events"
    figures["validation_ties"] = _ties(histories, cut.validation)
    figures["test_ties"] = _ties(histories, cut.test)
    return figures | cut.figures


def _ties(histories: Histories, part: _Part) -> int:
    """Cases whose first or last target shares its time with the user's event just outside the targets."""
    if histories.times is None or not len(part.rows):
        return 0
    times, last = histories.times, len(histories.times) - 1
    before = (part.starts > histories.offsets[part.rows]) & (times[part.starts] == times[np.maximum(part.starts - 1, 0)])
    after = (part.stops < histories.offsets[part.rows + 1]) & (times[part.stops - 1] == times[np.minimum(part.stops, last)])
    return int((before | after).sum())


def _too_short(histories: Histories, rows: np.ndarray) -> Figures:
    return {"users_too_short": len(histories) - len(rows)}


def _share_of(lengths: np.ndarray, share: float) -> np.ndarray:
    """A share of each length, rounded half up, at least 1 unless the share is 0; int64 `[row]`."""
    return np.maximum(np.floor(lengths * share + 0.5), 1 if share > 0 else 0).astype(np.int64)


def _covered(events: int, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Bool `[event]`: inside one of the ranges, which do not overlap."""
    steps = np.zeros(events + 1, dtype=np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, stops, -1)
    return np.cumsum(steps[:-1]) > 0


def _only_nonempty(part: _Part, histories: Histories | None = None) -> _Part:
    """The cases that have a target and, where `histories` are given, an event before it."""
    keep = part.stops > part.starts
    if histories is not None:
        keep &= part.starts > histories.offsets[part.rows]
    return _Part(part.rows[keep], part.starts[keep], part.stops[keep])


def _first_at(histories: Histories, time: float) -> np.ndarray:
    """Position of each row's first event at or after `time`, int64 `[row]` (rows are in order of time)."""
    assert histories.times is not None
    earlier = np.bincount(histories.rows[histories.times < time], minlength=len(histories)).astype(np.int64)
    return histories.offsets[:-1] + earlier
