"""The built-in data, made by the project: real works, simulated people, and an oracle that knows the truth about them."""

from recsmith.data.world.covers import render_covers
from recsmith.data.world.oracle import Oracle
from recsmith.data.world.parameters import GENRES, WORLD_VERSION, WorldParameters
from recsmith.data.world.simulator import World, world
from recsmith.data.world.works import real_works

__all__ = ["GENRES", "WORLD_VERSION", "Oracle", "World", "WorldParameters", "real_works", "render_covers", "world"]
