"""`Call` and `Reply`: one request and its answer, as handlers see them; and `Route`, one line of the table of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from recsmith.serving.bodies import NoQuery, Plain, Strict
from recsmith.serving.keys import Key, Role

if TYPE_CHECKING:
    from recsmith.serving.server import Server


@dataclass
class Call:
    """A request that has been checked."""

    path: dict[str, str]
    """Values of the names in the route's path."""
    query: Any
    """An object of the route's query model."""
    body: Any
    """An object of the route's body model, None without one."""
    key: Key | None
    """Who asks; None on routes without a role, or when the server is open."""


@dataclass
class Reply:
    """An answer; a plain dictionary stands for a reply with status 200."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


Handler = Callable[["Server", Call], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """What is asked how, by whom, and what comes back."""

    method: str
    path: str
    handler: Handler
    role: Role | None
    """The least role that may ask; None: anybody, without a key."""
    answer: type[Plain] | None
    """Model of the answer; None when it is no JSON document of ours."""
    query: type[Strict] = NoQuery
    body: type[BaseModel] | None = None
    status: int = 200
    refusals: tuple[str, ...] = ()
    """Kinds of problems beyond those that any such request may meet."""
    media: str = "application/json"
    """Media type of the answer."""

    @property
    def name(self) -> str:
        """The operation's name, which is that of the client's method too."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """First line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]
