"""`TrialsSide`: how a server begins and ends experiments, and keeps the generations of their arms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from recsmith.errors import RecsmithError
from recsmith.serving import changes
from recsmith.serving.calls import Call
from recsmith.serving.experiment_store import running
from recsmith.serving.experiments.definition import Definition
from recsmith.serving.experiments_file import as_json
from recsmith.serving.generation import Generation
from recsmith.serving.live import LiveCounts
from recsmith.serving.problems import Problem
from recsmith.serving.store import StoreUnavailableError
from recsmith.serving.store_side import StoreSide
from recsmith.serving.trials import Trials, Variant


class TrialsSide(StoreSide):
    """The part of a server that shows different people different things."""

    generation: Generation
    counts: LiveCounts
    trials: Trials
    _making: asyncio.Lock

    @property
    def generations(self) -> list[Generation]:
        """All that answer: the one in service and those of arms."""
        return [self.generation, *self.trials.generations]

    async def begin_experiment(self, call: Call, definition: Definition) -> None:
        """Run an experiment from now on. Raises `Problem` (409, 422, 503) when it cannot run."""
        if not self.config.record_lists:
            raise Problem("conflict", "experiments need the setting `record_lists`, which is off; switch it on")
        name, text, now = definition.name, as_json(definition), time.time()
        async with self._making:
            together = [*self.trials.definitions, definition]
            try:
                self.trials.check(together)
                made = await asyncio.to_thread(self.trials.make, together, self.generation)
            except StoreUnavailableError as error:
                raise self.away(error) from error
            except RecsmithError as error:
                raise Problem("conflict", f"experiment `{name}` cannot run: {' '.join(str(error).split())}"[:2000]) from None
            new = await self.change(
                call, "begin experiment", name, lambda connection: changes.add_experiment(connection, name, text, now=now)
            )
            if not new:
                raise Problem("conflict", f"there was an experiment `{name}` before; give this one another name")
            self._take_trials(together, made)

    async def end_experiment(self, call: Call, name: str) -> None:
        """Show nobody its arms any more. Raises `Problem`."""
        now = time.time()
        stopped = await self.change(call, "stop experiment", name, lambda connection: changes.stop_experiment(connection, name, now=now))
        if not stopped:
            raise self.not_found("running experiment", name, "GET /experiments lists them")
        await self.read_experiments()

    async def read_experiments(self) -> None:
        """Run what the store says. Raises `Problem` (503)."""
        async with self._making:
            definitions = await self.ask(running)
            self._take_trials(*await asyncio.to_thread(self.trials.open, definitions, self.generation))

    def _take_trials(self, definitions: Sequence[Definition], made: dict[Variant, Generation]) -> None:
        there = self.trials.generations
        for generation in made.values():
            if generation not in there:
                generation.take_counts(self.counts)
        self.trials.take(definitions, made)

    async def _remake_arms(self) -> None:
        """The same change for the generations of arms."""
        if not self.trials.generations:
            return
        try:
            made = await asyncio.to_thread(self.trials.remade, self.generation)
        except StoreUnavailableError as error:
            raise self.away(error) from error
        there = self.trials.generations
        for generation in made.values():
            if generation not in there:
                generation.take_counts(self.counts)
        self.trials.replace(made)
