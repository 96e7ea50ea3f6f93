"""`recsmith evaluate`: several runs, what was measured before, shuffled ties, other protocols, processes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tests.decoding.test_decoding_how_to import small_recommender


@pytest.fixture
def runs(popularity_run: Path, knn_run: Path, tmp_path: Path) -> list[Path]:
    """Copies without stored results."""
    ignored = shutil.ignore_patterns("evaluations")
    return [shutil.copytree(run, tmp_path / run.name, ignore=ignored) for run in (popularity_run, knn_run)]


def test_it_goes_on_with_what_is_missing(cli, runs: list[Path]) -> None:
    first = cli("evaluate", runs[0], "--json").json
    both = cli("evaluate", *runs, "--json").json
    assert [result["stored"] for result in both] == [True, False]
    assert both[0]["metrics"] == first["metrics"]
    assert "measured before" in cli("evaluate", *runs).out
    assert cli("evaluate", runs[0], "--fresh", "--json").json["stored"] is False


def test_the_document_keeps_its_promise(cli, runs: list[Path]) -> None:
    result = cli("evaluate", runs[1], "--json").json
    assert {"run", "recipe", "data", "protocol", "split", "metrics", "seconds"} <= set(result)
    assert (result["recipe"], result["split"], result["protocol"]["name"]) == ("item-knn", "test", "leave-one-out")
    assert re.fullmatch("[0-9a-f]{8}", result["protocol"]["hash"])
    assert {check["name"] for check in result["checks"]} >= {"held-out events in training", "targets that depend on the tie rule"}


def test_ties_shuffled_stand_beside_the_stable_order(cli, runs: list[Path]) -> None:
    result = cli("evaluate", runs[1], "--shuffle-ties", "3", "--json").json
    assert result["ties_shuffled"]["metrics"] == result["metrics"]  # this shop has no ties
    assert (result["ties_shuffled"]["seed"], result["ties_shuffled"]["notes"]) == (3, [])
    assert "with ties shuffled (seed 3)" in cli("evaluate", runs[1], "--shuffle-ties", "3").out


def test_another_protocol(cli, runs: list[Path]) -> None:
    words = ("evaluate", runs[1], "--protocol", "strong-generalisation:test_share=0.5,target_share=0.9")
    assert "was trained on the targets of" in cli(*words).error
    forced = cli(*words, "--force", "--json").json
    assert forced["marks"][0].startswith("trained on the targets of")
    assert forced["protocol"]["name"] == "strong-generalisation"
    assert cli("evaluate", runs[1], "--protocol", "leave-one-out", "--json").json["marks"] == []


def test_the_beam_gap_stands_beside_the_metrics(cli, tmp_path: Path) -> None:
    run = small_recommender().save(tmp_path / "tiger")
    result = cli("evaluate", run, "--beam-gap", "15", "--json").json
    assert {name: result["beam_gap"][name] for name in ("cases", "k", "beams")} == {"cases": 15, "k": 10, "beams": 10}
    assert 0 < result["beam_gap"]["metrics"]["Overlap@10"] <= 1
    shown = cli("evaluate", run, "--beam-gap", "15").out
    assert re.search(r"people +15\b", shown)
    assert re.search(r"RecallGap@10 +-?\d", shown)
    assert "beam_gap" not in cli("evaluate", run, "--json").json


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "leave-two-out"], "leave-two-out"),
        (["--protocol", "ratio:share=0.5"], "unknown setting `protocol.share`"),
        (["--protocol", "ratio:test_share"], "not of the form key=value"),
        (["--jobs", "0"], "--jobs 0 does not work"),
        (["--beam-gap", "5"], "scores every item and has no beams that could miss one"),
        (["--beam-gap", "5", "--protocol", "ratio"], "leave --data and --protocol out"),
        (["nowhere"], "nowhere"),
    ],
)
def test_mistakes(cli, runs: list[Path], words: list[str], message: str) -> None:
    assert message in cli("evaluate", runs[0], *words).error
