"""POD and RDRec: tasks asked by vectors, whole-word embeddings, one task a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from recsmith.data import Histories, ItemCodes, TrainingReviews
from recsmith.errors import ConfigError, UserError
from recsmith.models.pod import Pod, PodConfig
from recsmith.testing import CodeModelTests
from recsmith.testing.logs import cycles, full_codes
from recsmith.training import to_batch

NETWORK = {"dim": 32, "layers": 1, "heads": 2, "ff_dim": 64, "words": 300, "dropout": 0.0}


class TestPod(CodeModelTests):
    model_class = Pod
    config = PodConfig.parse({"network": {**NETWORK, "words": 500}, "mix": {"sequential": 4.0}, "max_history": 8, "vectors": 1})
    steps = 300


def made(**settings) -> Pod:
    torch.manual_seed(0)
    model = Pod(PodConfig.parse({"network": NETWORK, "max_history": 8, **settings}), codes=full_codes())
    model.read_reviews(TrainingReviews(np.array([0]), np.array([3]), ["a fine thing"], np.array([4.0]), [""], [""]))
    model.observe(cycles())
    return model.eval()


def test_each_step_trains_one_task_and_its_vectors_alone() -> None:
    model = made()
    families = model.network.facts["notes"]["trained"]
    assert families == ["sequential", "direct", "explanation"]
    fronts = dict(model.wording.fronts.values())
    assert len({token for vectors in fronts.values() for token in vectors}) == 3 * model.config.vectors
    table = model.network.model.get_input_embeddings().weight
    for step, family in enumerate(families):
        model.zero_grad()
        model.train().loss(to_batch(cycles(), users=np.arange(48)), step).backward()
        as_input = table.grad.clone()
        for name, vectors in fronts.items():
            assert (float(as_input[vectors].norm()) > 0) == (name == family)


def test_answers_are_asked_for_by_vectors_and_ids_without_words() -> None:
    model = made()
    question = model.questions(to_batch(Histories.from_rows([[1, 2]]), users=np.array([7])))[0]
    vectors = model.wording.fronts["{user} {history}"][1]
    assert question == [*vectors, model.wording.user(7), *model.wording.item(1), *model.wording.item(2)]
    words = [pair.input for pair in model.examples(to_batch(cycles(), users=np.arange(48)))]
    assert any(text.startswith("<task sequential> <task sequential> <task sequential> What will <user") for text in words)
    assert any(text.startswith("<task direct> <task direct> <task direct> <user") for text in words)


def test_tokens_of_one_id_share_a_number_and_words_have_none() -> None:
    model = made()
    wrapper, word = model.network.model, model.network.tokens("fine")[0]
    ids = torch.tensor([[word, model.wording.user(3), *model.wording.item(5), word, *model.wording.item(5)]])
    numbers = wrapper._numbered(ids, torch.zeros(1, dtype=torch.int64), alone=False)
    assert numbers.tolist() == [[0, 1, 2, 2, 2, 0, 3, 3, 3]]


def test_what_is_written_behind_a_cache_is_numbered_as_in_one_pass() -> None:
    model = made()
    with torch.no_grad():
        model.network.model.numbers.weight.mul_(50)
    batch = to_batch(Histories.from_rows([[1, 2, 3], [5], []]))
    questions, codes = model.questions(batch), torch.from_numpy(full_codes().table)
    with torch.no_grad():
        first, state = model.step(model.prefill(batch), 0, None, None)
        chosen = torch.arange(3).expand(3, -1)
        second, state = model.step(state, 1, torch.zeros_like(chosen), chosen)
        third, _ = model.step(state, 2, chosen, torch.ones_like(chosen))
        for item in np.flatnonzero(codes[:, 1] == 1):
            code = codes[item]
            found = first.log_softmax(2)[:, 0, code[0]] + second.log_softmax(2)[:, code[0], 1] + third.log_softmax(2)[:, code[0], code[2]]
            for row, question in enumerate(questions):
                logits = model.network.model(input_ids=torch.tensor([[*question, *model.wording.item(int(item))]])).logits[0]
                parts = [
                    logits[len(question) - 1 + level, tokens].log_softmax(0)[code[level]]
                    for level, tokens in enumerate(model.wording.code_tokens.levels)
                ]
                torch.testing.assert_close(found[row], sum(parts), rtol=1e-4, atol=1e-4)


def test_what_stands_around_the_model_is_saved_with_the_run_alone(tmp_path) -> None:
    with pytest.raises(UserError, match="parts of its own around the language model"):
        made().network.save_folder(tmp_path / "model")


def test_vectors_in_front_of_everything_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"choose tuner\.method full, lora or adapter instead of prompt"):
        Pod(PodConfig.parse({"tuner": {"method": "prompt"}}), codes=ItemCodes(np.zeros((2, 1), dtype=np.int64), (1,)))
