"""A recipe: the parts of one system and their settings, a dozen lines of TOML. `recipes/*.toml` are ours; a path to any other works too."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from recsmith.augmentation import WRITERS
from recsmith.config import Config, merge
from recsmith.data import SplitConfig, ViewConfig
from recsmith.encoders import EncoderConfig
from recsmith.errors import ConfigError, UserError, suggestion
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.language.writers.writing import WritingConfig
from recsmith.models import MODELS
from recsmith.recipe_files import recipe_folder, recipe_names, set_names
from recsmith.training import NegativesConfig, StartConfig, TrainingConfig


class PartConfig(Config):
    """A part chosen by name, with its settings as that part defines them."""

    name: str
    """Name of the part in its registry."""
    settings: dict[str, Any] = {}
    """All settings of the part, defaults included."""


class DecodingConfig(Config):
    """How answers are searched for."""

    beams: int = 50
    """Hypotheses kept per user by the constrained beam search; at least the length of the list asked for is used."""
    cold_share: float = Field(0.0, ge=0, le=1)
    """Greatest share of a list for items without training events, which are then judged by their codes but the last; 0 treats all alike."""


class Reported(Config):
    """Figures that somebody published for this system on a data set."""

    source: str
    """Who printed them."""
    metrics: dict[str, float]
    """Metric name → value, test split."""


class Recipe(Config):
    """Everything needed to fit, evaluate and answer; stored with every run."""

    name: str
    """Name of the recipe, as given on the command line."""
    title: str
    """Name of the system in the literature."""
    paper: str
    """Authors, year and title of the paper."""
    model: PartConfig
    """The generator: name in the model registry and its settings."""
    view: ViewConfig = ViewConfig()
    """Which events count."""
    split: SplitConfig = SplitConfig()
    """Which events train, validate and test."""
    training: TrainingConfig = TrainingConfig()
    """How gradient-trained models learn."""
    augmentation: PartConfig | None = None
    """Writer of extra training events: name in the registry of writers and its settings; None trains on the log alone."""
    negatives: NegativesConfig = NegativesConfig()
    """Who chooses the negatives of a model that trains against drawn items."""
    encoder: EncoderConfig | None = None
    """Encoder of the item texts, where the model, its start or its item codes are made from them."""
    text: str | None = None
    """Template of an item's text, such as "{title}. {genres}"; None takes the catalogue's default."""
    user_text: str | None = None
    """Template of what is written about a person, by columns of the users' table; None takes what the data's writers wrote."""
    writing: WritingConfig | None = None
    """Writer of words, items or events that a language model adds to the data first; None leaves them as they are."""
    start: StartConfig = StartConfig()
    """What the model starts from instead of random weights."""
    tokenizer: PartConfig | None = None
    """Item tokenizer, for models that generate codes."""
    decoding: DecodingConfig = DecodingConfig()
    """How answers are searched for."""
    validation_cases: int | None = None
    """How many validation cases (drawn by seed) are watched while training; None watches all. The card's figures always use all."""
    search: dict[str, dict[str, Any]] = {}
    """Search space of `recsmith tune`: setting → choices, or low and high."""
    reported: dict[str, Reported] = {}
    """Published figures by data set name, for the column "paper"."""

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> Recipe:
        """Validate a table as it stands in a TOML file (or as `table()` wrote it)."""
        values = dict(values)
        if "name" not in values.get("model", {}):
            raise ConfigError("a recipe needs a section [model] with a `name`; allowed: " + ", ".join(f"`{name}`" for name in MODELS))
        values["model"] = _part(values["model"], MODELS, "model")
        if values.get("tokenizer"):
            values["tokenizer"] = _part(values["tokenizer"], TOKENIZERS, "tokenizer")
        if values.get("augmentation"):
            values["augmentation"] = _part(values["augmentation"], WRITERS, "augmentation")
        return cls.parse(values)

    def table(self) -> dict[str, Any]:
        """The inverse of `build`: plain values, every default spelled out."""
        values = self.model_dump(mode="json")
        for part in ("model", "tokenizer", "augmentation"):
            if values[part] is not None:
                values[part] = {"name": values[part]["name"], **values[part]["settings"]}
        return values

    @property
    def dry_run(self) -> bool:
        """Whether a language model that it names is to count what it would cost, and to answer nothing."""
        return _dry(self.table())

    def with_settings(self, settings: Mapping[str, Any]) -> Recipe:
        """A copy with nested settings changed, as `--set` gives them."""
        return Recipe.build(merge(self.table(), settings)) if settings else self


def _part(section: Mapping[str, Any], registry: Any, where: str) -> dict[str, Any]:
    section = dict(section)
    if "name" not in section:
        raise ConfigError(f"section [{where}] needs a `name`; allowed: " + ", ".join(f"`{name}`" for name in registry))
    name = section.pop("name")
    config = registry.get(name).Config.parse(section, where=where)
    return {"name": name, "settings": config.model_dump(mode="json")}


def _dry(values: Any) -> bool:
    return isinstance(values, dict) and (values.get("dry_run") is True or any(map(_dry, values.values())))


def load_recipe(name_or_path: str | Path, *, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name, or in that TOML file, with `settings` changed.

    Raises `UserError` for an unknown recipe and `ConfigError` for an unknown or ill-fitting setting, both with a suggestion.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = recipe_folder() / f"{name_or_path}.toml"
        if not path.exists():
            raise UserError(f"unknown recipe `{name_or_path}`; {suggestion(str(name_or_path), [*recipe_names(), *set_names()])}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe file `{path}`; give a file or one of: {', '.join(recipe_names())}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"`{path}` is not valid TOML: {error}") from None
    return Recipe.build(merge({"name": path.stem, **values}, settings or {}))
