"""Cross-encoders: query and item text read together by a transformer, one score a pair (Nogueira and Cho, 2019, arXiv:1901.04085)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from recsmith.data import Histories
from recsmith.encoders import checked_texts
from recsmith.errors import UserError, import_extra
from recsmith.protocols import RankedLists
from recsmith.retrieval.question import Question
from recsmith.runtime import Precision, Runtime

ScorePairs = Callable[[Sequence[tuple[str, str]]], np.ndarray]
"""Pairs of texts (query, item) → scores float32 `[pair]`, higher is better."""


class CrossEncoder:
    """Any transformers folder with a sequence-classification head; a `ScorePairs`.

    One output is the score itself. Several are classes 1 … n of a rating, and the score is the rating that they expect ("rating": the
    cross-encoder with a rating head) or the logit of the last class ("last": relevant against not). Too long pairs lose the end of the
    longer text. Pairs are sorted by length and padded per batch. Loads local files only and never runs their code.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        head: Literal["rating", "last"] = "last",
        max_tokens: int = 256,
        batch_size: int = 32,
        precision: Precision = "auto",
    ) -> None:
        """Raises `UserError` when `folder` is not one; the weights are read at the first call."""
        self._folder = Path(folder)
        if not (self._folder / "config.json").exists():
            raise UserError(f"`{folder}` is no transformers folder: it has no config.json; give the folder that save_pretrained wrote")
        self._head = head
        self._max_tokens = max_tokens
        self._batch_size = batch_size
        self._runtime = Runtime.choose(precision=precision)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Scores float32 `[pair]`."""
        if not pairs:
            return np.zeros(0, dtype=np.float32)
        first, second = (checked_texts([pair[side] for pair in pairs]) for side in (0, 1))
        order = np.argsort([len(a) + len(b) for a, b in zip(first, second)], kind="stable")
        scores = np.empty(len(pairs), dtype=np.float32)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            scores[rows] = self._batch([first[row] for row in rows], [second[row] for row in rows])
        return scores

    @torch.inference_mode()
    def _batch(self, first: list[str], second: list[str]) -> np.ndarray:
        device, dtype = self._runtime.device, self._runtime.compute_dtype
        inputs = self._tokenizer(first, second, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt").to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = self._model(**inputs).logits.float()
        if logits.shape[1] == 1:
            return logits[:, 0].cpu().numpy()
        if self._head == "last":
            return logits[:, -1].cpu().numpy()
        ratings = torch.arange(1, logits.shape[1] + 1, device=logits.device, dtype=torch.float32)
        return (logits.softmax(1) @ ratings).cpu().numpy()

    @cached_property
    def _tokenizer(self) -> Any:
        library = import_extra("transformers", extra="text", purpose="a cross-encoder")
        return library.AutoTokenizer.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False)

    @cached_property
    def _model(self) -> Any:
        library = import_extra("transformers", extra="text", purpose="a cross-encoder")
        loader = library.AutoModelForSequenceClassification
        model = loader.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False, use_safetensors=True)
        return model.eval().to(self._runtime.device)


@dataclass(frozen=True)
class CrossEncoderReranker:
    """A `Reranker`: every candidate's text beside what the person says, or beside the texts of the last events."""

    score: ScorePairs
    texts: Sequence[str]
    """Text of each item."""
    events: int = 5
    """Events whose texts make the query where nothing is said, latest first."""

    def __call__(self, question: Question, lists: RankedLists) -> RankedLists:
        """The same items, ordered by the cross-encoder's scores; of equal scores the earlier one stays first."""
        queries = self._queries(question.histories.tail(self.events), question.words)
        rows, columns = np.nonzero(lists.items >= 0)
        pairs = [(queries[row], self.texts[item]) for row, item in zip(rows, lists.items[rows, columns])]
        scores = np.full(lists.items.shape, -np.inf, dtype=np.float32)
        scores[rows, columns] = self.score(pairs)
        order = np.argsort(-scores, axis=1, kind="stable")
        return RankedLists(np.take_along_axis(lists.items, order, 1), np.take_along_axis(scores, order, 1))

    def _queries(self, recent: Histories, words: Sequence[str] | None) -> list[str]:
        said = words or [""] * len(recent)
        return [text if text.strip() else "; ".join(self.texts[item] for item in recent.row(row)[::-1]) for row, text in enumerate(said)]
