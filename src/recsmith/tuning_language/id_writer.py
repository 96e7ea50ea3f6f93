"""`IdWriter`: a language model that writes a short id for an item out of the words of the item's text (Tan et al., 2024)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from recsmith.data import ItemCodes
from recsmith.decoding.adapters import CausalCodes, CodeTokens
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.network import LanguageNetwork, Pair

Row = tuple[int, ...]
_ASK = "Tags:"
_WORD = re.compile(r"[^\W_]+")
_AT_ONCE = 128


@dataclass(frozen=True)
class _Words:
    """Tokens that a text's words begin with, and which token may follow on which inside a word."""

    begins: tuple[int, ...]
    follows: dict[int, tuple[int, ...]]

    @property
    def all(self) -> list[int]:
        return sorted({*self.begins, *(token for tokens in self.follows.values() for token in tokens)})


class IdWriter:
    """Writes the ids of items, given their texts. An id takes its words from the item's text, each of them once, in any order."""

    def __init__(self, network: LanguageNetwork, texts: Sequence[str], *, longest: int, longest_text: int) -> None:
        """`network`: decoder-only, made for these texts; `longest`: tokens of an id; `longest_text`: tokens that are read of a text."""
        self.network, self.texts, self.longest = network, texts, longest
        ask = network.tokens(_ASK)
        self.prompts = [[*network.tokens(text, longest=longest_text), *ask] for text in texts]
        self._words = [self._words_of(text) for text in texts]

    @staticmethod
    def phrases() -> list[str]:
        """Words that its tokenizer should know besides those of the texts."""
        return [_ASK]

    # ---- learning ----

    def tags(self, *, most: int) -> list[Pair]:
        """Each text with the words of it that fewest texts have, in their order: what a writer that was not pretrained learns first."""
        listed = [list(dict.fromkeys(_WORD.findall(text))) for text in self.texts]
        shared = Counter(word.lower() for words in listed for word in {word.lower(): word for word in words}.values())
        pairs: list[Pair] = []
        for prompt, words in zip(self.prompts, listed, strict=True):
            rare = sorted(words, key=lambda word: (shared[word.lower()], words.index(word)))[:most]
            tokens = [token for word in words if word in rare for token in self.network.tokens(f" {word}")]
            pairs.append((prompt, [*tokens[: self.longest], self.network.end]))
        return pairs

    def shares(self, items: Sequence[int], ids: Sequence[Row]) -> Tensor:
        """How likely each word token is at each place of the ids, given the text and the places before: `[token of all ids, word]`."""
        rows = [[*self.prompts[item], *row] for item, row in zip(items, ids, strict=True)]
        padded, real = self.network.padded(rows)
        logits = self.network.model(input_ids=padded, attention_mask=real.long()).logits[..., : self.network.word_count].float()
        places = [(number, len(self.prompts[item]) - 1 + place) for number, item in enumerate(items) for place in range(len(ids[number]))]
        row, place = torch.tensor(places, device=logits.device).unbind(dim=1)
        own = torch.zeros(len(rows), self.network.word_count, dtype=torch.bool, device=logits.device)
        for number, item in enumerate(items):
            own[number, self._words[item].all] = True
            own[number, list(ids[number])] = True
        return logits[row, place].masked_fill(~own[row], -torch.inf).softmax(dim=1)

    # ---- writing ----

    def distinct(self, *, groups: int, penalty: float, attempts: int, used: set[Row]) -> list[Row]:
        """An id for each text: the likeliest that nobody before has; written again, more diversely, up to `attempts` times.

        `used` ids are taken and new ones are added to it. What is still not alone keeps its likeliest id, to be told apart by others.
        """
        found: dict[int, Row] = {}
        first: dict[int, Row] = {}
        left = list(range(len(self.texts)))
        for attempt in range(attempts):
            still = []
            for item, rows in zip(left, self.write(left, groups=groups * 2**attempt, penalty=penalty * (1 + attempt)), strict=True):
                first.setdefault(item, rows[0])
                free = next((row for row in rows if row not in used), None)
                if free is None:
                    still.append(item)
                    continue
                used.add(free)
                found[item] = free
            left = still
        return [found[item] if item in found else first[item] for item in range(len(self.texts))]

    @torch.no_grad()
    def write(self, items: Sequence[int], *, groups: int, penalty: float) -> list[list[Row]]:
        """Candidates for each item by diverse beam search (Vijayakumar et al., 2018) with groups of one beam, the likeliest first."""
        was_training = self.network.training
        self.network.eval()
        found = [
            rows
            for start in range(0, len(items), _AT_ONCE)
            for rows in self._search(items[start : start + _AT_ONCE], groups=groups, penalty=penalty)
        ]
        self.network.train(was_training)
        return found

    def _search(self, items: Sequence[int], *, groups: int, penalty: float) -> list[list[Row]]:
        vocabulary, levels, end = self.network.word_count, self.longest + 1, self.network.end
        nothing = ItemCodes(np.zeros((0, levels), dtype=np.int64), (vocabulary,) * levels)
        tokens = CodeTokens((torch.arange(vocabulary, device=self.network.device),) * levels)
        model = CausalCodes(self.network.model, nothing, tokens, prompt=lambda _: self.network.padded([self.prompts[i] for i in items]))
        nobody = torch.zeros(len(items) + 1, dtype=torch.int64, device=self.network.device)
        state, parents, last = model.prefill(HistoryBatch(nobody[:0], nobody)), None, None
        written: list[list[list[int]]] = [[[] for _ in range(groups)] for _ in items]
        total = torch.zeros(len(items), groups, device=self.network.device)
        for level in range(levels):
            logits, state = model.step(state, level, parents, last)
            logs = logits.float().expand(-1, groups, -1).masked_fill(~self._allowed(items, written), -torch.inf).log_softmax(dim=2)
            last = _diverse(logs, penalty, end=end)
            total += logs.gather(2, last[..., None])[..., 0]
            for rows, chosen in zip(written, last.tolist(), strict=True):
                for row, token in zip(rows, chosen, strict=True):
                    row.append(token)
            parents = torch.arange(groups, device=last.device).expand_as(last) if level else torch.zeros_like(last)
        return [self._ranked(rows, scores) for rows, scores in zip(written, total.tolist(), strict=True)]

    def _ranked(self, rows: list[list[int]], scores: list[float]) -> list[Row]:
        ids = [tuple(row[: row.index(self.network.end)]) for row in rows]
        order = sorted(range(len(ids)), key=lambda place: -scores[place] / (len(ids[place]) + 1))
        return list(dict.fromkeys(ids[place] for place in order))

    def _allowed(self, items: Sequence[int], written: list[list[list[int]]]) -> Tensor:
        """What may come next, bool `[item, group, word]`."""
        places = [
            (number, group, token)
            for number, item in enumerate(items)
            for group, row in enumerate(written[number])
            for token in self._following(self._words[item], row)
        ]
        allowed = torch.zeros(len(items), len(written[0]), self.network.word_count, dtype=torch.bool)
        allowed[tuple(torch.tensor(places).T)] = True
        return allowed.to(self.network.device)

    def _following(self, words: _Words, row: list[int]) -> list[int]:
        end = self.network.end
        if end in row or len(row) == self.longest:
            return [end]
        fresh = [token for token in words.begins if token not in row]
        return [*fresh, *words.follows.get(row[-1], ()), end] if row else fresh

    def _words_of(self, text: str) -> _Words:
        pieces = [self.network.tokens(f" {word}") for word in dict.fromkeys(_WORD.findall(text)) or ["item"]]
        follows: dict[int, set[int]] = {}
        for row in pieces:
            for before, after in pairwise(row):
                follows.setdefault(before, set()).add(after)
        return _Words(tuple(dict.fromkeys(row[0] for row in pieces)), {token: tuple(sorted(after)) for token, after in follows.items()})


def _diverse(logs: Tensor, penalty: float, *, end: int) -> Tensor:
    """The best token of each group, int64 `[row, group]`, where tokens that earlier groups chose here cost `penalty`; ends cost nothing."""
    taken, chosen = torch.zeros_like(logs[:, 0]), []
    for group in range(logs.shape[1]):
        token = (logs[:, group] - penalty * taken).argmax(dim=1)
        taken.scatter_add_(1, token[:, None], torch.ones_like(taken[:, :1]))
        taken[:, end] = 0
        chosen.append(token)
    return torch.stack(chosen, dim=1)
