"""Bad input from the command line: one line, exit code 2 (130 for Ctrl-C), nothing broken."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli.conftest import COLUMNS

from recsmith.run_folder import read_run, write_run

HEAD = "user_id,item_id,timestamp,rating"
GOOD = [f"{user},{item},{100 + item},4" for user in range(6) for item in range(5)]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(tmp_path / "log.csv", HEAD, *GOOD)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], r"empty"),
        ([HEAD], r"empty"),
        (["user_id,price", "1,2"], r"item.*`user_id`, `price`.*--columns item="),
        ([HEAD, *GOOD, "9,1,soon,4"], r"row 31, column `timestamp`.*'soon'"),
        ([HEAD, *GOOD, "9,1,105,NaN"], r"row 31, column `rating`.*NaN"),
        ([HEAD, *GOOD, ",1,105,3"], r"row 31, column `user_id`.*missing"),
        ([HEAD, *GOOD[:5]], r"one user only"),
    ],
    ids=["no lines", "no rows", "no item column", "time is a word", "NaN rating", "no user", "one user"],
)
def test_logs(cli, tmp_path: Path, lines: list[str], expected: str) -> None:
    path = write(tmp_path / "log.csv", *lines) if lines else tmp_path / "log.csv"
    path.touch()
    error = cli("run", "popularity", "--data", path, "--out", tmp_path / "run").error
    assert re.search(expected, error), error
    assert not (tmp_path / "run").exists()


def test_unknown_file_type(cli, tmp_path: Path) -> None:
    error = cli("data", "inspect", write(tmp_path / "log.xyz", "a b c")).error
    assert "`.xyz`" in error
    assert "known: " in error


def test_no_such_file(cli, tmp_path: Path) -> None:
    assert "does not exist" in cli("data", "inspect", tmp_path / "gone.csv").error


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("user=customer", r"no column `customer`"),
        ("usr=user_id", r"`usr` is not a role.*did you mean `user`"),
        ("user", r"not of the form role=column.*example: --columns"),
    ],
)
def test_columns(cli, log: Path, columns: str, expected: str) -> None:
    assert re.search(expected, cli("data", "inspect", log, "--columns", columns).error)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ("world:user=5", r"no setting `user`; did you mean `users`"),
        ("world:users=many", r"`users=many` .* not a whole number"),
        ("world:users=10,items=20,events=10", r"events"),
    ],
)
def test_worlds(cli, world: str, expected: str) -> None:
    assert re.search(expected, cli("data", "inspect", world).error)


def test_an_item_that_the_catalogue_lacks(cli, tmp_path: Path) -> None:
    write(tmp_path / "interactions.csv", HEAD, *GOOD)
    write(tmp_path / "items.csv", "item_id,title", *(f"{item},Title {item}" for item in range(4)))
    words = ("fit", "popularity", "--data", tmp_path, "--out", tmp_path / "run")
    assert re.search(r"row 5, .*item 4 is not in the catalogue.*--set view.missing_items=drop", cli(*words).error)
    assert cli(*words, "--set", "view.missing_items=drop").code == 0


def test_an_item_twice_in_the_catalogue(cli, tmp_path: Path) -> None:
    write(tmp_path / "interactions.csv", HEAD, *GOOD)
    write(tmp_path / "items.csv", "item_id,title", "0,A", "1,B", "0,C")
    assert re.search(r"row 3, column `item_id`: item 0 stands already in row 1", cli("data", "inspect", tmp_path).error)


def test_times_out_of_order_are_sorted_and_said(cli, tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", HEAD, *reversed(GOOD))
    assert any("sorted by time" in warning for warning in cli("data", "inspect", path, "--json").json["warnings"])


@pytest.mark.parametrize("catalogue", [None, ["item_id,price", *(f"{item},{item}.5" for item in range(5))]], ids=["none", "no text"])
def test_item_codes_need_text(cli, tmp_path: Path, catalogue: list[str] | None) -> None:
    write(tmp_path / "interactions.csv", HEAD, *GOOD)
    if catalogue:
        write(tmp_path / "items.csv", *catalogue)
    error = cli("fit", "tiger", "--data", tmp_path, "--out", tmp_path / "run").error
    assert re.search(r"no catalogue|no text", error)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sasrc"], r"unknown recipe `sasrc`; did you mean `sasrec`"),
        (["mine.toml"], r"no recipe file `mine.toml`"),
        (["sasrec", "--set", "training.epoch=3"], r"unknown setting `training.epoch`; did you mean `epochs`"),
        (["sasrec", "--set", "trainin.epochs=3"], r"unknown setting `trainin`; did you mean `training`"),
        (["sasrec", "--set", "model.dims=3"], r"unknown setting `model.dims`; did you mean `dim`"),
        (["sasrec", "--set", "training.epochs=many"], r"setting `training.epochs` = 'many'"),
        (["sasrec", "--set", "training.epochs"], r"not of the form key=value"),
        (["sasrec", "--set", "model.name=sasrc"], r"unknown model `sasrc`; did you mean `sasrec`"),
    ],
)
def test_recipes_and_settings(cli, log: Path, tmp_path: Path, words: list[str], expected: str) -> None:
    assert re.search(expected, cli("fit", *words, "--data", log, "--out", tmp_path / "run").error)


# ---- run folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", ["13", "0", "-1"])
def test_k_outside_the_catalogue(cli, popularity_run: Path, k: str) -> None:
    assert "allowed: 1 to 12" in cli("recommend", popularity_run, "--user", "1", "-k", k).error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], r"exactly one of --user ID"),
        (["--user", "1", "--history", "s1"], r"exactly one of --user ID"),
        (["--users", "all"], r"go together"),
        (["--user", "1", "--out", "x.csv"], r"go together"),
        (["--users", "7", "--out", "x.csv"], r"--users takes `all`.*--user 7"),
        (["--users", "all", "--out", "x.xls"], r"`.xls`.*`.parquet`, `.csv`, `.jsonl`"),
    ],
)
def test_questions_that_do_not_fit(cli, popularity_run: Path, words: list[str], expected: str) -> None:
    assert re.search(expected, cli("recommend", popularity_run, *words).error)


@pytest.mark.parametrize("command", [["recommend", "--user", "1"], ["evaluate"], ["card", "show"]], ids=" ".join)
def test_runs_that_are_not_there_or_not_runs(cli, tmp_path: Path, command: list[str]) -> None:
    words, rest = (command[:1], command[1:]) if command[0] != "card" else (command, [])
    assert "no run folder" in cli(*words, tmp_path / "gone", *rest).error
    assert "not a run folder" in cli(*words, tmp_path, *rest).error


@pytest.fixture
def copy(popularity_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(popularity_run, tmp_path / "copy"))


def test_a_run_of_another_version(cli, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    assert re.search(r"format version 99; this recsmith reads version \d+", cli("recommend", copy, "--user", "1").error)


@pytest.mark.parametrize("name", ["log.parquet", "model.safetensors", "config.json"])
def test_a_truncated_run(cli, copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert re.search(rf"{name}.*damaged", cli("recommend", copy, "--user", "1").error)
    (copy / name).unlink()
    assert re.search(rf"{name}.*missing", cli("evaluate", copy).error)


def test_weights_of_a_model_that_was_built_otherwise(cli, copy: Path) -> None:
    state = read_run(copy)
    write_run(copy, replace(state, weights={f"old.{name}": tensor for name, tensor in state.weights.items()}))
    assert "are not those of its model as this recsmith builds it" in cli("recommend", copy, "--user", "1").error


def test_disk_full_while_saving_keeps_the_old_run(cli, copy: Path, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = cli("recommend", copy, "--user", "1", "--json").json
    with monkeypatch.context() as patch:
        patch.setattr("recsmith.run_folder.save_file", full)
        error = cli("run", "ease", "--data", shop, "--columns", COLUMNS, "--out", copy).error
    assert re.search(r"the disk is full; what was there before is unchanged", error)
    assert cli("recommend", copy, "--user", "1", "--json").json == before


def test_a_file_of_lists_that_cannot_be_written(cli, popularity_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = cli("recommend", popularity_run, "--users", "all", "--out", tmp_path / "file" / "lists.csv").error
    assert "nothing was written" in error


def test_ctrl_c_in_training_keeps_the_best_so_far(cli, shop: Path, tmp_path: Path) -> None:
    settings = ("training.epochs=100000", "training.patience=100000", "training.checkpoint_every=0", "model.dim=8", "training.device=cpu")
    words = ["run", "sasrec", "--data", str(shop), "--columns", COLUMNS, "--out", str(tmp_path / "run")]
    words += [word for setting in settings for word in ("--set", setting)]
    code = "from recsmith.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _wait_for(tmp_path / ".run.training", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert re.fullmatch(r"error: training was interrupted; the best weights so far are kept in `.*run`; .*", err.strip().splitlines()[-1])
    assert "Traceback" not in err
    assert len(cli("recommend", tmp_path / "run", "--user", "1", "-k", "3", "--json").json) == 3


def _wait_for(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until training has written a checkpoint."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if folder.is_dir() and any(folder.rglob("*.safetensors")):
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint appeared; exit code {process.poll()}")
