"""What the store knows about experiments: definitions, who was shown what, what came of it. Questions only; `changes` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import and_, func, select

from recsmith.errors import ConfigError
from recsmith.serving.experiments.definition import HOLDOUT, Definition
from recsmith.serving.store import PastEvent, Store
from recsmith.serving.tables import EVENTS, EXPERIMENTS, EXPOSURES, LISTS

_PAGE = 500


class Kept(NamedTuple):
    """An experiment and its life."""

    definition: Definition
    created: float
    """Seconds since the epoch."""
    stopped: float | None


def experiments(store: Store) -> list[Kept]:
    """All there ever were, oldest first."""
    rows = store.rows(select(EXPERIMENTS).order_by(EXPERIMENTS.c.created, EXPERIMENTS.c.name))
    return [_kept(row) for row in rows]


def running(store: Store) -> list[Definition]:
    """Those that nobody has stopped, oldest first."""
    return [kept.definition for kept in experiments(store) if kept.stopped is None]


def experiment(store: Store, name: str) -> Kept | None:
    """One of them."""
    row = store.row(select(EXPERIMENTS).where(EXPERIMENTS.c.name == name))
    return None if row is None else _kept(row)


def holdout(store: Store) -> float:
    """Share of people that the server holds out of everything."""
    return float(store.setting(HOLDOUT) or 0.0)


def exposures(store: Store, name: str) -> list[dict[str, Any]]:
    """unit, arm, first (seconds since the epoch) and lists of everybody who was shown an arm."""
    columns = (EXPOSURES.c.unit, EXPOSURES.c.arm, EXPOSURES.c.first, EXPOSURES.c.lists)
    return store.rows(select(*columns).where(EXPOSURES.c.experiment == name))


def outcomes(store: Store, name: str, kind: str, *, within: float) -> list[dict[str, Any]]:
    """unit, time and value of every event of a kind by somebody in the experiment, in the `within` seconds after the first list."""
    joined = EVENTS.join(EXPOSURES, and_(EVENTS.c.user_id == EXPOSURES.c.unit, EXPOSURES.c.experiment == name))
    after = and_(EVENTS.c.time >= EXPOSURES.c.first, EVENTS.c.time < EXPOSURES.c.first + within)
    question = select(EVENTS.c.user_id.label("unit"), EVENTS.c.time, EVENTS.c.value).select_from(joined)
    return store.rows(question.where(EVENTS.c.kind == kind, after))


def answered_lists(store: Store, about: Literal["exploration", "teams"], *, since: float, most: int) -> list[dict[str, Any]]:
    """Lists of known people that explored, or that were interleaved: the latest `most`, newest first."""
    sign = {"exploration": '%"exploration":{%', "teams": '%"teams":[%'}[about]  # no name in the document can look like this
    question = select(LISTS).where(LISTS.c.time >= since, LISTS.c.experiment.like(sign), LISTS.c.user_id.is_not(None))
    rows = store.rows(question.order_by(LISTS.c.time.desc()).limit(most))
    return [{**row, **{name: json.loads(row[name]) for name in ("items", "propensities", "experiment")}} for row in rows]


def events_of_lists(store: Store, lists: Sequence[str], kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    """list_id, item_id, time and value of the events that name one of these lists."""
    columns = (EVENTS.c.list_id, EVENTS.c.item_id, EVENTS.c.time, EVENTS.c.value)
    for page in _pages(lists):
        yield from store.rows(select(*columns).where(EVENTS.c.list_id.in_(page), EVENTS.c.kind.in_(kinds)))


def past_events(store: Store, users: Sequence[str], kinds: Sequence[str]) -> dict[str, list[PastEvent]]:
    """Every event of these people, oldest first."""
    found: dict[str, list[PastEvent]] = {user: [] for user in users}
    columns = (EVENTS.c.user_id, EVENTS.c.seq, EVENTS.c.item_id, EVENTS.c.time, EVENTS.c.value, EVENTS.c.kind)
    for page in _pages(list(found)):
        for row in store.rows(select(*columns).where(EVENTS.c.user_id.in_(page), EVENTS.c.kind.in_(kinds)).order_by(EVENTS.c.seq)):
            found[row["user_id"]].append(PastEvent(row["seq"], row["item_id"], row["time"], row["value"], row["kind"]))
    return found


class Clicks(NamedTuple):
    """Lists that one person was shown by a model, and how many of them led to something."""

    lists: int
    clicked: int


def clicks(store: Store, model: str, *, since: float, until: float, settle: float, kinds: Sequence[str], most: int) -> list[Clicks]:
    """Per person (a list without one is its own), of the latest `most` lists between two moments; events count for `settle` seconds."""
    recent = (
        select(LISTS.c.list_id, LISTS.c.user_id, LISTS.c.time)
        .where(LISTS.c.model == model, LISTS.c.time >= since, LISTS.c.time < until)
        .order_by(LISTS.c.time.desc())
        .limit(most)
        .subquery()
    )
    followed = and_(EVENTS.c.list_id == recent.c.list_id, EVENTS.c.kind.in_(kinds), EVENTS.c.received < recent.c.time + settle)
    clicked = select(EVENTS.c.seq).where(followed).exists()
    each = select(func.coalesce(recent.c.user_id, recent.c.list_id).label("unit"), clicked.label("clicked")).subquery()
    sums: dict[str, list[int]] = {}
    for row in store.rows(select(each)):
        found = sums.setdefault(row["unit"], [0, 0])
        found[0] += 1
        found[1] += bool(row["clicked"])
    return [Clicks(*found) for found in sums.values()]


def _kept(row: dict[str, Any]) -> Kept:
    try:
        definition = Definition.parse(json.loads(row["definition"]), where=row["name"])
    except ConfigError as error:
        raise ConfigError(f"experiment `{row['name']}` in the store cannot be read ({error}); it was written by another version") from None
    return Kept(definition, row["created"], row["stopped"])


def _pages(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _PAGE):
        yield names[start : start + _PAGE]
