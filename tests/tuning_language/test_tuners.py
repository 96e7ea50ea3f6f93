"""LoRA, adapters, prompts and prefixes: each learns only what it claims, starts where the model is, and survives saving and merging."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from recsmith.errors import UserError
from recsmith.tuning_language import LanguageNetwork, NetworkConfig, TunerConfig
from recsmith.tuning_language.tuner import learning

TEXTS = ["a quiet harbour", "the last lantern", "a broken compass", "seven silver keys"]
DIM, LAYERS, FF, HEADS = 16, 2, 24, 2
METHODS = ["lora", "adapter", "prompt", "prefix"]


def network(method: str, *, kind: str = "causal", **tuner: object) -> LanguageNetwork:
    torch.manual_seed(1)
    shape = {"kind": kind, "dim": DIM, "layers": LAYERS, "heads": HEADS, "ff_dim": FF, "words": 300, "dropout": 0.0}
    made = LanguageNetwork(NetworkConfig.parse(shape), TunerConfig.parse({"method": method, "rank": 3, "width": 4, "tokens": 5, **tuner}))
    made.make(TEXTS, extra=4)
    return made


def pairs(made: LanguageNetwork) -> list[tuple[list[int], list[int]]]:
    return [(made.tokens("the last"), [*made.tokens("lantern"), made.end]), (made.tokens("a"), [*made.tokens("quiet harbour"), made.end])]


def learned(made: LanguageNetwork) -> LanguageNetwork:
    """After three large steps; says which weights moved."""
    before = {name: value.clone() for name, value in made.named_parameters()}
    optimizer = torch.optim.SGD([one for one in made.parameters() if one.requires_grad], lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        made.train().loss(pairs(made)).backward()
        optimizer.step()
    moved = {name for name, value in made.named_parameters() if not torch.equal(value, before[name])}
    assert moved == set(learning(made))
    return made.eval()


def answers(made: LanguageNetwork) -> torch.Tensor:
    with torch.no_grad():
        return made.eval().next_logits([source for source, _ in pairs(made)])


def test_each_method_learns_what_it_claims_and_nothing_else() -> None:
    outputs = {"q": DIM, "k": DIM, "v": DIM, "o": DIM, "gate": FF, "up": FF}
    low_rank = LAYERS * (sum(3 * (DIM + size) for size in outputs.values()) + 3 * (FF + DIM))
    adapter = LAYERS * 2 * (DIM * 4 + 4 + 4 * DIM + DIM)
    claimed = {"lora": low_rank, "adapter": adapter, "prompt": 5 * DIM, "prefix": LAYERS * 2 * 5 * DIM}
    for method, count in claimed.items():
        assert sum(learning(learned(network(method))).values()) == count, method
    everything = network("full")
    assert sum(learning(everything).values()) == sum(one.numel() for one in everything.parameters())


@pytest.mark.parametrize("method", ["full", *METHODS])
def test_losses_and_answers_are_those_of_each_row_read_alone_over_all_places(method: str) -> None:
    made = learned(network(method))
    with torch.no_grad():
        alone, last = [], []
        for source, target in pairs(made):
            logits = made.model(input_ids=torch.tensor([[*source, *target]])).logits[0]
            alone.append(logits.log_softmax(-1)[range(len(source) - 1, len(source) + len(target) - 1), target])
            last.append(logits[len(source) - 1])
        torch.testing.assert_close(made.loss(pairs(made)), -torch.cat(alone).mean())
        torch.testing.assert_close(made.log_likelihood(pairs(made)), torch.stack([one.sum() for one in alone]))
    torch.testing.assert_close(answers(made), torch.stack(last))


@pytest.mark.parametrize("kind", ["causal", "t5"])
@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_method_starts_from_the_answers_of_the_model(method: str, kind: str) -> None:
    torch.testing.assert_close(answers(network(method, kind=kind)), answers(network("full", kind=kind)))
    assert not torch.equal(answers(learned(network(method, kind=kind))), answers(network("full", kind=kind)))


@pytest.mark.parametrize("method", METHODS)
def test_what_was_learned_is_saved_and_loaded(method: str, tmp_path: Path) -> None:
    made = learned(network(method))
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, tmp_path / "weights.safetensors")
    other = LanguageNetwork(made.config, made.tuner)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(answers(other), answers(made))
    assert learning(other) == learning(made)


def test_low_rank_updates_merge_and_the_merged_model_is_a_folder(tmp_path: Path) -> None:
    made = learned(network("lora", embeddings=True))
    before = answers(made)
    size = sum(one.numel() for one in network("full").parameters())
    made.save_folder(tmp_path / "merged")
    assert sum(one.numel() for one in made.parameters()) == size
    torch.testing.assert_close(answers(made), before, rtol=1e-4, atol=1e-5)
    again = LanguageNetwork(NetworkConfig(folder=str(tmp_path / "merged")), TunerConfig())
    again.make([])
    torch.testing.assert_close(answers(again)[:, : made.word_count], before[:, : made.word_count], rtol=1e-4, atol=1e-5)
    restored = LanguageNetwork(made.config, TunerConfig(method="lora", rank=3))
    restored.load_state_dict(made.state_dict())
    assert torch.equal(answers(restored), answers(made))


@pytest.mark.parametrize("method", ["adapter", "prompt", "prefix", "full"])
def test_what_cannot_be_merged_says_so(method: str) -> None:
    with pytest.raises(UserError, match="nothing to merge: only low-rank updates"):
        network(method).merge()


def test_virtual_tokens_count_in_every_way_of_answering() -> None:
    """One pass, a cache, and a search over codes see the same virtual tokens."""
    import numpy as np

    from recsmith.data import Histories, ItemCodes
    from recsmith.decoding.adapters import CausalCodes, CodeTokens
    from recsmith.training import to_batch

    codes = ItemCodes(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (2, 2))
    for method in ("prompt", "prefix"):
        made = learned(network(method))
        tokens = CodeTokens.after(made.word_count, codes)
        questions = [source for source, _ in pairs(made)]
        search = CausalCodes(made.model, codes, tokens, prompt=lambda batch: made.padded(questions))  # noqa: B023
        with torch.no_grad():
            state = search.prefill(to_batch(Histories.from_rows([[0], [1]])))
            first, state = search.step(state, 0, None, None)
            chosen = torch.tensor([[0, 1], [0, 1]])
            second, _ = search.step(state, 1, torch.zeros_like(chosen), chosen)
            found = (first.log_softmax(2)[:, 0, :, None] + second.log_softmax(2)).flatten(1)
            for item in range(4):
                codes_of = [int(tokens.of(level, torch.tensor(codes.table[item, level]))) for level in range(2)]
                whole = torch.stack([made.model(input_ids=torch.tensor([[*one, *codes_of]])).logits[0] for one in questions[:1]])[0]
                place = len(questions[0]) - 1
                wanted = whole[place, tokens.levels[0]].log_softmax(0)[codes.table[item, 0]]
                wanted = wanted + whole[place + 1, tokens.levels[1]].log_softmax(0)[codes.table[item, 1]]
                torch.testing.assert_close(found[0, item], wanted, rtol=1e-4, atol=1e-4)


def test_an_encoder_decoder_takes_a_prompt_but_no_prefix() -> None:
    made = learned(network("prompt", kind="t5"))
    assert sum(learning(made).values()) == 5 * DIM
    assert len(made.write([source for source, _ in pairs(made)], longest=3)) == 2
    with pytest.raises(UserError, match="prefix tuning works on decoder-only models"):
        network("prefix", kind="t5")


def test_unknown_maps_are_named() -> None:
    with pytest.raises(UserError, match="no linear map named attention; allowed: down_proj, gate_proj"):
        network("lora", maps=["attention"])
