"""`Portraits`: training histories of which a language model wrote what the person likes and what they looked for next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig
from recsmith.language.budget import Budget
from recsmith.language.compiler import Value, compile_prompt
from recsmith.language.completion import Backend
from recsmith.language.making import make_asker
from recsmith.language.template import load_template
from recsmith.language.untrusted import plain_line
from recsmith.nn.text_table import TextTable
from recsmith.tuning_language.tasks import Case


class PortraitConfig(Config):
    """Who writes about people, and how much of it."""

    backend: BackendConfig = BackendConfig()
    """Which language model writes; none: distinctive words of the items stand in its place, offline."""
    people: int = Field(200, ge=1)
    """Training histories of which it writes."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the training examples in words that are taken from what it wrote; the others get distinctive words."""
    budget: Budget = Budget()
    """What may be spent; a spent budget ends the run, and the same command with a larger one goes on from there."""
    cache: str | None = None
    """File that keeps the answers (SQLite); None: `answers.sqlite` in `$RECSMITH_CACHE` or `~/.cache/recsmith`."""

    def asker(self, backend: Backend | None = None) -> Asker | None:
        """Who is asked, `backend` in the place of the one named here; None where there is nobody."""
        return make_asker(self.backend, budget=self.budget, cache=self.cache, backend=backend)


class Portraits(nn.Module):
    """Some training histories up to an event, a person's taste in words, and in words what they wished for that the event fulfilled.

    Saved with the weights; empty until `write`.
    """

    events: Tensor
    """Items of each history, oldest first and -1 before the first, and the event behind it; int64 `[portrait, told + 1]`."""

    def __init__(self, told: int) -> None:
        super().__init__()
        self.register_buffer("events", torch.zeros(0, told + 1, dtype=torch.int64))
        self.tastes, self.wishes = TextTable(), TextTable()

    def __len__(self) -> int:
        return len(self.events)

    def write(self, histories: Histories, texts: Sequence[str], asker: Asker, *, people: int, seed: int) -> None:
        """Ask about histories drawn by lot: two questions each, `person-taste` about what was before and `item-wish` about what came.

        A history of which one of the two has no answer makes no portrait.
        """
        random = np.random.default_rng(seed)
        long_enough = np.flatnonzero(histories.lengths >= 2)
        rows = random.permutation(long_enough)[:people]
        told = self.events.shape[1] - 1
        events = np.full((len(rows), told + 1), -1, dtype=np.int64)
        for place, row in enumerate(rows):
            items = histories.row(int(row))
            last = int(random.integers(1, len(items)))
            kept = items[max(0, last - told) : last + 1]
            events[place, told + 1 - len(kept) :] = kept
        before = [[texts[item] for item in row[:-1] if item >= 0] for row in events.tolist()]
        likes = tastes(before, asker)
        wishes = answers(asker, "item-wish", [{"item": texts[row[-1]]} for row in events.tolist()])
        whole = [place for place, said in enumerate(zip(likes, wishes, strict=True)) if all(said)]
        self.events = torch.from_numpy(events[whole]).to(self.events.device)
        self.tastes, self.wishes = (TextTable([said[place] for place in whole]) for said in (likes, wishes))

    def draw(self, random: np.random.Generator) -> Case:
        """One of them: history, item, and the words `taste` and `wish`."""
        place = int(random.integers(len(self)))
        *history, item = [one for one in self.events[place].tolist() if one >= 0]
        return Case(item=item, history=history, words={"taste": self.tastes.texts[place], "wish": self.wishes.texts[place]})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        stored = state_dict.get(f"{prefix}events")
        if stored is not None:
            self.events = self.events.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def tastes(histories: Sequence[Sequence[str]], asker: Asker) -> list[str]:
    """What people with these histories of titles like, in words of the language model."""
    return answers(asker, "person-taste", [{"history": list(history)} for history in histories])


def answers(asker: Asker, template: str, values: Sequence[dict[str, Value]]) -> list[str]:
    """The answers to a prompt filled in many times, each on one line."""
    prompt = load_template(template)
    prompts = [compile_prompt(prompt, entry, max_tokens=3000, count=asker.count_tokens).prompt for entry in values]
    return [plain_line(answer or "") for answer in asker.ask(prompts)]
