"""TIGER: what training sees is what search sees, in both encoder modes; and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, beam_search, score_all
from recsmith.models.tiger import Tiger, TigerConfig, tiger_cpu, tiger_paper
from recsmith.nn.windows import Windows
from recsmith.protocols import CodeModel, Differentiable, HistoryBatch, Limits

SIZES = (6, 5, 4)
ITEMS = 40
SMALL = {"dim": 24, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 2, "decoder_layers": 2, "max_history": 6}
MODES = ["bidirectional", "causal"]


def make_model(**overrides) -> Tiger:
    torch.manual_seed(3)
    numbers = np.random.default_rng(3).permutation(int(np.prod(SIZES)))[:ITEMS]
    codes = ItemCodes(np.stack(np.unravel_index(numbers, SIZES), axis=1), SIZES)
    return Tiger(TigerConfig.parse({**SMALL, **overrides}), codes=codes).eval()


def pack(rows, users=None) -> HistoryBatch:
    histories = Histories.from_rows(rows)
    users = None if users is None else torch.tensor(users)
    return HistoryBatch(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets), users)


def trie_of(model: Tiger) -> CodeTrie:
    return CodeTrie.build(ItemCodes(model.item_codes.numpy(), model.sizes))


def scores(model: Tiger, batch: HistoryBatch) -> torch.Tensor:
    return score_all(model, batch, trie_of(model), normalise="none" if model.config.softmax == "vocabulary" else "level")


def test_it_satisfies_the_protocols():
    model = make_model()
    assert isinstance(model, CodeModel)
    assert isinstance(model, Differentiable)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("softmax", ["level", "vocabulary"])
@pytest.mark.parametrize("which", ["all", "next", "last"])
def test_the_loss_is_what_search_scores_of_each_prefix(mode, softmax, which):
    model = make_model(encoder_attention=mode, softmax=softmax, targets_per_history=which)
    rows = [[1, 2, 3, 9, 4], [5], [], [4, 4], list(range(20, 27))]
    chosen = {"all": range, "next": lambda n: range(1, n), "last": lambda n: range(max(n - 1, 0), n)}[which]
    pairs = [(row[:place], row[place]) for row in rows for place in chosen(len(row))]
    exact = scores(model, pack([prefix for prefix, _ in pairs]))
    expected = -np.mean([exact[number, target].item() for number, (_, target) in enumerate(pairs)]) / len(SIZES)
    assert model.loss(pack(rows), 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_temperature_of_the_loss_divides_its_logits_alone():
    cold, plain = make_model(loss_temperature=0.5), make_model()
    batch, first = pack([[1, 2, 3], [5]]), pack([[]])
    assert torch.equal(scores(cold, batch), scores(plain, batch))
    logits, state = plain.step(plain.prefill(first), 0, None, None)
    target = plain.item_codes[7]
    expected = -(logits[0, 0] / 0.5).log_softmax(0)[target[0]]
    for level in (1, 2):
        logits, state = plain.step(state, level, torch.zeros(1, 1, dtype=torch.int64), target[level - 1].view(1, 1))
        expected = expected - (logits[0, 0] / 0.5).log_softmax(0)[target[level]]
    assert cold.loss(pack([[7]]), 0).item() == pytest.approx(expected.item() / 3, rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_row_does_not_depend_on_its_batch(mode):
    model = make_model(encoder_attention=mode)
    rows = [[1, 2, 3], [], [7], list(range(30))]
    together = scores(model, pack(rows))
    for number, row in enumerate(rows):
        assert torch.allclose(scores(model, pack([row]))[0], together[number], atol=1e-5)


def test_only_the_last_items_and_the_known_ones_are_read():
    model = make_model()
    recent = scores(model, pack([[4, 5, 6, 7, 8, 9]]))
    assert torch.allclose(scores(model, pack([[1, 2, 3, 4, 5, 6, 7, 8, 9]])), recent)
    assert torch.allclose(scores(model, pack([[4, 5, -1, 6, 7, -1, 8, 9, -1]])), recent)


def test_causal_states_do_not_look_ahead_but_read_whole_items():
    model = make_model(encoder_attention="causal")
    visible = model._visible(7)
    assert visible[0].tolist() == [True] + [False] * 6
    assert visible[1].tolist() == visible[3].tolist() == [True] * 4 + [False] * 3
    assert visible[4].all()


@pytest.mark.parametrize("which", ["all", "next"])
def test_shared_windows_predict_every_event_once_with_half_a_window_of_past(which):
    lengths = torch.tensor([0, 1, 2, 6, 7, 8, 9, 10, 11, 31])
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    windows = Windows.shared(offsets, longest=6, which=which)
    firsts = offsets[:-1][lengths > 0]
    expected = set(range(int(offsets[-1]))) - (set(firsts.tolist()) if which == "next" else set())
    targets = windows.target_events().tolist()
    assert len(targets) == len(set(targets))
    assert set(targets) == expected
    assert int(windows.inputs.max()) == 6
    for row, start, inputs, count in zip(windows.rows, windows.starts, windows.inputs, windows.targets, strict=True):
        assert offsets[row] <= start
        assert start + inputs + 1 <= offsets[row + 1]
        past = inputs + 1 - count
        assert start == offsets[row] or past >= 3


def test_no_targets_is_no_loss():
    model = make_model(targets_per_history="next")
    loss = model.loss(pack([[], [3]]), 0)
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("mode", MODES)
def test_bf16_autocast_stays_close(mode):
    model = make_model(encoder_attention=mode)
    batch = pack([[1, 2, 3, 4], [5, 6], [], [7, 8, 9, 10, 11, 12, 13, 14]])
    exact = model.loss(batch, 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch, 0)
        lists = beam_search(model, batch, trie_of(model), 5)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=2e-2)
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    assert (lists.items >= 0).all()


def test_users_have_tokens_and_strangers_the_start():
    model = make_model(user_tokens=3)
    rows = [[1, 2]] * 4
    first, same, other, stranger = scores(model, pack(rows, users=[0, 3, 1, -1]))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)
    assert torch.allclose(stranger, scores(model, pack([[1, 2]]))[0])


def test_it_learns_that_items_follow_each_other():
    model = make_model(encoder_attention="causal", targets_per_history="next", dropout=0.02).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    random = np.random.default_rng(0)
    for step in range(120):
        batch = pack([(start + np.arange(6)) % ITEMS for start in random.integers(0, ITEMS, size=32)])
        loss = model.loss(batch, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    rows = [[(start + place) % ITEMS for place in range(4)] for start in range(ITEMS)]
    limits = Limits(exclude=Histories.from_rows(rows))
    answer = beam_search(model, pack(rows), trie_of(model), 3, limits=limits)
    assert np.mean(answer.items[:, 0] == (np.arange(ITEMS) + 4) % ITEMS) > 0.8


def test_dropout_repeats_with_the_seed():
    model = make_model().train()
    batch = pack([[1, 2, 3, 4]])
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model.loss(batch, 0).item())
    assert losses[0] == losses[1] != losses[2]


def test_named_sizes():
    assert tiger_paper().user_tokens == 2000
    assert tiger_cpu(dropout=0.2).encoder_attention == "causal"
    assert tiger_cpu(dropout=0.2).dropout == 0.2


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_cuda_finds_the_lists_of_the_cpu(mode):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA here")
    model = make_model(encoder_attention=mode)
    batch = pack([[1, 2, 3], [], list(range(12))])
    limits = Limits(exclude=Histories.from_rows([[1, 2, 3], [], [5]]), allowed=np.arange(ITEMS) % 7 > 0)
    trie, loss = trie_of(model), model.loss(batch, 0)
    expected = beam_search(model, batch, trie, 8, limits=limits)
    model.cuda()
    answer = beam_search(model, batch.to("cuda"), trie, 8, limits=limits)
    assert model.loss(batch.to("cuda"), 0).item() == pytest.approx(loss.item(), rel=1e-4)
    assert answer.items.tolist() == expected.items.tolist()
    np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-4)
