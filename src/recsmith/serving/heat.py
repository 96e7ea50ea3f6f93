"""How events count in what is trending, as it is kept in the store."""

from __future__ import annotations

import logging
import time

from recsmith.serving import changes
from recsmith.serving.changes import Heat
from recsmith.serving.config import ServerConfig
from recsmith.serving.store import Store

LOG = logging.getLogger("recsmith.serving")


def heat_of(store: Store, config: ServerConfig) -> Heat:
    """How events count in what is trending. Counts that were made otherwise are made again from the feed."""
    kept = store.setting("heat")
    wanted = {"half_life_hours": config.half_life_hours, "kinds": sorted(set(config.history_kinds))}
    since = time.time() if kept is None else float(kept["since"])
    heat = Heat(since, config.half_life_hours, frozenset(config.history_kinds))
    if kept != {**wanted, "since": since}:
        with store.transaction() as connection:
            changes.put_setting(connection, "heat", {**wanted, "since": since})
            read = changes.rebuild_counts(connection, heat)
        LOG.warning("counted %d events of the feed", read)
    return heat
