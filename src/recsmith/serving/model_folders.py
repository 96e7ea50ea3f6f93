"""Run folders beside each other: what may be put into service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsmith.errors import RecsmithError
from recsmith.run_folder import RUN


def model_folders(folder: Path) -> list[str]:
    """Names of the folders that may hold a run."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_models(folder: Path, active: str) -> list[dict[str, Any]]:
    """Runs with their recipes, the active one marked."""
    recipes = {name: recipe_name(folder / name) for name in model_folders(folder)}
    return [{"name": name, "active": name == active, "recipe": recipe} for name, recipe in recipes.items() if recipe is not None]


def recipe_name(folder: Path) -> str | None:
    """Name of the recipe of a run folder; None when it is none that can be read."""
    from recsmith.artifacts import open_folder, read_json

    try:
        return str(read_json(open_folder(folder, RUN) / "config.json")["name"])
    except (RecsmithError, KeyError, TypeError):
        return None
