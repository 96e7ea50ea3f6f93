"""What a call asks, in indices: whom it is about, which items it allows, which rules hold for which row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recsmith.data import Histories, Log, RawId, offsets_of
from recsmith.decoding import BoundRules, ItemTable, Rule, Rules, bind_rules
from recsmith.errors import UserError


def who(log: Log, users: Iterable[RawId] | str | None, histories: Any) -> tuple[list[RawId], Histories, np.ndarray]:
    """Names, histories and user indices (-1: unknown) of the rows that `users` or `histories` of raw ids stand for.

    Raises `UserError` when neither or both are given.
    """
    if (users is None) == (histories is None):
        raise UserError("give either `users` or `histories`; for example users=[1, 2] or histories=[[10, 20]]")
    if histories is not None:
        named = histories if isinstance(histories, Mapping) else dict(enumerate(histories))
        rows = [log.items.indices(list(history)) for history in named.values()]
        return list(named), Histories.from_rows([row[row >= 0].tolist() for row in rows]), np.full(len(rows), -1)
    if isinstance(users, str) and users == "all":
        return log.users.ids.to_list(), log.histories, np.arange(len(log.users))
    names: list[RawId] = [users] if isinstance(users, str | int) else list(users or [])
    index = log.users.indices(names)
    known = log.histories.take(index[index >= 0])
    lengths = np.zeros(len(index), dtype=np.int64)
    lengths[index >= 0] = known.lengths
    return names, replace(known, offsets=offsets_of(lengths)), index


def allowed_items(log: Log, allow: Iterable[RawId] | None, deny: Iterable[RawId] | None) -> np.ndarray | None:
    """Bool `[item]`; None when nothing is restricted. Unknown ids are skipped."""
    if allow is None and deny is None:
        return None
    allowed = np.full(len(log.items), allow is None)
    for ids, value in ((allow, True), (deny, False)):
        if ids is not None:
            index = log.items.indices(list(ids))
            allowed[index[index >= 0]] = value
    return allowed


def rules_of_rows(rules: Sequence[Rule] | Rules, rows: int, table: ItemTable) -> Rules:
    """Rules as arrays; those that are bound already are checked against the number of rows."""
    if rules is None or isinstance(rules, BoundRules):
        return rules
    given = list(rules)
    if not any(isinstance(rule, BoundRules) for rule in given):
        return bind_rules(given, table)  # type: ignore[arg-type]
    if len(given) != rows:
        raise UserError(f"{len(given)} bound rules for {rows} rows; give one for everybody or one for each row")
    return given  # type: ignore[return-value]
