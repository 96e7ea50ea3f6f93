"""`TextTable`: texts as buffers of a module, so that they are saved and loaded with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class TextTable(nn.Module):
    """One text per row, as UTF-8 bytes laid end to end: uint8 `[byte]` and int64 `[text + 1]`."""

    content: Tensor
    offsets: Tensor

    def __init__(self, texts: Sequence[str] = ()) -> None:
        super().__init__()
        encoded = [text.encode("utf-8", "replace") for text in texts]
        content = np.frombuffer(b"".join(encoded), dtype=np.uint8).copy()
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
        self.register_buffer("content", torch.from_numpy(content))
        self.register_buffer("offsets", torch.from_numpy(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def texts(self) -> list[str]:
        """All texts, in order."""
        content, offsets = self.content.cpu().numpy().tobytes(), self.offsets.tolist()
        return [content[start:stop].decode() for start, stop in pairwise(offsets)]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How long the texts are is known only to the file: take its sizes before its values."""
        for name in ("content", "offsets"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        self.__dict__.pop("texts", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
