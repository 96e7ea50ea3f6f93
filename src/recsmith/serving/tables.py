"""The tables of the server's state, and the migrations that lead to them. Ids are text here, whatever they are in a run."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import BigInteger, Column, Connection, Float, Index, Integer, MetaData, String, Table, Text, inspect, select, text

from recsmith.errors import ArtifactError

METADATA = MetaData()
_Sequence = BigInteger().with_variant(Integer, "sqlite")

EVENTS = Table(
    "events",
    METADATA,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("event_id", String(256), nullable=False, unique=True),
    Column("user_id", String(256), nullable=False),
    Column("item_id", String(256), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("time", Float, nullable=False),
    Column("value", Float, nullable=False),
    Column("list_id", String(64)),
    Column("received", Float, nullable=False),
    Index("events_of_user", "user_id", "seq"),
    Index("events_of_list", "list_id", sqlite_where=text("list_id IS NOT NULL"), postgresql_where=text("list_id IS NOT NULL")),
    sqlite_autoincrement=True,
)
"""The feed: everything derived is rebuilt from it in the order of `seq`, which never goes back and is never used twice."""

USERS = Table(
    "users",
    METADATA,
    Column("user_id", String(256), primary_key=True),
    Column("attributes", Text, nullable=False),
    Column("updated", Float, nullable=False),
)

FORGOTTEN = Table("forgotten", METADATA, Column("user_hash", String(64), primary_key=True), Column("time", Float, nullable=False))
"""People whose part of the run's own log must no longer be looked at, as hashes."""

ITEMS = Table(
    "items",
    METADATA,
    Column("item_id", String(256), primary_key=True),
    Column("number", _Sequence, nullable=False),
    Column("title", Text),
    Column("attributes", Text, nullable=False),
    Column("deleted", Integer, nullable=False),
    Column("updated", Float, nullable=False),
)
"""Items that were written through the API, in the order of `number`; a deleted one keeps its row, so that it stays deleted."""

COUNTS = Table(
    "item_counts",
    METADATA,
    Column("item_id", String(256), primary_key=True),
    Column("events", Integer, nullable=False),
    Column("heat", Float, nullable=False),
)
"""Derived from the feed: events per item, and the same with time decay."""

LISTS = Table(
    "lists",
    METADATA,
    Column("list_id", String(64), primary_key=True),
    Column("user_id", String(256)),
    Column("model", String(256), nullable=False),
    Column("source", String(32), nullable=False),
    Column("items", Text, nullable=False),
    Column("propensities", Text, nullable=False),
    Column("experiment", Text),
    Column("time", Float, nullable=False),
    Index("lists_of_user", "user_id"),
    Index("lists_by_time", "time"),
)
"""What was shown: items best first and the probability with which each was chosen for its place, as JSON lists."""

EXPERIMENTS = Table(
    "experiments",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("definition", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("stopped", Float),
)
"""Experiments as JSON; a definition is never changed, and its name never used again."""

EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("experiment", String(64), primary_key=True),
    Column("unit", String(256), primary_key=True),
    Column("arm", String(64), primary_key=True),
    Column("first", Float, nullable=False),
    Column("lists", Integer, nullable=False),
    Index("exposures_of_unit", "unit"),
)
"""Who was assigned to which arm and was shown it: when first, and in how many lists."""

KEYS = Table(
    "keys",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("role", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("key_id", String(32)),
    Column("action", String(64), nullable=False),
    Column("target", String(256)),
    sqlite_autoincrement=True,
)

SETTINGS = Table("settings", METADATA, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))
"""Single values as JSON: the active model, the rules, the day that heat is counted from."""

_VERSION = Table("schema_version", MetaData(), Column("version", Integer, primary_key=True))


def _first_tables(connection: Connection) -> None:
    METADATA.create_all(connection)


def _experiments(connection: Connection) -> None:
    """Tables of experiments, and the way from a list to the events that name it."""
    METADATA.create_all(connection, tables=[EXPERIMENTS, EXPOSURES])
    for index in (*LISTS.indexes, *EVENTS.indexes):
        index.create(connection, checkfirst=True)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_first_tables, _experiments)
"""Step n leads from version n to n + 1. A step is never changed once it was released; a change of the tables is a new step."""


def migrate(connection: Connection) -> tuple[int, int]:
    """Bring the tables up to date in the running transaction; returns the version before and after.

    Raises `ArtifactError` when the store was written by a newer version.
    """
    _VERSION.create(connection, checkfirst=True)
    found = connection.execute(select(_VERSION.c.version)).scalar()
    before = found or 0
    if before > len(MIGRATIONS):
        raise ArtifactError(f"the store is of version {before}, this recsmith knows up to {len(MIGRATIONS)}; use the newer recsmith")
    for step in MIGRATIONS[before:]:
        step(connection)
    if found is None:
        connection.execute(_VERSION.insert().values(version=len(MIGRATIONS)))
    elif before < len(MIGRATIONS):
        connection.execute(_VERSION.update().values(version=len(MIGRATIONS)))
    return before, len(MIGRATIONS)


def version_of(connection: Connection) -> int:
    """Version of the store's tables, 0 for an empty one."""
    if not inspect(connection).has_table(_VERSION.name):
        return 0
    return connection.execute(select(_VERSION.c.version)).scalar() or 0
