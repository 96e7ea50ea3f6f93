"""A prepared data set: a folder of Parquet files and `dataset.json` with format version, content hash and a checksum per file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsmith.errors import ArtifactError, StorageError, UserError

if TYPE_CHECKING:
    from recsmith.data.dataset import Dataset

FORMAT = "recsmith-dataset"
VERSION = 1
MANIFEST = "dataset.json"


def is_prepared(path: Path) -> bool:
    """Whether `path` is a folder with a manifest of ours."""
    return path.is_dir() and (path / MANIFEST).is_file()


def write(dataset: Dataset, folder: Path) -> Path:
    """Write beside `folder`, then put it in place. Raises `UserError` when `folder` holds something else and `StorageError` on failure."""
    if folder.exists() and not is_prepared(folder) and not _is_empty_folder(folder):
        raise UserError(f"`{folder}` exists and is not a prepared data set; give a new folder with --out")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _failed(folder, error) from None
    try:
        _write_into(dataset, beside)
        _put_in_place(beside, folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _failed(folder, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, checked against the files. Raises `ArtifactError` when a file is missing or was changed, or the version is not ours."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ArtifactError(f"`{folder / MANIFEST}` cannot be read as JSON; prepare the data again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError(f"`{folder}` is not a prepared data set of recsmith; prepare the data again")
    if manifest.get("version") != VERSION:
        raise ArtifactError(
            f"`{folder}` has data format version {manifest.get('version')!r}; this recsmith reads {VERSION}; prepare the data again"
        )
    for name, checksum in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            raise ArtifactError(f"`{folder}` is incomplete: `{name}` is missing; prepare the data again")
        if _checksum(file) != checksum:
            raise ArtifactError(f"`{file}` was changed or truncated since it was written; prepare the data again")
    return manifest


def _write_into(dataset: Dataset, folder: Path) -> None:
    tables = {
        "interactions.parquet": dataset.interactions,
        "catalogue.parquet": dataset.catalogue.frame if dataset.catalogue else None,
        "users.parquet": dataset.users,
        "reviews.parquet": dataset.reviews,
        "written.parquet": dataset.written.events if dataset.written else None,
    }
    files: dict[str, str] = {}
    for name, table in tables.items():
        if table is not None:
            table.write_parquet(folder / name, compression="zstd", compression_level=1)
            files[name] = _checksum(folder / name)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "name": dataset.name,
        "hash": dataset.hash,
        "events": len(dataset),
        "kinds": dataset.catalogue.kinds if dataset.catalogue else None,
        "source": dataset.source,
        **({"written": dataset.written.facts} if dataset.written else {}),
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def _put_in_place(beside: Path, folder: Path) -> None:
    """Rename; an older folder steps aside first and comes back when the rename fails."""
    beside.chmod(0o755)
    if not folder.exists():
        os.rename(beside, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent)) / folder.name
    os.rename(folder, old)
    try:
        os.rename(beside, folder)
    except OSError:
        os.rename(old, folder)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def _failed(folder: Path, error: Exception) -> StorageError:
    return StorageError(f"could not write `{folder}`: {error}; what was there before is unchanged; free space or choose another folder")


def _is_empty_folder(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
