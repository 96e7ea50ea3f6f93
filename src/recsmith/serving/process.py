"""One server process: load, listen, serve until told to stop, and finish what was begun."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsmith.errors import UserError, import_extra
from recsmith.recommender import Recommender, load
from recsmith.serving import changes
from recsmith.serving.app import Application
from recsmith.serving.config import ServerConfig
from recsmith.serving.generation import Generation
from recsmith.serving.growth import Growth
from recsmith.serving.keys import new_key
from recsmith.serving.logs import set_up_logs
from recsmith.serving.making import Ingredients, make_generation
from recsmith.serving.rules_file import RulesFile, read_rules
from recsmith.serving.server import Server, recipe_name
from recsmith.serving.store import Store


@dataclass
class Prepared:
    """Everything that a server needs before it listens."""

    config: ServerConfig
    run: Path
    store: Store
    ingredients: Ingredients
    generation: Generation
    first_key: str | None
    """The administrator's key, made when the store had none; not kept anywhere."""


def prepare(config: ServerConfig, run: Path, *, rules: Path | None = None, make_key: bool = True) -> Prepared:
    """Open the store and load the model that is to be in service. Raises `RecsmithError` with one line for what is not as it must be."""
    with ExitStack() as undo:
        store = Store(config.store)
        undo.callback(store.close)
        ingredients = Ingredients(_rules(store, rules))
        name, base = _model(store, config, run)
        _set_threads(config)
        generation = make_generation(name, Growth(base), store, ingredients)
        first_key = _first_key(store, config) if make_key else None
        undo.pop_all()
    return Prepared(config, run, store, ingredients, generation, first_key)


def check(prepared: Prepared) -> dict[str, Any]:
    """What would be served, and how; for `recsmith serve --check`."""
    store, generation = prepared.store, prepared.generation
    return {
        "model": generation.name,
        "recipe": generation.recommender.recipe.name,
        "items": generation.items,
        "users": len(generation.recommender.log.users),
        "store": store.url.render_as_string(hide_password=True),
        "store version": store.migrated[1],
        "durability": store.durability(),
        "events": store.last_event(),
        "keys": len(store.keys()),
        "access": prepared.config.access,
        "rules": len(prepared.ingredients.rules.table()),
    }


def serve(prepared: Prepared) -> None:
    """Serve until SIGTERM or SIGINT; requests that were begun are answered, and what waits is written."""
    uvicorn = import_extra("uvicorn", extra="serve", purpose="recsmith serve")
    config = prepared.config
    sys.setswitchinterval(0.001)  # the model's thread gives the event loop its turn after 1 ms, not 5

    @asynccontextmanager
    async def serving() -> AsyncIterator[Server]:
        server = Server.start(config, prepared.run, prepared.store, prepared.ingredients, prepared.generation)
        try:
            yield server
        finally:
            await server.close()

    set_up_logs()
    listener = listen(config.host, config.port)
    settings = uvicorn.Config(
        Application(serving),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="on",
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        limit_concurrency=None,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=None if config.certificate is None else str(config.certificate),
        ssl_keyfile=None if config.private_key is None else str(config.private_key),
    )
    scheme = "http" if config.certificate is None else "https"
    host, port = listener.getsockname()[:2]
    print(f"serving {prepared.generation.name} at {scheme}://{host}:{port} (process {os.getpid()}); stop with Ctrl-C", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: None)  # the server hands the signal on once it has finished, and then all is well
    uvicorn.Server(settings).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `UserError` when the address is taken or not this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.set_inheritable(True)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror or error}); give another --host or --port") from None
    return listener


def _model(store: Store, config: ServerConfig, run: Path) -> tuple[str, Recommender]:
    """The run that was given, or the one beside it that was activated since it was first given."""
    given = run.resolve()
    active = store.setting("active")
    if active is not None and active.get("started with", given.name) == given.name:
        folder = (config.models or given.parent) / active["name"]
        if recipe_name(folder) is not None:
            return active["name"], load(folder)
    recommender = load(given)
    with store.transaction() as connection:
        changes.put_setting(connection, "active", {"name": given.name, "started with": given.name})
    return given.name, recommender


def _rules(store: Store, file: Path | None) -> RulesFile:
    """Those of the file, else those that were last put through the API."""
    if file is not None:
        return read_rules(file)
    kept = store.setting("rules")
    return RulesFile() if kept is None else RulesFile.build(kept, where="rules in the store")


def _first_key(store: Store, config: ServerConfig) -> str | None:
    if config.access == "open" or store.keys():
        return None
    key, row = new_key("first administrator", "admin", expires=None, now=time.time())
    with store.transaction() as connection:
        changes.add_key(connection, row)
    return key


def _set_threads(config: ServerConfig) -> None:
    import torch

    torch.set_num_threads(config.model_threads)
