"""What becomes of a run when an endpoint refuses some prompts, or goes away in the middle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsmith
from recsmith import fitting
from recsmith.cli.program import execute
from recsmith.data import Dataset
from recsmith.errors import BackendError

REFUSED = "Film odd 3"
ITEMS = 8


def dataset() -> Dataset:
    """Everybody walks round a circle of films, in steps of one or three."""
    rows = [(user, (user + step * (1 + 2 * (user % 2))) % ITEMS, step) for user in range(16) for step in range(5)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    titles = [f"Film {'odd' if item % 2 else 'even'} {item}" for item in range(ITEMS)]
    return Dataset.from_frame(log, catalogue=pl.DataFrame({"item_id": list(range(ITEMS)), "title": titles}), name="circle")


def settings(url: str, folder: Path, **backend: Any) -> dict[str, Any]:
    quick = {"attempts": 2, "first_wait": 0.01, "longest_wait": 0.05}
    endpoint = {"url": url, "model": "tiny", "retries": quick, "concurrency": 2}
    asked = {"backend": {"kind": "endpoint", "endpoint": endpoint, **backend}}
    return {"model": {"candidates": 4, "max_history": 2, "cache": str(folder / "answers.sqlite"), **asked}}


def words(values: dict[str, Any], *before: str) -> list[str]:
    """Settings as a command line gives them."""
    found = []
    for name, value in values.items():
        found += words(value, *before, name) if isinstance(value, dict) else ["--set", f"{'.'.join([*before, name])}={json.dumps(value)}"]
    return found


def test_refused_prompts_leave_their_lists_as_retrieved_and_are_counted(endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="4, 3, 2, 1", refuse=REFUSED)
    kept = settings(endpoint.url, tmp_path, on_failure="keep")
    card = fitting.run("near-cold-start", dataset(), out=tmp_path / "run", settings=kept)
    spoke = card["language"]
    assert 0 < spoke["failed"] < spoke["prompts"] == spoke["cases"]
    assert spoke["left as retrieved"] == pytest.approx(spoke["failed"] / spoke["cases"])
    assert f"this server does not speak about {REFUSED}" in spoke["first failure"]
    assert "left as retrieved" in (tmp_path / "run" / "card.md").read_text()
    retriever = recsmith.fit("item-knn", dataset())
    loaded = recsmith.load(tmp_path / "run")
    for history in ([0, 3], [0, 5], [2, 4]):
        plain = retriever.recommend(histories=[history], k=4)["item_id"].to_list()
        shown = {*history, *plain}
        expected = plain if 3 in shown else plain[::-1]
        assert loaded.recommend(histories=[history], k=4)["item_id"].to_list() == expected, history


def test_refused_prompts_are_asked_again_and_no_others(endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="2, 1, 3", refuse=REFUSED)
    kept = settings(endpoint.url, tmp_path, on_failure="keep")
    first = fitting.run("near-cold-start", dataset(), out=tmp_path / "run", settings=kept)["language"]
    assert first["failed"] > 0
    assert not any(REFUSED in question for question in endpoint.stats()["paid_prompts"])
    endpoint.behave(text="2, 1, 3")
    second = fitting.run("near-cold-start", dataset(), out=tmp_path / "run", settings=kept)["language"]
    assert (second["failed"], second["left as retrieved"]) == (0, 0)
    assert "first failure" not in second
    stats = endpoint.stats()
    assert stats["paid"] == len(stats["paid_prompts"]) == second["asked"] > 0
    assert all(REFUSED in question for question in stats["paid_prompts"])


def test_the_command_says_how_many_prompts_failed(endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.behave(text="2, 1, 3", refuse=REFUSED)
    dataset().save(tmp_path / "data")
    asked = words(settings(endpoint.url, tmp_path, on_failure="keep"))
    command = ["run", "near-cold-start", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *asked]
    assert execute(command) == 0
    note = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("note: "))
    spoke = recsmith.load(tmp_path / "run").card["language"]
    assert note.startswith(f"note: {spoke['failed']:.0f} of {spoke['prompts']:.0f} prompts got no answer, and ")
    assert f"{spoke['left as retrieved']:.1%} of the lists stand as the retriever gave them; the first failure: tiny at" in note
    writing = ["write", "aspects", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "told"), "--set", "backend.on_failure=keep"]
    url = ["--set", "backend.kind=endpoint", "--set", f"backend.endpoint.url={endpoint.url}", "--set", "backend.endpoint.model=tiny"]
    assert execute([*writing, *url, "--set", f"cache={tmp_path / 'answers.sqlite'}"]) == 0
    assert f"note: 1 of {ITEMS} prompts got no answer; the first failure: tiny at" in capsys.readouterr().err
    told = Dataset.from_path(tmp_path / "told").catalogue.frame
    assert told.filter(pl.col("aspects").is_null())["item_id"].to_list() == [3]


@pytest.mark.parametrize("command", ["run", "write", "fit"])
def test_an_endpoint_that_goes_down_ends_the_work_and_what_it_said_is_kept(
    command: str, endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.behave(text="2, 1, 3", down_after=3)
    dataset().save(tmp_path / "data")
    values = settings(endpoint.url, tmp_path)
    out = tmp_path / "out"
    where = ["--data", str(tmp_path / "data"), "--out", str(out)]
    call = (
        ["write", "aspects", *where, *words(values["model"])[4:]] if command == "write" else [command, "recprompt", *where, *words(values)]
    )
    assert execute(call) == BackendError.exit_code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"error: tiny at {endpoint.url} gave no answer in 2 attempts; the last failure: ")
    assert not out.exists()
    left = {path.name for path in tmp_path.iterdir()} - {"answers.sqlite-wal", "answers.sqlite-shm"}
    assert left == {"data", "answers.sqlite"}, "nothing half written"
    endpoint.behave(text="2, 1, 3")
    assert execute(call) == 0
    assert out.is_dir()
    paid = endpoint.stats()["paid"]
    endpoint.behave(text="2, 1, 3")
    assert execute([word.replace("answers.sqlite", "others.sqlite") for word in call]) == 0
    assert paid + 3 == endpoint.stats()["paid"] > 3, "in two parts it costs what it costs in one"


def test_a_run_that_fails_while_it_is_measured_leaves_what_was_fitted(endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="2, 1, 3", down_after=3)
    with pytest.raises(BackendError, match="gave no answer in 2 attempts"):
        fitting.run("near-cold-start", dataset(), out=tmp_path / "run", settings=settings(endpoint.url, tmp_path))
    assert recsmith.load(tmp_path / "run").card["metrics"] == {}
    paid = set(endpoint.stats()["paid_prompts"])
    endpoint.behave(text="2, 1, 3")
    card = fitting.run("near-cold-start", dataset(), out=tmp_path / "run", settings=settings(endpoint.url, tmp_path))
    assert card["metrics"]["Recall@5"] >= 0
    assert not paid & set(endpoint.stats()["paid_prompts"])


def test_a_walk_that_breaks_off_leaves_the_retrievers_candidates(endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="2, 1, 3", refuse=REFUSED)
    kept = settings(endpoint.url, tmp_path, on_failure="keep")
    spoke = fitting.run("unillmrec", dataset(), out=tmp_path / "run", settings=kept)["language"]
    assert 0 < spoke["walk failed"] < 1
    loaded = recsmith.load(tmp_path / "run")
    retriever = recsmith.fit(loaded.recipe.model.settings["retriever"], dataset())
    plain, found = (one.recommend(histories=[[0, 3]], k=4)["item_id"].to_list() for one in (retriever, loaded))
    assert found == plain
    assert loaded.model.figures()["walk failed"] == loaded.model.figures()["left as retrieved"] == 1
