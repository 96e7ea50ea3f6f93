"""A run that reads words, asked in words that differ in one attribute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import recsmith
from recsmith.audit import audit_words
from recsmith.background import Background
from recsmith.data import Dataset
from recsmith.errors import UserError
from recsmith.language.scripted import ScriptedBackend
from recsmith.recommender import Recommender

USERS, ITEMS = 12, 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("asked")
    events = [(user, (user + step) % ITEMS, step) for user in range(USERS) for step in range(5)]
    frame = {"user_id": [row[0] for row in events], "item_id": [row[1] for row in events], "timestamp": [row[2] for row in events]}
    catalogue = {"item_id": list(range(ITEMS)), "title": [f"Work number {item}" for item in range(ITEMS)]}
    settings = {"model": {"candidates": 10, "cache": str(place / "answers.sqlite"), "retriever": "popularity"}}
    recsmith.fit("zero-shot-ranker", Dataset.from_frame(frame, catalogue=catalogue, name="works"), settings=settings, out=place / "run")
    return place / "run"


def spoken_to(run: Path, script: Any) -> Recommender:
    recommender = recsmith.load(run)
    model: Any = recommender.model
    model._backend = ScriptedBackend(script)
    return recommender


def by_number(prompt: Any) -> str:
    """Smallest number first; but the other way round for men."""
    text = prompt.messages[-1].content
    entries = re.findall(r'^(\d+)\. "Work number (\d+)', text.partition("Candidates:")[2], flags=re.MULTILINE)
    ordered = sorted(entries, key=lambda entry: int(entry[1]), reverse="I am a man." in text)
    return ", ".join(entry[0] for entry in ordered)


def test_what_words_do_is_seen(run: Path) -> None:
    found = audit_words(spoken_to(run, by_number), Background.of_run(run), ["a woman", "a man"], people=6, k=5)
    rows = {row.value: row.similarity for row in found.rows}
    assert rows["a woman"]["Jaccard"] == pytest.approx(1)
    assert rows["a man"]["Jaccard"] < 0.2
    assert (found.questions, found.disadvantaged) == (6, "a man")
    assert found.snsr["Jaccard"] == pytest.approx(1 - rows["a man"]["Jaccard"])


def test_a_run_that_reads_no_words_says_so(run: Path, cli: Any) -> None:
    with pytest.raises(UserError, match="reads no words, so nothing can be said to it"):
        audit_words(recsmith.load(run), Background.of_run(run), ["a woman", "a man"])
    assert "reads no words" in cli("audit", run, "--attribute", "taste", "--values", "a woman,a man", "--json").err
    assert "give --values" in cli("audit", run, "--attribute", "taste", "--json").err
    with pytest.raises(UserError, match="no place for the value"):
        audit_words(spoken_to(run, by_number), Background.of_run(run), ["a woman", "a man"], template="Hello")
