from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.language import ScriptedBackend
from recsmith.language.item_tree import Branch, grow_tree
from recsmith.models.unillmrec import Unillmrec, UnillmrecConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, checkerboard
from recsmith.training import to_batch

WORDS = ["even", "odd"]
TEXTS = [f"{WORDS[item % 2]} number {item}" for item in range(ITEMS)]
FACTS = ItemFacts([[WORDS[item % 2]] for item in range(ITEMS)], [None] * ITEMS)


class TestUnillmrec(ScoreModelTests):
    model_class = Unillmrec
    config = UnillmrecConfig(encoder={"name": "tfidf", "dim": 64}, candidates=6, leaf=6, branches=1, retriever="item-knn")

    def build(self) -> Unillmrec:
        model = super().build()
        model.read(TEXTS)
        model.read_facts(FACTS)
        return model


def walker(prompt) -> str:
    """Somebody who likes even numbers goes to the even shelf and takes what is there from the end."""
    question = prompt.messages[-1].content
    if question.endswith("Interests:"):
        return max(WORDS, key=question.count)
    liked = max(WORDS, key=question.partition("\n")[0].count) if "interests this person" in question else max(WORDS, key=question.count)
    entries = re.findall(r'^(\d+)\. "(.+)"$', question, flags=re.MULTILINE)
    return ", ".join(number for number, text in reversed(entries) if text.startswith(liked)) or "none"


def made(tmp_path: Path, script, **settings) -> Unillmrec:
    config = UnillmrecConfig(**{"cache": str(tmp_path / "answers.sqlite"), "candidates": 3, "leaf": 6, "branches": 1} | settings)
    model = Unillmrec(config, items=ITEMS, backend=ScriptedBackend(script))
    model.read(TEXTS)
    model.read_facts(FACTS)
    model.solve(checkerboard())
    return model.eval()


def test_it_walks_to_the_shelf_and_orders_what_it_finds(tmp_path: Path) -> None:
    model = made(tmp_path, walker)
    scores = model.score(to_batch(Histories.from_rows([[0, 2], [11], []])))
    assert scores[0].argsort(descending=True)[:3].tolist() == [6, 8, 10]
    assert sorted(scores[1].argsort(descending=True)[:3].tolist()) == [5, 7, 9]
    figures = model.figures()
    assert (figures["found by the walk"], figures["walk unread"]) == (3.0, 0.0)
    assert figures["asked"] == 2 * 4, "interests, a fork, a shelf and the order"
    other = Unillmrec(model.config, items=ITEMS, backend=ScriptedBackend([]))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.score(to_batch(Histories.from_rows([[0, 2], [11], []]))), scores), "answers are kept, nothing is asked"


@pytest.mark.parametrize("answer", ["", "I cannot say", "99"])
def test_what_cannot_be_read_leaves_popular_items(tmp_path: Path, answer: str) -> None:
    model = made(tmp_path, lambda prompt: answer, branches=2, picks=2, candidates=5)
    scores = model.score(to_batch(Histories.from_rows([[0]])))
    assert torch.isfinite(scores).all()
    assert model.figures()["walk unread"] == 1.0


def leaves(branch: Branch) -> list[Branch]:
    return [leaf for inner in branch.branches for leaf in leaves(inner)] if branch.branches else [branch]


def test_a_tree_holds_every_item_once_on_shelves_that_are_small_enough() -> None:
    texts = [f"{['red', 'green', 'blue'][item % 3]} {['chair', 'table'][item % 2]} {item}" for item in range(60)]
    categories = [["home"] if item < 20 else ["garden", f"part {item % 2}"] if item < 40 else [] for item in range(60)]
    tree = grow_tree(texts, categories, leaf=8)
    assert [branch.name for branch in tree.branches] == ["garden", "home", "other"]
    assert [inner.name for inner in tree.branches[0].branches] == ["part 0", "part 1"]
    assert {inner.name for inner in tree.branches[1].branches} == {"red", "green", "blue"} or len(tree.branches[1].branches) >= 2
    found = leaves(tree)
    assert sorted(item for leaf in found for item in leaf.items) == list(range(60))
    assert max(len(leaf.items) for leaf in found) <= 8
    alike = grow_tree(["the same"] * 9, [()] * 9, leaf=3)
    assert alike == Branch("everything", list(range(9)))
