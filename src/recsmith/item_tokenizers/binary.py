"""`BinaryCodes`: behaviour written down as a short string of bits, four bytes that read like an address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.item_tokenizers.collaborative import collaborative_vectors
from recsmith.item_tokenizers.plain import ObservingTokenizer, PlainConfig
from recsmith.seeding import derive_seed, generator


class BinaryConfig(PlainConfig):
    """Settings of binary collaborative codes."""

    levels: int = Field(4, ge=1, le=16)
    """Bytes of an item's string; the collision level comes on top."""
    bits: int = Field(8, ge=1, le=16)
    """Bits of a byte."""
    rotations: int = Field(50, ge=0)
    """Steps of turning the vectors toward the corners of a cube."""


class BinaryCodes(ObservingTokenizer):
    """The codes of BinLLM (Zhang et al., ACL 2024, arXiv:2406.03210): a collaborative vector as bits, cut into bytes ("171.0.3.96").

    Vectors of items met in the same training histories are turned so that their signs lose least (iterative quantization: Gong &
    Lazebnik, 2011), and the signs are the bits: items with similar audiences differ in few bits. Items that nobody met in training
    get all bits zero. Deviations: BinLLM trains the bits along with a matrix factorization, through the sign; and it prompts a
    language model with the strings, where these codes go to any generator.
    """

    Config: ClassVar[type[PlainConfig]] = BinaryConfig
    no_new_items = "nobody has met them yet"

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        length = self.config.levels * self.config.bits
        seed_of_vectors = derive_seed(seed, "binary", "collaborative")
        vectors = collaborative_vectors(self._observed(items), items, dim=length, seed=seed_of_vectors)
        met = vectors.any(axis=1)
        bits = np.zeros((items, length), dtype=np.int64)
        if met.any():
            centred = vectors[met] - vectors[met].mean(axis=0)
            bits[met] = centred @ _cube_rotation(centred, seed=seed, steps=self.config.rotations) > 0
        powers = 1 << np.arange(self.config.bits - 1, -1, -1)
        return bits.reshape(items, self.config.levels, self.config.bits) @ powers, [2**self.config.bits] * self.config.levels

    def address(self, codes: Sequence[int]) -> str:
        """The learned codes of an item as BinLLM writes them, such as `171.0.3.96`."""
        return ".".join(str(int(code)) for code in codes[: self.config.levels])


def _cube_rotation(vectors: np.ndarray, *, seed: int, steps: int) -> np.ndarray:
    """The rotation `[dim, dim]` under which `vectors` `[row, dim]` lie near corners of the cube: signs and rotation in turns."""
    dim = vectors.shape[1]
    rotation: Any = np.linalg.qr(generator(seed, "binary", "rotation").standard_normal((dim, dim)))[0]
    for _ in range(steps):
        corners = np.where(vectors @ rotation > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(vectors.T @ corners)
        rotation = left @ right
    return rotation
