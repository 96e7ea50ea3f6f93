"""What changes the store: small functions that take the connection of a running transaction. `GroupWriter` calls them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from recsmith.serving.store import hash_of_user
from recsmith.serving.tables import AUDIT, COUNTS, EVENTS, EXPERIMENTS, EXPOSURES, FORGOTTEN, ITEMS, KEYS, LISTS, SETTINGS, USERS

HOUR = 3600.0
_ROWS = 500
"""Rows per statement: below what the oldest SQLite allows in parameters."""


class NewEvent(NamedTuple):
    """An event as it was received."""

    event_id: str
    user_id: str
    item_id: str
    kind: str
    time: float
    value: float
    list_id: str | None
    received: float


class Heat(NamedTuple):
    """How events count in what is trending: 2 ** ((time − since) / half life), which only grows, so that sums can be kept."""

    since: float
    half_life_hours: float
    kinds: frozenset[str]

    def weight(self, time: float) -> float:
        """Weight of an event; events from before `since`, or far in the future, count like the nearest that is allowed."""
        lives = (time - self.since) / (self.half_life_hours * HOUR)
        return float(2.0 ** min(max(lives, -1000.0), 900.0))


def _insert(connection: Connection, table: Table) -> Any:
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def add_events(connection: Connection, events: Sequence[NewEvent], heat: Heat) -> dict[str, int]:
    """Keep those events whose id is new; returns their `event_id` → `seq`. The counts of their items move in the same transaction."""
    distinct = {event.event_id: event for event in reversed(events)}
    rows = [event._asdict() for event in reversed(distinct.values())]
    new: dict[str, int] = {}
    for start in range(0, len(rows), _ROWS):
        statement = _insert(connection, EVENTS).on_conflict_do_nothing(index_elements=["event_id"])
        found = connection.execute(statement.returning(EVENTS.c.event_id, EVENTS.c.seq), rows[start : start + _ROWS])
        new.update((event_id, seq) for event_id, seq in found)
    _count(connection, [distinct[event_id] for event_id in new], heat)
    return new


def _count(connection: Connection, events: Iterable[NewEvent], heat: Heat) -> None:
    totals: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for event in events:
        if event.kind in heat.kinds:
            total = totals[event.item_id]
            total[0] += 1
            total[1] += heat.weight(event.time)
    if not totals:
        return
    statement = _insert(connection, COUNTS)
    moved = statement.on_conflict_do_update(
        index_elements=["item_id"],
        set_={"events": COUNTS.c.events + statement.excluded.events, "heat": COUNTS.c.heat + statement.excluded.heat},
    )
    # in one order everywhere, so that two workers never wait for each other
    connection.execute(moved, [{"item_id": item, "events": totals[item][0], "heat": totals[item][1]} for item in sorted(totals)])


def rebuild_counts(connection: Connection, heat: Heat) -> int:
    """Replay the feed into the counts; returns the number of events read."""
    connection.execute(delete(COUNTS))
    last = read = 0
    while True:
        question = select(EVENTS).where(EVENTS.c.seq > last).order_by(EVENTS.c.seq).limit(20_000)
        rows = connection.execute(question).mappings().all()
        if not rows:
            return read
        names = NewEvent._fields
        _count(connection, [NewEvent(*(row[name] for name in names)) for row in rows], heat)
        last, read = rows[-1]["seq"], read + len(rows)


def add_lists(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep served lists, and whom they have shown the arm of an experiment."""
    if rows:
        connection.execute(LISTS.insert(), [dict(row) for row in rows])
        _add_exposures(connection, [row for row in rows if row["experiment"] is not None and row["user_id"] is not None])


def _add_exposures(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for experiment, arm in json.loads(row["experiment"])["arms"].items():
            found.setdefault((experiment, row["user_id"], arm), []).append(row["time"])
    if not found:
        return
    statement = _insert(connection, EXPOSURES)
    more = statement.on_conflict_do_update(
        index_elements=["experiment", "unit", "arm"], set_={"lists": EXPOSURES.c.lists + statement.excluded.lists}
    )
    names = ("experiment", "unit", "arm")
    # in one order everywhere, so that two workers never wait for each other
    connection.execute(
        more, [{**dict(zip(names, key, strict=True)), "first": min(found[key]), "lists": len(found[key])} for key in sorted(found)]
    )


def add_experiment(connection: Connection, name: str, definition: str, *, now: float) -> bool:
    """Keep an experiment; False when there was one of that name."""
    statement = _insert(connection, EXPERIMENTS).on_conflict_do_nothing(index_elements=["name"])
    row = {"name": name, "definition": definition, "created": now, "stopped": None}
    return bool(connection.execute(statement.returning(EXPERIMENTS.c.name), [row]).all())


def stop_experiment(connection: Connection, name: str, *, now: float) -> bool:
    """End an experiment for good; False when it does not run."""
    running = (EXPERIMENTS.c.name == name) & EXPERIMENTS.c.stopped.is_(None)
    return bool(connection.execute(update(EXPERIMENTS).where(running).values(stopped=now)).rowcount)


def put_items(connection: Connection, items: Sequence[Mapping[str, Any]], *, now: float) -> None:
    """Create or replace items, each with `item_id`, `title` and `attributes`; a deleted item comes back."""
    number = connection.execute(select(func.coalesce(func.max(ITEMS.c.number), 0))).scalar_one()
    rows = [
        {
            "item_id": item["item_id"],
            "number": number + place,
            "title": item["title"],
            "attributes": json.dumps(item["attributes"]),
            "deleted": 0,
            "updated": now,
        }
        for place, item in enumerate({item["item_id"]: item for item in items}.values(), start=1)
    ]
    statement = _insert(connection, ITEMS)
    names = ("number", "title", "attributes", "deleted", "updated")
    connection.execute(
        statement.on_conflict_do_update(index_elements=["item_id"], set_={name: statement.excluded[name] for name in names}), rows
    )


def delete_item(connection: Connection, item: str, *, now: float) -> None:
    """Mark an item as deleted, whether it came with the run or through the API."""
    number = connection.execute(select(func.coalesce(func.max(ITEMS.c.number), 0))).scalar_one() + 1
    row = {"item_id": item, "number": number, "title": None, "attributes": "{}", "deleted": 1, "updated": now}
    statement = _insert(connection, ITEMS)
    changed = {"number": number, "deleted": 1, "updated": now}
    connection.execute(statement.on_conflict_do_update(index_elements=["item_id"], set_=changed), [row])


def put_users(connection: Connection, users: Sequence[Mapping[str, Any]], *, now: float) -> None:
    """Create or replace people, each with `user_id` and `attributes`."""
    last = {user["user_id"]: user for user in users}
    rows = [{"user_id": name, "attributes": json.dumps(user["attributes"]), "updated": now} for name, user in last.items()]
    statement = _insert(connection, USERS)
    names = ("attributes", "updated")
    connection.execute(
        statement.on_conflict_do_update(index_elements=["user_id"], set_={name: statement.excluded[name] for name in names}), rows
    )


def forget_user(connection: Connection, user: str, *, now: float, heat: Heat) -> dict[str, int]:
    """Delete everything about a person, take their events out of the counts, and remember a hash; returns how many rows went."""
    mine = connection.execute(select(EVENTS).where(EVENTS.c.user_id == user)).mappings().all()
    for row in mine:
        if row["kind"] in heat.kinds:
            less = {"events": COUNTS.c.events - 1, "heat": COUNTS.c.heat - heat.weight(row["time"])}
            connection.execute(update(COUNTS).where(COUNTS.c.item_id == row["item_id"]).values(less))
    gone = {}
    for name, table in (("events", EVENTS), ("lists", LISTS), ("users", USERS)):
        gone[name] = connection.execute(delete(table).where(table.c.user_id == user)).rowcount
    connection.execute(delete(EXPOSURES).where(EXPOSURES.c.unit == user))
    statement = _insert(connection, FORGOTTEN).on_conflict_do_nothing(index_elements=["user_hash"])
    connection.execute(statement, [{"user_hash": hash_of_user(user), "time": now}])
    return gone


def add_key(connection: Connection, row: Mapping[str, Any]) -> None:
    """Keep an API key."""
    connection.execute(KEYS.insert(), [dict(row)])


def revoke_key(connection: Connection, key_id: str, *, now: float) -> bool:
    """Revoke a key for good; False when there is no such key."""
    changed = connection.execute(update(KEYS).where(KEYS.c.key_id == key_id, KEYS.c.revoked.is_(None)).values(revoked=now))
    if changed.rowcount:
        return True
    return connection.execute(select(KEYS.c.key_id).where(KEYS.c.key_id == key_id)).scalar() is not None


def put_setting(connection: Connection, name: str, value: Any) -> None:
    """Keep a value by name."""
    statement = _insert(connection, SETTINGS)
    kept = statement.on_conflict_do_update(index_elements=["name"], set_={"value": statement.excluded.value})
    connection.execute(kept, [{"name": name, "value": json.dumps(value)}])


def next_revision(connection: Connection) -> int:
    """Move the revision, by which workers that share a store see that something has changed."""
    found = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == "revision")).scalar()
    revision = 1 + (0 if found is None else int(json.loads(found)))
    put_setting(connection, "revision", revision)
    return revision


def read_setting(connection: Connection, name: str) -> Any:
    """A value as it is inside the transaction, None without one."""
    found = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == name)).scalar()
    return None if found is None else json.loads(found)


def add_audit(connection: Connection, *, key_id: str | None, action: str, target: str | None, now: float) -> None:
    """Write down who changed what."""
    connection.execute(AUDIT.insert(), [{"time": now, "key_id": key_id, "action": action, "target": target}])
