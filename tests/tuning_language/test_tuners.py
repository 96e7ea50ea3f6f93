"""LoRA (also over rounded weights), adapters, prompts, P-tuning and prefixes.

Each learns only what it claims, starts where the model is, and survives saving and merging.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from recsmith.errors import ConfigError, UserError
from recsmith.nn.quantised_linear import QuantisedLinear, quantise, restore, weight_count
from recsmith.tuning_language import LanguageNetwork, NetworkConfig, TunerConfig
from recsmith.tuning_language.tuner import learning

TEXTS = ["a quiet harbour", "the last lantern", "a broken compass", "seven silver keys"]
DIM, LAYERS, FF, HEADS = 16, 2, 24, 2
ROUNDED = {"lora over nf4": {"method": "lora", "base": "nf4"}, "lora over int8": {"method": "lora", "base": "int8"}}
VIRTUAL = ["prompt", "p-tuning", "prefix"]
METHODS = ["lora", *ROUNDED, "adapter", *VIRTUAL]


def network(method: str, *, kind: str = "causal", **tuner: object) -> LanguageNetwork:
    torch.manual_seed(1)
    shape = {"kind": kind, "dim": DIM, "layers": LAYERS, "heads": HEADS, "ff_dim": FF, "words": 300, "dropout": 0.0}
    settings = {"method": method, "rank": 3, "width": 4, "tokens": 5, **ROUNDED.get(method, {}), **tuner}
    made = LanguageNetwork(NetworkConfig.parse(shape), TunerConfig.parse(settings))
    made.make(TEXTS, extra=4)
    return made


def pairs(made: LanguageNetwork) -> list[tuple[list[int], list[int]]]:
    return [(made.tokens("the last"), [*made.tokens("lantern"), made.end]), (made.tokens("a"), [*made.tokens("quiet harbour"), made.end])]


def learned(made: LanguageNetwork) -> LanguageNetwork:
    """After three large steps; says which weights moved."""
    before = {name: value.clone() for name, value in [*made.named_parameters(), *made.named_buffers()]}
    optimizer = torch.optim.SGD([one for one in made.parameters() if one.requires_grad], lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        made.train().loss(pairs(made)).backward()
        optimizer.step()
    moved = {name for name, value in [*made.named_parameters(), *made.named_buffers()] if not torch.equal(value, before[name])}
    assert moved == set(learning(made))
    return made.eval()


def answers(made: LanguageNetwork) -> torch.Tensor:
    with torch.no_grad():
        return made.eval().next_logits([source for source, _ in pairs(made)])


def test_each_method_learns_what_it_claims_and_nothing_else() -> None:
    outputs = {"q": DIM, "k": DIM, "v": DIM, "o": DIM, "gate": FF, "up": FF}
    low_rank = LAYERS * (sum(3 * (DIM + size) for size in outputs.values()) + 3 * (FF + DIM))
    adapter = LAYERS * 2 * (DIM * 4 + 4 + 4 * DIM + DIM)
    each = DIM // 2
    encoder = 2 * 4 * each * (DIM + each + 2) + 2 * (DIM * DIM + DIM)
    claimed = {
        **dict.fromkeys(["lora", *ROUNDED], low_rank),
        "adapter": adapter,
        "prompt": 5 * DIM,
        "p-tuning": 5 * DIM + encoder,
        "prefix": LAYERS * 2 * 5 * DIM,
    }
    assert set(claimed) == set(METHODS)
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


@pytest.mark.parametrize("kind", ["causal", "t5"])
@pytest.mark.parametrize("method", ROUNDED)
def test_updates_over_rounded_weights_start_from_the_rounded_model(method: str, kind: str) -> None:
    rounded = network("full", kind=kind)
    assert quantise(rounded.model, ROUNDED[method]["base"], spare=rounded.model.get_output_embeddings()) > 0  # type: ignore[arg-type]
    assert restore(rounded.model) > 0
    made = network(method, kind=kind)
    torch.testing.assert_close(answers(made), answers(rounded))
    assert not torch.allclose(answers(made), answers(network("full", kind=kind)))
    assert not torch.allclose(answers(learned(made)), answers(rounded))
    assert not any(isinstance(part, torch.nn.Linear) for name, part in made.model.named_modules() if name != "lm_head")


def test_a_rounded_base_takes_a_seventh_and_a_quarter_of_the_bytes() -> None:
    def bytes_of(made: LanguageNetwork) -> int:
        low_rank = {name for name, _ in made.named_parameters() if name.endswith((".up", ".down"))}
        held = {name: one for name, one in made.state_dict().items() if "_proj." in name and name not in low_rank}
        return sum(one.numel() * one.element_size() for one in held.values())

    maps = LAYERS * (4 * DIM * DIM + 3 * DIM * FF)
    assert bytes_of(network("lora")) == 4 * maps
    assert bytes_of(network("lora over nf4")) == maps // 2 + 4 * maps // 64
    assert bytes_of(network("lora over int8")) == maps + 4 * LAYERS * (5 * DIM + 2 * FF)
    assert weight_count(network("lora over nf4")) == weight_count(network("lora"))


def test_a_rounded_base_is_for_low_rank_updates() -> None:
    with pytest.raises(ConfigError, match="base = nf4 is for low-rank updates; set method = lora instead of prompt"):
        TunerConfig.parse({"method": "prompt", "base": "nf4"})


def test_dropout_of_an_own_model_stays_on_rounded_maps() -> None:
    torch.manual_seed(1)
    shape = {"dim": DIM, "layers": LAYERS, "heads": HEADS, "ff_dim": FF, "words": 300, "dropout": 0.5}
    made = LanguageNetwork(NetworkConfig.parse(shape), TunerConfig.parse({"method": "lora", "base": "nf4"}))
    made.make(TEXTS)
    part = made.train().model.model.layers[0].mlp.down_proj.base
    assert isinstance(part, QuantisedLinear)
    assert 0.3 < float((part(torch.ones(100, FF)) == 0).float().mean()) < 0.7


@pytest.mark.parametrize("kind", ["causal", "t5"])
@pytest.mark.parametrize("method", METHODS)
def test_what_was_learned_is_saved_and_loaded(method: str, kind: str, tmp_path: Path) -> None:
    made = learned(network(method, kind=kind))
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, tmp_path / "weights.safetensors")
    other = LanguageNetwork(made.config, made.tuner)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(answers(other), answers(made))
    assert learning(other) == learning(made)


@pytest.mark.parametrize("method", ["lora", *ROUNDED])
def test_low_rank_updates_merge_and_the_merged_model_is_a_folder(method: str, tmp_path: Path) -> None:
    made = learned(network(method, embeddings=True))
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


@pytest.mark.parametrize("method", ["adapter", *VIRTUAL, "full"])
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
    for method in VIRTUAL:
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


@pytest.mark.parametrize("method", VIRTUAL)
def test_an_encoder_decoder_reads_virtual_tokens_in_every_way_of_answering(method: str) -> None:
    """Written word by word behind a cache, and searched by beams, it says what one pass over the whole answer says."""
    made = learned(network(method, kind="t5"))
    plain = network("full", kind="t5")
    assert not torch.allclose(answers(made), answers(plain))
    questions = [source for source, _ in pairs(made)]
    written = made.write(questions, longest=4)
    assert all(written)
    for source, words in zip(questions, written, strict=True):
        read = {"input_ids": torch.tensor([source]), "attention_mask": torch.ones(1, len(source), dtype=torch.long)}
        decoder = torch.tensor([[0, *words]])
        with torch.no_grad():
            logits = made.model(**read, decoder_input_ids=decoder).logits
            masked = made.model(**read, decoder_input_ids=decoder, decoder_attention_mask=torch.ones_like(decoder)).logits
        assert logits[0, : len(words), : made.word_count].argmax(dim=1).tolist() == words
        torch.testing.assert_close(masked, logits)
        later = torch.tensor([[0, *words[:-1], (words[-1] + 1) % made.word_count]])
        with torch.no_grad():
            torch.testing.assert_close(made.model(**read, decoder_input_ids=later).logits[:, :-1], logits[:, :-1])


@pytest.mark.parametrize("method", VIRTUAL)
def test_a_search_over_codes_reads_the_virtual_tokens_of_an_encoder_decoder(method: str) -> None:
    import numpy as np

    from recsmith.data import Histories, ItemCodes
    from recsmith.decoding.adapters import CodeTokens, EncoderDecoderCodes
    from recsmith.training import to_batch

    made = learned(network(method, kind="t5"))
    codes = ItemCodes(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (2, 2))
    tokens = CodeTokens.after(made.word_count, codes)
    questions = [source for source, _ in pairs(made)]
    search = EncoderDecoderCodes(made.model, codes, tokens, prompt=lambda batch: made.padded(questions), softmax="vocabulary")
    with torch.no_grad():
        state = search.prefill(to_batch(Histories.from_rows([[0], [1]])))
        first, state = search.step(state, 0, None, None)
        chosen = torch.tensor([[0, 1], [0, 1]])
        second, _ = search.step(state, 1, torch.zeros_like(chosen), chosen)
        found = (first[:, 0, :, None] + second).flatten(1)
        targets = [[int(tokens.of(level, torch.tensor(code))) for level, code in enumerate(row)] for row in codes.table.tolist()]
        wanted = torch.stack([made.log_likelihood([(source, target) for target in targets]) for source in questions])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_prefix_of_an_encoder_decoder_counts_by_its_decoder() -> None:
    """Decoders of another depth than the encoder, and another family, whose settings have other names."""
    from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

    from recsmith.tuning_language.tuner import tuned

    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    t5 = T5Config(vocab_size=50, d_model=8, d_kv=3, d_ff=8, num_layers=1, num_decoder_layers=3, num_heads=2, **ids)
    bart = BartConfig(
        vocab_size=50, d_model=8, encoder_layers=1, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=2,
        encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=32, bos_token_id=2, forced_eos_token_id=None, **ids,
    )  # fmt: skip
    for model, width in ((T5ForConditionalGeneration(t5), 3), (BartForConditionalGeneration(bart), 4)):
        made = tuned(model, TunerConfig(method="prefix", tokens=5)).eval()
        assert {name: list(one.shape) for name, one in made.named_parameters() if one.requires_grad} == {"virtual": [3, 2, 2, 5, width]}
        read = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}
        with torch.no_grad():
            whole = made(**read, decoder_input_ids=torch.tensor([[0, 7, 8]])).logits
            begun = made(**read, decoder_input_ids=torch.tensor([[0, 7]]), use_cache=True)
            last = made(**read, decoder_input_ids=torch.tensor([[8]]), past_key_values=begun.past_key_values).logits
        torch.testing.assert_close(torch.cat([begun.logits, last], dim=1), whole)


def test_unknown_maps_are_named() -> None:
    with pytest.raises(UserError, match="no linear map named attention; allowed: down_proj, gate_proj"):
        network("lora", maps=["attention"])
