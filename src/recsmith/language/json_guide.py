"""`Guide`: which tokens may come next, so that an answer is JSON of a given form and is complete within its longest length."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsmith.language.json_form import Place

_BYTE = re.compile(r"<0x[0-7][0-9A-F]>")
"""A letter or sign as a byte: next to bytes of a broken letter a tokenizer would not read it back as itself."""


class Guide:
    """A form (`form_of`) in the words of one tokenizer (`token_texts`): a graph whose steps are tokens."""

    def __init__(self, form: Place, texts: Mapping[int, str]) -> None:
        self._form, self._texts = form, texts
        self._moves = _moves(form, texts)
        self._left = _tokens_left(self._moves)

    @property
    def least(self) -> float:
        """Tokens of the shortest answer, its end included; infinite where the tokenizer has no words for the form."""
        return self._left.get(self._form, math.inf)

    def follow(self, longest: int, end: int) -> Callable[[Sequence[int]], list[int]]:
        """For one answer of at most `longest` tokens, no fewer than `least`: its tokens so far → the ids that may come next.

        Call it with every token more. Only tokens are given after which the answer can still be completed; behind it, `end` alone.
        """
        here, read = self._form, 0

        def allowed(tokens: Sequence[int]) -> list[int]:
            nonlocal here, read
            for token in tokens[read:]:
                here = here.after(self._texts.get(token, "")) or here
            read = len(tokens)
            room = longest - read - 1
            return [token for place, ids in self._moves[here].items() if self._left.get(place, math.inf) <= room for token in ids] or [end]

        return allowed


def token_texts(tokenizer: Any) -> dict[int, str]:
    """What each token adds to a text before it; parts of letters are U+FFFD, special tokens are left out."""
    start = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    before = str(tokenizer.decode(start, clean_up_tokenization_spaces=False))
    special = set(tokenizer.all_special_ids)
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    ids = [token for token, name in enumerate(names) if name is not None and token not in special and not _BYTE.fullmatch(name)]
    shown = tokenizer.batch_decode([[*start, token] for token in ids], clean_up_tokenization_spaces=False)
    return {token: text[len(before) :] for token, text in zip(ids, shown, strict=True) if text.startswith(before) and text != before}


def _moves(form: Place, texts: Mapping[int, str]) -> dict[Place, dict[Place, list[int]]]:
    """Every place that tokens can lead to → the places one token further, and the tokens that lead there."""
    by_first: defaultdict[str, list[int]] = defaultdict(list)
    for token, text in texts.items():
        by_first[text[0]].append(token)
    moves: dict[Place, dict[Place, list[int]]] = {}
    waiting = [form]
    while waiting:
        place = waiting.pop()
        if place in moves:
            continue
        found: defaultdict[Place, list[int]] = defaultdict(list)
        for first in by_first if place.rest is not None else place.edges:
            for token in by_first.get(first, ()):
                behind = place.after(texts[token])
                if behind is not None:
                    found[behind].append(token)
        moves[place] = dict(found)
        waiting.extend(found)
    return moves


def _tokens_left(moves: Mapping[Place, Mapping[Place, Sequence[int]]]) -> dict[Place, int]:
    """Fewest tokens from each place to the end of the answer, the end token included; without places from which none leads there."""
    before: defaultdict[Place, list[Place]] = defaultdict(list)
    for place, ways in moves.items():
        for behind in ways:
            before[behind].append(place)
    reached = [place for place in moves if not place.edges]
    left = dict.fromkeys(reached, 1)
    for place in reached:
        for earlier in before[place]:
            if earlier not in left:
                left[earlier] = left[place] + 1
                reached.append(earlier)
    return left
