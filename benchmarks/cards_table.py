"""The cards in `recipes/cards` as one Markdown table per view of a data set, best test NDCG@10 first: where the README's tables come from.

python benchmarks/cards_table.py amazon-beauty ml-latest-small "ml-latest-small, min_rating = 4.0"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

METRICS = ("Recall@5", "NDCG@5", "Recall@10", "NDCG@10")
CARDS = Path(__file__).parents[1] / "recipes" / "cards"


def main(names: list[str]) -> None:
    for name in names or sorted({view(card) for card in cards()}):
        print(f"\n{name}\n")
        print("| system | " + " | ".join(METRICS) + " | validation NDCG@10 | search | fit |")
        print("|---" * (len(METRICS) + 4) + "|")
        for card in sorted(cards(), key=lambda card: -card["metrics"].get("NDCG@10", 0)):
            if view(card) == name:
                print(row(card))


def cards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CARDS.glob("*.json"))]


def view(card: dict[str, Any]) -> str:
    """The data set and what of it was used."""
    settings = card["data"]["source"].get("view", {})
    return ", ".join([card["data"]["name"], *(f"{name} = {value}" for name, value in settings.items() if value)])


def row(card: dict[str, Any]) -> str:
    values = [f"{card['metrics'][metric]:.4f}".lstrip("0") for metric in METRICS]
    validation = f"{card['validation']['NDCG@10']:.4f}".lstrip("0")
    return f"| {card['title']} | {' | '.join([*values, validation, searched(card)])} | {fit_seconds(card):,.0f} s |"


def fit_seconds(card: dict[str, Any]) -> float:
    """Wall time of the fit behind the figures; of its trial, evaluation included, where nothing else was written down."""
    seconds = card["seconds"].get("fit") or card.get("training", {}).get("seconds")
    if seconds is None:
        search = card["search"]
        seconds = next(trial["seconds"] for trial in search["trials"] if trial["number"] == search["best"]["trial"])
    return float(seconds)


def searched(card: dict[str, Any]) -> str:
    search = card.get("search")
    if search is None:
        return "none"
    return f"{search['done']} settings, {60 * search['hours']:.0f} min"


if __name__ == "__main__":
    main(sys.argv[1:])
