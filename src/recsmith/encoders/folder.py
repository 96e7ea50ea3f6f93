"""Any transformers model from a folder as a text encoder: hidden states of the last layer, pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsmith.encoders.batches import Batch, in_order
from recsmith.encoders.hub import folder_hash
from recsmith.encoders.text import checked_texts
from recsmith.errors import UserError, import_extra
from recsmith.protocols import Progress
from recsmith.runtime import Precision, Runtime

Pooling = Literal["mean", "cls", "last", "max"]


class FolderEncoder:
    """Encoder-only and decoder-only models alike; loads local files only and never runs their code.

    `mean` and `max` go over the true tokens, `cls` takes the first and `last` the last one, which is where a causal model has read all.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pooling: Pooling = "mean",
        max_tokens: int = 256,
        precision: Precision = "auto",
        batch_size: int = 32,
    ) -> None:
        self._folder = folder
        self._pooling = pooling
        self._max_tokens = max_tokens
        self._runtime = Runtime.choose(precision=precision)
        self._batch_size = batch_size

    @cached_property
    def name(self) -> str:
        """Folder, hash of the files, pooling, length and number type."""
        number_type = "bf16" if self._runtime.compute_dtype == torch.bfloat16 else "fp32"
        files = folder_hash(self._folder)[:12]
        return f"transformers {self._folder.name} (files sha256 {files}, {self._pooling} of {self._max_tokens} tokens, {number_type})"

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Vectors float32 `[text, dim]` of length 1."""
        texts = checked_texts(texts)
        return in_order(self.batches(texts), len(texts), dim=self._model.config.hidden_size, progress=progress)

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """See `BatchedEncoder.batches`; short texts first."""
        texts = checked_texts(texts)
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            yield rows, self._batch([texts[row] for row in rows])

    @torch.inference_mode()
    def _batch(self, texts: list[str]) -> np.ndarray:
        device, dtype = self._runtime.device, self._runtime.compute_dtype
        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt").to(device)
        mask = inputs["attention_mask"]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            hidden = self._model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state.float()
        return normalize(pooled(hidden, mask.bool(), self._pooling), dim=1).cpu().numpy()

    @cached_property
    def _tokenizer(self) -> Any:
        library = import_extra("transformers", extra="text", purpose=f"the encoder `{self._folder}`")
        tokenizer = library.AutoTokenizer.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False)
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise UserError(f"the tokenizer in `{self._folder}` has no padding and no end token; give it a pad_token and save it")
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        library = import_extra("transformers", extra="text", purpose=f"the encoder `{self._folder}`")
        loader = library.AutoModel
        return loader.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False, use_safetensors=True).eval()


def pooled(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """`[batch, length, dim]` and bool `[batch, length]`, padded on the right → `[batch, dim]`; a text without tokens gives zeros."""
    lengths = mask.sum(1)
    if pooling == "cls":
        chosen = hidden[:, 0]
    elif pooling == "last":
        chosen = hidden[torch.arange(len(hidden)), (lengths - 1).clamp(min=0)]
    elif pooling == "max":
        chosen = hidden.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
    else:
        chosen = (hidden * mask[:, :, None]).sum(1) / lengths.clamp(min=1)[:, None]
    return torch.where((lengths > 0)[:, None], chosen, torch.zeros_like(chosen))
