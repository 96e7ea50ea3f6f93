"""`recsmith card`: what a card holds, the check against a stored one, and the card of several seeds."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsmith.card import markdown
from recsmith.regression import check_card, pool_cards, stored_card


@pytest.fixture
def card(popularity_run: Path) -> dict[str, Any]:
    return json.loads((popularity_run / "card.json").read_text())


@pytest.fixture
def stored(card: dict[str, Any], tmp_path: Path) -> Any:
    """Write the card with some changes and return its path."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "stored.json"
        path.write_text(json.dumps(card | changes))
        return path

    return write


def shifted(card: dict[str, Any], by: float) -> dict[str, float]:
    return {name: value + by for name, value in card["metrics"].items()}


def test_a_card_says_where_its_figures_come_from(card: dict[str, Any], popularity_run: Path) -> None:
    assert re.fullmatch("[0-9a-f]{8}", card["protocol"]["hash"])
    assert card["decoding"] == {"answers": "the highest scores of the full catalogue", "sampling": "none", "seen_items": "left out"}
    assert {check["name"] for check in card["checks"]} >= {"held-out events in training", "popularity from training"}
    assert card["cost"]["one_answer_ms"]["p50"] > 0
    assert card["cost"]["peak_memory_mb"] > 0
    assert "W" in card["cost"]["training_energy"]["formula"]
    text = (popularity_run / "card.md").read_text()
    for words in (
        "Leaks and ties",
        "## Decoding",
        "## Cost",
        "content hash",
        "Seeds: 0",
        "keep the order of the file",
        "test (ours, one seed)",
    ):
        assert words in text


def test_the_same_run_passes_and_a_worse_one_exits_1(cli, popularity_run: Path, stored: Any, card: dict[str, Any]) -> None:
    same = cli("card", "check", popularity_run, "--against", stored())
    assert (same.code, "no chance in it" in same.out) == (0, True)
    worse = cli("card", "check", popularity_run, "--against", stored(metrics=shifted(card, 0.01)))
    assert worse.code == 1
    assert "worse than the card: Recall@5" in worse.err
    better = cli("card", "check", popularity_run, "--against", stored(metrics=shifted(card, -0.01)), "--json")
    assert (better.code, better.json["worse"]) == (0, [])
    assert {row["verdict"] for row in better.json["metrics"]} == {"better"}
    assert all(not row["metric"].startswith(("ARP", "Gini")) for row in better.json["metrics"])


def test_the_spread_of_the_seeds_is_allowed(popularity_run: Path, stored: Any, card: dict[str, Any]) -> None:
    spread = dict.fromkeys(card["metrics"], 0.01)
    found = check_card(popularity_run, stored(seeds=[0, 1, 2], spread=spread, metrics=shifted(card, 0.04)))
    assert found.worse == []
    assert found.metrics[0].allowed == pytest.approx(4.30265 * 0.01 * np.sqrt(4 / 3), rel=1e-4)  # t(.975, 2) from a table
    assert check_card(popularity_run, stored(seeds=[0, 1, 2], spread=spread, metrics=shifted(card, 0.06))).worse


def test_a_trained_system_with_one_seed_is_allowed_the_error_over_cases(popularity_run: Path, stored: Any, card: dict[str, Any]) -> None:
    found = check_card(popularity_run, stored(training={"steps": 3}))
    assert "its spread is unknown" in found.spread
    share = card["metrics"]["Hit@5"]
    assert {row.metric: row.allowed for row in found.metrics}["Hit@5"] == pytest.approx(2 * np.sqrt(share * (1 - share) / 29))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"name": "shop", "hash": "other"}}, r"not of the same kind \(data: "),
        ({"recipe": "ease"}, r"not of the same kind \(recipe: popularity / ease\)"),
        ({"protocol": {"name": "ratio"}}, r"not of the same kind \(protocol: "),
        ({"metrics": {"Gini@10": 0.1}}, "no accuracy metric in common"),
    ],
)
def test_other_cards_are_refused(cli, popularity_run: Path, stored: Any, changes: dict[str, Any], message: str) -> None:
    assert re.search(message, cli("card", "check", popularity_run, "--against", stored(**changes)).error)


def test_no_card_to_compare_with(cli, popularity_run: Path, tmp_path: Path) -> None:
    error = cli("card", "check", popularity_run).error
    assert "no card of `popularity` on `shop` is stored" in error
    assert "popularity-ml-latest-small" in error
    assert "there is no card at" in cli("card", "check", popularity_run, "--against", tmp_path / "gone.json").error
    (tmp_path / "list.json").write_text("[1]")
    assert "is not a card" in cli("card", "check", popularity_run, "--against", tmp_path / "list.json").error
    assert stored_card({"recipe": "popularity", "data": {"name": "ml-latest-small"}}).is_file()


def test_seeds_are_pooled(cli, popularity_run: Path, card: dict[str, Any], tmp_path: Path) -> None:
    folders = []
    for seed, by in ((0, 0.0), (1, 0.02), (2, 0.04)):
        folder = shutil.copytree(popularity_run, tmp_path / f"seed-{seed}")
        changed = card | {"seeds": [seed], "metrics": shifted(card, by), "command": f"run --seed {seed}"}
        text = json.dumps(changed)
        from recsmith.artifacts import update_file
        from recsmith.run_folder import RUN

        update_file(folder, RUN, "card.json", text)
        folders.append(folder)
    out = tmp_path / "pooled.json"
    assert "mean ± sd of 3 seeds" in cli("card", "pool", *folders, "--out", out).out
    pooled = json.loads(out.read_text())
    assert pooled["seeds"] == [0, 1, 2]
    assert pooled["metrics"]["Recall@5"] == pytest.approx(card["metrics"]["Recall@5"] + 0.02)
    assert pooled["spread"]["Recall@5"] == pytest.approx(0.02)
    assert out.with_suffix(".md").read_text() == markdown(pooled)
    assert check_card(folders[0], out).worse == []
    assert "are not all different" in cli("card", "pool", folders[0], folders[0], "--out", out).error
    assert "needs two runs or more" in cli("card", "pool", folders[0], "--out", out).error
    assert "ends in .json" in cli("card", "pool", *folders, "--out", tmp_path / "card.md").error
    assert pool_cards(folders[:2])["seeds"] == [0, 1]


def test_a_note_stands_on_the_card_and_nothing_else_changes(cli, popularity_run: Path, stored: Any, tmp_path: Path) -> None:
    run = shutil.copytree(popularity_run, tmp_path / "run")
    before = json.loads((run / "card.json").read_text())
    assert cli("card", "note", run, "counts  repeats").code == 0
    assert "2 notes" in cli("card", "note", run, "and old events").out
    after = json.loads((run / "card.json").read_text())
    assert [note["text"] for note in after.pop("notes")] == ["counts repeats", "and old events"]
    assert after == before
    shown = cli("card", "show", run)  # the folder is whole: its manifest knows the new files
    assert "counts repeats" in shown.out
    assert "counts repeats" in (run / "card.md").read_text()
    alone = stored()
    cli("card", "note", alone, "a file of its own")
    assert json.loads(alone.read_text())["notes"][0]["text"] == "a file of its own"


@pytest.mark.parametrize(("place", "text", "words"), [("nowhere", "x", "no card at"), (None, "", "empty note")])
def test_a_note_needs_a_card_and_words(cli, stored: Any, place: str | None, text: str, words: str) -> None:
    refused = cli("card", "note", place or stored(), text)
    assert refused.code == 2
    assert words in " ".join(refused.err.split())
