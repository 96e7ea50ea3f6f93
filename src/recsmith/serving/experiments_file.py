"""The experiments file: what runs from the start, in one TOML file.

holdout = 0.05                        # share of people who take part in nothing

[exploration]                         # of everybody else, where an arm says nothing
kind = "epsilon"
share = 0.1

[[experiment]]
name = "ranker"
share = 0.5                           # of the layer, and the next one has the rest
planned = 20000
arms = [{ name = "old" }, { name = "new", model = "tiger-shop" }]

[[experiment]]
name = "cap"
start = 0.5
share = 0.5
arms = [{ name = "none", rules = {} }, { name = "two per brand", rules = "capped.toml" }]
"""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import ConfigError, UserError
from recsmith.serving import changes
from recsmith.serving.config import ServerConfig
from recsmith.serving.experiment_store import experiment, holdout
from recsmith.serving.experiments.definition import HOLDOUT, Definition, plan_of
from recsmith.serving.experiments.exploration import Exploration
from recsmith.serving.rules_file import RulesFile, read_rules
from recsmith.serving.store import Store


class ExperimentsFile(Config):
    """Experiments, a holdout and exploration."""

    holdout: float = Field(0.0, ge=0, lt=1)
    """Share of people who take part in nothing and are shown what is certain; raising it moves people out of experiments that run."""
    exploration: Exploration = Exploration()
    """How lists explore where no arm says otherwise."""
    experiment: tuple[Definition, ...] = ()
    """Experiments that run from the start; one that the store has stopped stays so."""


def read_experiments(path: Path | None) -> ExperimentsFile:
    """Read an experiments file; an arm may name a rules file beside it. Raises `ConfigError`."""
    if path is None:
        return ExperimentsFile()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"experiments file `{path}` does not exist; give the path of a TOML file") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"experiments file `{path}` is not readable TOML: {error}") from None
    for row in _rows(values.get("experiment")):
        for arm in _rows(row.get("arms")):
            if isinstance(arm.get("rules"), str):
                arm["rules"] = read_rules(path.parent / arm["rules"]).table()
    found = ExperimentsFile.parse(values, where=path.name)
    plan_of(found.experiment, holdout=found.holdout)
    return found


def declare(store: Store, config: ServerConfig) -> None:
    """Put the file's experiments into the store. Raises `UserError` when one of them is there with another definition."""
    found = read_experiments(config.experiments)
    if not config.record_lists and (found.experiment or found.holdout or found.exploration.kind != "none"):
        raise UserError("experiments, a holdout and exploration need `record_lists`; switch it on, or leave out the setting `experiments`")
    for definition in found.experiment:
        check_rules(definition)
        kept = experiment(store, definition.name)
        if kept is not None and kept.definition != definition:
            raise UserError(f"experiment `{definition.name}` has run with another definition; give the changed one another name")
    if found.holdout == holdout(store) and not found.experiment:
        return
    with store.transaction() as connection:
        changes.put_setting(connection, HOLDOUT, found.holdout)
        for definition in found.experiment:
            changes.add_experiment(connection, definition.name, as_json(definition), now=time.time())


def check_rules(definition: Definition) -> None:
    """Raises `ConfigError` when an arm has rules that are none."""
    for arm in definition.arms:
        if arm.rules is not None:
            RulesFile.build(arm.rules, where=f"rules of arm `{arm.name}`")


def as_json(definition: Definition) -> str:
    """As the store keeps it, with every default written out."""
    return json.dumps(definition.model_dump(mode="json"))


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
