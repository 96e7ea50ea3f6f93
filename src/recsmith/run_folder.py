"""The run folder: everything a fitted system is, as Parquet, JSON and safetensors. Reading it never executes code.

config.json            the recipe, every default spelled out
model.safetensors      weights
log.parquet            events by index, in order; users.parquet, items.parquet: index → raw id
popularity.parquet     events per item in training
catalogue.parquet, catalogue.json      what is known about the items (optional)
item_codes.parquet, tokenizer.safetensors   semantic IDs and what made them (optional)
item_vectors.safetensors   what the encoder made of the items, for models that read it (optional)
card.json, card.md     what came out, and how
curve.jsonl            loss and validation metrics along training (gradient-trained models); curve.png with the plotting extra
token_versions/        earlier versions of the item codes, each with what belonged to it (see `recsmith.tokens`)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsmith.artifacts import FolderKind, open_folder, read_json, write_folder, write_json
from recsmith.card import markdown
from recsmith.curve import draw_curve
from recsmith.data import Catalogue, Histories, ItemCodes, Log, Vocabulary, codes_fingerprint, fingerprint
from recsmith.errors import ArtifactError
from recsmith.recipe import Recipe

RUN = FolderKind("run", version=1, migrations={})
TOKEN_VERSIONS = "token_versions"
"""Where a run keeps the versions of its codes that are not in use, each in a folder named by its number."""


@dataclass(frozen=True)
class RunState:
    """What a run folder holds, as plain values."""

    recipe: Recipe
    weights: Mapping[str, Tensor]
    log: Log
    popularity: np.ndarray
    catalogue: Catalogue | None = None
    codes: ItemCodes | None = None
    tokenizer: Mapping[str, np.ndarray] | None = None
    vectors: np.ndarray | None = None
    card: dict[str, Any] = field(default_factory=dict)
    earlier_codes: Path | None = None
    """The folder that holds the versions of the codes that are not in use; it goes along wherever the run is written."""


def write_run(folder: Path, state: RunState) -> Path:
    """Write atomically; an older run at `folder` survives any failure. Raises `StorageError`."""
    with write_folder(folder, RUN) as draft:
        fill_run(draft, state)
    return folder


def fill_run(draft: Path, state: RunState) -> None:
    """Write the files of a run into an empty folder that is to become one."""
    write_json(draft / "config.json", state.recipe.table())
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.weights.items()}, draft / "model.safetensors")
    _write_log(draft, state.log)
    pl.DataFrame({"events": state.popularity}).write_parquet(draft / "popularity.parquet")
    if state.catalogue is not None:
        state.catalogue.frame.write_parquet(draft / "catalogue.parquet")
        write_json(draft / "catalogue.json", dict(state.catalogue.kinds))
    if state.codes is not None:
        _write_codes(draft, state.codes, state.log.items)
    if state.tokenizer is not None:
        save_arrays({name: np.ascontiguousarray(array) for name, array in state.tokenizer.items()}, draft / "tokenizer.safetensors")
    if state.vectors is not None:
        save_arrays({"vectors": np.ascontiguousarray(state.vectors, dtype=np.float32)}, draft / "item_vectors.safetensors")
    _write_card(draft, state.card)
    if state.earlier_codes is not None:
        shutil.copytree(state.earlier_codes, draft / TOKEN_VERSIONS)


def read_run(folder: Path, *, weights: bool = True) -> RunState:
    """Raises `ArtifactError` when the folder is missing, damaged or from a version that cannot be read; `weights=False` leaves them out."""
    folder = open_folder(folder, RUN)
    try:
        log, card = _read_log(folder), _read_card(folder)
        return RunState(
            recipe=Recipe.build(read_json(folder / "config.json")),
            weights=load_file(folder / "model.safetensors") if weights else {},
            log=log,
            popularity=pl.read_parquet(folder / "popularity.parquet")["events"].to_numpy(writable=True),
            catalogue=_read_catalogue(folder),
            codes=_read_codes(folder, log.items, card),
            tokenizer=_read_tokenizer(folder),
            vectors=_read_vectors(folder) if weights else None,
            card=card,
            earlier_codes=folder / TOKEN_VERSIONS if (folder / TOKEN_VERSIONS).is_dir() else None,
        )
    except (SafetensorError, pl.exceptions.PolarsError, OSError) as error:
        raise ArtifactError(f"run folder `{folder}` cannot be read ({error}); copy it again or fit again") from None


def _write_log(folder: Path, log: Log) -> None:
    histories = log.histories
    columns: dict[str, np.ndarray] = {"user": histories.rows.astype(np.int32), "item": histories.values.astype(np.int32)}
    if histories.times is not None:
        columns["time"] = histories.times
    if histories.weights is not None:
        columns["weight"] = histories.weights
    pl.DataFrame(columns).write_parquet(folder / "log.parquet")
    log.users.ids.to_frame().write_parquet(folder / "users.parquet")
    log.items.ids.to_frame().write_parquet(folder / "items.parquet")


def _read_log(folder: Path) -> Log:
    users = Vocabulary.in_order(pl.read_parquet(folder / "users.parquet")["id"])
    items = Vocabulary.in_order(pl.read_parquet(folder / "items.parquet")["id"])
    events = pl.read_parquet(folder / "log.parquet")
    offsets = np.searchsorted(events["user"].to_numpy(), np.arange(len(users) + 1)).astype(np.int64)
    extras = {name: events[name].to_numpy(writable=True) if name in events.columns else None for name in ("time", "weight")}
    values = events["item"].cast(pl.Int64).to_numpy(writable=True)
    return Log(users, items, Histories(values, offsets, times=extras["time"], weights=extras["weight"]))


def _write_codes(folder: Path, codes: ItemCodes, items: Vocabulary) -> None:
    frame = pl.DataFrame({f"level_{level}": codes.table[:, level] for level in range(codes.levels)})
    frame.write_parquet(folder / "item_codes.parquet")
    words = {"words": list(codes.words)} if codes.words else {}
    write_json(folder / "item_codes.json", {"sizes": list(codes.sizes), "items": fingerprint(items.ids), **words})


def _read_codes(folder: Path, items: Vocabulary, card: Mapping[str, Any]) -> ItemCodes | None:
    """The codes; refused when they are those of other items, or others than the model learned (older versions do not say)."""
    if not (folder / "item_codes.parquet").exists():
        return None
    facts, found = read_json(folder / "item_codes.json"), fingerprint(items.ids)
    table = pl.read_parquet(folder / "item_codes.parquet").to_numpy().astype(np.int64)
    if facts.get("items", found) != found or len(table) != len(items):
        raise ArtifactError(
            f"codes and items of `{folder}` are out of step: the codes are those of {len(table)} items with hash {facts.get('items')}, "
            f"the run's {len(items)} items have hash {found}; copy the run again, or fit again"
        )
    codes = ItemCodes(table, tuple(facts["sizes"]), tuple(facts.get("words", ())))
    learned, own = card.get("tokens", {}).get("hash"), codes_fingerprint(codes)
    if learned not in (None, own):
        raise ArtifactError(
            f"model and codes of `{folder}` are out of step: the model learned codes with hash {learned}, the run's codes have hash {own}; "
            "copy the run again, or fit again"
        )
    return codes


def _read_catalogue(folder: Path) -> Catalogue | None:
    if not (folder / "catalogue.parquet").exists():
        return None
    return Catalogue(pl.read_parquet(folder / "catalogue.parquet"), read_json(folder / "catalogue.json"))


def _read_tokenizer(folder: Path) -> dict[str, np.ndarray] | None:
    path = folder / "tokenizer.safetensors"
    return load_arrays(path) if path.exists() else None


def _read_vectors(folder: Path) -> np.ndarray | None:
    path = folder / "item_vectors.safetensors"
    return load_arrays(path)["vectors"] if path.exists() else None


def _read_card(folder: Path) -> dict[str, Any]:
    card = read_json(folder / "card.json")
    curve = folder / "curve.jsonl"
    if curve.exists():
        card["curve"] = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    return card


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    curve = card.get("curve", [])
    write_json(folder / "card.json", {key: value for key, value in card.items() if key != "curve"})
    (folder / "card.md").write_text(markdown(card), encoding="utf-8")
    if curve:
        draw_curve(curve, folder / "curve.png")
        (folder / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve), encoding="utf-8")
