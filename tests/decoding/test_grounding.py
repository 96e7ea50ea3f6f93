from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.decoding.grounding import Grounding, Matcher, Matches
from recsmith.decoding.grounding_embedding import EmbeddingMatcher
from recsmith.decoding.grounding_exact import ExactMatcher
from recsmith.decoding.grounding_fuzzy import FuzzyMatcher
from recsmith.decoding.grounding_titles import read_title, variants
from recsmith.errors import MissingExtraError, UserError
from recsmith.testing.titles import INVENTED, generated_titles

FILMS = [
    "Matrix, The (1999)",
    "Toy Story 2 (1999)",
    "Toy Story 3 (2010)",
    "Star Wars: Episode IV - A New Hope (1977)",
    "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    "Hamlet (1948)",
    "Hamlet (1996)",
    "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1964)",
    "Heat (1995)",
    "Secret Life of Pets, The (2016)",
    "Lord of the Rings: The Two Towers, The (2002)",
    "Lord of the Rings: The Return of the King, The (2003)",
    "Alice & Martin",
]

EXACT = {
    "The Matrix": 0,
    "the matrix (1999)": 0,
    "MATRIX, THE": 0,
    "The Matrix (2000)": 0,
    "The Matrix (2021)": -1,
    "Toy Story II": 1,
    "Toy Story 4": -1,
    "Amelie": 4,
    "Le Fabuleux destin d'Amélie Poulain": 4,
    "Hamlet (1996)": 6,
    "Alice and Martin (1998)": 12,
    "Heat - a tense film": 8,
    "Heat (1995), with De Niro": 8,
    "Heat by Michael Mann": 8,
    "Heat, 1995": 8,
    "Heat, 1986": -1,
    "": -1,
    "???": -1,
}


@pytest.mark.parametrize(("title", "item"), EXACT.items())
def test_exact_matching_sees_through_form_alone(title: str, item: int) -> None:
    assert Grounding([ExactMatcher(FILMS)]).ground([title]).items.tolist() == [item]


FUZZY = {
    "The Matricks": -1,
    "The Matirx (1999)": -1,
    "Toy Stroy 3": 2,
    "Toy Stroy 4": -1,
    "Star Wars": 3,
    "Star Wars (1977)": 3,
    "Star Wars (2015)": -1,
    "The Amtrix Reloaded": -1,
    "Dr. Strangelov or How I Lerned to Stop Worrying and Love the Bomb": 7,
    "Head": -1,
    "Heet (1995)": -1,
    "The Secret Life of Bees": -1,
    "Lord of the Rings": -1,
    "Lord of the Rings (2003)": 11,
    "Something quite different": -1,
}


@pytest.mark.parametrize(("title", "item"), FUZZY.items())
def test_fuzzy_matching_forgives_spelling_but_not_another_work(title: str, item: int) -> None:
    assert Grounding([ExactMatcher(FILMS), FuzzyMatcher(FILMS)]).ground([title]).items.tolist() == [item]


def test_popularity_decides_between_works_of_one_title() -> None:
    popularity = np.zeros(len(FILMS))
    popularity[6] = 9
    assert ExactMatcher(FILMS).match(["Hamlet"]).items.tolist() == [5]
    assert ExactMatcher(FILMS, popularity=popularity).match(["Hamlet"]).items.tolist() == [6]
    assert FuzzyMatcher(FILMS, popularity=popularity).match(["Hamlett"]).items.tolist() == [-1]
    assert FuzzyMatcher(FILMS, popularity=popularity).match(["Hamlett (1996)"]).items.tolist() == [6]


@pytest.mark.parametrize("matcher", [ExactMatcher(FILMS), FuzzyMatcher(FILMS)], ids=lambda matcher: matcher.name)
def test_matchers_answer_allowed_items_alone(matcher: Matcher) -> None:
    assert isinstance(matcher, Matcher)
    allowed = np.ones(len(FILMS), dtype=bool)
    allowed[[0, 5]] = False
    assert matcher.match(["The Matrix", "Hamlet (1948)", "Heat (1995)"], allowed=allowed).items.tolist() == [-1, -1, 8]
    assert matcher.match([]).items.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=8))
def test_no_text_breaks_grounding(titles: list[str]) -> None:
    found = Grounding([ExactMatcher(FILMS), FuzzyMatcher(FILMS)]).ground(titles)
    assert found.items.shape == found.scores.shape == found.by.shape == (len(titles),)
    assert ((found.items >= 0) == (found.by >= 0)).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_lists_are_distinct_known_items_and_the_rest_is_counted() -> None:
    grounding = Grounding([ExactMatcher(FILMS), FuzzyMatcher(FILMS)])
    answers = [["Heat", "The Matrix", "No Such Film", "Heat (1995)", "Toy Stroy 3"], None, [], ["Never Made"]]
    found = grounding.ground_lists(answers, 3)
    assert found.lists.items.tolist() == [[8, 0, 2], [-1] * 3, [-1] * 3, [-1] * 3]
    assert found.lists.scores[0].tolist() == [0, -1, -2]
    assert found.figures == {
        "lists": 4,
        "entries": 6,
        "hallucination": pytest.approx(2 / 6),
        "duplicate": pytest.approx(1 / 6),
        "format error": 0.25,
        "exact": pytest.approx(3 / 6),
        "fuzzy": pytest.approx(1 / 6),
    }


def test_generated_titles_of_the_world_are_grounded_with_few_errors() -> None:
    from recsmith.data.world import real_works

    titles = real_works()["title"].to_list()
    made = generated_titles(titles, 400, seed=5)
    found = Grounding([ExactMatcher(made.catalogue), FuzzyMatcher(made.catalogue)]).ground(made.queries)
    keys = [read_title(title).key for title in made.catalogue]
    right = [
        item >= 0 and source != INVENTED and keys[item] == keys[source] for item, source in zip(found.items, made.sources, strict=True)
    ]
    assert sum(right) / (found.items >= 0).sum() >= 0.95
    assert sum(right) / sum(source != INVENTED for source in made.sources) >= 0.95


def test_the_form_of_titles() -> None:
    title = read_title("Usual Suspects, The (a.k.a. The Suspects) (1995)")
    assert (title.key, title.year, title.aliases) == ("usual suspects", 1995, ("suspects",))
    assert read_title("Rocky III: Die Rückkehr").key == "rocky 3 die ruckkehr"
    assert read_title("Rocky III: Die Rückkehr").main == "rocky 3"
    assert read_title("千と千尋の神隠し (2001)").key
    assert read_title("(500) Days of Summer (2009)").key == "days of summer"
    assert read_title("(2012)").key == ""
    assert variants("Heat (1995) because it is good") == ["Heat (1995)"]


def spelling(texts: Sequence[str]) -> np.ndarray:
    """A vector of letters: enough to see which titles share letters."""
    vectors = np.zeros((len(texts), 26), dtype=np.float32)
    for row, text in enumerate(texts):
        for letter in text.casefold():
            if "a" <= letter <= "z":
                vectors[row, ord(letter) - ord("a")] += 1
    return vectors


def test_embeddings_ground_what_is_near_and_clearly_so() -> None:
    matcher = EmbeddingMatcher(spelling(FILMS), spelling, titles=FILMS, threshold=0.9, margin=0.01)
    titles = ["The Secret Life of the Pets", "Toy Story 4", "Hamlet", "zzz"]
    assert matcher.match(titles).items.tolist() == [9, -1, -1, -1]
    allowed = np.ones(len(FILMS), dtype=bool)
    allowed[9] = False
    assert matcher.match(titles[:1], allowed=allowed).items.tolist() == [-1]
    with pytest.raises(UserError, match="13 item vectors have 1 titles"):
        EmbeddingMatcher(spelling(FILMS), spelling, titles=["a"])


def test_grounding_needs_matchers_and_fuzzy_matching_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(UserError, match="needs at least one matcher"):
        Grounding([])
    monkeypatch.setitem(sys.modules, "rapidfuzz.process", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'recsmith\[language\]'"):
        FuzzyMatcher(FILMS)


def test_later_matchers_see_only_what_is_left() -> None:
    class Last:
        name = "last"
        seen: list[str] = []

        def match(self, titles: Sequence[str], *, allowed: np.ndarray | None = None) -> Matches:
            self.seen += titles
            return Matches(np.zeros(len(titles), dtype=np.int64), np.ones(len(titles), dtype=np.float32))

    last = Last()
    found = Grounding([ExactMatcher(FILMS)], last=last).ground(["Heat", "Nothing - a remark", "Alice & Martin - a remark"])
    assert (found.items.tolist(), found.by.tolist(), last.seen) == ([8, 0, 12], [0, 1, 0], ["Nothing - a remark"])
