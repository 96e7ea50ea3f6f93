"""The promises of every model, for TIGER, whose own test file is about what is peculiar to it."""

from __future__ import annotations

from recsmith.models.tiger import Tiger, TigerConfig, tiger_cpu
from recsmith.testing import CodeModelTests

TINY = {
    "dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "max_history": 8, "dropout": 0.0,
}  # fmt: skip


class TestTiger(CodeModelTests):
    model_class = Tiger
    config = TigerConfig.parse(TINY)


class TestCausalTigerWithUsers(CodeModelTests):
    model_class = Tiger
    config = tiger_cpu(**TINY, user_tokens=3)
    steps = 250
