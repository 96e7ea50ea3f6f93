"""`CatalogueVectors`: the texts of a catalogue as vectors, encoded once, and whatever else is said, when it is said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from recsmith.encoders.encode import encode_with
from recsmith.encoders.text import EncoderConfig, Side, TextEncoder, make_encoder


class CatalogueVectors:
    """Vectors by text, of one encoder that is loaded once. The whole catalogue is encoded at the first call, other texts as they come."""

    def __init__(self, texts: Sequence[str], config: EncoderConfig) -> None:
        self._texts, self._config = texts, config

    @property
    def encoder_name(self) -> str:
        """Exactly which encoder was used; "nothing yet" before the first call."""
        return self._encoder.name if "_encoder" in self.__dict__ else "nothing yet"

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 `[text, dim]` of texts about items, in their order."""
        known = self._known
        others = [text for text in texts if text not in known]
        more = dict(zip(others, self._encode(others, "items"), strict=True)) if others else {}
        return np.stack([known[text] if text in known else more[text] for text in texts])

    def of_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 `[text, dim]` of what people say, by the encoder's prompt for queries."""
        if self._config.query_prompt in ("", self._config.prompt):
            return self.of(texts)
        return self._encode(texts, "queries")

    @cached_property
    def _known(self) -> dict[str, np.ndarray]:
        return dict(zip(self._texts, self._encode(self._texts, "items"), strict=True))

    @cached_property
    def _encoder(self) -> TextEncoder:
        return make_encoder(self._config, reference=self._config.prompted(self._texts, "items"))

    def _encode(self, texts: Sequence[str], side: Side) -> np.ndarray:
        return encode_with(self._encoder, self._config.prompted(texts, side))[0]
