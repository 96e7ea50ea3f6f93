"""Discrete prompts found by gradients: which tokens, put before every question, make the right answers likelier?

After AutoPrompt (Shin et al., EMNLP 2020) and its personal form PAP-REC (Li, Ji, Ge & Zhang, 2024, arXiv:2402.00284): all weights stay as
they are, the slope of the loss along the embedding of a place says which tokens may lower it there, and those are tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.config import Config
from recsmith.tuning_language.network import LanguageNetwork, Pair


class TriggerConfig(Config):
    """How many tokens, and how long they are searched."""

    shared: int = Field(3, ge=0)
    """Tokens that stand before everybody's questions."""
    personal: int = Field(2, ge=0)
    """Tokens behind them that each group of people has for itself."""
    rounds: int = Field(12, ge=0)
    """Tokens that are reconsidered, shared ones and each group's by turns."""
    tries: int = Field(12, ge=1)
    """Replacements that are tried in a round: those with the steepest slope."""
    batch: int = Field(32, ge=1)
    """Questions on which slopes are taken and replacements tried."""


class TriggerSearch:
    """Searches the tokens of one network. `triggers` holds a row of tokens per group, shared ones first, int64 `[group, token]`."""

    def __init__(self, network: LanguageNetwork, config: TriggerConfig, *, groups: int, seed: int = 0) -> None:
        self.network, self.config = network, config
        self.random = np.random.default_rng(seed)
        marks = {int(network.facts["pad"]), network.end}
        self._words = torch.tensor([token for token in range(network.word_count) if token not in marks])
        start = self.random.choice(self._words.numpy(), config.shared + config.personal)
        self.triggers = np.tile(start, (max(1, groups), 1)).astype(np.int64)

    def run(self, pairs: Sequence[Pair], groups: Sequence[int]) -> list[float]:
        """Improve the tokens on questions with their answers, each of a group; the mean loss on all of them before and after every round.

        A replacement is taken when it lowers the loss of the batch that it was tried on and the loss on all pairs that it concerns.
        """
        rows = np.asarray(groups)
        losses = [self.loss(pairs, groups)]
        for number in range(self.config.rounds):
            shared = self.config.shared > 0 and (self.config.personal == 0 or number % 2 == 0)
            if shared:
                place = (number // 2 if self.config.personal else number) % self.config.shared
                self._reconsider(place, np.arange(len(pairs)), np.arange(len(self.triggers)), pairs, rows)
            elif self.config.personal:
                place = self.config.shared + (number // 2 if self.config.shared else number) % self.config.personal
                for group in np.unique(rows):
                    self._reconsider(place, np.flatnonzero(rows == group), np.array([group]), pairs, rows)
            losses.append(self.loss(pairs, groups))
        return losses

    def asked(self, question: Sequence[int], group: int) -> list[int]:
        """The question behind its group's tokens."""
        return [*self.triggers[group].tolist(), *question]

    def loss(self, pairs: Sequence[Pair], groups: Sequence[int]) -> float:
        """Mean cross-entropy per token of the answers behind the tokens as they are."""
        told = [(self.asked(source, int(group)), target) for (source, target), group in zip(pairs, groups, strict=True)]
        parts = [told[start : start + 128] for start in range(0, len(told), 128)]
        with torch.no_grad():
            sums = [float(self.network.loss(part)) * sum(len(target) for _, target in part) for part in parts]
        return sum(sums) / max(1, sum(len(target) for _, target in told))

    def slopes(self, pairs: Sequence[Pair], groups: Sequence[int], place: int) -> Tensor:
        """How the loss would change, by its slope, if the token at `place` were another one: float32 `[word token]`."""
        table = self.network.model.get_input_embeddings()
        seen: list[Tensor] = []

        def watch(_module: object, _input: object, answer: Tensor) -> Tensor | None:
            if seen:
                return None
            seen.append(answer.detach().requires_grad_())
            return seen[0]

        handle = table.register_forward_hook(watch)
        try:
            with torch.enable_grad():
                loss = self.network.loss([(self.asked(source, int(group)), target) for (source, target), group in zip(pairs, groups)])
                slope = torch.autograd.grad(loss, seen[0])[0][:, place].sum(dim=0)
        finally:
            handle.remove()
        return (table.weight.detach()[self._words] @ slope).float()

    def _reconsider(self, place: int, concerned: np.ndarray, changed: np.ndarray, pairs: Sequence[Pair], groups: np.ndarray) -> None:
        """Try other tokens at one place of the triggers of the groups `changed`, which the pairs `concerned` read."""
        if not len(concerned):
            return
        chosen = self.random.permutation(concerned)[: self.config.batch]
        batch, rows = [pairs[one] for one in chosen], groups[chosen]
        before = self.triggers[changed, place].copy()
        steepest = self._words[self.slopes(batch, rows, place).argsort()[: self.config.tries]]
        least, found = self.loss(batch, rows), None
        for token in steepest.tolist():
            self.triggers[changed, place] = token
            reached = self.loss(batch, rows)
            if reached < least:
                least, found = reached, token
        self.triggers[changed, place] = before
        if found is None:
            return
        everyone, all_rows = [pairs[one] for one in concerned], groups[concerned]
        earlier = self.loss(everyone, all_rows)
        self.triggers[changed, place] = found
        if self.loss(everyone, all_rows) >= earlier:
            self.triggers[changed, place] = before
