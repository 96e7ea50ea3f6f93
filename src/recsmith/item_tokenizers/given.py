"""`GivenCodes`: published or hand-made ids instead of learned ones, from a file or a list column of the catalogue."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from recsmith.config import Config
from recsmith.data import Catalogue, ItemCodes
from recsmith.errors import ArtifactError, DataError, UserError, suggestion
from recsmith.item_tokenizers.collisions import assign_new, with_collision_level
from recsmith.item_tokenizers.figures import code_figures
from recsmith.protocols import Progress

Ids = dict[str, list[str]]
"""Key of an item as text → its tokens as texts."""


class GivenConfig(Config):
    """Where the given ids are."""

    path: str = ""
    """JSON (`{"key": ["<a_1>", "<b_7>"]}`, also .gz) or Parquet file (`item_id` and a list column); empty reads the catalogue."""
    column: str = ""
    """List column that holds the ids, in the catalogue or the Parquet file; empty takes the only one there is."""
    key: Literal["id", "position"] = "id"
    """What the keys of a JSON file are: raw item ids, or positions among the raw ids in ascending order."""
    index_base: int = 0
    """What a JSON file's whole-number key is for raw id 0 (position 0); -1 when the first item has id 1 and key 0."""


class GivenCodes:
    """Ids that somebody else made, with the collision level on top. Vectors are not looked at: any of the right length will do.

    `bind` says which items the next call is about; the ids must cover all of them, with equally many tokens each. The codes of a level
    are its tokens in order of length, then text, over the whole file, so that items added to the same file later can get codes too.
    """

    Config: ClassVar[type[GivenConfig]] = GivenConfig

    def __init__(self, config: GivenConfig | None = None) -> None:
        self.config: Any = self.Config() if config is None else config
        self._bound: tuple[pl.Series, Catalogue | None] | None = None
        self._tokens: list[list[str]] = []
        self._figures: dict[str, Any] = {}

    def bind(self, item_ids: pl.Series, catalogue: Catalogue | None) -> None:
        """Whose codes the next `fit` or `assign` asks for: raw ids, one per row."""
        self._bound = (item_ids, catalogue)

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """The given codes of the bound items. Raises `DataError` when the ids are not there, or not for all items, or of unequal length."""
        ids, source = self._read()
        rows = self._rows(ids, source, len(vectors))
        self._tokens = [
            sorted({tokens[level] for tokens in ids.values()}, key=lambda token: (len(token), token)) for level in range(len(rows[0]))
        ]
        codes = with_collision_level(self._numbers(rows, source), [len(tokens) for tokens in self._tokens])
        self._figures = {"tokenizer": type(self).__name__, **code_figures(codes), "source": source}
        return codes

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """The given codes of bound new items, distinct from each other and from `taken`; `DataError` when the ids do not cover them."""
        if not self._tokens:
            raise UserError(f"this {type(self).__name__} has read nothing yet; call fit or load_state first")
        sizes = tuple(map(len, self._tokens))
        if taken.sizes[:-1] != sizes:
            raise UserError(f"codes taken have sizes {taken.sizes[:-1]}, the given ids' are {sizes}; pass the codes that it made")
        if len(vectors) == 0:
            return ItemCodes(np.zeros((0, taken.levels), dtype=np.int64), taken.sizes)
        if self.config.key == "position":
            raise UserError("ids given by position cannot name new items, whose positions move those of the old ones; use key = 'id'")
        ids, source = self._read()
        return assign_new(self._numbers(self._rows(ids, source, len(vectors)), source), taken)

    def state(self) -> dict[str, np.ndarray]:
        """The tokens of each level and the figures (JSON, as bytes)."""
        if not self._tokens:
            raise UserError(f"this {type(self).__name__} has read nothing yet; call fit or load_state first")
        return {
            name: np.frombuffer(json.dumps(value).encode(), dtype=np.uint8).copy()
            for name, value in (("tokens", self._tokens), ("figures", self._figures))
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when something is missing."""
        missing = [name for name in ("tokens", "figures") if name not in state]
        if missing:
            raise ArtifactError(f"the tokenizer's state lacks {', '.join(f'`{name}`' for name in missing)}; fit it again")
        self._tokens, self._figures = (json.loads(np.asarray(state[name]).tobytes()) for name in ("tokens", "figures"))

    def figures(self) -> dict[str, Any]:
        """Figures of the last fit: those of `code_figures`, and the `source` with the hash of its content."""
        return dict(self._figures)

    # ---- inside ----

    def _read(self) -> tuple[Ids, str]:
        """All ids by key, equally many tokens each, and where they come from."""
        if self._bound is None:
            raise UserError("given ids need to know the items; call bind(item_ids, catalogue) before fit or assign")
        path = Path(self.config.path)
        if not self.config.path:
            catalogue = self._bound[1]
            if catalogue is None:
                raise DataError("no ids are given: set `tokenizer.path` to their file, or give a catalogue with a list column of ids")
            ids, source = _from_table(catalogue.frame, self.config.column, where="the catalogue"), "the catalogue"
        elif not path.is_file():
            raise DataError(f"file of ids `{path}` does not exist; set `tokenizer.path` to a JSON or Parquet file")
        else:
            source = f"`{path.name}`, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
            ids = _read_file(path, self.config.column)
        lengths = {len(tokens) for tokens in ids.values()}
        if len(lengths) != 1 or 0 in lengths:
            short = min(ids, key=lambda key: len(ids[key]), default="none")
            raise DataError(
                f"{source} has ids of {sorted(lengths)} tokens, such as key `{short}`; every id needs equally many, at least one"
            )
        return ids, source

    def _rows(self, ids: Ids, source: str, count: int) -> list[list[str]]:
        """The ids of the bound items, in their order."""
        assert self._bound is not None
        items, _ = self._bound
        if len(items) != count:
            raise UserError(f"{count} rows of vectors for {len(items)} bound items; bind the items that the rows belong to")
        keys = [self._key(position, raw) for position, raw in enumerate(items.to_list())]
        missing = [str(raw) for raw, key in zip(items.to_list(), keys, strict=True) if key not in ids]
        if missing:
            raise DataError(
                f"{source} lacks ids for {len(missing)} of {count} items, the first is item `{missing[0]}`; "
                "add them, or set `tokenizer.key` and `tokenizer.index_base` to how the file counts"
            )
        return [ids[key] for key in keys]

    def _key(self, position: int, raw: Any) -> str:
        if not self.config.path or _is_parquet(Path(self.config.path)):
            return str(raw)
        if self.config.key == "position":
            return str(position + self.config.index_base)
        return str(raw + self.config.index_base) if isinstance(raw, int) else str(raw)

    def _numbers(self, rows: list[list[str]], source: str) -> np.ndarray:
        books = [{token: code for code, token in enumerate(tokens)} for tokens in self._tokens]
        table = np.empty((len(rows), len(books)), dtype=np.int64)
        for row, tokens in enumerate(rows):
            if len(tokens) != len(books):
                raise DataError(f"{source} now has ids of {len(tokens)} tokens, the tokenizer's have {len(books)}; fit again")
            for level, (token, book) in enumerate(zip(tokens, books, strict=True)):
                if token not in book:
                    raise DataError(f"token `{token}` at level {level} of {source} is not one that the tokenizer knows; fit again")
                table[row, level] = book[token]
        return table


def _is_parquet(path: Path) -> bool:
    return path.suffix in (".parquet", ".pq")


def _read_file(path: Path, column: str) -> Ids:
    if _is_parquet(path):
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"`{path}` cannot be read as Parquet ({str(error).splitlines()[0]}); correct the file") from None
        return _from_table(frame, column, where=f"`{path.name}`")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        table = json.loads(content)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f'`{path}` cannot be read as JSON ({error}); expected {{"key": ["token", …], …}}') from None
    if not isinstance(table, dict) or not table or not all(isinstance(tokens, list) for tokens in table.values()):
        raise DataError(f'`{path}` is not a table of ids; expected {{"key": ["token", …], …}}')
    return {key: [str(token) for token in tokens] for key, tokens in table.items()}


def _from_table(frame: pl.DataFrame, column: str, *, where: str) -> Ids:
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List | pl.Array)]
    if "item_id" not in frame.columns:
        raise DataError(f"{where} has no column `item_id`; it has {', '.join(f'`{name}`' for name in frame.columns)}")
    if column and column not in lists:
        raise DataError(f"{where} has no list column `{column}`; {suggestion(column, lists) if lists else 'it has no list column'}")
    if not column and len(lists) != 1:
        raise DataError(f"{where} has {len(lists)} list columns, which of them holds ids is not clear; set `tokenizer.column`")
    given = frame.select("item_id", pl.col(column or lists[0]).alias("ids")).drop_nulls()
    tokens = given["ids"].cast(pl.List(pl.String)).to_list()
    return {str(raw): row for raw, row in zip(given["item_id"].to_list(), tokens, strict=True)}
