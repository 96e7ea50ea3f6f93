"""SAID: item vectors from which a language model can say the items' texts, for a sequential model to start from (Hu et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.errors import ConfigError, DataError
from recsmith.language.untrusted import plain_line
from recsmith.nn.text_table import TextTable
from recsmith.protocols import HistoryBatch
from recsmith.training import StartConfig, start_items
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig
from recsmith.tuning_language.tuner import TunerConfig

_IGNORED = -100
_MEASURED = 256


class SaidConfig(Config):
    """How items get their vectors, and what reads them."""

    network: NetworkConfig = NetworkConfig()
    """The language model: a small one of one's own, which learns along, or a folder, which stands still; decoder-only."""
    max_text: int = Field(32, ge=2)
    """Tokens of an item's text that are to be said, at most."""
    steps: int = Field(400, ge=1)
    """Optimiser steps in which items get their vectors."""
    batch_size: int = Field(64, ge=1)
    """Items of such a step."""
    learning_rate: float = Field(5e-3, gt=0)
    """First step size of that; it falls linearly."""
    hidden: int = Field(0, ge=0)
    """Width of a hidden layer between an item's own vector and the language model's input; 0: none, as for a linear map of the item."""
    item_std: float = Field(0.02, gt=0)
    """Standard deviation of the numbers of the vectors that the sequential model starts from."""
    fixed: bool = False
    """Whether the sequential model must keep the vectors as they are."""
    downstream: Literal["sasrec", "gru4rec"] = "sasrec"
    """The sequential model."""
    downstream_settings: dict[str, Any] = {}
    """Its settings."""


class Said(nn.Module):
    """Item vectors learned by having a language model say each item's text, given its vector alone, feed a light sequential model.

    Paper: "Enhancing sequential recommendation via LLM-based semantic embedding learning" (WWW 2024 companion). The language model is
    gone when the vectors are learned: what is trained on events, saved and served is the sequential model alone.

    Deviations: a small language model of one's own, which learns along with the vectors, unless `network.folder` names another, which then
    stands still; principal components bring the vectors to the width of the sequential model, which goes on learning them unless `fixed`.
    """

    Config: ClassVar[type[SaidConfig]] = SaidConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("texts",)

    said: Tensor

    def __init__(self, config: SaidConfig, *, items: int) -> None:
        from recsmith.models import MODELS

        super().__init__()
        self.config, self.items = config, items
        make = MODELS.get(config.downstream)
        self.downstream: Any = make(make.Config.parse(config.downstream_settings, where="model.downstream_settings"), items=items)
        self.downstream.items.weight.requires_grad_(not config.fixed)
        self.table = TextTable()
        self.register_buffer("said", torch.zeros(2))
        self._loaded = False

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item."""
        if len(texts) != self.items:
            raise ValueError(f"{self.items} items have {len(texts)} texts")
        self.table = TextTable([plain_line(text) for text in texts])

    def observe(self, histories: Histories) -> None:
        """Learn the item vectors from the texts, and let the sequential model start from them; a loaded one stays as it is."""
        if len(self.table) != self.items:
            raise DataError("Said has read no item texts; fit it on data with a catalogue that has titles")
        if self._loaded:
            return
        vectors = self.learn_vectors()
        start_items(self.downstream, vectors, StartConfig(items="pca", item_std=self.config.item_std), seed=0)

    def learn_vectors(self) -> np.ndarray:
        """A vector per item from which a language model says its text, float32 `[item, width]`; how well it does goes to `figures`."""
        config = self.config
        network = LanguageNetwork(config.network, TunerConfig())
        network.make(self.table.texts)
        if network.reads_first:
            raise ConfigError("SAID needs a decoder-only language model; set `model.network.kind` to causal or give another folder")
        own = config.network.folder is None
        projector = _projector(self.items, network.model.get_input_embeddings().embedding_dim, config.hidden)
        network.to(self.said.device).train(own).requires_grad_(own)
        projector.to(self.said.device)
        told = [[*network.tokens(text, longest=config.max_text), network.end] for text in self.table.texts]
        learning = [*projector.parameters(), *(network.parameters() if own else ())]
        optimizer = torch.optim.AdamW(learning, lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=config.steps)
        with torch.enable_grad():
            for _ in range(config.steps):
                chosen = torch.randint(self.items, (min(config.batch_size, self.items),)).tolist()
                loss, _ = said_loss(network, projector(torch.tensor(chosen, device=self.said.device)), [told[item] for item in chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(learning, 5.0)
                optimizer.step()
                schedule.step()
        network.eval()
        some = torch.randperm(self.items)[:_MEASURED]
        with torch.no_grad():
            loss, right = said_loss(network, projector(some.to(self.said.device)), [told[item] for item in some.tolist()])
            self.said.copy_(torch.stack([loss, right]))
            vectors: np.ndarray = projector(torch.arange(self.items, device=self.said.device)).float().cpu().numpy()
        return vectors

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """That of the sequential model."""
        loss: Tensor = self.downstream.loss(batch.known(), step)
        return loss

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`, those of the sequential model."""
        scores: Tensor = self.downstream.score(batch.known())
        return scores

    def queries(self, batch: HistoryBatch) -> Tensor:
        """Vectors whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        queries: Tensor = self.downstream.queries(batch.known())
        return queries

    def answer_vectors(self) -> tuple[Tensor, Tensor | None]:
        """Item vectors `[item, dim]` and, where there is one, the bias `[item]`."""
        vectors: tuple[Tensor, Tensor | None] = self.downstream.answer_vectors()
        return vectors

    def figures(self) -> dict[str, Any]:
        """How well texts came out of the vectors when these were learned: cross-entropy, and tokens said right given those before."""
        loss, right = self.said.tolist()
        kind = self.config.network.folder or f"own {self.config.network.kind}"
        return {"backend": kind, "nats per token": loss, "tokens said right": right, "read by": self.config.downstream}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        self._loaded = f"{prefix}said" in state_dict
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def said_loss(network: LanguageNetwork, vectors: Tensor, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Cross-entropy per token of `texts` behind one input vector each (`[text, width]`), and the share of tokens that are likeliest."""
    ids, real = network.padded(texts)
    embedded = torch.cat([vectors[:, None], network.model.get_input_embeddings()(ids)], dim=1)
    mask = functional.pad(real, (1, 0), value=True)
    logits = network.model(inputs_embeds=embedded, attention_mask=mask.long()).logits[:, :-1].float()
    wanted = ids.masked_fill(~real, _IGNORED)
    loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=_IGNORED)
    return loss, (logits.argmax(dim=2) == wanted)[real].float().mean()


def _projector(items: int, width: int, hidden: int) -> nn.Module:
    """Item numbers → input vectors of a language model."""
    own = nn.Embedding(items, hidden or width)
    nn.init.normal_(own.weight, std=0.1)
    return nn.Sequential(own, nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, width)) if hidden else own
