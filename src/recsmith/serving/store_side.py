"""`StoreSide`: how a server asks the store and changes it, and what it says while the store is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Table, select

from recsmith.serving import changes
from recsmith.serving.calls import Call
from recsmith.serving.config import ServerConfig
from recsmith.serving.problems import Problem
from recsmith.serving.store import Store, StoreUnavailableError
from recsmith.serving.writer import GroupWriter

if TYPE_CHECKING:
    from recsmith.serving.following import Follower
    from recsmith.serving.tracing import Untraced

Result = TypeVar("Result")


class StoreSide:
    """The part of a server that knows nothing of models."""

    config: ServerConfig
    store: Store
    writer: GroupWriter
    tracing: Untraced
    follower: Follower | None

    async def ask(self, question: Callable[[Store], Result]) -> Result:
        """Ask the store, in a thread. Raises `Problem` (503) while it is away."""
        try:
            with self.tracing.wait("store"):
                return await asyncio.to_thread(question, self.store)
        except StoreUnavailableError as error:
            raise self.away(error) from error

    async def find(self, table: Table, column: str, value: str, *, what: str, hint: str) -> dict[str, Any]:
        """One row. Raises `Problem` (404) when there is none."""
        row = await self.ask(lambda store: store.row(select(table).where(table.c[column] == value)))
        if row is None:
            raise self.not_found(what, value, hint)
        return row

    async def change(
        self, call: Call, action: str, target: str | None, work: Callable[[Connection], Result], *, shared: bool = True
    ) -> Result:
        """Change the store and write into the audit who did, in one transaction; `shared`: other workers must read the state again."""
        key_id = None if call.key is None else call.key.key_id

        def both(connection: Connection) -> tuple[Result, int | None]:
            result = work(connection)
            changes.add_audit(connection, key_id=key_id, action=action, target=target, now=time.time())
            return result, changes.next_revision(connection) if shared else None

        result: Result
        result, revision = await self.writer.change(both)
        if self.follower is not None and revision is not None:
            await self.follower.moved(revision)
        return result

    async def store_available(self) -> bool:
        """Whether the store answers now and its last write was kept."""
        try:
            await asyncio.to_thread(self.store.ping)
        except StoreUnavailableError:
            return False
        return True

    def away(self, error: Exception) -> Problem:
        """A refusal while the store does not do what it should."""
        wait = self.config.retry_after
        detail = f"the store is not available ({error}); ask again after {wait} s"
        return Problem("store-unavailable", detail, headers={"retry-after": str(wait)})

    @staticmethod
    def not_found(what: str, name: str, hint: str) -> Problem:
        """A refusal for something that is not there."""
        return Problem("not-found", f"there is no {what} `{name}`; {hint}")
