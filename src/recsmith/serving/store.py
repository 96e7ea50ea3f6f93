"""`Store`: the server's state in SQL. SQLite by default, embedded and durable; PostgreSQL by its URL."""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, Select, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from recsmith.errors import ArtifactError, UserError, import_extra
from recsmith.serving.tables import AUDIT, COUNTS, EVENTS, EXPOSURES, FORGOTTEN, ITEMS, KEYS, LISTS, SETTINGS, USERS, migrate

Result = TypeVar("Result")

_FEED_LOCK = 7_302_019_001
"""PostgreSQL's advisory lock that writers of events hold until they commit, so that `seq` grows in the order of the commits."""


# The last events of each of many people in one question; each person's are found by the index and not one more is read.
_HISTORIES = {
    "sqlite": text(
        "SELECT asked.value, kept.seq, kept.item_id, kept.time, kept.value, kept.kind FROM json_each(:users) AS asked "
        "JOIN events AS kept ON kept.seq IN (SELECT seq FROM events WHERE user_id = asked.value "
        "AND kind IN (SELECT value FROM json_each(:kinds)) ORDER BY seq DESC LIMIT :most) ORDER BY kept.seq"
    ),
    "postgresql": text(
        "SELECT asked.user_id, kept.* FROM jsonb_array_elements_text(CAST(:users AS jsonb)) AS asked(user_id) CROSS JOIN LATERAL "
        "(SELECT seq, item_id, time, value, kind FROM events WHERE user_id = asked.user_id "
        "AND kind IN (SELECT jsonb_array_elements_text(CAST(:kinds AS jsonb))) ORDER BY seq DESC LIMIT :most) AS kept ORDER BY kept.seq"
    ),
}
_ATTRIBUTES = {
    "sqlite": text("SELECT user_id, attributes FROM users WHERE user_id IN (SELECT value FROM json_each(:users))"),
    "postgresql": text("SELECT user_id, attributes FROM users WHERE user_id IN (SELECT jsonb_array_elements_text(CAST(:users AS jsonb)))"),
}


class StoreUnavailableError(Exception):
    """The database did not do what was asked; nothing of the transaction is kept."""


class PastEvent(NamedTuple):
    """An event as the live histories keep it."""

    seq: int
    item: str
    time: float
    value: float
    kind: str


class Store:
    """Connections, and questions to the tables. What changes the tables goes through `GroupWriter`."""

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        """Open and migrate. Raises `UserError` when the database cannot be reached, `ArtifactError` when it is newer than this program."""
        self.url = make_url(url)
        self.embedded = self.url.get_backend_name() == "sqlite"
        if self.embedded:
            self._writing = _sqlite(url, timeout, writes=True)
            self._reading = _sqlite(url, timeout, writes=False)
        else:
            self._writing = self._reading = _postgres(url, timeout)
        try:
            with self.transaction() as connection:
                self.migrated = migrate(connection)
                self.identity = _identity(connection)
        except StoreUnavailableError as error:
            raise UserError(
                f"store `{self.url.render_as_string(hide_password=True)}` cannot be opened ({error}); correct its URL"
            ) from None

    def close(self) -> None:
        """Close all connections."""
        self._writing.dispose()
        self._reading.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One durable transaction: when the block is left without an error, what it wrote is on disk."""
        try:
            with self._writing.begin() as connection:
                if not self.embedded:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_FEED_LOCK})"))
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            raise StoreUnavailableError(_reason(error)) from error

    def durability(self) -> dict[str, Any]:
        """How commits reach the disk, as the database itself says it."""
        with self._writing.connect() as connection:
            names: tuple[str, ...] = ("journal_mode", "synchronous")
            if self.embedded:
                return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}
            names = ("fsync", "synchronous_commit", "full_page_writes")
            return {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names}

    # ---- questions ----

    def rows(self, question: Select[Any]) -> list[dict[str, Any]]:
        """All rows of a question. Raises `StoreUnavailableError`."""

        def ask(connection: Connection) -> list[dict[str, Any]]:
            found = connection.execute(question)
            names = list(map(str, found.keys()))  # SQLAlchemy's own kind of text is not what JSON writers take
            return [dict(zip(names, row, strict=True)) for row in found]

        return self._read(ask)

    def row(self, question: Select[Any]) -> dict[str, Any] | None:
        """The first row of a question, None without one."""
        found = self.rows(question.limit(1))
        return found[0] if found else None

    def ping(self) -> None:
        """Raises `StoreUnavailableError` when the database does not answer."""
        self._read(lambda connection: connection.execute(select(1)).scalar())

    def people(self, users: Sequence[str], *, kinds: Sequence[str], limit: int) -> dict[str, tuple[list[PastEvent], dict[str, Any]]]:
        """The last `limit` events of each person, oldest first, and what was written about them; empty for strangers."""
        backend = self.url.get_backend_name()

        def ask(connection: Connection) -> dict[str, tuple[list[PastEvent], dict[str, Any]]]:
            found: dict[str, tuple[list[PastEvent], dict[str, Any]]] = {user: ([], {}) for user in users}
            asked = json.dumps(list(found))
            wanted = {"users": asked, "kinds": json.dumps(list(kinds)), "most": limit}
            for user, seq, item, moment, value, kind in connection.execute(_HISTORIES[backend], wanted):
                found[user][0].append(PastEvent(seq, item, moment, value, sys.intern(kind)))
            for user, attributes in connection.execute(_ATTRIBUTES[backend], {"users": asked}):
                found[user][1].update(json.loads(attributes))
            return found

        return self._read(ask)

    def feed(self, *, after: int, limit: int) -> list[dict[str, Any]]:
        """Events in the order in which they were acknowledged."""
        return self.rows(select(EVENTS).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq).limit(limit))

    def last_event(self) -> int:
        """`seq` of the last event, 0 without any."""
        return self._read(lambda connection: connection.execute(select(func.max(EVENTS.c.seq))).scalar()) or 0

    def counts(self) -> list[tuple[str, int, float]]:
        """Item, events and heat of every item that had an event."""
        question = select(COUNTS.c.item_id, COUNTS.c.events, COUNTS.c.heat)
        return [(item, events, heat) for item, events, heat in self._read(lambda connection: connection.execute(question).all())]

    def counts_until(self, seq: int) -> dict[str, int]:
        """Events per item up to an event of the feed, of the kinds that count."""
        kinds = (self.setting("heat") or {}).get("kinds", [])
        mine = (EVENTS.c.seq <= seq) & EVENTS.c.kind.in_(kinds)
        question = select(EVENTS.c.item_id, func.count()).where(mine).group_by(EVENTS.c.item_id)
        return {row[0]: row[1] for row in self._read(lambda connection: connection.execute(question).all())}

    def items(self, *, after: int = 0) -> list[dict[str, Any]]:
        """Items written through the API whose `number` is above `after`, in its order, deleted ones included."""
        found = self.rows(select(ITEMS).where(ITEMS.c.number > after).order_by(ITEMS.c.number))
        return [{**row, "attributes": json.loads(row["attributes"])} for row in found]

    def forgotten(self) -> set[str]:
        """Hashes of the people whose part of the run's log is not looked at."""
        return {row["user_hash"] for row in self.rows(select(FORGOTTEN.c.user_hash))}

    def setting(self, name: str) -> Any:
        """A value that was kept by name, None without one."""
        row = self.row(select(SETTINGS.c.value).where(SETTINGS.c.name == name))
        return None if row is None else json.loads(row["value"])

    def revision(self) -> int:
        """Moves with every change but those of events, lists and single people."""
        return int(self.setting("revision") or 0)

    def keys(self) -> list[dict[str, Any]]:
        """All API keys, oldest first, with the hashes of their secrets."""
        return self.rows(select(KEYS).order_by(KEYS.c.created, KEYS.c.key_id))

    def audit(self, *, after: int, limit: int) -> list[dict[str, Any]]:
        """What was changed by whom, oldest first."""
        return self.rows(select(AUDIT).where(AUDIT.c.seq > after).order_by(AUDIT.c.seq).limit(limit))

    def about(self, user: str) -> dict[str, Any]:
        """Everything that the store holds about a person."""
        lists = select(LISTS).where(LISTS.c.user_id == user).order_by(LISTS.c.time)
        person = self.row(select(USERS).where(USERS.c.user_id == user))
        return {
            "attributes": None if person is None else json.loads(person["attributes"]),
            "events": self.rows(select(EVENTS).where(EVENTS.c.user_id == user).order_by(EVENTS.c.seq)),
            "lists": [read_list(row) for row in self.rows(lists)],
            "exposures": self.rows(select(EXPOSURES).where(EXPOSURES.c.unit == user).order_by(EXPOSURES.c.first)),
        }

    def _read(self, ask: Callable[[Connection], Result]) -> Result:
        try:
            with self._reading.connect() as connection:
                return ask(connection)
        except (DBAPIError, PoolTimeout) as error:
            raise StoreUnavailableError(_reason(error)) from error


def open_existing(url: str) -> Store:
    """A server's store. Raises `UserError` where there is none; opened as a `Store`, a SQLite file that is missing would be made."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        raise UserError(f"there is no store `{url}`; give the URL that the server was started with")
    return Store(url)


def read_list(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `LISTS` with its JSON read."""
    experiment = None if row["experiment"] is None else json.loads(row["experiment"])
    return {**row, "items": json.loads(row["items"]), "propensities": json.loads(row["propensities"]), "experiment": experiment}


def hash_of_user(user: str) -> str:
    """What stands for a person who is to be forgotten."""
    return hashlib.sha256(b"recsmith user " + user.encode()).hexdigest()


def _identity(connection: Connection) -> str:
    """Names this store, so that a run can say which feed it has been fitted with."""
    found = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == "identity")).scalar()
    if found is None:
        found = json.dumps(uuid.uuid4().hex)
        connection.execute(SETTINGS.insert().values(name="identity", value=found))
    return str(json.loads(found))


def _sqlite(url: str, timeout: float, *, writes: bool) -> Engine:
    if make_url(url).database in (None, "", ":memory:"):
        raise UserError(f"store `{url}` would be gone with the process; name a file: sqlite:///recsmith.db")
    engine = create_engine(url, connect_args={"timeout": timeout}, pool_size=1 if writes else 8, max_overflow=0, pool_timeout=timeout)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where the listener below begins them
        cursor = connection.cursor()
        if writes:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            _assert_durable(cursor, url)
        else:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _assert_durable(cursor: Any, url: str) -> None:
    mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or synchronous < 2:
        raise ArtifactError(
            f"store `{url}` runs with journal_mode={mode}, synchronous={synchronous}; events need WAL and FULL (2): use a local disk"
        )


def _postgres(url: str, timeout: float) -> Engine:
    import_extra("psycopg", extra="postgres", purpose="a PostgreSQL store")
    address = make_url(url).set(drivername="postgresql+psycopg")
    wait = {"connect_timeout": max(1, int(timeout)), "options": "-c synchronous_commit=on -c statement_timeout=30000"}
    return create_engine(address, connect_args=wait, pool_pre_ping=True, pool_size=8, max_overflow=0, pool_timeout=timeout)


def _reason(error: SQLAlchemyError) -> str:
    origin = getattr(error, "orig", None)
    return " ".join(str(origin if origin is not None else error).split())[:200]
