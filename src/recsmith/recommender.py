"""`Recommender`: catalogue + tokenizer + generator + decoder = something that answers. A façade over the parts, not a base class.

Fallback: somebody about whom nothing is known (an unseen user, an empty history, a history of unknown items only) is answered with
the items most popular in the training events, best first; everybody else is answered by the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from recsmith import rating
from recsmith.building import build_model, build_tokenizer, runtime_of
from recsmith.data import (
    Cases,
    Catalogue,
    Dataset,
    Histories,
    ItemCodes,
    Log,
    RawId,
    Split,
    item_categories,
    split_log,
)
from recsmith.decoding import (
    BEST,
    CodeTrie,
    ItemTable,
    Rule,
    Rules,
    Sampled,
    Selection,
    Tried,
    beam_search,
    best_items,
    fastest,
    fill_slates,
    list_log_likelihood,
    slate_log_likelihood,
    top_k,
)
from recsmith.decoding.cold_start import search_with_cold_items
from recsmith.errors import ArtifactError, DataError, UserError
from recsmith.evaluation import Evaluation, describe_protocol, evaluate_answer, leak_checks
from recsmith.evidence import Evidence, Judge, find_evidence
from recsmith.protocols import HistoryBatch, ItemTokenizer, Limits, Progress, RankedLists, SlateModel, TextReader
from recsmith.questions import allowed_items, rules_of_rows, who
from recsmith.recipe import Recipe
from recsmith.run_folder import RunState, read_run, write_run
from recsmith.training import to_batch

METRIC_CUTOFFS = (5, 10, 20)
_SCORES_AT_ONCE = 1 << 25  # 128 MB, and a few times that while the best are searched
Generate = Callable[..., RankedLists]
"""`generate(batch, k, limits, rules, selection)`: the model's lists for people about whom something is known."""


@dataclass
class Recommender:
    """A fitted system. Made by `recsmith.fit`, `recsmith.load` or `recsmith run`."""

    recipe: Recipe
    model: torch.nn.Module
    log: Log
    """Every event known at fit time, held-out ones included: what people have seen. Training used only its training part."""
    popularity: np.ndarray
    """Events per item in training, int64 `[item]`."""
    catalogue: Catalogue | None = None
    codes: ItemCodes | None = None
    tokenizer: ItemTokenizer | None = None
    vectors: np.ndarray | None = None
    """What the encoder made of the items, for models that read it; float32 `[item, dim]`."""
    card: dict[str, Any] = field(default_factory=dict)
    """Everything the run wrote down about itself; see `recsmith.card`."""
    earlier_codes: Path | None = None
    """Where the versions of the codes are that are not in use; `save` takes them along. None where there are none."""

    @property
    def items(self) -> int:
        """Size of the catalogue that answers come from."""
        return len(self.log.items)

    @property
    def trained_users(self) -> int:
        """Users that the model was fitted with; people added by an update come behind them and are strangers to it."""
        return int(self.card.get("data", {}).get("users", len(self.log.users)))

    @cached_property
    def trie(self) -> CodeTrie:
        """The catalogue's codes as a search tree, for models that generate codes."""
        assert self.codes is not None
        return CodeTrie.build(self.codes)

    @cached_property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def spoken_by(self) -> str | None:
        """The language model, or what answers in its place, that has a part in the lists so far; None where none has."""
        return self.model.figures().get("backend") if isinstance(self.model, TextReader) else None

    # ---- answers ----

    def recommend(
        self,
        users: Iterable[RawId] | str | None = None,
        histories: Sequence[Iterable[RawId]] | Mapping[RawId, Iterable[RawId]] | None = None,
        *,
        k: int = 10,
        allow: Iterable[RawId] | None = None,
        deny: Iterable[RawId] | None = None,
        include_seen: bool | None = None,
        rules: Sequence[Rule] | Rules = None,
        selection: Selection | None = None,
    ) -> pl.DataFrame:
        """Top-k for known or unknown `users` ("all" = everybody in the log), or for `histories` of raw item ids, oldest first.

        Returns `user_id, item_id, score, rank` (rank from 1), and where a language model speaks `backend`: which one, null for people
        about whom nothing is known. For a list of histories `user_id` is the position in the list, for a
        mapping its key. `allow` and `deny` restrict the answer during the search; items already in the history are left out unless
        `include_seen` (None: unless the run's split is of a task that repeats items, as `next-basket` is). `rules` are those of
        `recsmith.decoding`, for everybody; or, made by `bind_rules`, one for everybody or one for each row. `selection` (`Sampled`,
        `Diverse` of `recsmith.decoding`) replaces the best items by a draw, or by beams that avoid each other. Raises `UserError` for a k
        outside 1 … catalogue size or when neither or both of users and histories are given.
        """
        names, rows, known = who(self.log, users, histories)
        self._check_k(k)
        bound = rules_of_rows(rules, len(rows), self.item_table)
        allowed = allowed_items(self.log, allow, deny)
        lists = self._answer(rows, known, k, allowed=allowed, include_seen=self._repeats(include_seen), rules=bound, selection=selection)
        return self._signed(self._table(names, lists), lists, rows)

    def recommend_slate(
        self,
        users: Iterable[RawId] | str | None = None,
        histories: Sequence[Iterable[RawId]] | Mapping[RawId, Iterable[RawId]] | None = None,
        *,
        size: int = 5,
        wanted: float | None = None,
        allow: Iterable[RawId] | None = None,
        deny: Iterable[RawId] | None = None,
        include_seen: bool | None = None,
        rules: Sequence[Rule] | Rules = None,
        selection: Selection | None = None,
    ) -> pl.DataFrame:
        """A slate of `size` items for each: a page, a basket, a bundle. For whom, and under which limits: as `recommend`.

        Returns `user_id, slot, item_id, score, log_likelihood` (slot from 1), and `backend` as `recommend`. A `SlateModel` fills slot
        after slot; `score` is then the log-probability of the item given those before it, and `log_likelihood` that of the slate (of
        drawing it, with `selection=Sampled(seed=…)`, where another seed gives another slate). Any other model answers with its top list
        under the same rules and with its own scores; `log_likelihood` is null there, unless the list was drawn. It is null, too, for
        people about whom nothing is known: they get what is popular. `wanted` asks models that learned from responses for a better (1) or
        worse (0) one.
        Raises `UserError` for a size outside 1 … catalogue size, and for what the model cannot do.
        """
        names, rows, known = who(self.log, users, histories)
        self._check_k(size, "size")
        bound = rules_of_rows(rules, len(rows), self.item_table)
        lists = self._answer(
            rows,
            known,
            size,
            allowed=allowed_items(self.log, allow, deny),
            include_seen=self._repeats(include_seen),
            rules=bound,
            selection=selection,
            generate=self._filler(wanted),
        )
        return self._signed(self._slate_table(names, lists, self._likelihood(lists, rows, selection)), lists, rows)

    def explain(self, item: RawId, *, user: RawId | None = None, history: Iterable[RawId] | None = None, last: int = 50) -> Evidence:
        """Which events of a known `user`, or of a `history` of raw item ids, carry an item, and by which codes it is generated.

        Each of the `last` events is left out in turn (see `recsmith.evidence`). Raises `UserError` for an unknown item, when neither or
        both of user and history are given, and when nothing is known about whom it is for.
        """
        index = self.log.items.index(item)
        if index < 0:
            raise UserError(f"item `{item}` is not in the catalogue of {self.items} items; give one of its ids")
        _, rows, known = who(self.log, None if user is None else [user], None if history is None else [history])
        person = int(known[0]) if known[0] < self.trained_users else -1
        return find_evidence(self.judge, rows, person, index, last=last).named(lambda i: self.log.items.ids[i], self._titles.__getitem__)

    @property
    def judge(self) -> Judge:
        """What is asked for the evidence behind an item."""
        model: Any = self.model
        return Judge(model, self.device, self.items, self.trie if model.answers == "codes" else None)

    @cached_property
    def item_table(self) -> ItemTable:
        """The catalogue's columns by item index: what rules read. `item_table.updated(frame)` takes newer stock and prices."""
        return ItemTable(self.log.items, self.catalogue)

    def answer(self, cases: Cases, k: int) -> RankedLists:
        """The `Answer` protocol: lists for evaluation cases, seen items masked unless the split is of a task that repeats items."""
        self._check_k(k)
        return self._answer(cases.histories, cases.users, k, include_seen=self.recipe.split.repeats_items)

    def answer_slates(self, cases: Cases, size: int, *, wanted: float | None = None, selection: Selection | None = None) -> RankedLists:
        """The `Answer` protocol by slates: what `evaluate_slates` measures. Seen items as in `answer`."""
        self._check_k(size, "size")
        repeats = self.recipe.split.repeats_items
        fill = self._filler(wanted)
        return self._answer(cases.histories, cases.users, size, include_seen=repeats, selection=selection, generate=fill)

    def history(self, user: RawId) -> list[RawId]:
        """Raw item ids of a user's known events, oldest first; empty for an unseen user."""
        index = self.log.users.index(user)
        return [] if index < 0 else self.log.items.raw(self.log.histories.row(index)).to_list()

    def titles(self, item_ids: Sequence[RawId] | pl.Series) -> list[str | None]:
        """Titles of items, None where the catalogue has none."""
        index = self.log.items.indices(item_ids)
        known = [self._titles[i] if i >= 0 else None for i in index]
        if self.catalogue is None or (index >= 0).all():
            return known
        others = self.catalogue.titles(self.log.items.series(item_ids)).to_list()
        return [title if i >= 0 else other for i, title, other in zip(index, known, others, strict=True)]

    @cached_property
    def _titles(self) -> list[str | None]:
        """Title of each item index: looked up once, because a join for every answer costs more than the answer."""
        if self.catalogue is None:
            return [None] * self.items
        return self.catalogue.titles(self.log.items.ids).to_list()

    def unknown_items(self, item_ids: Iterable[RawId]) -> list[RawId]:
        """Those of the given raw ids that the model has never heard of."""
        return [item for item in item_ids if self.log.items.index(item) < 0]

    # ---- measurement ----

    def split(self) -> Split:
        """The run's own log, cut by the run's own protocol: the same training part as when it was fitted."""
        return split_log(self.log, self.recipe.split)

    def evaluate(self, split: str = "test", *, data: Dataset | None = None, progress: Progress | None = None) -> Evaluation:
        """Full-catalogue metrics on the "validation" or "test" cases of the run's log, or of other `data` cut the same way.

        Under `explicit-rating` the errors of predicted ratings; raises `UserError` there for a model that predicts none.
        """
        name = _split_name(split)
        log = self.log if data is None else self._encode(data)
        cut = split_log(log, self.recipe.split)
        cases: Cases = getattr(cut, name)
        if len(cases) == 0:
            raise DataError(f"the {split} part of the data has no cases under {self.recipe.split.name}; give data with longer histories")
        protocol = describe_protocol(self.recipe.split, tie_rule=cut.figures["tie_rule"])
        checks = leak_checks(log, cut, split=name, popularity=self.popularity if data is None else None)
        if self.recipe.split.name == rating.PROTOCOL:
            found = rating.evaluate_predictions(self.model, cases, split=name, protocol=protocol, trained_users=self.trained_users)
            return replace(found, checks=checks)
        return evaluate_answer(
            self.answer,
            cases,
            item_count=self.items,
            ks=tuple(k for k in METRIC_CUTOFFS if k <= self.items) or (self.items,),
            split=name,
            protocol=protocol,
            popularity=self.popularity,
            categories=self._categories(),
            checks=checks,
            progress=progress,
        )

    def save(self, folder: str | Path) -> Path:
        """Write the run folder, replacing an older one only when the new one is complete. Raises `StorageError`."""
        return write_run(Path(folder), self.state())

    def state(self) -> RunState:
        """Everything that a run folder holds."""
        return RunState(
            recipe=self.recipe,
            weights=self.model.state_dict(),
            log=self.log,
            popularity=self.popularity,
            catalogue=self.catalogue,
            codes=self.codes,
            tokenizer=None if self.tokenizer is None else self.tokenizer.state(),
            vectors=self.vectors,
            card=self.card,
            earlier_codes=self.earlier_codes,
        )

    def accelerated(self, *, k: int = 10, rows: int = 32, least_overlap: float = 0.99) -> tuple[Recommender, str, dict[str, Tried]]:
        """The same system with the weights that answer fastest on this machine, their name, and what was measured of each (`fastest`).

        Measured on `rows` people of the log. Lists may differ from those of the trained weights in up to 1 - `least_overlap` of
        their items.
        """
        some = self.log.histories.take(np.flatnonzero(self.log.histories.lengths > 0)[:rows])
        people = np.full(len(some), -1)

        def answer(model: torch.nn.Module) -> RankedLists:
            return replace(self, model=model)._answer(some, people, min(k, self.items))

        model, name, tried = fastest(self.model, answer, least_overlap=least_overlap)
        return replace(self, model=model), name, tried

    # ---- inside ----

    def _repeats(self, include_seen: bool | None) -> bool:
        return self.recipe.split.repeats_items if include_seen is None else include_seen

    def _check_k(self, k: int, name: str = "k") -> None:
        if not 1 <= k <= self.items:
            raise UserError(f"{name} = {k} does not fit a catalogue of {self.items} items; allowed: 1 to {self.items}")

    def _answer(
        self,
        histories: Histories,
        users: np.ndarray,
        k: int,
        *,
        allowed: np.ndarray | None = None,
        include_seen: bool = False,
        rules: Rules = None,
        selection: Selection | None = None,
        generate: Generate | None = None,
    ) -> RankedLists:
        users = np.where(users < self.trained_users, users, -1)
        size = 64 if self.codes is not None else max(1, min(512, _SCORES_AT_ONCE // self.items))
        parts = []
        for start in range(0, len(histories), size):
            rows = histories.slice(start, start + size)
            limits = Limits(exclude=None if include_seen else rows, allowed=allowed)
            own = rules[start : start + size] if isinstance(rules, Sequence) else rules
            ask = partial(generate or self.generate, selection=selection)
            parts.append(self._answer_batch(rows, users[start : start + size], k, limits, own, ask))
        return RankedLists.joined(parts, k=k)

    def _answer_batch(self, rows: Histories, users: np.ndarray, k: int, limits: Limits, rules: Rules, generate: Generate) -> RankedLists:
        known = rows.lengths > 0
        if known.all():
            return generate(to_batch(rows, users=users, device=self.device), k, limits, rules)
        lists = self._most_popular(len(rows), k, limits, rules)
        if known.any():
            some = np.flatnonzero(known)
            fewer = replace(limits, exclude=None if limits.exclude is None else limits.exclude.take(some))
            own = [rules[int(row)] for row in some] if isinstance(rules, Sequence) else rules
            found = generate(to_batch(rows.take(some), users=users[some], device=self.device), k, fewer, own)
            lists.items[some], lists.scores[some] = found.items, found.scores
        return lists

    @torch.inference_mode()
    def generate(self, batch: HistoryBatch, k: int, limits: Limits, rules: Rules, selection: Selection | None) -> RankedLists:
        """The model's lists, by the recipe's [decoding], for rows about which something is known: what servers answer with too."""
        model: Any = self.model
        if model.answers == "codes":
            search, beams = self._search, max(k, self.recipe.decoding.beams)
            return search(model, batch, self.trie, k, beams=beams, limits=limits, rules=rules, selection=selection or BEST)
        if selection is not None and not isinstance(selection, Sampled):
            raise UserError(f"{self.recipe.title} scores items and has no beams to keep apart; use Sampled, or rules such as AtMost")
        return best_items(model, batch, k, limits=limits, rules=rules, sampled=selection)

    def _filler(self, wanted: float | None) -> Generate:
        """How slates come about: slot by slot where the model can, else as top lists."""
        if isinstance(self.model, SlateModel):
            return partial(self._fill, wanted=wanted)
        if wanted is not None:
            raise UserError(f"{self.recipe.title} does not learn from responses, so it cannot be asked for one; leave `wanted` out")
        return self.generate

    @torch.inference_mode()
    def _fill(
        self, batch: HistoryBatch, size: int, limits: Limits, rules: Rules, selection: Selection | None, wanted: float | None
    ) -> RankedLists:
        if selection is not None and not isinstance(selection, Sampled):
            raise UserError(
                f"{self.recipe.title} fills slates slot by slot and has no beams to keep apart; use Sampled, or rules such as AtMost"
            )
        return fill_slates(self.model, batch, size, limits=limits, rules=rules, sampled=selection, wanted=wanted)  # type: ignore[arg-type]

    def _likelihood(self, lists: RankedLists, rows: Histories, selection: Selection | None) -> np.ndarray:
        """Log-likelihood of each slate, float64 `[row]`; NaN where there is none."""
        if isinstance(self.model, SlateModel):
            found = slate_log_likelihood(lists)
        elif isinstance(selection, Sampled):
            found = list_log_likelihood(lists.scores)
        else:
            found = np.full(len(rows), np.nan)
        return np.where(rows.lengths > 0, found, np.nan)

    @property
    def _search(self) -> Callable[..., RankedLists]:
        """Beam search, with cold items judged by their codes but the last where the recipe gives them a share of the list."""
        share = self.recipe.decoding.cold_share
        if share == 0 or self.codes is None:
            return beam_search
        return partial(search_with_cold_items, codes=self.codes, cold=self.popularity == 0, share=share)

    def _most_popular(self, rows: int, k: int, limits: Limits, rules: Rules) -> RankedLists:
        scores = torch.from_numpy(self.popularity.astype(np.float32)).expand(rows, -1)
        return top_k(scores, k, limits=limits, rules=rules)

    def _table(self, names: list[RawId], lists: RankedLists) -> pl.DataFrame:
        found = lists.items >= 0
        row, position = np.nonzero(found)
        return pl.DataFrame(
            {
                "user_id": self.log.users.series(names).gather(row),
                "item_id": self.log.items.raw(lists.items[found]),
                "score": lists.scores[found],
                "rank": position + 1,
            }
        )

    def _signed(self, table: pl.DataFrame, lists: RankedLists, rows: Histories) -> pl.DataFrame:
        """The table with who spoke, where a language model did; nobody about whom nothing is known was answered by it."""
        backend = self.spoken_by
        if backend is None:
            return table
        spoke = (rows.lengths > 0)[np.nonzero(lists.items >= 0)[0]]
        return table.with_columns(backend=pl.Series([backend if known else None for known in spoke], dtype=pl.String))

    def _slate_table(self, names: list[RawId], lists: RankedLists, likelihood: np.ndarray) -> pl.DataFrame:
        table = self._table(names, lists).rename({"rank": "slot"})
        of_row = pl.Series(likelihood[np.nonzero(lists.items >= 0)[0]]).fill_nan(None)
        return table.select("user_id", "slot", "item_id", "score", of_row.alias("log_likelihood"))

    def _categories(self) -> Histories | None:
        return None if self.catalogue is None else item_categories(self.catalogue, self.log.items)

    def _encode(self, data: Dataset) -> Log:
        """Other data with this run's item numbers; events of items that the model does not know are left out."""
        log = data.select(self.recipe.view).log_for(self.recipe.split)
        number = self.log.items.indices(log.items.ids)
        values = number[log.histories.values]
        known = log.histories.with_values(values).where(values >= 0)
        return Log(log.users, self.log.items, known)


def _split_name(split: str) -> Literal["validation", "test"]:
    if split == "validation":
        return "validation"
    if split == "test":
        return "test"
    raise UserError(f"unknown split `{split}`; allowed: `validation`, `test`")


def load(folder: str | Path) -> Recommender:
    """Read a run folder. Raises `ArtifactError` when it is missing, damaged or from a version that cannot be read."""
    state = read_run(Path(folder))
    model = build_model(state.recipe, items=len(state.log.items), codes=state.codes, vectors=state.vectors)
    _load_weights(model, state.weights, folder)
    model.to(runtime_of(state.recipe).device).eval()
    tokenizer = None
    if state.recipe.tokenizer is not None and state.tokenizer is not None:
        tokenizer = build_tokenizer(state.recipe.tokenizer)
        tokenizer.load_state(state.tokenizer)
    return Recommender(
        recipe=state.recipe,
        model=model,
        log=state.log,
        popularity=state.popularity,
        catalogue=state.catalogue,
        codes=state.codes,
        tokenizer=tokenizer,
        vectors=state.vectors,
        card=state.card,
        earlier_codes=state.earlier_codes,
    )


def _load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], folder: str | Path) -> None:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ArtifactError(
            f"the weights in `{folder}` are not those of its model as this recsmith builds it ({reason:.120}); "
            "use the recsmith that wrote it, or fit again"
        ) from None
