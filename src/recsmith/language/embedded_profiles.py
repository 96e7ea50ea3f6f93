"""Profiles in plain words without a language model: what somebody took most, and what they took last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

BACKEND = "none; templates"
"""How these profiles name who spoke."""


def template_profiles(
    histories: Sequence[Sequence[str]], categories: Sequence[Sequence[Sequence[str]]], *, most: int = 3, last: int = 3
) -> list[str]:
    """One profile per person: the `most` frequent categories with their shares, then the `last` titles.

    `histories` are titles, oldest first, and `categories` the categories of each event of them. Equal shares in the order in which they
    were met. A baseline of ours: the embedded default of `rankers.profile`, which ranks by them.
    """
    return [_one(titles, kinds, most, last) for titles, kinds in zip(histories, categories, strict=True)]


def _one(titles: Sequence[str], kinds: Sequence[Sequence[str]], most: int, last: int) -> str:
    if not titles:
        return "Nothing is known of this person."
    counts = Counter(kind for event in kinds for kind in dict.fromkeys(event))
    shares = ", ".join(f"{kind} ({count / len(titles):.0%})" for kind, count in counts.most_common(most))
    recent = "; ".join(reversed(titles[-last:]))
    liked = f"Takes {shares}. " if shares else ""
    return f"{liked}Took most recently: {recent}."
