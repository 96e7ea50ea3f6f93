from __future__ import annotations

import pytest

from recsmith.errors import ConfigError
from recsmith.models.locker import Locker, LockerConfig
from recsmith.testing import ScoreModelTests

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "last_share": 0.5}


class TestLockerWithWindow(ScoreModelTests):
    model_class = Locker
    config = LockerConfig.parse({**SMALL, "local": "window", "reach": 1})
    sequential = True
    steps = 200


class TestLockerWithConvolution(ScoreModelTests):
    model_class = Locker
    config = LockerConfig.parse({**SMALL, "local": "convolution"})
    sequential = True
    steps = 200


def test_local_heads_are_heads() -> None:
    with pytest.raises(ConfigError, match="`local_heads` = 3 must be at most `heads` = 2"):
        LockerConfig.parse({"local_heads": 3})
