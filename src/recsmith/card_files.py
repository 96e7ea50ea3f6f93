"""Cards where they lie: read one from a run's folder or from a file of its own, and write a note on it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from recsmith.artifacts import open_folder, read_json, update_file, write_json
from recsmith.card import markdown
from recsmith.errors import ArtifactError, StorageError, UserError
from recsmith.run_folder import RUN


def run_card(folder: Path) -> dict[str, Any]:
    """The card of a run's folder, without its curve. Raises `ArtifactError` when it is not a run, or damaged."""
    return dict(read_json(open_folder(folder, RUN) / "card.json"))


def card_at(path: Path) -> dict[str, Any]:
    """The card of a run's folder, or of a `.json` file; raises `UserError` when there is none, `ArtifactError` when it is not one."""
    if path.is_dir():
        return run_card(path)
    if not path.is_file():
        raise UserError(f"there is no card at `{path}`; give a card.json or the folder of a run")
    card = read_json(path)
    if not isinstance(card, dict) or "metrics" not in card or "data" not in card:
        raise ArtifactError(f"`{path}` is not a card: it has no metrics or data; give the card.json of a run")
    return card


def add_note(path: Path, text: str) -> dict[str, Any]:
    """Put what a person found out about a run on its card, with today's date, behind earlier notes; returns the card.

    Figures stay as they are. Raises `UserError` for an empty note, and as `card_at` does.
    """
    words = " ".join(text.split())
    if not words:
        raise UserError("an empty note says nothing; give its text in quotes")
    card = card_at(path)
    card["notes"] = [*card.get("notes", []), {"date": date.today().isoformat(), "text": words}]
    if path.is_dir():
        update_file(path, RUN, "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        update_file(path, RUN, "card.md", markdown(card))
        return card
    try:
        write_json(path, card)
    except OSError as error:
        raise StorageError(f"cannot write `{path}`: {error.strerror or error}; the card is unchanged") from error
    return card
