"""Domain plug-ins: one low-rank update per domain of content, merged for the domain that is asked about (Xu et al., 2024)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import ConfigError, DataError, suggestion
from recsmith.models.retriever import closed_form_retriever
from recsmith.nn.plug_ins import Mixture, PlugIns, plugged
from recsmith.nn.text_table import TextTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import AT_ONCE, CandidateConfig, CandidateModel
from recsmith.tuning_language.network import LanguageNetwork
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.yes_no_questions import ANSWERS, yes_or_no


class DomainLoraConfig(CandidateConfig):
    """Settings of `DomainLora`."""

    tasks: str = "tallrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    tuner: TunerConfig = TunerConfig()
    """Left as it is: the plug-ins are what learns."""
    rank: int = Field(8, ge=1)
    """Rank of each plug-in."""
    scale: float = Field(16.0, gt=0)
    """Strength of a plug-in, divided by the rank."""
    domains: int = Field(8, ge=1)
    """Plug-ins at most, one for each of the most frequent widest categories; rarer ones share the last."""
    others: float = Field(0.1, ge=0, le=1)
    """Weight of all other domains' plug-ins together, beside that of the domain that is asked about."""
    without: list[str] = []
    """Domains that are left out of tuning and answered by the plug-ins of the others."""


class DomainNetwork(LanguageNetwork):
    """A language network with plug-ins, of which only those learn once it is tuned."""

    def __init__(self, config: DomainLoraConfig) -> None:
        super().__init__(config.network, TunerConfig())
        self.mixture = Mixture()
        self._count, self._rank, self._scale = config.domains, config.rank, config.scale

    def around(self, model: Any) -> Any:
        """The model with plug-ins inside."""
        return plugged(model, self.mixture, count=self._count, rank=self._rank, scale=self._scale)

    def tune(self) -> None:
        """Freeze all but the plug-ins."""
        self.model.requires_grad_(False)
        for part in self.model.modules():
            if isinstance(part, PlugIns):
                part.down.requires_grad_(True)
                part.up.requires_grad_(True)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self.model is not None:
            self.tune()


class DomainLora(CandidateModel):
    """Does this person like that, asked of the plug-in of the item's domain with a little of the others'.

    Paper: "Enhancing content-based recommendation via large language model" (LOID, CIKM 2024): a domain's knowledge is a low-rank plug-in,
    and plug-ins of other domains are added for a target domain without training anything again. A question about an item trains its
    domain's plug-in alone; in answering the others count `others` together. A domain without training (`without`, or new) is answered by
    the mean of all plug-ins, each by its share of training. `mixture_of` gives the weights.

    Deviations: yes and no on a small model of one's own; domains are the widest category of items; plug-ins are mixed in the layer rather
    than added to the weights, so that one batch may ask about several domains; the paper's alignment with an id-based model is left out.
    """

    Config: ClassVar[type[DomainLoraConfig]] = DomainLoraConfig
    reads: ClassVar[tuple[str, ...]] = ("texts", "facts")

    domain_of: Tensor
    shares: Tensor

    def __init__(self, config: DomainLoraConfig, *, items: int) -> None:
        if config.tuner != TunerConfig():
            raise ConfigError("domain plug-ins are what learns here; set model.rank and model.scale instead of model.tuner")
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.network: DomainNetwork = DomainNetwork(config)
        self.names = TextTable()
        self.register_buffer("domain_of", torch.full((items,), -1, dtype=torch.int64))
        self.register_buffer("shares", torch.zeros(config.domains))

    def read_facts(self, facts: ItemFacts) -> None:
        """The widest category of each item is its domain. Raises `DataError` where no item has one."""
        widest = [row[0] if row else "" for row in facts.categories]
        counts = Counter(name for name in widest if name)
        if not counts:
            raise DataError(
                "domain plug-ins need items with categories, and the catalogue names none; give a column of categories or genres"
            )
        for name in self.config.without:
            if name not in counts:
                raise DataError(f"there is no domain `{name}` to leave out; {suggestion(name, list(counts))}")
        names = [name for name, _ in counts.most_common() if name not in self.config.without][: self.config.domains]
        place = {name: number for number, name in enumerate(names)}
        last = len(names) - 1
        known = [-1 if not name or name in self.config.without else place.get(name, last) for name in widest]
        self.domain_of.copy_(torch.tensor(known))
        self.names = TextTable(names)

    def observe(self, histories: Histories) -> None:
        """Count the events of each domain; then as every ranker of candidates."""
        domains = self.domain_of[torch.from_numpy(histories.values)]
        counts = torch.bincount(domains[domains >= 0], minlength=self.config.domains).float()
        self.shares.copy_(counts / counts.sum().clamp(min=1))
        super().observe(histories)

    def extra_words(self) -> list[str]:
        """The two answers."""
        return [f" {answer}" for answer in ANSWERS] * 10

    def mixture_of(self, items: Sequence[int], *, others: float) -> Tensor:
        """Weight of each plug-in for questions about these items, `[item, plug-in]`; rows add up to 1 where any domain was trained."""
        domains = self.domain_of[torch.tensor(items, dtype=torch.int64, device=self.domain_of.device)]
        own = torch.nn.functional.one_hot(domains.clamp(min=0), self.config.domains).float()
        rest = self.shares.expand_as(own) * (1 - own)
        rest = rest / rest.sum(1, keepdim=True).clamp(min=1e-9)
        alone = rest.sum(1, keepdim=True) == 0
        mixed = torch.where(alone, own, (1 - others) * own + others * rest)
        return torch.where(domains[:, None] < 0, self.shares.expand_as(own), mixed)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of the answers, each question with the plug-in of its item's domain; domains that are left out are not asked
        about."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        cases = [case for case in self.draw(batch.known(), random) if int(self.domain_of[case.item]) >= 0]
        self.network.mixture.weights = self.mixture_of([case.item for case in cases], others=0.0) if cases else None
        loss = self.network.loss([self.pair(case) for case in cases])
        self.network.mixture.weights = None
        return loss

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Probability of yes for each candidate."""
        cases = [self._case(row.items.tolist(), item) for row, chosen in zip(histories, candidates, strict=True) for item in chosen]
        parts = []
        for start in range(0, len(cases), AT_ONCE):
            part = cases[start : start + AT_ONCE]
            self.network.mixture.weights = self.mixture_of([case.item for case in part], others=self.config.others)
            parts.append(self.chances(part, ANSWERS)[:, 0])
        self.network.mixture.weights = None
        return list(torch.cat(parts).split([len(chosen) for chosen in candidates]))

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Yes or no about random events; no about an item of the same domain, where there is one that the person has not taken."""

        def alike(item: int, tries: int) -> list[int]:
            found: list[int] = random.choice(torch.nonzero(self.domain_of == self.domain_of[item])[:, 0].cpu().numpy(), tries).tolist()
            return found

        for row, event, item, answer in yes_or_no(batch, max(1, round(self.config.examples * len(batch))), random, others=alike):
            yield self._case(batch.items[int(batch.offsets[row]) : event].tolist(), item, answer=answer)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and each domain's share of the training events."""
        shares = dict(zip(self.names.texts, self.shares.tolist()))
        return {**super().figures(), "tuned": "plug-ins by domain", "domains": shares}

    def _case(self, history: Sequence[int], item: int, *, answer: str = "") -> Case:
        return Case(item=item, history=history[-self.config.told_history :], words={"answer": answer})
