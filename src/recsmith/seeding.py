"""Randomness is passed in: one seed a run, and independent streams derived from it by name."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A stable 63-bit seed for the stream `names` of `seed`: the same on every machine and in every process."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream `names` of `seed`."""
    return np.random.default_rng(derive_seed(seed, *names))
