"""What a result says about how it came about: the protocol's name, version and hash, its parameters, and what was ranked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from recsmith.data import SplitConfig
from recsmith.errors import ConfigError

FULL_RANKING = "full: every item of the catalogue"
"""What is ranked unless a result says otherwise."""


def describe_protocol(config: SplitConfig, *, ranking: str = FULL_RANKING, **facts: Any) -> dict[str, Any]:
    """The protocol for a result: all parameters of the split, `hash`, `ranking`, and further `facts` (tie rule, …), ready for JSON."""
    return identified({**config.model_dump(mode="json"), "ranking": ranking, **facts})


def identified(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol's description with `ranking` and `hash`, where it has none yet; an empty one stays empty.

    The hash is over name, version, the parameters that decide, and the ranking where it is not the full one; so two results can be put
    side by side exactly if their hashes are equal and their data are. What is no split of ours is hashed as it stands.
    """
    if not protocol or "hash" in protocol:
        return dict(protocol)
    described = {"ranking": FULL_RANKING, **protocol}
    return {**protocol, "ranking": described["ranking"], "hash": _hash(described)}


def _hash(protocol: Mapping[str, Any]) -> str:
    known = {name: value for name, value in protocol.items() if name in SplitConfig.model_fields}
    try:
        config = SplitConfig.parse(known)
    except ConfigError:
        return _digits(protocol)
    if protocol["ranking"] == FULL_RANKING:
        return config.hash
    return _digits({**config.deciding, "ranking": protocol["ranking"]})


def _digits(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
