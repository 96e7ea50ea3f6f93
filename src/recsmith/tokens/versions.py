"""Versions of a run's codes: every migration keeps what was there before, and the way back is one rename."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from recsmith.artifacts import MANIFEST, open_folder, read_json, write_folder
from recsmith.errors import UserError
from recsmith.run_folder import RUN, RunState, fill_run
from recsmith.run_folder import TOKEN_VERSIONS as FOLDER

_SHARED = ("log.parquet", "users.parquet", "config.json")
"""Files of a run that no migration changes."""


def write_version(run: Path, state: RunState, *, out: Path | None = None) -> Path:
    """Write the migrated run `state` over `run` (or to `out`) and keep the files of the version that it replaces.

    Atomic: a failure leaves the folder as it was. Raises `StorageError` when it cannot be written.
    """
    source = open_folder(run, RUN)
    target = run if out is None else out
    with write_folder(target, RUN) as draft:
        fill_run(draft, replace(state, earlier_codes=source / FOLDER if (source / FOLDER).is_dir() else None))
        _keep(source, draft / FOLDER / _folder_of(_version(source)))
    return target


def versions(run: Path) -> list[dict[str, Any]]:
    """All versions of a run's codes, the oldest first: `version`, `hash`, `items`, `current`."""
    source = open_folder(run, RUN)
    folders = [*sorted((source / FOLDER).glob("*")), source]
    found = [{**_facts(folder), "current": folder == source} for folder in folders if (folder / "item_codes.json").exists()]
    return sorted(found, key=lambda facts: facts["version"])


def rollback(run: Path, *, to: int | None = None) -> dict[str, Any]:
    """Put an earlier (or later) version of the codes back into use; the version in use now is kept. Returns facts of the new one.

    `to`: its number; None takes the one before. Raises `UserError` when there is no such version.
    """
    source = open_folder(run, RUN)
    now = _version(source)
    others = [facts["version"] for facts in versions(run) if not facts["current"]]
    earlier = [version for version in others if version < now]
    wanted = to if to is not None else max(earlier, default=None)
    if wanted is None or wanted not in others:
        have = ", ".join(map(str, others)) or "none; only `recsmith tokens migrate` makes them"
        asked = "an earlier version" if to is None else f"version {to}"
        raise UserError(f"`{run}` uses version {now} of its codes and does not keep {asked}; kept: {have}")
    with write_folder(run, RUN) as draft:
        for name in _SHARED:
            shutil.copy2(source / name, draft / name)
        shutil.copytree(source / FOLDER / _folder_of(wanted), draft, dirs_exist_ok=True)
        for version in others:
            if version != wanted:
                shutil.copytree(source / FOLDER / _folder_of(version), draft / FOLDER / _folder_of(version))
        _keep(source, draft / FOLDER / _folder_of(now))
    return _facts(open_folder(run, RUN))


def _keep(source: Path, target: Path) -> None:
    """Copy the files of a version."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in (*_SHARED, MANIFEST):
            shutil.copy2(path, target / path.name)


def _folder_of(version: int) -> str:
    return f"{version:04d}"


def _version(folder: Path) -> int:
    return int(read_json(folder / "card.json").get("tokens", {}).get("version", 1))


def _facts(folder: Path) -> dict[str, Any]:
    tokens = read_json(folder / "card.json").get("tokens", {})
    return {"version": _version(folder), "hash": tokens.get("hash"), "items": read_json(folder / "item_codes.json").get("items")}
