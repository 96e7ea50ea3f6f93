"""The split protocols. Each is a rule that says which events of a log train, and which cases validate and test."""

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
    begins: np.ndarray | None = None
    """First event that a history may hold, as a position; None: the row's first."""
    known_until: np.ndarray | None = None
    """End of the history, as a position; None: the first target."""
    chosen: np.ndarray | None = None
    """Which events between start and stop are targets, bool `[event]`; None takes all."""


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
    train = _share_of_people(log.histories.where(cut.train), config)
    validation, test = (_cases(log.histories, part, train) for part in (cut.validation, cut.test))
    if not len(test):
        raise DataError(f"split `{config.name}` finds no test case in {len(log.users):,} users and {len(log.histories.values):,} events; "
                        "use another split or more data")  # fmt: skip
    split = Split(config, train, validation, test, len(log.items), {})
    return replace(split, figures=_figures(log, cut, split))


def rolling_splits(log: Log, config: SplitConfig) -> list[Split]:
    """The splits of all `config.origins` of `global-temporal`, oldest origin first; raises what `split_log` raises."""
    if config.name != "global-temporal":
        raise ConfigError(f"split `{config.name}` has no rolling origins; allowed: `global-temporal`")
    return [split_log(log, config.override(origin=origin)) for origin in range(config.origins)]


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
    """Two cut times for everybody; an event exactly at a cut belongs to the later part. Cases: people with events on both sides of it.

    With rolling origins (as in Tashman 2000) the test period has one window per origin; a split trains on what comes before its
    window's validation part and ignores what comes after its window.
    """
    times = histories.times
    if times is None:
        raise DataError("split `global-temporal` needs times and the log has none; name the column (--columns time=ts) or use `ratio`")
    if config.origin >= config.origins:
        raise ConfigError(f"origin = {config.origin} does not exist; there are origins 0 to {config.origins - 1} (setting `origins`)")
    test_share = 1 - config.test_share + config.test_share * config.origin / config.origins
    first, second = np.quantile(times, [test_share - config.validation_share, test_share], method="higher")
    end = np.inf
    if config.origin + 1 < config.origins:
        end = float(np.quantile(times, test_share + config.test_share / config.origins, method="higher"))
    if times.min() >= first or times.max() < second or second >= end:
        raise DataError(f"split `global-temporal` cannot cut: too many events share one time ({first:.0f}); use another split")
    starts, test_starts, ends = (_first_at(histories, cut) for cut in (first, second, end))
    everybody = np.arange(len(histories))
    validation = _only_nonempty(_Part(everybody, starts, test_starts), histories)
    test = _only_nonempty(_Part(everybody, test_starts, ends), histories)
    figures: Figures = {"validation_from": float(first), "test_from": float(second)}
    return _Cut(times < first, validation, test, figures if np.isinf(end) else {**figures, "test_until": end})


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


def _user_cold_start(histories: Histories, config: SplitConfig) -> _Cut:
    """Held-out people give no event to training; after their first `known_events` the next one is to be predicted."""
    eligible = np.flatnonzero(histories.lengths > config.known_events)
    counts = [round(share * len(eligible)) for share in (config.test_share, config.validation_share)]
    drawn = generator(config.seed, "user-cold-start").permutation(eligible)
    tested, validated = np.sort(drawn[: counts[0]]), np.sort(drawn[counts[0] : sum(counts)])
    held_out = np.zeros(len(histories), dtype=bool)
    held_out[drawn[: sum(counts)]] = True
    targets = [histories.offsets[rows] + config.known_events for rows in (validated, tested)]
    parts = [_Part(rows, target, target + 1) for rows, target in zip((validated, tested), targets, strict=True)]
    return _Cut(~held_out[histories.rows], parts[0], parts[1], _too_short(histories, eligible))


def _session_prefixes(histories: Histories, config: SplitConfig) -> _Cut:
    """The sessions that end last are held out, and every event of theirs but the first is predicted from those before it in the session.

    As in GRU4Rec (Hidasi et al. 2016): a session is in one part as a whole. Without times the last rows of the log are held out.
    """
    starts = np.zeros(len(histories.values), dtype=bool)
    starts[histories.offsets[:-1][histories.lengths > 0]] = True
    if config.session_gap > 0:
        if histories.times is None:
            raise DataError("split `session-prefixes` needs times to cut sessions; name the column (--columns time=ts) or, where each row "
                            "is a session, set session_gap to 0")  # fmt: skip
        starts[1:] |= np.diff(histories.times) > config.session_gap
    begins = np.flatnonzero(starts)
    ends = np.append(begins[1:], len(starts))
    order = np.arange(len(begins)) if histories.times is None else np.argsort(histories.times[ends - 1], kind="stable")
    counts = [round(share * len(begins)) for share in (config.test_share, config.validation_share)]
    cuts = len(begins) - np.array([sum(counts), counts[0]])
    parts = [_prefixes(histories, begins[some], ends[some]) for some in (order[cuts[0] : cuts[1]], order[cuts[1] :])]
    held_out = np.sort(order[cuts[0] :])
    train = ~_covered(len(starts), begins[held_out], ends[held_out])
    return _Cut(train, parts[0], parts[1], {"sessions": len(begins), "validation_sessions": counts[1], "test_sessions": counts[0]})


def _prefixes(histories: Histories, begins: np.ndarray, ends: np.ndarray) -> _Part:
    """Every event but the first of each session, to be predicted from the earlier events of the session."""
    sessions = np.sort(begins)
    lengths = np.sort(ends) - sessions - 1
    begin = np.repeat(sessions, lengths)
    target = begin + 1 + np.arange(len(begin)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return _Part(histories.rows[target], target, target + 1, begins=begin)


def _next_basket(histories: Histories, config: SplitConfig) -> _Cut:
    """Each person's last basket tests and the one before validates; people with fewer than 3 baskets only train."""
    if histories.times is None:
        raise DataError("split `next-basket` needs times, and events of one basket share one; name the column (--columns time=ts) or give "
                        "a column `basket_id`")  # fmt: skip
    window = np.floor(histories.times / config.basket_seconds) if config.basket_seconds > 0 else histories.times
    starts = np.ones(len(window), dtype=bool)
    starts[1:] = (window[1:] != window[:-1]) | (np.diff(histories.rows) > 0)
    begins = np.flatnonzero(starts)
    owners = histories.rows[begins]
    rows = np.flatnonzero(np.bincount(owners, minlength=len(histories)) >= 3)
    last = np.searchsorted(owners, rows, side="right") - 1
    ends = histories.offsets[1:][rows]
    train = ~_covered(len(starts), begins[last - 1], ends)
    parts = _Part(rows, begins[last - 1], begins[last]), _Part(rows, begins[last], ends)
    return _Cut(train, *parts, {**_too_short(histories, rows), "baskets": len(begins)})


def _explicit_rating(histories: Histories, config: SplitConfig) -> _Cut:
    """Rated events are held out at random, whatever their time, as is usual in rating prediction (AutoRec: Sedhain et al. 2015).

    A case is a person; the history is all of the person's training events, the targets with their ratings are the held-out ones.
    """
    if histories.weights is None:
        raise DataError("split `explicit-rating` needs ratings and the log has none; name the column: --columns rating=stars")
    events = len(histories.values)
    counts = [round(share * events) for share in (config.test_share, config.validation_share)]
    drawn = generator(config.seed, "explicit-rating").permutation(events)
    train = np.ones(events, dtype=bool)
    train[drawn[: sum(counts)]] = False
    parts = []
    for some in (drawn[counts[0] : sum(counts)], drawn[: counts[0]]):
        chosen = np.zeros(events, dtype=bool)
        chosen[some] = True
        rows = np.unique(histories.rows[some])
        first, end = histories.offsets[rows], histories.offsets[rows + 1]
        parts.append(_Part(rows, first, end, visible=train, known_until=end, chosen=chosen))
    return _Cut(train, parts[0], parts[1])


_PROTOCOLS: dict[str, Callable[[Histories, SplitConfig], _Cut]] = {
    "leave-one-out": _leave_one_out,
    "ratio": _ratio,
    "global-temporal": _global_temporal,
    "strong-generalisation": _strong_generalisation,
    "item-cold-start": _item_cold_start,
    "user-cold-start": _user_cold_start,
    "session-prefixes": _session_prefixes,
    "next-basket": _next_basket,
    "explicit-rating": _explicit_rating,
}


# ---- what they share -------------------------------------------------------------------------------------------------------


def _share_of_people(train: Histories, config: SplitConfig) -> Histories:
    """The training events of `train_share` of the people who have any, at least one; a smaller share of one seed is part of a larger."""
    if config.train_share == 1:
        return train
    people = generator(config.seed, "training people").permutation(np.flatnonzero(train.lengths > 0))
    drawn = np.zeros(len(train), dtype=bool)
    drawn[people[: max(1, round(config.train_share * len(people)))]] = True
    return train.where(drawn[train.rows])


def _cases(histories: Histories, part: _Part, train: Histories) -> Cases:
    begins = histories.offsets[part.rows] if part.begins is None else part.begins
    known_until = part.starts if part.known_until is None else part.known_until
    before = _range(histories, begins, known_until, part.visible)
    users = np.where(train.lengths[part.rows] > 0, part.rows, -1)
    return Cases(users.astype(np.int64), before, _range(histories, part.starts, part.stops, part.chosen))


def _range(histories: Histories, starts: np.ndarray, stops: np.ndarray, kept: np.ndarray | None) -> Histories:
    """The events from each start to each stop, one row a pair; with `kept`, bool `[event]`, only those."""
    found = histories._gather(starts, stops - starts)
    if kept is None:
        return found
    return found.where(replace(histories, values=kept.astype(np.int64))._gather(starts, stops - starts).values.astype(bool))


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
