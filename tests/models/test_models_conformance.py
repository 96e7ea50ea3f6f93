"""The promises of every model, for those models whose own test files are about something else."""

from __future__ import annotations

from recsmith.models.sasrec import Sasrec, SasrecConfig
from recsmith.models.tiger import Tiger, TigerConfig, tiger_cpu
from recsmith.testing import CodeModelTests, ScoreModelTests

TINY = {"dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "max_history": 8}


class TestSasrec(ScoreModelTests):
    model_class = Sasrec
    config = SasrecConfig(dim=16, layers=1, hidden=32, max_history=10, dropout=0.1)
    sequential = True
    steps = 80


class TestPreNormSasrecFromTheEnd(ScoreModelTests):
    model_class = Sasrec
    config = SasrecConfig(dim=16, layers=1, hidden=32, max_history=10, dropout=0.1, norm="pre", positions="end")
    sequential = True
    steps = 80


class TestTiger(CodeModelTests):
    model_class = Tiger
    config = TigerConfig(**TINY)


class TestCausalTigerWithUsers(CodeModelTests):
    model_class = Tiger
    config = tiger_cpu(**TINY, user_tokens=3)
    steps = 300
