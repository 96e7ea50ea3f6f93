"""`Wording`: templates and cases → tokens of one language model. Item codes and people are tokens of their own behind the words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recsmith.data import ItemCodes
from recsmith.decoding.adapters import CodeTokens
from recsmith.errors import DataError
from recsmith.language.untrusted import list_entry, plain_line
from recsmith.tuning_language.network import LanguageNetwork, Pair
from recsmith.tuning_language.tasks import Case, TaskTemplate, TextPair, pieces

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What candidates are called, at most as many as there are letters."""
_LISTS = frozenset({"titles", "rated", "disliked", "suggested", "candidates", "options", "following"})
"""Fields that are lists of titles."""
_SPOKEN = frozenset({"rating", "aspect", "review", "summary", "answer", "taste", "wish", "preference", "attributes"})
"""Fields that are words as given."""


class Wording:
    """What stands for what: words first, then a token for each code of each level, one for strangers and one for each bucket of people.

    Codes that spell words have the same token at every level, and an item is its pieces with the end of the id behind them.

    Titles stand in prompts without quotes, so what sets them apart is kept out of them: a title has no semicolon and no letter alone in
    round brackets (`list_entry`), and neither have people's words beside lists of titles. Thus a list has as many entries as items.
    """

    def __init__(
        self,
        network: LanguageNetwork,
        codes: ItemCodes,
        *,
        people: int,
        titles: Sequence[str] = (),
        max_text: int = 64,
        max_title: int = 24,
    ) -> None:
        """`people`: buckets of users; `titles`: the items' words, one text per item, for templates that name them."""
        self.network, self.people, self.titles = network, people, titles
        self.max_text, self.max_title = max_text, max_title
        self.code_tokens = (CodeTokens.spelled if codes.words else CodeTokens.after)(network.word_count, codes)
        table = torch.from_numpy(codes.table)
        rows = [self.code_tokens.of(level, table[:, level]) for level in range(codes.levels)]
        self._items: list[list[int]] = torch.stack(rows, dim=1).tolist() if rows else []
        if codes.words:
            ends = (codes.table == 0).argmax(axis=1)
            self._items = [row[: end + 1] for row, end in zip(self._items, ends.tolist(), strict=True)]
        self._words = codes.words
        self.stranger: int = network.word_count + self.code_count(codes)
        self._fixed: dict[str, list[int]] = {}
        self._told: dict[int, list[int]] = {}

    @staticmethod
    def extra(codes: ItemCodes, people: int) -> int:
        """Tokens needed besides words."""
        return Wording.code_count(codes) + 1 + people

    @staticmethod
    def code_count(codes: ItemCodes) -> int:
        """Tokens needed for codes."""
        return len(codes.words) or sum(codes.sizes)

    def item(self, item: int) -> list[int]:
        """The tokens of an item."""
        return self._items[item]

    def user(self, user: int) -> int:
        """The token of a person; strangers (-1) share one."""
        return self.stranger if user < 0 or not self.people else self.stranger + 1 + user % self.people

    def title(self, item: int) -> list[int]:
        """The tokens of an item's words. Raises `DataError` when there are none."""
        if item not in self._told:
            if not len(self.titles):
                raise DataError("these task texts speak of items by title, but no titles were read; give data with a catalogue")
            self._told[item] = self.network.tokens(list_entry(self.titles[item]), longest=self.max_title)
        return self._told[item]

    def listed(self, items: Sequence[int]) -> list[int]:
        """The titles of several items, with semicolons between."""
        between = self.words(";")
        return [token for place, item in enumerate(items) for token in ([*between] if place else []) + self.title(item)]

    def words(self, text: str) -> list[int]:
        """The tokens of a template's fixed words."""
        if text not in self._fixed:
            self._fixed[text] = self.network.tokens(text.strip()) if text.strip() else []
        return self._fixed[text]

    def pair(self, template: TaskTemplate, case: Case) -> Pair:
        """Tokens of the question and of its answer; answers in words have an end token, answers that are an item's tokens have none.

        Where an item follows on a question that ends with the history, a decoder-only model learns each item of the history as well.
        """
        asked, target = self.tokens(template.input, case), self.tokens(template.target, case)
        if template.target != "{item}":
            return asked, [*target, self.network.end]
        if self.network.reads_first or not template.input.endswith("{history}"):
            return asked, target
        told = len(self._value("history", case))
        return asked[: len(asked) - told], [*asked[len(asked) - told :], *target]

    def tokens(self, text: str, case: Case) -> list[int]:
        """Tokens of one side of a template."""
        found: list[int] = []
        parts = pieces(text)
        told = list_entry if any(name in _LISTS for _, name in parts) else plain_line
        for before, name in parts:
            found += self.words(before)
            if name in _SPOKEN:
                found += self.network.tokens(told(case.words[name], longest=2000), longest=self.max_text)
            elif name is not None:
                found += self._value(name, case)
        return found

    def _value(self, name: str, case: Case) -> list[int]:
        if name == "user":
            return [self.user(case.user)]
        if name == "item":
            return self.item(case.item)
        if name == "history":
            return [token for item in case.history for token in self.item(item)]
        if name == "masked":
            return [token for item in case.history for token in (self.item(item) if item >= 0 else self.words("?"))]
        if name == "pair":
            return [token for item in case.candidates for token in (*self.words("-"), *self.item(item))]
        if name == "title":
            return self.title(case.item)
        if name == "titles":
            return self.listed(case.history)
        if name in ("disliked", "suggested"):
            return self.listed(case.disliked if name == "disliked" else case.suggested)
        if name == "rated":
            return [
                token
                for item, rating in zip(case.history, case.ratings or [np.nan] * len(case.history), strict=True)
                for token in (*self.title(item), *self.words(f"rated {rating:g};" if np.isfinite(rating) else ";"))
            ]
        if name in ("options", "following"):
            return self.listed(case.candidates if name == "options" else case.following)
        assert name == "candidates", name
        return [token for place, item in enumerate(case.candidates) for token in (*self.words(f"({LETTERS[place]})"), *self.title(item))]

    def shown(self, template: TaskTemplate, case: Case) -> TextPair:
        """The same as texts, items as `<item 3-17>` (or their words) and people as `<user 5>`, with where they come from."""
        return TextPair(
            self._text(template.input, case), self._text(template.target, case), template.family, template.name, case.user, case.item
        )

    def _text(self, text: str, case: Case) -> str:
        first, parts = self.network.word_count, []
        names = {
            token: f"<{self._words[code].strip() or 'end'}>" if self._words else f"<item {level}-{code}>"
            for level, tokens in enumerate(self.code_tokens.levels)
            for code, token in enumerate(tokens.tolist())
        }
        tokens = self.tokens(text, case)
        starts = np.flatnonzero(np.diff(np.array([token >= first for token in tokens], dtype=np.int8), prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(tokens)]):
            run = tokens[start:stop]
            if run[0] < first:
                parts.append(self.network.text(run))
            else:
                parts += [names.get(token) or self._named(token) for token in run]
        return " ".join(parts)

    def _named(self, token: int) -> str:
        """What a token behind those of codes stands for."""
        return "<stranger>" if token == self.stranger else f"<user {token - self.stranger - 1}>"
