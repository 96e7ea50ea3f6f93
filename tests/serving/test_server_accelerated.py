"""A server that packs its model's weights answers what it answered, and says what it chose; its search is that of the run's recipe."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.decoding.test_decoding_how_to import small_recommender
from tests.serving.conftest import ServerProcess

from recsmith.cli.program import execute
from recsmith.nn.packed_linear import PackedLinear, can_pack
from recsmith.recommender import load
from recsmith.serving.generation import Generation
from recsmith.serving.growth import Growth


def test_lists_are_nearly_those_of_the_trained_weights_and_the_choice_is_printed(serve: Callable[..., ServerProcess], runs: Path) -> None:
    server, recommender, shared = serve("--accelerate"), load(runs / "first"), []
    users = recommender.log.users.ids[:32].to_list()
    with server.client() as client:
        for user in users:
            given = {item["item_id"] for item in client.recommend(user, k=10)["items"]}
            expected = recommender.recommend(users=[user], k=10)["item_id"].to_list()
            shared.append(len(given & {str(item) for item in expected}) / 10)
    assert np.mean(shared) >= 0.98  # .99 was measured in one batch; alone, near ties may fall the other way
    assert re.search(r"answers with weights (as trained|packed \w+) \(measured: as trained [\d.]+ ms", server.log())


def test_check_says_the_weights(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["serve", str(runs / "first"), "--store", f"sqlite:///{tmp_path / 's.db'}", "--check"]
    assert execute(words) == 0
    assert "weights: as trained\n" in capsys.readouterr().out
    assert execute([*words, "--accelerate"]) == 0
    assert "(measured: as trained" in capsys.readouterr().out


@pytest.mark.skipif(not can_pack(), reason="this build of torch has no mkldnn")
def test_the_choice_is_measured_once_and_kept_while_the_model_grows(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load(runs / "first")
    growth = Growth(base)
    monkeypatch.setattr(type(base), "accelerated", lambda self: measured.append(self) or (self, "packed fp32", {}))
    measured: list[object] = []
    grown, _ = growth.grow([{"item_id": "a lamp", "title": "Lamp", "attributes": {}}])
    first, again, larger = (growth.acceleration.of(recommender) for recommender in (base, base, grown))
    assert first is again
    assert measured == [base]
    for own, of in ((first, base), (larger, grown)):
        assert own.items == of.items
        assert any(isinstance(module, PackedLinear) for module in own.model.modules())
    assert not any(isinstance(module, PackedLinear) for module in base.model.modules())
    assert larger.recommend(histories=[[]], k=3).height == 3


def test_items_without_training_have_the_share_of_a_served_list_that_the_recipe_gives_them() -> None:
    recommender = small_recommender()
    cold = np.arange(recommender.items) % 2 == 0
    recipe = recommender.recipe.with_settings({"decoding": {"cold_share": 0.2}})
    recommender = replace(recommender, recipe=recipe, popularity=np.where(cold, 0, recommender.popularity))
    generation = Generation("made", 1, recommender, growth=Growth(recommender))
    history = generation.item_names[3:6]
    items, _, source = generation.answer([generation.session(10, history)])[0]
    assert source == "model"
    assert cold[items].sum() <= 2
    assert [generation.item_names[item] for item in items] == recommender.recommend(histories=[history], k=10)["item_id"].to_list()
