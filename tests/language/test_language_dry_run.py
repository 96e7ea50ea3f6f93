"""A dry run of a whole command: nothing is asked, nothing is written, and what it says bounds what the real one costs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

import recsmith
from recsmith import fitting
from recsmith.cli.program import execute
from recsmith.data import Dataset
from recsmith.errors import ConfigError
from recsmith.recipe import load_recipe
from recsmith.rehearsal import rehearse

ITEMS = 8
PRICE = {"prompt_per_million": 1000.0, "answer_per_million": 2000.0, "currency": "EUR"}


def dataset() -> Dataset:
    rows = [(user, (user + step) % ITEMS, step) for user in range(12) for step in range(5)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    kinds = ["even" if item % 2 == 0 else "odd" for item in range(ITEMS)]
    columns = {"title": [f"Film {kind} {item}" for item, kind in enumerate(kinds)], "genres": [[kind] for kind in kinds]}
    return Dataset.from_frame(log, catalogue=pl.DataFrame({"item_id": list(range(ITEMS)), **columns}), name="circle")


def asked_of(url: str, prefix: str) -> list[str]:
    values = {"kind": "endpoint", "endpoint.url": url, "endpoint.model": "tiny"} | {f"endpoint.price.{key}": PRICE[key] for key in PRICE}
    return [word for name, value in values.items() for word in ("--set", f"{prefix}backend.{name}={value}")]


def command(name: str, what: str, url: str, tmp_path: Path) -> list[str]:
    """A command on saved data, with a cache of its own."""
    if not (tmp_path / "data").exists():
        dataset().save(tmp_path / "data")
    prefix = "" if name == "write" else "model."
    where = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    return [name, what, *where, "--set", f"{prefix}cache={tmp_path / 'answers.sqlite'}", *asked_of(url, prefix)]


def counted(text: str) -> tuple[int, int, float]:
    """Prompts to ask, tokens and money of the line that a dry run prints."""
    found = re.fullmatch(
        r"would ask (\d+) of \d+ prompts of `dry run of tiny at .+`: at most ([\d,]+) \+ ([\d,]+) tokens, ([\d.]+) EUR; "
        r"nothing was asked, and nothing was written\n",
        text,
    )
    assert found is not None, text
    asked, before, after, money = (float(part.replace(",", "")) for part in found.groups())
    return int(asked), int(before + after), money


DRY = {"run": ["--set", "model.backend.dry_run=true"], "write": ["--dry-run"]}
RUNS = [("run", "zero-shot-ranker"), ("run", "nir"), ("run", "recprompt"), ("run", "unillmrec"), ("write", "aspects"), ("write", "embsum")]


@pytest.mark.parametrize(("name", "what"), RUNS)
def test_a_dry_run_costs_nothing_and_says_what_the_real_one_may(
    name: str, what: str, endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.behave(text="2, 1, 3")
    call = command(name, what, endpoint.url, tmp_path)
    assert execute([*call, *DRY[name]]) == 0
    asked, tokens, money = counted(capsys.readouterr().out)
    assert endpoint.stats()["calls"] == 0
    assert {path.name for path in tmp_path.iterdir()} - {"data"} <= {"answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm"}
    assert asked > 0
    assert money == pytest.approx(tokens * 1e-3, rel=1), "a thousand or two a million"
    assert execute(call) == 0
    capsys.readouterr()
    stats = endpoint.stats()
    if what not in ("recprompt", "unillmrec"):  # what these ask next depends on what they are told
        assert asked == stats["calls"]
        assert tokens > 18 * stats["paid"], "what the server charges"
    assert execute([*call, *DRY[name]]) == 0
    left, _, _ = counted(capsys.readouterr().out)
    assert left == 0 or what == "unillmrec", "the answers are known now"
    assert endpoint.stats()["calls"] == stats["calls"]


def test_the_dry_run_of_a_run_as_json(endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([*command("run", "near-cold-start", endpoint.url, tmp_path), *DRY["run"], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["run"], document["recipe"]) == (None, "near-cold-start")
    assert document["dry_run"]["asked"] > 0
    assert document["dry_run"]["currency"] == "EUR"
    assert "metrics" not in document
    assert endpoint.stats()["calls"] == 0


def test_a_writer_in_front_of_a_run_is_counted_before_anything_is_fitted(
    endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset().save(tmp_path / "data")
    plan = ["--set", "writing.name=aspects", "--set", f"writing.cache={tmp_path / 'answers.sqlite'}", *asked_of(endpoint.url, "writing.")]
    where = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert execute(["run", "popularity", *where, *plan, "--set", "writing.backend.dry_run=true"]) == 0
    assert counted(capsys.readouterr().out)[0] == ITEMS
    assert endpoint.stats()["calls"] == 0
    assert not (tmp_path / "out").exists()


def test_a_teacher_is_counted_and_nobody_is_trained(endpoint, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    endpoint.behave(text="They like films.")
    backend = {"kind": "endpoint", "endpoint": {"url": endpoint.url, "model": "tiny"}, "dry_run": True}
    small = {"network": {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300}, "pretrain_steps": 1, "max_rationale": 2}
    teacher = {"teacher": {"backend": backend, "cache": str(tmp_path / "answers.sqlite")}, "people": 5, **small}
    found = rehearse(load_recipe("slim", settings={"model": teacher, "training": {"epochs": 10_000}}), dataset())
    assert (found["backend"], found["prompts"], found["asked"]) == (f"dry run of tiny at {endpoint.url}", 5, 5)
    assert endpoint.stats()["calls"] == 0


def test_a_dry_run_without_a_language_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset().save(tmp_path / "data")
    where = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert execute(["run", "zero-shot-ranker", *where, *DRY["run"], "--set", "model.encoder.name=tfidf"]) == 0
    assert capsys.readouterr().out.startswith("would ask no language model, since none is named; nothing was asked")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["fit", "tune"])
def test_what_has_no_answers_is_not_fitted(name: str, endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([*command(name, "near-cold-start", endpoint.url, tmp_path), *DRY["run"]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: `near-cold-start` has a `backend.dry_run`, so its language model answers nothing and nothing can be ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    dry = {"model": {"backend": {"dry_run": True}}}
    for call in (recsmith.fit, fitting.run):
        with pytest.raises(ConfigError, match=r"`recsmith run` and `recsmith\.rehearsal\.rehearse`; leave the setting out to ask"):
            call("near-cold-start", dataset(), out=tmp_path / "out", settings=dry)
    assert not (tmp_path / "out").exists()
