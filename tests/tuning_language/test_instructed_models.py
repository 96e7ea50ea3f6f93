"""InstructRec, PALR, RecRanker, Llama4Rec, CALRec, LLMs-Rec and RecGPT-7B: every model's promises, and what is peculiar to each."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from recsmith.data import Histories, TrainingReviews
from recsmith.decoding.word_search import WordSearch
from recsmith.errors import ConfigError, DataError, UserError
from recsmith.evaluation.scores import auc, rating_errors
from recsmith.language.scripted import ScriptedBackend
from recsmith.models.calrec import Calrec, CalrecConfig, contrast
from recsmith.models.instructrec import Instructrec, InstructrecConfig
from recsmith.models.llama4rec import Llama4rec, Llama4recConfig
from recsmith.models.llms_rec import LlmsRec, LlmsRecConfig
from recsmith.models.palr import Palr, PalrConfig
from recsmith.models.recgpt import Recgpt, RecgptConfig
from recsmith.models.recranker import Recranker, RecrankerConfig
from recsmith.retrieval.bm25 import Bm25Index
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, checkerboard, cycles
from recsmith.training import to_batch
from recsmith.tuning_language.keywords import Keywords
from recsmith.tuning_language.people_sampling import people_clusters, sampled_people
from recsmith.tuning_language.title_list import TitleList

TINY = {
    "network": {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0},
    "pretrain_steps": 2,
    "told_history": 4,
    "tuner": {"method": "lora", "rank": 4},
}
RANKER = {**TINY, "candidates": 4}
TITLES = [f"Chapter {number}" for number in range(ITEMS)]


def rated(histories: Histories) -> Histories:
    """Even items get five stars, odd ones two."""
    return replace(histories, weights=np.where(histories.values % 2 == 0, 5.0, 2.0).astype(np.float32))


class TitleTests(ScoreModelTests):
    personalised = False  # what they learn is tested below

    def build(self):
        model = super().build()
        model.read(TITLES)
        model.observe(rated(cycles()))
        return model

    def _log(self):
        return rated(checkerboard())


class TestInstructrec(TitleTests):
    model_class = Instructrec
    config = InstructrecConfig.parse(RANKER)


class TestPalr(TitleTests):
    model_class = Palr
    config = PalrConfig.parse({**RANKER, "length": 2})


class TestRecranker(TitleTests):
    model_class = Recranker
    config = RecrankerConfig.parse({**RANKER, "people": 30, "clusters": 3})


class TestLlama4rec(TitleTests):
    model_class = Llama4rec
    config = Llama4recConfig.parse({**RANKER, "augment_at": 2, "opponents": 1})


class TestCalrec(TitleTests):
    model_class = Calrec
    config = CalrecConfig.parse({**TINY, "texts": 2})


class TestLlmsRec(TitleTests):
    model_class = LlmsRec
    config = LlmsRecConfig.parse(RANKER)


class TestRecgpt(TitleTests):
    model_class = Recgpt
    config = RecgptConfig.parse({**TINY, "tuner": {"method": "full"}})


def made(kind, config, histories: Histories | None = None, titles=TITLES, **parts):
    torch.manual_seed(0)
    model = kind(config, items=ITEMS, **parts)
    model.read(titles)
    model.observe(rated(cycles()) if histories is None else histories)
    return model.eval()


def learned(model, histories: Histories, *, steps: int):
    """The model after some steps on all histories."""
    batch = to_batch(histories)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.01)
    for step in range(steps):
        optimizer.zero_grad()
        model.train().loss(batch, step).backward()
        optimizer.step()
    return model.eval()


# ---- lists of titles ----


def test_a_guide_allows_every_list_of_titles_and_no_other() -> None:
    """One title begins like another, two are equal, and the separator's token is a word as well."""
    titles = [[5], [5, 7], [5, 7, 6], [9], [9]]

    def all_lists(written: list[int], taken: list[int]) -> set[tuple[int, ...]]:
        guide = TitleList(titles, length=2, between=[7], end=1)
        for token in taken:
            guide.take(token)
        found = set()
        for token in guide.allowed():
            found |= {(*written, token)} if token == 1 else all_lists([*written, token], [*taken, token])
        return found

    expected = {(*titles[one], 7, *titles[two], 1) for one, two in permutations(range(5), 2)}
    assert all_lists([], []) == expected


def test_palr_writes_titles_of_candidates_alone() -> None:
    model = made(Palr, PalrConfig.parse({**RANKER, "length": 3}))
    batch = to_batch(Histories.from_rows([[0, 1, 2]]))
    candidates = [[7, 5, 9, 11]]
    scores = model.judge([batch], candidates)[0]
    assert sorted(scores.tolist()) == [0.25, 0.5, 0.75, 1.0]
    cases = list(model.draw(to_batch(Histories.from_rows([[0, 1, 2, 3, 4]] * 20)), np.random.default_rng(0)))
    assert {case.template for case in cases} == {"retrieved", "free"}
    for case in cases:
        assert list(case.following) == list(range(case.history[-1] + 1, case.history[-1] + 1 + len(case.following)))
        if case.template == "retrieved":
            assert set(case.following) <= set(case.candidates)


# ---- words about people ----


def test_key_words_are_what_others_do_not_have() -> None:
    words = Keywords(["a red house", "a red boat", "a blue house", "a tall tree"])
    assert words.of([0, 1], most=2) == "red, boat"
    assert words.of([3], most=1) in ("tall", "tree")
    assert words.of([], most=3) == ""


def scripted() -> ScriptedBackend:
    return ScriptedBackend(lambda prompt: "quiet sea tales" if "Key words" in prompt.messages[-1].content else "something calm\nplease")


def test_portraits_are_written_once_kept_and_asked_about(tmp_path) -> None:
    backend = scripted()
    config = InstructrecConfig.parse({**RANKER, "portraits": {"people": 5, "share": 1.0, "cache": str(tmp_path / "answers.sqlite")}})
    model = made(Instructrec, config, backend=backend)
    assert len(backend.asked) > 0
    assert len(model.portraits) == 5
    words = [case.words for case in model.draw(to_batch(cycles()), np.random.default_rng(0))]
    assert {one["taste"] for one in words} == {"quiet sea tales"}
    assert {one["wish"] for one in words} == {"something calm please"}
    assert model.figures()["written by"]["backend"] == "scripted"
    other = Instructrec(config, items=ITEMS, backend=scripted())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.portraits.events, model.portraits.events)
    assert other.portraits.tastes.texts == ["quiet sea tales"] * 5
    for row in model.portraits.events.tolist():
        items = [item for item in row if item >= 0]
        assert all((one + 1) % ITEMS == two for one, two in pairwise(items))


def test_an_instruction_has_a_right_answer() -> None:
    model = made(Instructrec, InstructrecConfig.parse({**RANKER, "examples": 30.0}))
    cases = list(model.draw(to_batch(Histories.from_rows([[0, 1, 2, 3]] * 4)), np.random.default_rng(0)))
    assert {case.template for case in cases} == {one.name for one in model.task_set.template}
    for case in cases:
        template = model.task_set.named(case.template)
        following = case.history[-1] + 1
        if template.family == "preference":
            assert (case.item == following) == (case.words["answer"] == "Yes")
        elif template.family == "choice":
            assert case.candidates["ABCD".index(case.words["answer"])] == following
            assert len(case.candidates) == (template.candidates or 4)
        else:
            assert case.item == following
    with pytest.raises(UserError, match="have no template `rank-by-mood`; did you mean"):
        Instructrec(InstructrecConfig.parse({**RANKER, "answers_by": "rank-by-mood"}), items=ITEMS)


@torch.no_grad()
def test_who_says_what_they_want_is_asked_with_these_words() -> None:
    model = made(Instructrec, InstructrecConfig.parse(RANKER))
    batch = to_batch(Histories.from_rows([[0, 3], [], [0, 3]]))
    asked = []
    read = model.asked

    def listening(cases):
        questions = read(cases)
        asked.extend(zip([case.template for case in cases], [model.network.text(question) for question in questions], strict=True))
        return questions

    model.asked = listening
    silent, told = model.score(batch), model.score_told(batch, ["", "a wish", "a calm evening\nby the sea"])
    assert [template for template, _ in asked] == ["rank-by-history"] * 3 + ["rank-by-history-and-wish"]
    assert "a calm evening by the sea" in asked[-1][1]
    assert torch.equal(told[:2], silent[:2])  # nothing said; nothing known, so the retriever answers
    assert model.reads_words


# ---- hybrids and whom they learn from ----


def test_people_are_drawn_by_importance_and_kind_and_not_too_often() -> None:
    long, short = [[item % ITEMS for item in range(40)]] * 10, [[0, 1]] * 10
    histories = Histories.from_rows([*long, *short, [3]])
    counts = sampled_people(histories, people=4000, clusters=2, penalty=1.0, items=ITEMS, seed=0)
    assert counts.sum() == 4000
    assert counts[20] == 0  # one event: nothing to ask about
    assert counts[:10].sum() > counts[10:20].sum()
    assert sampled_people(histories, people=4000, clusters=2, penalty=0.0, items=ITEMS, seed=0).max() == 1
    groups = people_clusters(histories, np.arange(20), clusters=2, items=ITEMS, seed=0)
    assert len(set(groups[:10])) == len(set(groups[10:])) == 1
    assert groups[0] != groups[10]


def test_recranker_asks_three_kinds_of_questions_of_the_people_drawn() -> None:
    model = made(Recranker, RecrankerConfig.parse({**RANKER, "people": 1, "clusters": 1, "examples": 5.0}))
    histories = rated(cycles())
    batch = to_batch(histories, users=np.arange(len(histories)))
    drawn = int(model.chosen.argmax())
    own = histories.row(drawn).tolist()
    cases = list(model.draw(batch, np.random.default_rng(0)))
    assert {case.template for case in cases} == {"point", "pair", "list"}
    for case in cases:
        target = own[len(case.history)] if len(own) <= 5 else (case.history[-1] + 1) % ITEMS
        if case.template == "list":
            assert case.following[0] == target
            assert sorted(case.following) == sorted(case.candidates) or len(case.following) < len(case.candidates)
        elif case.template == "pair":
            assert case.candidates["AB".index(case.words["answer"])] == target
        else:
            assert (case.item == target) == (case.words["answer"] == "Yes")
    with pytest.raises(ConfigError, match="are all 0, so nothing is asked"):
        Recranker(RecrankerConfig.parse({**RANKER, "point_wise": 0, "pair_wise": 0, "list_wise": 0}), items=ITEMS)


def test_the_hybrid_is_the_weighted_mean_of_its_parts() -> None:
    config = {**RANKER, "point_wise": 1.0, "pair_wise": 2.0, "list_wise": 3.0, "people": 9, "opponents": 2}
    model = made(Recranker, RecrankerConfig.parse(config))
    rows, chosen = [to_batch(Histories.from_rows([[0, 1]])), to_batch(Histories.from_rows([[4]]))], [[2, 5, 8], [1, 2]]
    parts = [ask(rows, chosen) for ask in (model.points, model.pairs, model.lists)]
    for number, found in enumerate(model.judge(rows, chosen)):
        expected = sum(weight * part[number] for weight, part in zip((1, 2, 3), parts)) / 6
        torch.testing.assert_close(found, expected)
    assert torch.isclose(parts[1][1].sum(), torch.tensor(1.0))  # of two, one is preferred


def test_the_conventional_model_learns_again_from_what_the_language_model_prefers() -> None:
    histories = Histories.from_rows([*[[0, 1, 2, 3, 4, 5]] * 8, *[[0, 1]] * 2])
    model = made(Llama4rec, Llama4recConfig.parse({**RANKER, "retriever": "popularity", "augment_at": 3, "augmented": 0.2}), histories)
    short = to_batch(Histories.from_rows([[0, 1]]))
    before = model.retriever.score(short).clone()
    model.train().loss(to_batch(histories), 2)
    assert torch.equal(model.retriever.score(short), before)
    model.loss(to_batch(histories), 3)
    assert model.training
    assert model.figures()["events added"] == 2  # the two people of the shortest histories
    preferred = [item for item in (2, 3) if model.retriever.score(short)[0, item] > model.retriever.score(short)[0, 4]]
    assert len(preferred) == 1  # one of the first two candidates, the same for both
    assert [round(model.share(events), 2) for events in (1, 2, 6, 99)] == [0.8, 0.8, 0.2, 0.2]
    assert 0.2 < model.share(3) < 0.8


# ---- texts of the next item ----


def test_word_search_scores_as_the_index_does() -> None:
    texts = ["the red house by the sea", "a blue house", "the sea, the sea", "", "boats"]
    index = Bm25Index()
    index.add(np.arange(5), texts)
    queries = ["the sea house", "boats boats", "nothing known"]
    found = WordSearch(texts)(queries)
    lists = index.search(queries, 5)
    for row in range(3):
        kept = lists.items[row] >= 0
        np.testing.assert_allclose(found[row][lists.items[row][kept]], lists.scores[row][kept], rtol=1e-5)
        assert (found[row] > 0).sum() == kept.sum()


def test_the_contrast_leaves_out_other_rows_of_the_same_item() -> None:
    told, wanted = torch.eye(3), torch.eye(3)
    different = contrast(told, wanted, torch.tensor([0, 1, 2]), temperature=1.0)
    torch.testing.assert_close(different, torch.log(torch.tensor(np.e + 2.0)) - 1, check_dtype=False)
    same = contrast(told, wanted, torch.tensor([0, 0, 0]), temperature=1.0)
    assert same == 0


def test_calrec_learns_from_all_domains_first_and_then_from_the_target() -> None:
    titles = [f"{'drama' if item < 6 else 'comedy'} {item}" for item in range(ITEMS)]
    model = made(Calrec, CalrecConfig.parse({**TINY, "joint_steps": 10, "target": "Drama"}), titles=titles)
    comedies = to_batch(Histories.from_rows([[6, 7, 8, 9]] * 4))
    assert model.loss(comedies, 9) > 0
    assert model.loss(comedies, 10) == 0
    assert model.loss(to_batch(Histories.from_rows([[1, 2, 3]] * 4)), 10) > 0
    texts, likelihoods = model._texts(to_batch(Histories.from_rows([[1, 2], []])))
    assert [len(row) for row in texts] == [4, 4]
    assert np.isfinite(likelihoods).all()


# ---- ratings ----


@pytest.mark.parametrize("settings", [{"head": "classification"}, {"head": "regression"}])
def test_a_head_learns_whose_stars_are_whose(settings) -> None:
    """Titles tell the kind, and everybody gives one kind five stars and the other two; histories, drawn by lot, tell nothing."""
    titles = [f"{'even' if item % 2 == 0 else 'odd'} one" for item in range(ITEMS)]
    histories = rated(Histories.from_rows(np.random.default_rng(0).integers(0, ITEMS, (48, 6)).tolist()))
    config = LlmsRecConfig.parse({**RANKER, **settings, "told_history": 2, "tuner": {"method": "full"}})
    model = learned(made(LlmsRec, config, histories, titles), histories, steps=40)
    batch = to_batch(rated(Histories.from_rows([[0, 1]] * ITEMS)))
    stars = model.rate(batch, range(ITEMS)).detach().numpy()
    actual = np.where(np.arange(ITEMS) % 2 == 0, 5.0, 2.0)
    assert auc(stars, (actual >= 4).astype(int)) == 1.0
    assert rating_errors(stars, actual).rmse < 0.75


def test_without_ratings_there_is_nothing_to_predict() -> None:
    with pytest.raises(DataError, match="LLMs-Rec predicts ratings, but the log has none that differ"):
        made(LlmsRec, LlmsRecConfig.parse(RANKER), cycles())
    many = replace(cycles(), weights=np.arange(len(cycles().values), dtype=np.float32))
    with pytest.raises(DataError, match=r"different ratings and 20 can be classes; use head = regression"):
        made(LlmsRec, LlmsRecConfig.parse(RANKER), many)
    bare = made(Recgpt, RecgptConfig.parse(TINY), cycles())
    assert bare.figures()["tasks with data"] == ["next"]
    with pytest.raises(DataError, match="has learned no ratings"):
        bare.rate(to_batch(cycles().slice(0, 1)), [1])


def test_recgpt_reads_reviews_and_mixes_its_tasks() -> None:
    reviews = TrainingReviews(
        texts=["A long and winding wonder"] * 3,
        users=np.zeros(3, dtype=np.int64),
        items=np.arange(3),
        ratings=np.full(3, 5.0),
        aspects=[""] * 3,
        summaries=[""] * 3,
    )
    torch.manual_seed(0)
    model = Recgpt(RecgptConfig.parse({**TINY, "examples": 3.0}), items=ITEMS)
    model.read(TITLES)
    model.read_reviews(reviews)
    model.observe(rated(cycles()))
    assert len(model.network.tokens(" winding")) == 1
    cases = list(model.draw(to_batch(rated(cycles())), np.random.default_rng(0)))
    assert {case.template for case in cases} == {"next", "rating"}
    assert all(case.words["rating"] == ("5" if case.item % 2 == 0 else "2") for case in cases if case.template == "rating")
    text = model.wording.shown(model.task_set.named("rating"), next(case for case in cases if case.template == "rating")).input
    assert "rated" in text
    stars = model.eval().rate(to_batch(rated(cycles())).known(), [1] * len(cycles()))
    assert ((stars >= 2) & (stars <= 5)).all()
