"""Folders that survive: written beside the target and renamed, checked when opened, never executing code.

A folder written here holds `manifest.json` (kind, format version, size and checksum of every file). A process killed while writing
leaves the old folder, or a renamed copy of it that the next `open_folder` puts back.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsmith.errors import ArtifactError, StorageError

MANIFEST = "manifest.json"
Migration = Callable[[Path, dict[str, Any]], None]
_CHECKSUM_LIMIT = 16 * 2**20


@dataclass(frozen=True)
class FolderKind:
    """What a folder is, the format version written today, and how to bring older versions up to it."""

    name: str
    version: int
    migrations: Mapping[int, Migration]
    """`{n: function}`: turns a folder of version n into one of version n + 1, in a private copy."""


@contextmanager
def write_folder(target: Path, kind: FolderKind) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it replaces `target` in one rename, on any failure `target` is as it was.

    Raises `StorageError` when the disk is full or the place is not writable.
    """
    target = Path(target)
    draft = target.with_name(f".{target.name}.draft-{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        yield draft
        _write_manifest(draft, kind)
        _replace(draft, target)
    except OSError as error:
        raise _storage_error(error, target) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def open_folder(folder: Path, kind: FolderKind) -> Path:
    """The folder to read from: checked, repaired after a kill, and migrated (as a copy beside it) if it is from an older version."""
    folder = Path(folder)
    _repair(folder)
    if not folder.is_dir():
        raise ArtifactError(f"no {kind.name} folder at `{folder}`; give the folder that an earlier command wrote with --out")
    manifest = _read_manifest(folder, kind)
    version = manifest["format_version"]
    if version > kind.version or (version < kind.version and version not in kind.migrations):
        raise ArtifactError(
            f"`{folder}` is a {kind.name} of format version {version}; this recsmith reads version {kind.version}; "
            "use the recsmith that wrote it, or fit again"
        )
    _check_files(folder, kind, manifest)
    return folder if version == kind.version else _migrate(folder, kind, manifest)


def is_folder_of(folder: Path, kind: FolderKind) -> bool:
    """Whether `folder` says that it is of this kind (it may still be damaged)."""
    try:
        return bool(json.loads((Path(folder) / MANIFEST).read_text())["kind"] == kind.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_json(path: Path, value: Any) -> None:
    """Write JSON readable by eye, atomically: a reader sees the old file or the new one."""
    draft = path.with_name(f".{path.name}.draft-{os.getpid()}")
    draft.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    draft.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON; raises `ArtifactError` when the file is missing or cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"`{path}` is missing; the folder is incomplete, make it again") from None
    except ValueError:
        raise ArtifactError(f"`{path}` is not readable JSON; the file is damaged, make the folder again") from None


def update_file(folder: Path, kind: FolderKind, name: str, text: str) -> None:
    """Replace or add one small text file of a finished folder and its line in the manifest."""
    manifest = _read_manifest(folder, kind)
    try:
        draft = folder / f".{name}.draft-{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(folder / name)
    except OSError as error:
        raise _storage_error(error, folder) from error
    manifest["files"][name] = _describe(folder / name)
    write_json(folder / MANIFEST, manifest)


def _write_manifest(folder: Path, kind: FolderKind) -> None:
    from recsmith import __version__

    files = {str(path.relative_to(folder)): _describe(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    write_json(folder / MANIFEST, {"kind": kind.name, "format_version": kind.version, "recsmith": __version__, "files": files})


def _read_manifest(folder: Path, kind: FolderKind) -> dict[str, Any]:
    if not (folder / MANIFEST).exists():
        raise ArtifactError(f"`{folder}` is not a {kind.name} folder: it has no {MANIFEST}; give a folder that recsmith wrote")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != kind.name:
        found = manifest.get("kind") if isinstance(manifest, dict) else None
        raise ArtifactError(f"`{folder}` is a {found!r} folder, not a {kind.name} folder; give a {kind.name} folder")
    return manifest


def _describe(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    return {"bytes": size, "sha256": _checksum(path) if size <= _CHECKSUM_LIMIT else None}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_files(folder: Path, kind: FolderKind, manifest: dict[str, Any]) -> None:
    for name, expected in manifest["files"].items():
        path = folder / name
        problem = None
        if not path.is_file():
            problem = "is missing"
        elif path.stat().st_size != expected["bytes"]:
            problem = f"has {path.stat().st_size} bytes instead of {expected['bytes']}"
        elif expected["sha256"] and _checksum(path) != expected["sha256"]:
            problem = "was changed after it was written"
        if problem:
            raise ArtifactError(f"`{path}` {problem}: this {kind.name} folder is damaged; copy it again or make it again")


def _replace(draft: Path, target: Path) -> None:
    for path in draft.rglob("*"):
        if path.is_file():
            _sync(path)
    previous = _previous(target)
    if target.exists():
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    draft.rename(target)
    _sync(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _repair(target: Path) -> None:
    previous = _previous(target)
    if previous.is_dir() and not target.exists():
        previous.rename(target)


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _migrate(folder: Path, kind: FolderKind, manifest: dict[str, Any]) -> Path:
    copy = folder.with_name(f".{folder.name}.version-{kind.version}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    for version in range(manifest["format_version"], kind.version):
        kind.migrations[version](copy, manifest)
    (copy / MANIFEST).unlink()
    _write_manifest(copy, kind)
    _replace(copy, folder)
    return folder


def _storage_error(error: OSError, target: Path) -> StorageError:
    reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    kept = "what was there before is unchanged" if target.exists() else "nothing was written"
    return StorageError(f"cannot write `{target}`: {reason}; {kept}; free some space or choose another place")
