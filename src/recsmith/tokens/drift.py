"""How far a catalogue has moved away from the codebooks that its items' codes come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsmith.data import Catalogue, ItemCodes
from recsmith.item_tokenizers.migration import RenumberableTokenizer
from recsmith.protocols import BoundItemTokenizer, ItemTokenizer, Progress
from recsmith.run_folder import RunState
from recsmith.tokens.reading import codes_of, collisions, encode_more, items_like, recorded_texts, texts_in_step, tokenizer_of

WORSE = 1.25
"""Ratio of errors from which on new codebooks are advised."""
MOVED = 0.1
"""Share of items with changed texts that would get other codes, and divergence of usage in bits, from which on they are advised."""


def token_drift(state: RunState, items: Catalogue, *, progress: Progress | None = None) -> dict[str, Any]:
    """Compare the current catalogue `items` with what the run's codebooks were learned on; nothing is changed.

    * `items`: how many are known, new, gone (in the run, no longer in the catalogue), and known with `changed` texts.
    * `error`: mean squared distance of vectors to what their codes stand for, of the run's items, of the new and of the changed ones
      (with the codes that they would get), and the ratio to the run's; None without such items or such a tokenizer.
    * `changed_codes`: share of the items with changed texts that would get other learned codes now.
    * `usage_divergence`: per learned level, Jensen–Shannon divergence (Lin, 1991; bits) between the use of codes then and now.
    * `collisions`: of the run, and of the current catalogue.
    * `reasons`: what speaks for `recsmith tokens migrate`, in words; empty when nothing does.
    """
    codes, tokenizer = codes_of(state), tokenizer_of(state)
    items = items_like(state.log.items, items)
    index = state.log.items.indices(items.frame["item_id"])
    known, new = index >= 0, items.frame["item_id"].filter(pl.Series(index < 0))
    then = texts_in_step(state)
    recorded = recorded_texts(state)
    assert recorded is not None  # texts_in_step has refused runs without texts
    template = recorded["text"]
    now = items.texts(items.frame["item_id"], template=template)
    changed = np.array([at >= 0 and then[at] != text for at, text in zip(index.tolist(), now, strict=True)], dtype=bool)
    moved = items.frame["item_id"].filter(pl.Series(changed))
    fresh = pl.concat([new, moved])
    vectors = None
    if isinstance(tokenizer, BoundItemTokenizer):
        tokenizer.bind(fresh, items)
    else:
        vectors = encode_more(state, items.texts(fresh, template=template), progress=progress)
    given = _own_codes(tokenizer, codes, np.empty((len(fresh), 0), dtype=np.float32) if vectors is None else vectors[len(codes) :])
    own = given[len(new) :]
    measured = None
    if vectors is not None and isinstance(tokenizer, RenumberableTokenizer):
        errors = tokenizer.errors(vectors, np.concatenate([codes.table[:, :-1], given]))
        measured = _ratios(*np.split(errors, [len(codes), len(codes) + len(new)]))
    current = codes.table[index[known]].copy()
    current[changed[known], :-1] = own
    prefixes = np.concatenate([current[:, :-1], given[: len(new)]])
    drift: dict[str, Any] = {
        "items": {
            "run": len(codes),
            "current": len(items),
            "known": int(known.sum()),
            "new": len(new),
            "gone": len(codes) - int(known.sum()),
            "changed": len(moved),
        },
        "error": measured,
        "changed_codes": float((own != codes.table[index[changed], :-1]).any(axis=1).mean()) if len(moved) else None,
        "usage_divergence": [_divergence(codes.table[:, level], prefixes[:, level], size) for level, size in enumerate(codes.sizes[:-1])],
        "collisions": {"run": collisions(codes), "current": _collisions_of(prefixes, codes)},
    }
    return {**drift, "reasons": _reasons(drift)}


def _own_codes(tokenizer: ItemTokenizer, codes: ItemCodes, vectors: np.ndarray) -> np.ndarray:
    """The learned codes that items would get by their vectors alone, int64 `[item, level]`."""
    if not len(vectors):
        return codes.table[:0, :-1]
    return tokenizer.assign(vectors, taken=ItemCodes(codes.table[:0], (*codes.sizes[:-1], len(vectors)))).table[:, :-1]


def _ratios(run: np.ndarray, new: np.ndarray, changed: np.ndarray) -> dict[str, float | None]:
    """Mean errors, and those of new and changed items as multiples of the run's."""
    base = float(run.mean())
    found: dict[str, float | None] = {"run": base}
    for name, errors in (("new", new), ("changed", changed)):
        mean = float(errors.mean()) if len(errors) else None
        found[name] = mean
        found[f"{name}_ratio"] = mean / base if mean is not None and base > 0 else None
    return found


def _divergence(then: np.ndarray, now: np.ndarray, size: int) -> float | None:
    if not len(then) or not len(now):
        return None
    p, q = (np.bincount(codes, minlength=size) / len(codes) for codes in (then, now))
    middle = (p + q) / 2

    def half(share: np.ndarray) -> float:
        used = share > 0
        return float((share[used] * np.log2(share[used] / middle[used])).sum()) / 2

    return max(0.0, half(p) + half(q))


def _collisions_of(prefixes: np.ndarray, codes: ItemCodes) -> dict[str, Any]:
    """Collision figures of learned codes, before anything is moved out of full prefixes."""
    numbers = np.arange(len(prefixes), dtype=np.int64)[:, None]
    roomy = ItemCodes(np.concatenate([prefixes, numbers], axis=1), (*codes.sizes[:-1], max(1, len(prefixes))))
    found = collisions(roomy)
    return {**found, "full_prefixes": None, "more_than_fit": found["largest_collision"] > codes.sizes[-1]}


def _reasons(drift: dict[str, Any]) -> list[str]:
    found = []
    for name in ("new", "changed"):
        ratio = None if drift["error"] is None else drift["error"][f"{name}_ratio"]
        if ratio is not None and ratio > WORSE:
            found.append(f"codes describe {name} items {ratio:.2f} times worse than the run's own")
    if drift["changed_codes"] is not None and drift["changed_codes"] > MOVED:
        found.append(f"{drift['changed_codes']:.1%} of the items with changed texts have codes that no longer fit them")
    worst = max((value for value in drift["usage_divergence"] if value is not None), default=0.0)
    if worst > MOVED:
        found.append(f"codes are used differently: divergence of {worst:.3f} bits at one level")
    if drift["collisions"]["current"]["more_than_fit"]:
        found.append("more items share their learned codes than the collision level can tell apart")
    return found
