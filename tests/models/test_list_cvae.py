from __future__ import annotations

from recsmith.models.list_cvae import ListCvae, ListCvaeConfig
from recsmith.testing import SlateModelTests

SMALL = {"slate": 3, "dim": 16, "hidden": 24, "latent": 4, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "annealing_steps": 100}


class TestListCvae(SlateModelTests):
    model_class = ListCvae
    config = ListCvaeConfig.parse(SMALL)
    sequential = True
    steps = 250
