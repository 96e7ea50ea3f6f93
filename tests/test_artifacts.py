"""Folders survive kills, full disks and other versions."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from recsmith import artifacts
from recsmith.artifacts import FolderKind, is_folder_of, open_folder, read_json, update_file, write_folder
from recsmith.errors import ArtifactError, StorageError

KIND = FolderKind("run", version=1, migrations={})


def make(folder: Path, text: str = "one", kind: FolderKind = KIND) -> None:
    with write_folder(folder, kind) as draft:
        (draft / "a.txt").write_text(text)


def test_a_written_folder_opens(tmp_path: Path) -> None:
    make(tmp_path / "run")
    assert (open_folder(tmp_path / "run", KIND) / "a.txt").read_text() == "one"
    assert is_folder_of(tmp_path / "run", KIND)
    assert not is_folder_of(tmp_path, KIND)


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    make(tmp_path / "run")
    make(tmp_path / "run", "two")
    assert (tmp_path / "run" / "a.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_failing_writer_leaves_the_old_folder(tmp_path: Path) -> None:
    make(tmp_path / "run")

    def fail_half_way() -> None:
        with write_folder(tmp_path / "run", KIND) as draft:
            (draft / "a.txt").write_text("half")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_half_way()
    assert (open_folder(tmp_path / "run", KIND) / "a.txt").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_is_one_line_and_the_old_folder_survives(tmp_path: Path) -> None:
    make(tmp_path / "run")
    with pytest.raises(StorageError, match="the disk is full; what was there before is unchanged"), write_folder(tmp_path / "run", KIND):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (open_folder(tmp_path / "run", KIND) / "a.txt").read_text() == "one"


def test_a_kill_between_the_two_renames_is_repaired(tmp_path: Path) -> None:
    make(tmp_path / "run")
    (tmp_path / "run").rename(artifacts._previous(tmp_path / "run"))
    assert (open_folder(tmp_path / "run", KIND) / "a.txt").read_text() == "one"


def test_missing_wrong_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no run folder at"):
        open_folder(tmp_path / "nothing", KIND)
    (tmp_path / "plain").mkdir()
    with pytest.raises(ArtifactError, match=r"it has no manifest\.json"):
        open_folder(tmp_path / "plain", KIND)
    make(tmp_path / "data", kind=FolderKind("data set", 1, {}))
    with pytest.raises(ArtifactError, match="is a 'data set' folder, not a run folder"):
        open_folder(tmp_path / "data", KIND)


@pytest.mark.parametrize("damage", ["truncate", "delete", "change"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    make(tmp_path / "run")
    file = tmp_path / "run" / "a.txt"
    if damage == "delete":
        file.unlink()
    else:
        file.write_text("o" if damage == "truncate" else "eno")
    with pytest.raises(ArtifactError, match="is damaged"):
        open_folder(tmp_path / "run", KIND)


def test_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    make(tmp_path / "run", kind=FolderKind("run", version=9, migrations={}))
    with pytest.raises(ArtifactError, match="format version 9; this recsmith reads version 1"):
        open_folder(tmp_path / "run", KIND)


def test_an_older_version_is_migrated_and_the_original_survives_a_failure(tmp_path: Path) -> None:
    make(tmp_path / "run")

    def rename(folder: Path, manifest: dict) -> None:
        (folder / "a.txt").rename(folder / "b.txt")

    def fail(folder: Path, manifest: dict) -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        open_folder(tmp_path / "run", FolderKind("run", 2, {1: fail}))
    assert (open_folder(tmp_path / "run", KIND) / "a.txt").exists()
    migrated = open_folder(tmp_path / "run", FolderKind("run", 2, {1: rename}))
    assert (migrated / "b.txt").read_text() == "one"
    assert json.loads((migrated / "manifest.json").read_text())["format_version"] == 2


def test_a_small_file_can_be_replaced_later(tmp_path: Path) -> None:
    make(tmp_path / "run")
    update_file(tmp_path / "run", KIND, "a.txt", "three")
    assert (open_folder(tmp_path / "run", KIND) / "a.txt").read_text() == "three"


def test_json_that_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(ArtifactError, match="not readable JSON"):
        read_json(tmp_path / "x.json")
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    with pytest.raises(ArtifactError, match="is missing"):
        read_json(tmp_path / "y.json")
