"""What comes before a worker: the socket that it listens on, and the first key. Loads neither torch nor a model."""

from __future__ import annotations

import os
import socket
import time

from recsmith.errors import UserError
from recsmith.serving import changes
from recsmith.serving.config import ServerConfig
from recsmith.serving.keys import new_key
from recsmith.serving.store import Store


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


def make_first_key(store: Store, config: ServerConfig) -> str | None:
    """An administrator's key where the store has none and one is needed; it is kept nowhere else."""
    if config.access == "open" or store.keys():
        return None
    key, row = new_key("first administrator", "admin", expires=None, now=time.time())
    with store.transaction() as connection:
        changes.add_key(connection, row)
    return key


def announce(config: ServerConfig, listener: socket.socket, name: str) -> str:
    """The line that says where to go."""
    scheme = "http" if config.certificate is None else "https"
    host, port = listener.getsockname()[:2]
    workers = f", {config.workers} workers" if config.workers > 1 else ""
    return f"serving {name} at {scheme}://{host}:{port} (process {os.getpid()}{workers}); stop with Ctrl-C"
