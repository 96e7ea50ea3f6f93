"""`FuzzyMatcher`: misspelt, shortened and lengthened titles. Letter triples find a few candidates, edit distance judges them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsmith.decoding.grounding import Matches
from recsmith.decoding.grounding_titles import Title, read_title, years_agree
from recsmith.errors import import_extra

_CHUNK = 256
_SAME_YEAR = 0.1
_SAME_WORD = 0.55


class FuzzyMatcher:
    """Titles that nearly agree.

    Cosine of letter triples (tf-idf) keeps the `candidates` nearest titles, in one sparse product; rapidfuzz (the fastest of what
    `benchmarks/language_grounding.py` compares) gives the share of equal letters, `1 - edits / (length + length)`. Accepted is the best
    one from `threshold` on (less .1 where the very year is given on both sides) whose numbers and year agree, unless another title is
    as near, or a whole word is another one. Short titles need more: an edit counts as in a title of twelve letters, the more the shorter it
    is. A title without its subtitle is accepted when one item alone fits, a title with an unknown subtitle when the very year does too.
    """

    name = "fuzzy"

    def __init__(
        self, titles: Sequence[str | None], *, popularity: np.ndarray | None = None, threshold: float = 0.88, candidates: int = 16
    ) -> None:
        self._process = import_extra("rapidfuzz.process", extra="language", purpose="fuzzy matching of titles")
        self._ratio = import_extra("rapidfuzz.fuzz", extra="language", purpose="fuzzy matching of titles").ratio
        self._titles = [read_title(title or "") for title in titles]
        self._popularity = np.zeros(len(titles)) if popularity is None else np.asarray(popularity, dtype=np.float64)
        self._threshold = threshold
        self._candidates = max(1, min(candidates, len(titles)))
        self._triples, self._weights, self._matrix = _triple_index([title.key for title in self._titles])
        self._mains: dict[str, list[int]] = {}
        self._keys: dict[str, list[int]] = {}
        for item, title in enumerate(self._titles):
            self._keys.setdefault(title.key, []).append(item)
            if title.main != title.key:
                self._mains.setdefault(title.main, []).append(item)

    def match(self, titles: Sequence[str], *, allowed: np.ndarray | None = None) -> Matches:
        """The nearest item of each title, or -1."""
        matches = Matches.none(len(titles))
        read = [read_title(title) for title in titles] if self._titles else []
        for start in range(0, len(read), _CHUNK):
            part = read[start : start + _CHUNK]
            items, scores = self._nearest([title.key for title in part], allowed)
            for row, title in enumerate(part):
                matches.items[start + row], matches.scores[start + row] = self._judge(title, items[row], scores[row], allowed)
        return matches

    def _nearest(self, keys: list[str], allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The candidates of each key, int64 `[key, candidate]`, and their shares of equal letters float32 of the same shape."""
        similar = (self._vectors(keys) @ self._matrix).toarray()
        if allowed is not None:
            similar[:, ~allowed] = -1
        size = self._candidates
        items = np.sort(np.argpartition(-similar, size - 1, axis=1)[:, :size], axis=1)
        left = [key for key in keys for _ in range(size)]
        right = [self._titles[item].key for item in items.reshape(-1)]
        shares = self._process.cpdist(left, right, scorer=self._ratio, dtype=np.float32).reshape(len(keys), size) / 100
        shares[np.take_along_axis(similar, items, axis=1) <= 0] = 0
        return items, shares

    def _vectors(self, keys: list[str]) -> sparse.csr_matrix:
        return _matrix(keys, self._triples) @ sparse.diags(self._weights)

    def _judge(self, title: Title, items: np.ndarray, shares: np.ndarray, allowed: np.ndarray | None) -> tuple[int, float]:
        if not title.key:
            return -1, 0.0
        best, best_score, second = -1, 0.0, 0.0
        for item, share in zip(items.tolist(), shares.tolist(), strict=True):
            score = self._score(title, self._titles[item], share)
            better = score > best_score or (score == best_score and score > 0 and self._popularity[item] > self._popularity[best])
            if better:
                same = best >= 0 and self._titles[best].key == self._titles[item].key
                best, best_score, second = item, score, second if same else best_score
            elif self._titles[item].key != self._titles[best].key:
                second = max(second, score)
        if best_score >= self._threshold and second < best_score:
            return best, min(1.0, best_score)
        shortened = self._without_subtitle(title, allowed)
        return shortened, self._threshold if shortened >= 0 else 0.0

    def _score(self, given: Title, known: Title, share: float) -> float:
        if share <= 0 or given.numbers != known.numbers or not years_agree(given.year, known.year):
            return 0.0
        length = (len(given.key) + len(known.key)) / 2
        strict = 1 - (1 - share) * max(1.0, 12 / length)
        if strict + _SAME_YEAR < self._threshold or not self._same_words(given.key, known.key):
            return 0.0
        return strict + (_SAME_YEAR if given.year is not None and given.year == known.year else 0.0)

    def _same_words(self, given: str, known: str) -> bool:
        """Whether the words that only one of the two has are spellings of each other."""
        ours, theirs = given.split(), known.split()
        left = " ".join(word for word in ours if word not in theirs)
        right = " ".join(word for word in theirs if word not in ours)
        return not left or not right or self._ratio(left, right) / 100 >= _SAME_WORD

    def _without_subtitle(self, title: Title, allowed: np.ndarray | None) -> int:
        """The one item that is called so without its subtitle, or that the title without its own subtitle names; -1 for none or several."""
        longer = [item for item in self._mains.get(title.key, []) if self._fits(title, item, allowed)]
        the_year = [item for item in longer if title.year is not None and self._titles[item].year == title.year]
        if len(the_year or longer) == 1:
            return (the_year or longer)[0]
        if title.main == title.key or title.year is None:
            return -1
        shorter = [item for item in self._keys.get(title.main, []) if self._fits(title, item, allowed)]
        the_year = [item for item in shorter if self._titles[item].year == title.year]
        return the_year[0] if len(the_year) == 1 else -1

    def _fits(self, title: Title, item: int, allowed: np.ndarray | None) -> bool:
        return (allowed is None or bool(allowed[item])) and years_agree(title.year, self._titles[item].year)


def _triple_index(keys: list[str]) -> tuple[dict[str, int], np.ndarray, sparse.csc_matrix]:
    """Letter triples by number, their weights, and the unit vectors of the keys as columns `[triple, key]`."""
    counts = Counter(triple for key in keys for triple in set(_triples_of(key)))
    numbers = {triple: number for number, triple in enumerate(counts)}
    weights = np.log((1 + len(keys)) / (1 + np.array(list(counts.values()), dtype=np.float64))).astype(np.float32) + 0.1
    matrix = _matrix(keys, numbers) @ sparse.diags(weights)
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).reshape(-1))
    scaled = sparse.diags((1 / np.maximum(norms, 1e-9)).astype(np.float32)) @ matrix
    return numbers, weights, scaled.T.tocsr()


def _matrix(keys: list[str], numbers: dict[str, int]) -> sparse.csr_matrix:
    found = [[numbers[triple] for triple in set(_triples_of(key)) if triple in numbers] for key in keys]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in found])])
    columns = np.array([number for row in found for number in row], dtype=np.int32)
    return sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), columns, offsets), shape=(len(keys), len(numbers)))


def _triples_of(key: str) -> list[str]:
    padded = f" {key} "
    return [padded[place : place + 3] for place in range(len(padded) - 2)]
