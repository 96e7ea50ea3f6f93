"""TransRec: items as number, title and attributes; any part of these may be written, all together ranks (Lin et al., KDD 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories, ItemCodes
from recsmith.decoding.adapters import CausalCodes, EncoderDecoderCodes
from recsmith.decoding.beam import beam_search
from recsmith.decoding.substrings import SubstringIndex
from recsmith.language.untrusted import list_entry
from recsmith.nn.shortlist import squeezed
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import TitleConfig, TitleModel, followed_events
from recsmith.tuning_language.network import Pair
from recsmith.tuning_language.pieces import spelling
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.wording import Wording

FacetName = Literal["id", "title", "attribute"]
BETWEEN = " | "
"""Stands between an item's title and its attributes, which commas separate, in the text that the recipe gives."""


class TransrecConfig(TitleConfig):
    """Settings of `Transrec`."""

    tuner: TunerConfig = TunerConfig()
    """What of the language model learns: full, or lora as in the paper, over a folder."""
    tasks: str = "transrec"
    """Task set with templates named id, title and attribute: a name that comes with the library, or the path of a .toml file."""
    weights: dict[FacetName, float] = {"id": 1.0, "title": 1.0, "attribute": 1.0}
    """How much each facet counts in an item's score; facets that are not named are not asked."""
    bias: dict[FacetName, float] = {"id": 1.0, "title": 0.0, "attribute": 0.0}
    """What every generated part of a facet is worth by itself, added to how much likelier it is here than anywhere (nats)."""
    power: float = Field(1.0, gt=0)
    """Power to which the worth of a part is raised before those of an item are added; below 1, many parts beat one strong one."""
    beams: int = Field(20, ge=1)
    """Parts that are generated for each facet."""
    longest: int = Field(6, ge=1)
    """Tokens of a part, at most."""


@dataclass(frozen=True)
class Facet:
    """One way to say what an item is."""

    wording: Wording
    index: SubstringIndex


class Transrec(TitleModel):
    """A language model is asked for the next item's number, title and attribute, and writes parts of them that exist in the catalogue.

    Paper: "Bridging items and language: a transition paradigm for large language model-based recommendation" (KDD 2024). Identifiers have
    several facets; generation is constrained to what some item has, but free in where it begins; each item then gathers what its parts are
    worth, with a bias per facet and a weight for it. The recipe's text is "title | attribute, attribute".

    Deviations: a small model of one's own, of which everything learns, unless `network.folder` names another; a part begins at a word and
    goes to the end of the text or to `longest` tokens, numbers are written whole; parts are held in a code trie, not in an FM-index;
    items without any part follow in the order of popularity.
    """

    Config: ClassVar[type[TransrecConfig]] = TransrecConfig

    events: Tensor

    def __init__(self, config: TransrecConfig, *, items: int) -> None:
        super().__init__(config, items=items)
        self.register_buffer("events", torch.zeros(items, dtype=torch.int64))
        self._facets: dict[FacetName, Facet] | None = None
        self._asked = self._reached = 0

    def read(self, texts: Sequence[str]) -> None:
        """Titles, and attributes behind them where there are any."""
        super().read(texts)
        self._facets = None

    def observe(self, histories: Histories) -> None:
        """Count what is popular; then as every model of titles."""
        known = histories.values[histories.values >= 0]
        self.events.copy_(torch.from_numpy(np.bincount(known, minlength=self.items)))
        super().observe(histories)
        self._facets = None

    def extra_words(self) -> list[str]:
        """The numbers."""
        return [f" {item + 1}" for item in range(self.items)]

    # ---- learning ----

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Each facet of random events that something precedes."""
        offsets = batch.offsets.tolist()
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            history = batch.items[max(offsets[row], event - self.config.told_history) : event].tolist()
            for name, facet in self.facets.items():
                if facet.index.of_item[int(batch.items[event])]:
                    yield Case(item=int(batch.items[event]), history=history, template=name)

    def pair(self, case: Case) -> Pair:
        """The question of a facet, and a random part of what the item has there; its end is learned unless the part was cut."""
        facet = self.facets[case.template]  # type: ignore[index]
        own = facet.index.of_item[case.item]
        run = facet.index.runs[own[int(torch.randint(len(own), ()))]]
        ended = [self.network.end] if len(run) < facet.index.codes.levels else []
        return self._question(facet, case), [*run, *ended]

    # ---- answering ----

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: above 1 for items with a generated part, below for all others."""
        if not len(batch):
            return torch.zeros(0, self.items, device=self.events.device)
        batch = batch.known()
        parts = [weight * self.facet_scores(name, batch) for name, weight in self.config.weights.items() if name in self.facets]
        found = torch.stack(parts).sum(dim=0)
        self._asked += len(batch)
        self._reached += int((found > 0).sum())
        return torch.where(found > 0, 1 + found, squeezed(self.events.float()[None]))

    def facet_scores(self, name: FacetName, batch: HistoryBatch) -> Tensor:
        """What the parts of one facet that are written for each row are worth to each item, `[batch, item]`."""
        facet, index = self.facets[name], self.facets[name].index
        make = EncoderDecoderCodes if self.network.reads_first else CausalCodes
        model = make(
            self.network.model, index.codes, index.tokens, prompt=lambda asked: self._prompt(name, asked), softmax="vocabulary", ends=True
        )
        count = min(self.config.beams, len(index))
        found = beam_search(model, batch, facet.index.trie, count, beams=count, normalise="none")
        bias = self.config.bias.get(name, 0.0)
        return index.grounded(found, bias=bias, power=self.config.power).to(self.events.device)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles; which facets there are, and how many items a person's parts reach."""
        without = [name for name in self.config.weights if name not in self.facets]
        reached = self._reached / max(1, self._asked)
        return {**super().figures(), "facets": list(self.facets), "facets without data": without, "items reached per answer": reached}

    @property
    def facets(self) -> dict[FacetName, Facet]:
        """Those that some item has, in the words of the network as it is now."""
        if self._facets is None:
            self._require_texts()
            told: dict[FacetName, list[list[str]]] = {
                "id": [[str(item + 1)] for item in range(self.items)],
                "title": [[text.partition(BETWEEN)[0]] for text in self.table.texts],
                "attribute": [[one.strip() for one in text.partition(BETWEEN)[2].split(",") if one.strip()] for text in self.table.texts],
            }
            self._facets = {name: self._facet(told[name], whole=name == "id") for name in self.config.weights if any(told[name])}
        return self._facets

    def _facet(self, told: list[list[str]], *, whole: bool) -> Facet:
        nothing = ItemCodes(np.zeros((self.items, 0), dtype=np.int64), ())
        named = [", ".join(texts) or "none" for texts in told]
        wording = Wording(self.network, nothing, people=0, titles=named, max_title=self.config.max_title)
        tokens = [[self.network.tokens(f" {list_entry(text)}", longest=self.config.max_title) for text in texts] for texts in told]

        def begins(row: Sequence[int]) -> list[int]:
            starts = [0] if whole else [0, *(place for place, token in enumerate(row) if self._begins_a_word(token))]
            return sorted(set(starts))

        longest = max(len(row) for rows in tokens for row in rows) if whole else self.config.longest
        return Facet(wording, SubstringIndex.build(tokens, begins=begins, longest=longest, end=self.network.end))

    def _begins_a_word(self, token: int) -> bool:
        return spelling(self.network.tokenizer, token).startswith(" ")

    def _question(self, facet: Facet, case: Case) -> list[int]:
        return facet.wording.tokens(self.task_set.named(case.template).input, case)

    def _prompt(self, name: FacetName, batch: HistoryBatch) -> tuple[Tensor, Tensor]:
        most = self.config.told_history
        rows = [batch.items[max(start, stop - most) : stop].tolist() for start, stop in pairwise(batch.offsets.tolist())]
        return self.network.padded([self._question(self.facets[name], Case(history=row, template=name)) for row in rows])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        self._facets = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
