from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recsmith.errors import ArtifactError, DataError, MissingExtraError, StorageError, TrainingInterruptedError, UserError
from recsmith.training.search import SearchResult, search
from recsmith.training.search_space import SearchSpace

SPACE = SearchSpace.parse(
    {
        "model.dim": {"choices": [16, 32, 64, 128]},
        "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "model.dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
    }
)
DEFAULTS = {"model.dim": 16, "training.learning_rate": 0.05, "model.dropout": 0.5}


def bowl(settings: dict[str, Any]) -> float:
    """Best at dim 64, rate .001, dropout .2."""
    import math

    rate = math.log10(settings["training.learning_rate"]) + 3
    return 1 - abs(settings["model.dim"] - 64) / 100 - rate**2 / 5 - (settings["model.dropout"] - 0.2) ** 2


class Killed(BaseException):
    """As if the process had been killed."""


def run(folder: Path, objective: Any = bowl, *, trials: int = 20, space: SearchSpace = SPACE, **settings: Any) -> SearchResult:
    return search(objective, space, trials=trials, storage=folder, **{"seed": 3, "defaults": DEFAULTS, **settings})


def values(result: SearchResult) -> list[Any]:
    return [(trial.number, trial.parameters, trial.value, trial.failure) for trial in result.trials]


def test_finds_a_good_setting_and_starts_from_the_defaults(tmp_path: Path) -> None:
    result = run(tmp_path, trials=40)
    assert result.trials[0].parameters == DEFAULTS
    assert result.best.value is not None
    assert result.best.value > 0.9 > result.trials[0].value  # type: ignore[operator]
    assert len({json.dumps(trial.parameters) for trial in result.trials}) == 40


def test_same_seed_same_trials(tmp_path: Path) -> None:
    assert values(run(tmp_path / "a")) == values(run(tmp_path / "b"))
    assert values(run(tmp_path / "a")) != values(run(tmp_path / "c", seed=4))


def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    called = []

    def dies_at_13(settings: dict[str, Any]) -> float:
        called.append(settings)
        if len(called) == 14:
            raise Killed
        return bowl(settings)

    with pytest.raises(Killed):
        run(tmp_path / "killed", dies_at_13)
    with (tmp_path / "killed" / "trials.jsonl").open("a") as file:
        file.write('{"number": 13, "parame')  # the line that the process was writing
    again = []
    resumed = run(tmp_path / "killed", lambda settings: again.append(settings) or bowl(settings))
    assert len(again) == 20 - 13
    assert values(resumed) == values(run(tmp_path / "whole"))


def test_a_finished_search_is_only_read_and_can_be_extended(tmp_path: Path) -> None:
    first = run(tmp_path, trials=5)
    assert run(tmp_path, lambda settings: pytest.fail("tried again"), trials=5).trials == first.trials
    assert values(run(tmp_path, trials=9))[:5] == values(first)


def test_the_log_is_readable_and_complete(tmp_path: Path) -> None:
    result = run(tmp_path, trials=3)
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["value"] for line in lines] == [trial.value for trial in result.trials]
    assert {"number", "parameters", "value", "seconds", "finished", "failure"} == set(lines[0])
    assert json.loads((tmp_path / "search.json").read_text())["space"] == SPACE.table()
    summary = json.loads(json.dumps(result.as_dict()))
    assert summary["budget"] == {"trials": 3, "hours": None}
    assert summary["done"] == len(summary["trials"]) == 3
    assert summary["trials"] == lines
    assert summary["metric"] == "NDCG@10"
    assert summary["best"]["value"] == result.best.value
    assert SearchSpace.parse(summary["space"]) == SPACE


def test_failed_trials_are_recorded_and_not_fatal(tmp_path: Path) -> None:
    failures = [None, DataError("no such column"), RuntimeError("CUDA out of memory. Tried"), MemoryError("big"), float("nan")]

    def objective(settings: dict[str, Any]) -> float:
        what = failures.pop(0) if failures else None
        if isinstance(what, Exception):
            raise what
        return what or bowl(settings)

    result = run(tmp_path, objective, trials=7)
    reasons = [trial.failure for trial in result.trials]
    assert reasons[0] is reasons[5] is None
    assert reasons[1:5] == [
        "DataError: no such column",
        "RuntimeError: CUDA out of memory. Tried",
        "MemoryError: big",
        "the value was nan",
    ]
    assert result.as_dict()["failed"] == 4
    assert run(tmp_path, trials=7).trials == result.trials


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), TrainingInterruptedError("stopped"), StorageError("disk full"), KeyError("x")]
)
def test_bugs_interruptions_and_full_disks_end_the_search(tmp_path: Path, error: Exception) -> None:
    def objective(settings: dict[str, Any]) -> float:
        raise error

    with pytest.raises(type(error)):
        run(tmp_path, objective)
    assert not (tmp_path / "trials.jsonl").exists()


def test_all_failed_is_one_clear_error(tmp_path: Path) -> None:
    def objective(settings: dict[str, Any]) -> float:
        raise UserError("unknown setting `model.dims`")

    with pytest.raises(UserError, match=r"all 3 trials of the search failed; the first one: UserError: unknown setting `model.dims`"):
        run(tmp_path, objective, trials=3)


def test_hours_count_over_interruptions(tmp_path: Path) -> None:
    run(tmp_path, trials=3)
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    lines[1]["seconds"] = 1800.5
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run(tmp_path, trials=50, hours=0.5)
    assert (len(result.trials), result.ended) == (3, "hours")


def test_a_small_space_is_tried_out_and_no_more(tmp_path: Path) -> None:
    space = SearchSpace.parse({"model.norm": {"choices": ["pre", "post"]}, "model.layers": {"low": 1, "high": 2}})
    result = run(tmp_path, lambda settings: settings["model.layers"], space=space, defaults={"model.norm": "pre", "model.layers": 1})
    assert result.ended == "space exhausted"
    assert len(result.trials) == 4
    assert result.best.value == 2


def test_defaults_outside_the_space_or_unknown_are_still_trial_0(tmp_path: Path) -> None:
    outside = run(tmp_path / "outside", trials=2, defaults={**DEFAULTS, "model.dim": 48})
    assert outside.trials[0].parameters["model.dim"] == 48
    unknown = run(tmp_path / "unknown", lambda settings: bowl({**DEFAULTS, **settings}), trials=2, defaults=None)
    assert unknown.trials[0].parameters == {}
    assert unknown.trials[0].value == bowl(DEFAULTS)


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, trials=1)
    with pytest.raises(ArtifactError, match="holds a search with seed 3, not 4; give another folder"):
        run(tmp_path, seed=4)
    (tmp_path / "trials.jsonl").write_text("nonsense\n")
    with pytest.raises(ArtifactError, match=r"trials\.jsonl` is damaged"):
        run(tmp_path)
    (tmp_path / "search.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"search\.json` is not valid JSON"):
        run(tmp_path)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*search\.json"):
        run(tmp_path / "file" / "folder")


@pytest.mark.parametrize(("budget", "message"), [({"trials": 0}, "search of 0 trials"), ({"hours": 0.0}, "search of 0.0 hours")])
def test_an_empty_budget_is_refused(tmp_path: Path, budget: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, **budget)


def test_progress_names_the_best_so_far(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    run(tmp_path, trials=2, progress=lambda *told: seen.append(told))
    assert seen[0] == ("search", 0, 2)
    assert seen[-1][1:] == (2, 2)
    assert seen[-1][0].startswith("search (best NDCG@10 ")


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"`recsmith tune` needs `optuna`.*recsmith\[tune\]"):
        run(tmp_path)


def test_every_setting_of_a_small_space_is_tried_before_it_is_called_exhausted(tmp_path: Path) -> None:
    """One setting is so much better that the sampler would ask for it again and again."""
    ranges = {"b": {"low": 1, "high": 4}, "c": {"low": 0.0, "high": 0.4, "step": 0.2}}
    space = SearchSpace.parse({"a": {"choices": ["x", "y", "z"]}, **ranges})
    start = {"a": "x", "b": 1, "c": 0.0}
    result = search(lambda values: 100.0 * (values == start), space, trials=50, storage=tmp_path / "s", defaults=start)
    assert result.ended == "space exhausted"
    assert len(result.trials) == 36
