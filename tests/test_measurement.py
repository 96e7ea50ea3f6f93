"""Runs measured once: stored results are found again only where they would come out the same, and never ask what was trained on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsmith import Dataset, load
from recsmith.data import Cases, Histories, SplitConfig
from recsmith.errors import ArtifactError, DataError, UserError
from recsmith.fitting import run
from recsmith.measurement import Question, measure, measure_all, processes_for, trained_on

USERS, ITEMS = 24, 14


def table(last_step: int = 6) -> pl.DataFrame:
    """Everybody walks round a circle of items; the last two events of every third person happen at once."""
    rows = [(user, (user + step) % ITEMS, min(step, 4) if user % 3 == 0 else step) for user in range(USERS) for step in range(last_step)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("measured") / "knn"
    run("item-knn", Dataset.from_frame(table(), name="circle"), out=out)
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluations"))


def test_a_result_is_that_of_evaluate_and_read_again(copy: Path) -> None:
    first, again = measure(copy), measure(copy)
    assert (first.stored, again.stored) == (False, True)
    assert again == first.__class__(**{**vars(first), "evaluation": again.evaluation, "cases": again.cases, "lists": again.lists})
    assert again.evaluation.metrics == pytest.approx(first.evaluation.metrics, nan_ok=True)
    assert again.evaluation.metrics == pytest.approx(load(copy).evaluate("test").metrics, nan_ok=True)
    assert again.evaluation.protocol == first.evaluation.protocol
    assert again.evaluation.checks == first.evaluation.checks
    assert again.cases.equals(first.cases)
    assert first.lists is not None
    assert again.lists is not None
    assert (again.lists.items == first.lists.items).all()
    assert (again.lists.scores == first.lists.scores).all()
    for name, values in first.evaluation.per_case.items():
        assert np.array_equal(values, again.evaluation.per_case[name], equal_nan=True)


def test_a_stored_result_is_not_taken_for_another(copy: Path) -> None:
    measure(copy)
    assert not measure(copy, fresh=True).stored
    assert not measure(copy, Question(split="validation")).stored
    assert not measure(copy, Question(tie_seed=1)).stored
    assert not measure(copy, data=Dataset.from_frame(table(5), name="shorter")).stored
    changed = load(copy)
    changed.model.load_state_dict(
        {name: tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in changed.model.state_dict().items()}
    )
    changed.save(copy)
    assert not measure(copy).stored


def test_a_card_may_change(copy: Path) -> None:
    from recsmith.artifacts import update_file
    from recsmith.run_folder import RUN

    measure(copy)
    update_file(copy, RUN, "card.md", "read me\n")
    assert measure(copy).stored


def test_a_damaged_result_is_made_again_and_that_is_said(copy: Path) -> None:
    first = measure(copy)
    next((copy / "evaluations").glob("*/lists.parquet")).write_bytes(b"")
    again = measure(copy)
    assert (again.stored, again.notes) == (False, ("the stored result was damaged; it was measured again",))
    assert again.evaluation.metrics == pytest.approx(first.evaluation.metrics, nan_ok=True)


def test_a_place_that_cannot_be_written_is_said(copy: Path) -> None:
    (copy / "evaluations").write_text("a file")
    measured = measure(copy)
    assert "the result was not kept (cannot write" in measured.notes[0]
    assert measured.evaluation.cases == USERS


def test_shuffled_ties_leave_out_what_was_trained_on(copy: Path) -> None:
    question = Question().shuffled(5)
    stable, shuffled = measure(copy), measure(copy, question)
    left_out = stable.evaluation.cases - shuffled.evaluation.cases
    assert 0 <= left_out <= USERS // 3
    assert shuffled.evaluation.protocol["tie_rule"] == "events of equal time in random order, seed 5"
    changed = shuffled.cases.join(stable.cases, on="user_id").filter(pl.col("targets") != pl.col("targets_right"))
    assert 0 < changed.height + left_out <= USERS // 3
    assert set(changed["user_id"].cast(pl.Int64).to_list()) <= {user for user in range(USERS) if user % 3 == 0}


def test_another_protocol_is_refused_where_the_run_trained_on_its_targets(copy: Path) -> None:
    other = Question(protocol=SplitConfig(name="strong-generalisation", test_share=0.5, target_share=0.6))
    with pytest.raises(UserError, match=r"was trained on the targets of .* cases of protocol strong-generalisation.*--set split.name="):
        measure(copy, other)
    forced = measure(copy, replace(other, force=True))
    assert forced.marks[0].startswith("trained on the targets of ")
    assert measure(copy, Question(protocol=SplitConfig())).marks == ()


def test_trained_on_counts_events_not_items() -> None:
    cases = Cases(np.array([0, 1, -1]), Histories.from_rows([[1], [1, 2], [3]]), Histories.from_rows([[2], [2], [2]]))
    train = Histories.from_rows([[1, 2], [1, 2]])
    assert trained_on(cases, train, items=5).tolist() == [True, False, False]


def test_many_runs_keep_what_is_done_when_one_fails(copy: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(copy, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="broken"):
        measure_all([broken, copy])
    assert measure(copy).stored


def test_processes_give_the_same_as_none(copy: Path, tmp_path: Path) -> None:
    second = shutil.copytree(copy, tmp_path / "second")
    seen: list[tuple[int, int]] = []
    found = measure_all([copy, second], jobs=2, progress=lambda what, done, total: seen.append((done, total)))
    assert [run.name for run in found] == [str(copy), str(second)]
    assert all(not run.stored for run in found)
    assert found[0].evaluation.metrics == pytest.approx(load(copy).evaluate("test").metrics, nan_ok=True)
    assert seen == [(1, 2), (2, 2)]
    assert all(run.stored for run in measure_all([copy, second], jobs=2))


def test_mistakes(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="jobs = 0 does not work"):
        measure_all([copy], jobs=0)
    with pytest.raises(ArtifactError, match="nowhere"):
        measure(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no cases|finds no"):
        measure(copy, data=Dataset.from_frame(table(2), name="short"))


@pytest.mark.parametrize(("runs", "least"), [(1, 1), (3, 1), (1000, 1)])
def test_few_runs_start_no_process(runs: int, least: int) -> None:
    assert processes_for(runs) >= least
    assert processes_for(runs) == 1 or runs >= 8
