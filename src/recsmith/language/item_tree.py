"""A catalogue as shelves inside shelves, each with a name, for a language model to walk through (UniLLMRec: Zhang et al., 2024)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_WORD = re.compile(r"[^\W\d_]{3,}")
_MOST_BRANCHES = 30


@dataclass(frozen=True)
class Branch:
    """A named set of items; a leaf has no branches."""

    name: str
    items: list[int]
    """All items below it, ascending."""
    branches: list[Branch] = field(default_factory=list)


def grow_tree(texts: Sequence[str], categories: Sequence[Sequence[str]], *, leaf: int) -> Branch:
    """The catalogue as a tree. Items part by their first category, then by the second and so on, and where categories no longer part
    them by words that their texts share; leaves hold at most `leaf` items unless nothing tells their items apart."""
    return _grown("everything", list(range(len(texts))), texts, categories, 0, frozenset(), leaf)


def _grown(
    name: str, items: list[int], texts: Sequence[str], categories: Sequence[Sequence[str]], depth: int, used: frozenset[str], leaf: int
) -> Branch:
    if len(items) <= leaf:
        return Branch(name, items)
    groups = _by_category(items, categories, depth)
    if len(groups) > 1:
        inner = [_grown(key, group, texts, categories, depth + 1, used, leaf) for key, group in groups.items()]
    elif any(len(categories[item]) > depth for item in items):
        return _grown(name, items, texts, categories, depth + 1, used, leaf)
    else:
        groups = _by_word(items, texts, used, leaf)
        if len(groups) < 2:
            return Branch(name, items)
        inner = [_grown(key, group, texts, categories, depth, used | set(groups), leaf) for key, group in groups.items()]
    return Branch(name, items, inner)


def _by_category(items: list[int], categories: Sequence[Sequence[str]], depth: int) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for item in items:
        groups.setdefault(categories[item][depth] if len(categories[item]) > depth else "other", []).append(item)
    return dict(sorted(groups.items(), key=lambda pair: (pair[0] == "other", -len(pair[1]), pair[0])))


def _by_word(items: list[int], texts: Sequence[str], used: frozenset[str], leaf: int) -> dict[str, list[int]]:
    """Greedy: the word that about as many items share as a leaf holds, again and again, and the rest."""
    words = {item: set(_WORD.findall(texts[item].casefold())) - used for item in items}
    left = list(items)
    groups: dict[str, list[int]] = {}
    while left and len(groups) < _MOST_BRANCHES:
        counts = Counter(word for item in left for word in words[item])
        common = [(count, word) for word, count in counts.items() if 1 < count < len(items)]
        if not common:
            break
        word = min(common, key=lambda pair: (abs(pair[0] - leaf), pair[1]))[1]
        groups[word] = [item for item in left if word in words[item]]
        left = [item for item in left if word not in words[item]]
    if left and groups:
        groups["other"] = left
    return groups
