"""Uni-CTR: one language model reads the features, a ladder network per domain and a general one predict clicks (Fu et al., 2023)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import ConfigError, DataError, suggestion
from recsmith.models.retriever import closed_form_retriever
from recsmith.nn.ladder import Ladder, LadderSize, Tower
from recsmith.nn.packed import offsets_from
from recsmith.nn.text_table import TextTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.shared_prompts import Prompt, layer_states, require_decoder_only, require_sharing
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.yes_no_model import Group, YesNoConfig, YesNoModel
from recsmith.tuning_language.yes_no_questions import ANSWERS


class UniCtrConfig(YesNoConfig):
    """Settings of `UniCtr`."""

    tasks: str = "uni-ctr"
    """Task set with the templates `person`, `item` and `domain`: a name that comes with the library, or the path of a .toml file."""
    tuner: TunerConfig = TunerConfig()
    """What of the language model learns beside the networks of the domains; over a folder take lora."""
    question_steps: int = Field(0, ge=0, le=0)
    """Stays 0: the language model and the networks of the domains learn together."""
    domains: int = Field(8, ge=1)
    """Domains with a network of their own, at most: the first categories with most items; the others have the general network."""
    without: list[str] = []
    """Domains that are left out of training, and answered by the general network."""
    every: int = Field(1, ge=1)
    """Layers of the language model from one rung of a ladder to the next; the last layer always is one."""
    ladder_heads: int = Field(4, ge=1)
    """Attention heads of a rung."""
    ladder_hidden: int = Field(64, ge=1)
    """Width of the feed-forward layers of a rung, and of the hidden layer of a tower."""
    ladder_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped in ladders and towers."""


class UniCtr(YesNoModel):
    """The probability of a click orders the candidates of a retriever; `likes` gives it for any person and item.

    Paper: "A unified framework for multi-domain CTR prediction via large language models" (TOIS 2024). The features stand in the prompt as
    person, item, domain. The states of several layers of the language model, which all domains share, feed a ladder per domain; what
    arrives on top is weighed against the language model's own last state, and a tower makes a number of it. The general network is a tower
    over the state in front of the domain's words, so that it knows of none: it learns from all domains, and answers for those that have no
    network. All networks and the language model learn together, each example by its domain's network and by the general one.

    Deviations: a small decoder-only model of one's own unless a folder is given; a domain is an item's first category, and people go
    through all; items at random, of any domain, where the log has no ratings to tell what did not please (`label`); ladders read the item's
    and the domain's part of the prompt, whose states have read the person's part; a candidate's network is that of its domain.
    """

    Config: ClassVar[type[UniCtrConfig]] = UniCtrConfig
    reads: ClassVar[tuple[str, ...]] = ("texts", "facts")

    domain_of: Tensor
    """Number of the network of each item, -1 for the general one; int64 `[item]`."""
    left_out: Tensor
    """Whether an item's domain is left out of training, bool `[item]`."""
    name_of: Tensor
    """Number of the name of each item's domain; int64 `[item]`."""

    def __init__(self, config: UniCtrConfig, *, items: int) -> None:
        require_sharing(config.network, config.tuner, who="Uni-CTR")
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        for name in ("person", "item", "domain"):
            self.task_set.named(name)
        self.names = TextTable()
        self.register_buffer("domain_of", torch.full((items,), -1, dtype=torch.int64))
        self.register_buffer("left_out", torch.zeros(items, dtype=torch.bool))
        self.register_buffer("name_of", torch.zeros(items, dtype=torch.int64))
        self.ladders, self.general = nn.ModuleList(), nn.Sequential()
        self._make(config.network.dim, len(_rungs(config.network.layers, config.every)))

    def read_facts(self, facts: ItemFacts) -> None:
        """The first category of each item is its domain. Raises `DataError` where no item has one."""
        first = [row[0] if row else "" for row in facts.categories]
        counts = Counter(name for name in first if name)
        if not counts:
            raise DataError(
                "Uni-CTR divides items by their first category, but the catalogue names none; give it a column such as `genres`"
            )
        for name in self.config.without:
            if name not in counts:
                raise DataError(f"there is no domain `{name}` to leave out; {suggestion(name, list(counts))}")
        trained = [name for name, _ in counts.most_common() if name not in self.config.without][: self.config.domains]
        names = [*trained, *(name for name in dict.fromkeys(first) if name not in trained)]
        place = {name: number for number, name in enumerate(names)}
        self.names = TextTable(names)
        self.name_of.copy_(torch.tensor([place[name] for name in first]))
        self.domain_of.copy_(torch.where(self.name_of < len(trained), self.name_of, -1))
        self.left_out.copy_(torch.tensor([name in self.config.without for name in first]))

    def observe(self, histories: Histories) -> None:
        """As every model of titles; then networks of the language model's width. A loaded one keeps its own."""
        super().observe(histories)
        require_decoder_only(self.network, who="Uni-CTR")
        if not self._loaded:
            shape = self.network.model.config
            self._make(shape.hidden_size, len(_rungs(shape.num_hidden_layers, self.config.every)))

    def extra_words(self) -> list[str]:
        """The domains, as often as a tokenizer needs to learn them whole."""
        return [text for text in self.names.texts if text] * 10

    def odds(self, groups: Sequence[Group]) -> Tensor:
        """Log odds of a click for all questions of the groups in order, by the network of each item's domain, or else the general one."""
        own, general, domains = self.answers_of(groups)
        return torch.where(domains >= 0, own, general)

    def answers_of(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor, Tensor]:
        """Log odds by the domains' networks (0 where there is none) and by the general one, and the networks' numbers, all `[question]`."""
        items = [case.item for _, cases in groups for case in cases]
        shown, placed = self._parts("item", items), self._parts("domain", items)
        ways = iter([item + domain for item, domain in zip(shown, placed, strict=True)])
        person = self.task_set.named("person").input
        prompts = [Prompt(self.wording.tokens(person, cases[0]), [next(ways) for _ in cases]) for _, cases in groups]
        layers = layer_states(self.network, prompts, _rungs(self.network.model.config.num_hidden_layers, self.config.every))
        domains = self.domain_of[torch.tensor(items, dtype=torch.int64, device=self.domain_of.device)]
        last = torch.stack([states[-1] for states in layers[-1]])
        unknowing = torch.stack([states[len(item)] for states, item in zip(layers[-1], shown, strict=True)])
        general: Tensor = self.general(unknowing)[:, 0]
        own = torch.zeros_like(general)
        for number in domains.unique().tolist():
            if number >= 0:
                rows = (domains == number).nonzero()[:, 0]
                chosen = rows.tolist()
                offsets = offsets_from(torch.tensor([len(layers[-1][row]) for row in chosen], device=rows.device))
                packed = [torch.cat([states[row] for row in chosen]) for states in layers]
                own = own.index_copy(0, rows, self.ladders[number](packed, offsets, last[rows]).to(own.dtype))
        return own, general, domains

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of the clicks by the domains' networks, plus that by the general one; 0 when there is nothing to ask about."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        left_out = self.left_out.tolist()
        asked = [(history, [case for case in cases if not left_out[case.item]]) for history, cases in self.groups(batch.known(), random)]
        groups = [(history, cases) for history, cases in asked if cases]
        if not groups:
            return next(self.general.parameters()).sum() * 0.0
        own, general, domains = self.answers_of(groups)
        wanted = torch.tensor([float(case.words["answer"] == ANSWERS[0]) for _, cases in groups for case in cases], device=own.device)
        loss = functional.binary_cross_entropy_with_logits(general, wanted)
        known = domains >= 0
        return loss + functional.binary_cross_entropy_with_logits(own[known], wanted[known]) if known.any() else loss

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and which domains have a network of their own."""
        trained = set(self.domain_of.tolist()) - {-1}
        return {**super().figures(), "domains with a network": [name for place, name in enumerate(self.names.texts) if place in trained]}

    def _parts(self, name: str, items: Sequence[int]) -> list[list[int]]:
        """Tokens of one part of the prompt for each item."""
        template, names, numbers = self.task_set.named(name).input, self.names.texts, self.name_of.tolist()
        return [self.wording.tokens(template, Case(item=item, words={"attributes": names[numbers[item]]})) for item in items]

    def _make(self, width: int, rungs: int) -> None:
        config = self.config
        if width % config.ladder_heads:
            raise ConfigError(f"model.ladder_heads = {config.ladder_heads} does not divide the language model's width {width}; choose one")
        size = LadderSize(width, rungs, config.ladder_heads, config.ladder_hidden, config.ladder_dropout)
        device = self.network.device
        self.ladders = nn.ModuleList(Ladder(size) for _ in range(config.domains)).to(device)
        self.general = Tower(width, config.ladder_hidden, config.ladder_dropout).to(device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How wide and deep the language model is, only the file knows."""
        rungs = [value for name, value in state_dict.items() if name.startswith(f"{prefix}ladders.0.norms.") and name.endswith(".weight")]
        if rungs:
            self._make(len(rungs[0]), len(rungs))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _rungs(layers: int, every: int) -> list[int]:
    """The layers that ladders read, counted from 1."""
    return [*range(every, layers, every), layers]
