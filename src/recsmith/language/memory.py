"""Memory retrieval for dialogue: what was said before is stored, and what bears on the next turn comes back.

A memory counts by how recent, how relevant and how important it is, each scaled to 0 … 1 over the store, as in Park, O'Brien, Cai et al.,
"Generative agents: interactive simulacra of human behavior", UIST 2023 (arXiv:2304.03442). Deviations: importance is given by whoever
stores a memory, not asked of a language model; a memory that was retrieved becomes recent again only when it is said so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import StorageError, UserError
from recsmith.language.asker import Asker
from recsmith.language.rankers.steps import ask_step
from recsmith.language.template import load_template
from recsmith.protocols import Encode


class MemoryConfig(Config):
    """How memories are weighed."""

    half_life: float = Field(86_400.0, gt=0)
    """Seconds after which a memory counts half as recent."""
    recency: float = Field(1.0, ge=0)
    """Weight of recency."""
    relevance: float = Field(1.0, ge=0)
    """Weight of the cosine with what is said now."""
    importance: float = Field(1.0, ge=0)
    """Weight of importance."""
    most: int = Field(1000, ge=1)
    """Memories of a store; beyond that the least important goes, of equal ones the oldest."""


@dataclass(frozen=True)
class Memory:
    """One thing that was said."""

    text: str
    time: float
    """Seconds since the epoch when it was said, or last made use of."""
    who: Literal["person", "assistant"] = "person"
    importance: float = 0.5
    """Between 0 and 1; facts about the person are worth more than small talk."""


class DialogueMemory:
    """The memories of one conversation partner, oldest first."""

    def __init__(
        self, config: MemoryConfig, encode: Encode, memories: Sequence[Memory] = (), *, encode_queries: Encode | None = None
    ) -> None:
        """`encode` is the encoder of memories, `encode_queries` that of what is said now; None: the same."""
        self.config = config
        self.memories: list[Memory] = []
        self._encode, self._encode_queries = encode, encode_queries or encode
        self._vectors: dict[str, np.ndarray] = {}
        self._asked: dict[str, np.ndarray] = {} if encode_queries else self._vectors
        for memory in memories:
            self.remember(memory)

    def __len__(self) -> int:
        return len(self.memories)

    def remember(self, memory: Memory) -> None:
        """Store a memory. Raises `UserError` for an empty text and for an importance outside 0 … 1."""
        if not memory.text.strip():
            raise UserError("an empty text cannot be remembered; give what was said")
        if not 0 <= memory.importance <= 1:
            raise UserError(f"importance = {memory.importance:g} is outside 0 to 1")
        self.memories = sorted([*self.memories, memory], key=lambda one: one.time)
        if len(self.memories) > self.config.most:
            least = min(range(len(self.memories)), key=lambda place: (self.memories[place].importance, self.memories[place].time))
            del self.memories[least]

    def recall(self, words: str, k: int, *, now: float, touch: bool = False) -> list[Memory]:
        """The k memories that bear most on the words, oldest first; with `touch` they become as recent as `now`."""
        if k < 1:
            raise UserError(f"k = {k} memories cannot be recalled; allowed: 1 or more")
        scores = self.scores(words, now=now)
        best = sorted(np.lexsort((-np.arange(len(scores)), -scores))[:k].tolist())
        found = [self.memories[place] for place in best]
        if touch:
            self.memories = [replace(one, time=now) if place in set(best) else one for place, one in enumerate(self.memories)]
            self.memories.sort(key=lambda one: one.time)
        return found

    def scores(self, words: str, *, now: float) -> np.ndarray:
        """Weighted sum of recency, relevance and importance of each memory, float64 `[memory]`."""
        if not self.memories:
            return np.zeros(0)
        ages = np.maximum(0.0, now - np.array([one.time for one in self.memories]))
        recency = 0.5 ** (ages / self.config.half_life)
        importance = np.array([one.importance for one in self.memories])
        parts = (recency, self.config.recency), (self._relevance(words), self.config.relevance), (importance, self.config.importance)
        scores: np.ndarray = sum((weight * _scaled(values) for values, weight in parts), np.zeros(len(self.memories)))
        return scores

    def answer(self, words: str, asker: Asker, *, k: int = 5, now: float, max_tokens: int = 2000) -> str:
        """Answer with the memories that bear on the words, and remember both; "" and nothing remembered where there is no answer."""
        told = [one.text for one in self.recall(words, k, now=now)] if self.memories else []
        values = [{"memories": told or None, "words": words}]
        answer = (ask_step(load_template("answer-from-memory"), values, asker, max_tokens=max_tokens)[0] or "").strip()
        if answer:
            self.remember(Memory(words, now))
            self.remember(Memory(answer, now, who="assistant", importance=0.2))
        return answer

    def save(self, path: Path) -> None:
        """Write all memories as JSON lines. Raises `StorageError`."""
        try:
            path.write_text("".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in self.memories), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"the memory `{path}` cannot be written: {error.strerror or error}; choose another place") from error

    @classmethod
    def load(cls, path: Path, config: MemoryConfig, encode: Encode, *, encode_queries: Encode | None = None) -> DialogueMemory:
        """Read what `save` wrote. Raises `UserError` for a file that is something else."""
        try:
            memories = [Memory(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]
            return cls(config, encode, memories, encode_queries=encode_queries)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"`{path}` holds no memories ({str(error)[:80]}); give a file that `save` wrote") from None

    def _relevance(self, words: str) -> np.ndarray:
        texts = [one.text for one in self.memories]
        learn(texts, self._vectors, self._encode)
        learn([words], self._asked, self._encode_queries)
        rows, asked = np.stack([self._vectors[text] for text in texts]), self._asked[words]
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(asked)
        likeness: np.ndarray = rows @ asked / np.maximum(lengths, 1e-12)
        return likeness


def learn(texts: Sequence[str], known: dict[str, np.ndarray], encode: Encode) -> None:
    """Encode what is not yet `known`, all in one call; vectors float64 `[dim]`."""
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if new:
        known.update(zip(new, np.asarray(encode(new), dtype=np.float64), strict=True))


def _scaled(values: np.ndarray) -> np.ndarray:
    """To 0 … 1; values that are all the same say nothing and become 0."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high - low > 1e-9 else np.zeros(len(values))
