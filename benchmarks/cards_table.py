"""The cards in `recipes/cards` as Markdown: a table per view and split of a data set, best test figure first, and the notes on them.

python benchmarks/cards_table.py > docs/results.md
python benchmarks/cards_table.py amazon-beauty "ml-latest-small, min_rating = 4.0"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from recsmith.systems import task_of

LISTS = ("Recall@5", "NDCG@5", "Recall@10", "NDCG@10")
RATINGS = ("RMSE", "MAE")
CARDS = Path(__file__).parents[1] / "recipes" / "cards"


HEAD = """# Figures of all cards

Full-catalogue ranking, items of the history masked (except where a task repeats items), ties in the order of the file. `search` and
`fit` are wall time, mostly of a core that others used too; a fit that was cut off was still improving. Each row is a card in
`recipes/cards`, with command, commit, data hash, hardware and settings.
Made by `python benchmarks/cards_table.py > docs/results.md`."""


def main(names: list[str]) -> None:
    if not names:
        print(HEAD)
    for name in names or sorted({task_of(card) for card in cards()}):
        chosen = [card for card in cards() if task_of(card) == name]
        lists = all("NDCG@10" in card["metrics"] for card in chosen)
        metrics, first = (LISTS, "NDCG@10") if lists else (RATINGS, "RMSE")
        print(f"\n## {name}\n")
        print(f"| system | {' | '.join(metrics)} | validation {first} | search | fit |")
        print("|---" * (len(metrics) + 4) + "|")
        for card in sorted(chosen, key=lambda card: card["metrics"][first], reverse=lists):
            print(row(card, metrics, first))
        notes = [f"* {card['title']}: {note['text']}" for card in chosen for note in card.get("notes", [])]
        if notes:
            print("", *notes, sep="\n")


def cards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CARDS.glob("*.json"))]


def row(card: dict[str, Any], metrics: tuple[str, ...], first: str) -> str:
    figures = [card["metrics"][metric] for metric in metrics] + [card["validation"][first]]
    values = " | ".join(f"{value:.4f}".lstrip("0") for value in figures)
    return f"| {card['title']} | {values} | {searched(card)} | {fit_seconds(card):,.0f} s |"


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
