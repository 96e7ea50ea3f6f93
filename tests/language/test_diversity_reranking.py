"""Diversity re-ranking (Carraro and Bridge, 2024): which prompt is asked, and what a known answer makes of the lists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.evaluation.category_sets import CategorySets
from recsmith.evaluation.diversity import category_diversity
from recsmith.language import Prompt, ScriptedBackend
from recsmith.language.template import load_template
from recsmith.models.language_ranker import LanguageRanker, LanguageRankerConfig
from recsmith.protocols import HistoryBatch
from recsmith.recipe import load_recipe

KINDS = ["War", "War", "War", "War", "Love", "Love", "Love", "Love"]
TITLES = [f"{kind} {number}" for number, kind in enumerate(KINDS)]
PEOPLE = [[0, 1, 2, 3]] * 6 + [[4, 5, 6, 7]] * 5 + [[0, 4, 5, 6], [7, 1, 2]]


def shown(prompt: Prompt) -> list[tuple[int, str]]:
    """Number and kind of each candidate."""
    return [(int(number), kind) for number, kind in re.findall(r'^(\d+)\. "(\w+) \d"$', prompt.text, flags=re.MULTILINE)]


def varied(prompt: Prompt) -> str:
    """The first candidate of each kind in turn."""
    left, order = shown(prompt), []
    while left:
        last = order[-1][1] if order else ""
        order.append(next((one for one in left if one[1] != last), left[0]))
        left.remove(order[-1])
    return ", ".join(str(number) for number, _ in order)


def as_shown(prompt: Prompt) -> str:
    return ", ".join(str(number) for number, _ in shown(prompt))


def lists(backend: ScriptedBackend, folder: Path, recipe: str = "diversity-reranker") -> tuple[np.ndarray, LanguageRanker]:
    """Best three of two people, int64 `[2, 3]`, and who made them."""
    chosen = load_recipe(recipe, settings={"model": {"cache": str(folder / f"{backend.name}.sqlite")}})
    model = LanguageRanker(LanguageRankerConfig.parse(chosen.model.settings), items=len(TITLES), backend=backend)
    model.read(TITLES)
    model.solve(Histories.from_rows(PEOPLE))
    batch = HistoryBatch(torch.tensor([0, 5]), torch.tensor([0, 1, 2]))
    with torch.inference_mode():
        return model.score(batch).topk(3).indices.numpy(), model


def diversity(found: np.ndarray) -> np.ndarray:
    return category_diversity(found, CategorySets.of(Histories.from_rows([[kind == "Love"] for kind in KINDS])), (3,))[3]


def test_lists_become_as_varied_as_the_answer_says(tmp_path: Path) -> None:
    plain, _ = lists(ScriptedBackend(as_shown, name="as shown"), tmp_path)
    found, model = lists(ScriptedBackend(varied, name="varied"), tmp_path)
    assert plain.tolist() == [[3, 1, 2], [4, 6, 7]]
    assert found.tolist() == [[3, 4, 1], [4, 0, 6]]
    assert diversity(plain).tolist() == [0.0, 0.0], "one kind of film"
    assert diversity(found).tolist() == pytest.approx([2 / 3, 2 / 3]), "two of three pairs differ"
    assert model.figures()["left as retrieved"] == 0.0


def test_the_recipe_asks_for_variety_and_the_plain_ranker_does_not(tmp_path: Path) -> None:
    backend, plain = ScriptedBackend(varied), ScriptedBackend(varied)
    _, model = lists(backend, tmp_path)
    lists(plain, tmp_path, "near-cold-start")
    template = load_template("rank-diverse")
    wanted = template.section[0].text.strip()
    assert "differ from each other as much as they can" in wanted
    assert len(backend.asked) == 2
    assert all(prompt.messages[0].content.startswith(wanted) for prompt in backend.asked)
    assert len(plain.asked) == 2
    assert not any("differ from each other" in prompt.text for prompt in plain.asked)
    assert [figures["template"] for _, figures in model._figures] == [f"rank-diverse {template.hash}"]
