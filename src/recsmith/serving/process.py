"""One server process: load, listen, serve until told to stop, and finish what was begun."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsmith.errors import import_extra
from recsmith.recommender import Recommender, load
from recsmith.serving import changes
from recsmith.serving.app import Application
from recsmith.serving.config import ServerConfig
from recsmith.serving.experiments_file import declare
from recsmith.serving.generation import Generation
from recsmith.serving.growth import Growth
from recsmith.serving.logs import set_up_logs
from recsmith.serving.making import Ingredients, make_generation
from recsmith.serving.model_folders import recipe_name
from recsmith.serving.opening import announce, listen, make_first_key
from recsmith.serving.requirements import require
from recsmith.serving.rules_file import RulesFile, read_rules
from recsmith.serving.server import Server
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

    def start(self) -> Server:
        """Take up service; call it in the event loop."""
        return Server(self.config, self.run, self.store, self.ingredients, self.generation)


def prepare(config: ServerConfig, run: Path, *, rules: Path | None = None, make_key: bool = True) -> Prepared:
    """Open the store and load the model that is to be in service. Raises `RecsmithError` with one line for what is not as it must be."""
    require(config)
    with ExitStack() as undo:
        store = Store(config.store)
        undo.callback(store.close)
        declare(store, config)
        kept = store.setting("rules")
        ingredients = Ingredients(_rules(kept, rules), kept, config.accelerate)
        name, base = _model(store, config, run)
        _set_threads(config)
        generation = make_generation(name, Growth(base), store, ingredients)
        first_key = make_first_key(store, config) if make_key else None
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
        "weights": generation.growth.acceleration.figures or "as trained",
    }


def serve(prepared: Prepared, listener: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests that were begun are answered, and what waits is written.

    A worker is given the `listener` that it shares with others; it says on standard output when it is ready.
    """
    uvicorn = import_extra("uvicorn", extra="serve", purpose="recsmith serve")
    config = prepared.config
    sys.setswitchinterval(0.001)  # the model's thread gives the event loop its turn after 1 ms, not 5
    alone = listener is None

    @asynccontextmanager
    async def serving() -> AsyncIterator[Server]:
        server = prepared.start()
        if not alone:
            print(prepared.generation.name, flush=True)
        try:
            yield server
        finally:
            await server.close()

    set_up_logs()
    listener = listener or listen(config.host, config.port)
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
    if alone:
        print(announce(config, listener, prepared.generation.name), flush=True)
    gc.freeze()  # what is there now stays: collections, and the pauses that they are, look at what came later only
    gc.enable()
    signal.signal(signal.SIGTERM, lambda *_: None)  # the server hands the signal on once it has finished, and then all is well
    uvicorn.Server(settings).run(sockets=[listener])


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


def _rules(kept: dict[str, Any] | None, file: Path | None) -> RulesFile:
    """Those of the file, else those that were last put through the API."""
    if file is not None:
        return read_rules(file)
    return RulesFile() if kept is None else RulesFile.build(kept, where="rules in the store")


def _set_threads(config: ServerConfig) -> None:
    import torch

    torch.set_num_threads(config.model_threads)
