"""`AnswerCache`: answers on disk (SQLite), so that an interrupted job goes on where it stopped and pays nothing twice."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from recsmith.errors import StorageError, UserError
from recsmith.language.completion import Completion

_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    backend TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL, reused_tokens INTEGER NOT NULL, attempts INTEGER NOT NULL
) WITHOUT ROWID
"""
_COLUMNS = "backend, model, text, finish, prompt_tokens, answer_tokens, reused_tokens, attempts"
_INSERT = f"INSERT INTO answers (key, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
_CHUNK = 500


class AnswerCache:
    """Answers by `Prompt.key`, each committed before it is handed on.

    A process killed at any moment loses no answer that it had received. Several processes may use one file; the first answer to a key
    stays. Prompts are not stored, only their hashes. Raises `StorageError` when the file cannot be written (a full disk) and
    `UserError` when it is something else than such a cache.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error
        except OSError as error:
            raise StorageError(f"the answer cache `{self.path}` cannot be made: {error.strerror or error}; choose another place") from error

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        version = run("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise UserError(f"the answer cache `{self.path}` has format {version}, this recsmith reads {_VERSION}; choose another file")
        if version == 0 and run("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0:
            raise UserError(f"`{self.path}` is a database of something else, not an answer cache; choose another file")
        run(_TABLE)
        run(f"PRAGMA user_version = {_VERSION}")

    def find(self, keys: Iterable[str]) -> dict[str, Completion]:
        """The answers that are known, by key."""
        found: dict[str, Completion] = {}
        for chunk in _chunks(list(dict.fromkeys(keys))):
            marks = ",".join("?" * len(chunk))
            with self._lock:
                rows = self._connection.execute(f"SELECT key, {_COLUMNS} FROM answers WHERE key IN ({marks})", chunk).fetchall()
            found.update((row[0], _completion(row[1:])) for row in rows)
        return found

    def add(self, key: str, answer: Completion) -> None:
        """Keep an answer; returns when it is committed."""
        values = (key, answer.backend, answer.model, answer.text, answer.finish)
        counts = (answer.prompt_tokens, answer.answer_tokens, answer.reused_tokens, answer.attempts)
        try:
            with self._lock:
                self._connection.execute(_INSERT, (*values, *counts))
        except sqlite3.DatabaseError as error:
            raise StorageError(f"the answer cache `{self.path}` cannot be written: {error}; answers so far are kept in it") from error

    def __len__(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unusable(self, error: sqlite3.DatabaseError) -> Exception:
        if isinstance(error, sqlite3.OperationalError):
            return StorageError(f"the answer cache `{self.path}` cannot be opened: {error}; choose another place")
        return UserError(f"`{self.path}` is not an answer cache ({error}); choose another file or remove this one")


def _completion(row: tuple) -> Completion:
    backend, model, text, finish, prompt_tokens, answer_tokens, reused_tokens, attempts = row
    return Completion(text, backend, model, prompt_tokens, answer_tokens, reused_tokens, finish, attempts, cached=True)


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]
