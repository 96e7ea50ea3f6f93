"""Our TIGER against `transformers`' T5 with the same weights: forward, loss, gradients, and constrained beam search."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, beam_search
from recsmith.models.tiger import PAD, Tiger, TigerConfig
from recsmith.protocols import HistoryBatch
from recsmith.testing.t5 import allowed_tokens, t5_inputs, to_t5

pytest.importorskip("transformers")

SIZES = (16, 16, 16, 4)
ITEMS = 300
SMALL = {"dim": 32, "heads": 3, "head_dim": 16, "ff_dim": 48, "encoder_layers": 2, "decoder_layers": 2, "softmax": "vocabulary"}
HISTORIES = [[1, 2, 3, 4, 5], [7], [], [9, 9, 200, 12], list(range(100, 130))]


def make_model(**overrides) -> Tiger:
    torch.manual_seed(5)
    numbers = np.random.default_rng(5).permutation(int(np.prod(SIZES)))[:ITEMS]
    codes = ItemCodes(np.stack(np.unravel_index(numbers, SIZES), axis=1), SIZES)
    return Tiger(TigerConfig.parse({**SMALL, **overrides}), codes=codes).eval()


def pack(rows) -> HistoryBatch:
    histories = Histories.from_rows(rows)
    return HistoryBatch(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets))


def tokens_of(model: Tiger, items) -> torch.Tensor:
    return (model.item_codes[torch.as_tensor(items)] + model.level_offsets).long()


@pytest.mark.parametrize("head", ["tied", "untied"])
def test_loss_and_gradients_are_those_of_t5(head):
    ours = make_model(head=head, targets_per_history="last")
    theirs = to_t5(ours)
    targets = [50, 60, 70, 80, 90]
    inputs, mask = t5_inputs(ours, pack(HISTORIES))
    expected = theirs(input_ids=inputs, attention_mask=mask, labels=tokens_of(ours, targets)).loss
    loss = ours.loss(pack([[*row, target] for row, target in zip(HISTORIES, targets, strict=True)]), 0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    assert torch.allclose(ours.embedding.weight.grad, theirs.shared.weight.grad, atol=1e-5)
    for mine, yours in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        first = yours.block[0].layer[0].SelfAttention
        assert torch.allclose(mine.bias.weight.grad, first.relative_attention_bias.weight.grad, atol=1e-5)
        assert torch.allclose(mine.layers[0].attention.qkv.weight.grad[:48], first.q.weight.grad, atol=1e-5)
        assert torch.allclose(mine.norm.weight.grad, yours.final_layer_norm.weight.grad, atol=1e-5)


def test_training_on_all_prefixes_is_the_mean_over_single_ones():
    ours = make_model(targets_per_history="next")
    theirs = to_t5(ours)
    row = [3, 1, 4, 15, 9, 26]
    inputs, mask = t5_inputs(ours, pack([row[:length] for length in range(1, len(row))]))
    expected = theirs(input_ids=inputs, attention_mask=mask, labels=tokens_of(ours, row[1:])).loss
    assert ours.loss(pack([row]), 0).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("head", ["tied", "untied"])
def test_beam_search_finds_the_lists_of_generate(head):
    ours = make_model(head=head)
    theirs = to_t5(ours)
    batch, beams = pack(HISTORIES), 10
    inputs, mask = t5_inputs(ours, batch)
    generated = theirs.generate(
        input_ids=inputs, attention_mask=mask, num_beams=beams, num_return_sequences=beams, max_new_tokens=4, length_penalty=0.0,
        do_sample=False, prefix_allowed_tokens_fn=allowed_tokens(ours), return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    answer = beam_search(ours, batch, CodeTrie.build(codes_of(ours)), beams, beams=beams, normalise="none")
    expected = generated.sequences[:, 1:].view(len(batch), beams, 4)
    assert (tokens_of(ours, answer.items) == expected).all()
    assert np.allclose(answer.scores.reshape(-1), generated.sequences_scores.numpy(), atol=1e-5)
    assert (generated.sequences[:, 0] == PAD).all()


def codes_of(model: Tiger) -> ItemCodes:
    return ItemCodes(model.item_codes.numpy(), model.sizes)
