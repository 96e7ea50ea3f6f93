"""What a log lacks for the model that is asked for: one line, exit code 2; or the documented fallback, which works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EVENTS = [(user, (user + step) % 9, 1_000.0 * step) for user in range(8) for step in range(5)]


def write(path: Path, head: str, rows: list[str]) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    """No two events of a person at one time."""
    return write(tmp_path / "timed.csv", "user_id,item_id,timestamp", [f"{user},{item},{time}" for user, item, time in EVENTS])


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return write(tmp_path / "bare.csv", "user_id,item_id", [f"{user},{item}" for user, item, _ in EVENTS])


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """Two items a basket, no times."""
    rows = [f"{user},{item},{number // 2}" for user in range(8) for number, item in enumerate((user + step) % 9 for step in range(8))]
    return write(tmp_path / "named.csv", "user_id,item_id,basket_id", rows)


LACKING = [
    (["autorec"], r"AutoRec predicts ratings, but the log has none"),
    (["gru4rec", "--set", "split.name=explicit-rating"], r"`explicit-rating` needs ratings.*--columns rating="),
    (["gru4rec", "--set", "split.name=session-prefixes"], r"`session-prefixes` needs times.*--columns time=ts.*session_gap to 0"),
    (["gru4rec", "--set", "split.name=global-temporal"], r"`global-temporal` needs times.*--columns time=ts"),
    (["popularity", "--set", "model.half_life=3"], r"`half_life` = 3\.0 needs event times"),
    *(
        ([recipe], r"`next-basket` needs times.*--columns time=ts.*`basket_id`")
        for recipe in ("personal-top-frequency", "sets2sets", "dnntsp", "bgn")
    ),
    *(
        ([recipe, "--set", "split.name=leave-one-out"], r"learns from events that share a time, but the log has no times.*`basket_id`")
        for recipe in ("sets2sets", "dnntsp", "bgn")
    ),
    (["gru4rec", "--set", "model.loss=bpr"], r"setting `model.loss` = 'bpr'.*cross-entropy.*bpr-max.*top1-max"),
    (["sasrec", "--set", "model.loss=hinge"], r"setting `model.loss` = 'hinge'.*softmax.*bce"),
]


@pytest.mark.parametrize(("words", "expected"), LACKING, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_the_log_lacks_is_one_line(cli, bare: Path, tmp_path: Path, words: list[str], expected: str) -> None:
    error = cli("run", *words, "--data", bare, "--out", tmp_path / "run").error
    assert re.search(expected, error), error
    assert error.strip().count("\n") == 0, error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["personal-top-frequency", "sets2sets", "dnntsp", "bgn"])
def test_single_events_are_baskets_of_one(cli, timed: Path, tmp_path: Path, recipe: str) -> None:
    small = [] if recipe == "personal-top-frequency" else ["--set", "training.epochs=1", "--set", "model.dim=8"]
    card = cli("run", recipe, "--data", timed, "--out", tmp_path / "run", *small, "--json").json
    assert card["data"]["baskets"] == len(EVENTS)
    assert len(cli("recommend", tmp_path / "run", "--history", "1,2", "--slate", "3", "--json").json) == 3


def test_baskets_that_have_names_need_no_times(cli, named: Path, tmp_path: Path) -> None:
    card = cli("run", "personal-top-frequency", "--data", named, "--out", tmp_path / "run", "--json").json
    assert card["data"]["baskets"] == 32
    again = cli("evaluate", tmp_path / "run", "--data", named, "--json").json
    assert again["metrics"] == card["metrics"]
    assert cli("fit", "sets2sets", "--data", named, "--out", tmp_path / "sets", "--set", "training.epochs=1").code == 0


@pytest.mark.parametrize("recipe", ["gru4rec", "vaser", "mult-vae"])
def test_fewer_people_than_a_batch_and_people_with_one_event(cli, tmp_path: Path, recipe: str) -> None:
    rows = [f"{user},{item},{time}" for user, item, time in EVENTS if user < 3] + ["77,1,5", "78,2,5"]
    log = write(tmp_path / "few.csv", "user_id,item_id,timestamp", rows)
    card = cli("run", recipe, "--data", log, "--out", tmp_path / "run", "--set", "training.epochs=1", "--json").json
    assert (card["data"]["users"], card["data"]["users_too_short"]) == (5, 2)
    assert len(cli("recommend", tmp_path / "run", "--user", "77", "-k", "3", "--json").json) == 3
