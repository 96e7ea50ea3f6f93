"""Solved cases from training, and older history in a line: both stand in the prompts, and neither tells what is to be found out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith.data import Dataset, Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import ConfigError
from recsmith.language import ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.rankers import RankCase
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.rankers.training_examples import fitting
from recsmith.language.shelf import Shelf

TITLES = [f"{kind} {number}" for number in range(4) for kind in ("War", "Love", "Fun")]
WAR, LOVE = [0, 3, 6, 9], [1, 4, 7, 10]


def kinds(texts: list[str]) -> np.ndarray:
    return np.array([[text.count(kind) for kind in ("War", "Love", "Fun")] for text in texts], dtype=np.float32)


def shelf(*rows: list[int]) -> Shelf:
    return Shelf(TITLES, ItemFacts([()] * 12, [None] * 12), kinds, Histories.from_rows(list(rows)))


def case(history: list[int], person: int = -1) -> RankCase:
    return RankCase([TITLES[item] for item in history], ["War 3", "Love 3"], items=history, person=person)


def shown(prompt: str) -> list[str]:
    block = prompt.partition("took next:")[2].partition("What this person took")[0]
    return re.findall(r'- "(.+)"', block)


def asked(config: ListWiseConfig, cases: list[RankCase], known: Shelf | None = None) -> tuple[list[str], dict]:
    ranker, backend = ListWise(config), ScriptedBackend(lambda prompt: "old wars" if "Summary:" in prompt.text else "1, 2")
    if known is not None:
        ranker.look_at(known)
    ranked = ranker.rank(cases, Asker(backend))
    return [prompt.text for prompt in backend.asked], ranked.figures


def test_the_most_similar_people_of_training_are_shown() -> None:
    known = shelf(WAR, LOVE, [0, 3, 4], [2, 5], [8])
    prompts, _ = asked(ListWiseConfig(demonstrations=2), [case([0, 6]), case([1, 7])], known)
    assert shown(prompts[0])[-1] == "War 0, War 1, War 2 → War 3"
    assert shown(prompts[0])[0] == "War 0, War 1 → Love 1"
    assert shown(prompts[1])[-1] == "Love 0, Love 1, Love 2 → Love 3"
    assert len(shown(prompts[1])) == 2


def test_nobody_is_shown_an_example_of_their_own() -> None:
    known = shelf(WAR, LOVE, [0, 3, 4])
    prompts, _ = asked(ListWiseConfig(demonstrations=3), [case([0, 3, 6], person=0)], known)
    assert shown(prompts[0]) == ["Love 0, Love 1, Love 2 → Love 3", "War 0, War 1 → Love 1"]


def test_the_pool_is_bounded_and_drawn_with_the_seed() -> None:
    known = shelf(*([item, item + 3] for item in range(9)))
    found = [shown(asked(ListWiseConfig(demonstrations=9, pool=4, seed=seed), [case([2])], known)[0][0]) for seed in (0, 0, 1)]
    assert [len(one) for one in found] == [4, 4, 4]
    assert found[0] == found[1] != found[2]


def test_without_training_histories_the_last_own_step_is_shown() -> None:
    prompts, _ = asked(ListWiseConfig(demonstrations=2), [case([0, 3, 6])])
    assert shown(prompts[0]) == ["War 0, War 1 → War 2"]
    with pytest.raises(ConfigError, match="`rank-from-profile` has no field `demonstrations`, so 2 cannot be shown"):
        ListWise(ListWiseConfig(template="rank-from-profile", demonstrations=2))


def test_the_answer_of_an_example_is_never_cut_off() -> None:
    given, answer = fitting(["old " * 30, "new " * 30], "the answer", longest=150)
    assert given.startswith("new")
    assert "old" not in given
    assert answer == "the answer"
    assert len(f"{given} → {answer}") <= 150
    assert len(" → ".join(fitting(["x" * 500], "y" * 500, longest=150))) <= 150


def test_examples_come_from_training_events_alone(tmp_path: Path) -> None:
    """Each title tells its person and its place: the last two of each are validation and test, and never an answer that is shown."""
    rows = [(user, 10 * user + place, place) for user in range(6) for place in range(6)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    names = pl.DataFrame({"item_id": [item for _, item, _ in rows], "title": [f"Film {user}-{place}" for user, _, place in rows]})
    model = {
        "encoder": {"name": "tfidf", "dim": 32},
        "candidates": 4,
        "cache": str(tmp_path / "answers.sqlite"),
        "ranker_settings": {"demonstrations": 3},
    }
    data = Dataset.from_frame(log, catalogue=names, name="told apart")
    run = recsmith.fit("zero-shot-ranker", data, settings={"model": model}, out=tmp_path / "run")
    backend = ScriptedBackend(lambda prompt: "1, 2")
    for fitted, split in ((run, "validation"), (recsmith.load(tmp_path / "run"), "test")):
        fitted.model._backend = backend
        fitted.evaluate(split)
    prompts = [prompt.messages[-1].content for prompt in backend.asked]
    assert len(prompts) == 6 * 2 * 3, "the recipe shows the candidates in three orders"
    for prompt in prompts:
        own = re.findall(r"Film (\d)-", prompt.partition("What this person took")[2].partition("Candidates:")[0])[0]
        examples = [re.findall(r"Film (\d)-(\d)", example) for example in shown(prompt)]
        assert len(examples) == 3
        assert all(user != own for example in examples for user, _ in example)
        assert {place for example in examples for _, place in example} <= set("0123"), "validation and test stand at 4 and 5"


def test_what_finds_no_room_is_summed_up_by_the_model() -> None:
    long, short = case([*WAR, *LOVE] * 30), case([0, 3])
    prompts, figures = asked(ListWiseConfig(summarise_older=True, max_tokens=700), [long, short])
    summary, first, second = prompts
    assert summary.rstrip().endswith("Summary:")
    count = int(re.search(r'- before these, (\d+) more: "old wars"', first)[1])
    told = re.findall(r'^- "(\w+ \d)"$', first, flags=re.MULTILINE)
    assert len(told) + count == len(long.history)
    assert told == list(long.history[count:])
    assert len(re.findall(r'^- "(\w+ \d)"$', summary, flags=re.MULTILINE)) >= count - 1
    assert "before these" not in second
    assert (figures["histories summed up"], figures["summaries unread"]) == (0.5, 0.0)
    plain, figures = asked(ListWiseConfig(max_tokens=700), [long, short])
    assert len(plain) == 2
    assert "before these" not in plain[0]
    assert "histories summed up" not in figures


def test_an_empty_summary_leaves_no_line_and_is_counted() -> None:
    backend = ScriptedBackend(lambda prompt: " " if "Summary:" in prompt.text else "1, 2")
    ranker = ListWise(ListWiseConfig(summarise_older=True, max_tokens=700))
    figures = ranker.rank([case([*WAR, *LOVE] * 30)], Asker(backend)).figures
    assert "before these" not in backend.asked[-1].text
    assert figures["summaries unread"] == 1.0
