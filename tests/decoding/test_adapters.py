"""Models of the transformers library are searched exactly, whatever their own generation settings say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import BoundRules, CodeTrie, CountDraft, ModelDraft, beam_search, score_all, speculative_search
from recsmith.decoding.adapters import CausalCodes, CodeTokens, EncoderDecoderCodes, code_prompt
from recsmith.protocols import CodeModel, HistoryBatch, Limits, RankedLists
from recsmith.testing.decoders import DecoderConformance, DecodingCase, decoding_case

transformers = pytest.importorskip("transformers")

FIRST = 5
SMALL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def make(kind: str, codes: ItemCodes, **options):
    torch.manual_seed(0)
    tokens = CodeTokens.after(FIRST, codes)
    prompt = code_prompt(codes, tokens, begin=1, max_history=4)
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0, pad_token_id=0
        )
        inner = transformers.T5ForConditionalGeneration(config)
    elif kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
        inner = transformers.GPT2LMHeadModel(config)
    else:
        inner = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, num_key_value_heads=1, pad_token_id=0))
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.mul_(3.0)
    adapter = EncoderDecoderCodes if kind == "t5" else CausalCodes
    return adapter(inner, codes, tokens, prompt=prompt, **options).eval()


def case_with(kind: str, seed: int = 0, **options) -> DecodingCase:
    case = decoding_case(seed)
    return DecodingCase(case.codes, make(kind, case.codes, **options), case.histories, case.limits)


def one_by_one(case: DecodingCase) -> np.ndarray:
    """Log-probability of every item for every row, each by a forward pass of its own over prompt and codes."""
    model, table = case.model, torch.from_numpy(case.codes.table)
    result = np.zeros((len(case.histories), len(table)))
    for row in range(len(case.histories)):
        ids, real = model.prompt(case.row(row).batch)
        items = torch.stack([model.tokens.of(level, table[:, level]) for level in range(case.codes.levels)], dim=1)
        with torch.no_grad():
            if isinstance(model, EncoderDecoderCodes):
                read = torch.cat([torch.zeros(len(items), 1, dtype=torch.int64), items[:, :-1]], dim=1)
                logits = model.model(
                    input_ids=ids.expand(len(items), -1), attention_mask=real.long().expand(len(items), -1), decoder_input_ids=read
                ).logits
            else:
                logits = model.model(input_ids=torch.cat([ids.expand(len(items), -1), items[:, :-1]], dim=1)).logits[:, ids.shape[1] - 1 :]
        for level, tokens in enumerate(model.tokens.levels):
            logs = logits[:, level, tokens].log_softmax(-1)
            result[row] += logs.gather(1, table[:, level, None])[:, 0].numpy()
    return result


KINDS = [("gpt2", {}), ("llama", {}), ("llama", {"layout": "rows"}), ("t5", {})]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_every_item_has_the_probability_of_its_own_forward_pass(kind, options):
    case = case_with(kind, **options)
    assert isinstance(case.model, CodeModel)
    scores = score_all(case.model, case.batch, CodeTrie.build(case.codes))
    np.testing.assert_allclose(scores.numpy(), one_by_one(case), atol=2e-4)


class TestLlama(DecoderConformance):
    """The suite of decoders with a language model instead of the hashed one."""

    def decode(self, case: DecodingCase, k: int, *, beams: int) -> RankedLists:
        model = make("llama", case.codes)
        return beam_search(model, case.batch, CodeTrie.build(case.codes), k, beams=beams, limits=case.limits)

    def test_enough_beams_find_the_exact_order(self) -> None:
        case = case_with("llama")
        trie = CodeTrie.build(case.codes)
        scores = score_all(case.model, case.batch, trie).masked_fill(torch.from_numpy(~case.allowed()), -torch.inf)
        answer = beam_search(case.model, case.batch, trie, 5, beams=40, limits=case.limits)
        np.testing.assert_allclose(answer.scores, scores.topk(5).values, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_generation_settings_of_the_model_have_no_effect(kind):
    case = case_with(kind)
    trie = CodeTrie.build(case.codes)
    before = beam_search(case.model, case.batch, trie, 5, limits=case.limits)
    settings = case.model.model.generation_config
    settings.do_sample, settings.temperature, settings.num_beams, settings.repetition_penalty = True, 9.0, 1, 3.0
    after = beam_search(case.model, case.batch, trie, 5, limits=case.limits)
    assert before.items.tolist() == after.items.tolist()
    assert before.scores.tolist() == after.scores.tolist()


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_same_lists_as_generate_with_allowed_tokens(kind):
    """Beam 6 over the whole vocabulary, as `generate` normalises."""
    case = case_with(kind, seed=2, softmax="vocabulary")
    model, row = case.model, case.row(2)
    answer = beam_search(model, row.batch, CodeTrie.build(case.codes), 6, beams=6, normalise="none")
    ids, real = model.prompt(row.batch)
    items = torch.stack([model.tokens.of(level, torch.from_numpy(case.codes.table[:, level])) for level in range(4)], dim=1).tolist()
    length = 1 if kind == "t5" else ids.shape[1]

    def allowed(_row: int, generated: torch.Tensor) -> list[int]:
        prefix = generated[length:].tolist()
        return sorted({item[len(prefix)] for item in items if item[: len(prefix)] == prefix})

    found = model.model.generate(
        input_ids=ids, attention_mask=real.long(), num_beams=6, num_return_sequences=6, max_new_tokens=4, min_new_tokens=4,
        length_penalty=0.0, do_sample=False, prefix_allowed_tokens_fn=allowed, pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    assert [items.index(tokens) for tokens in found[:, length:].tolist()] == answer.items[0].tolist()


def test_several_levels_in_one_pass_are_the_levels_one_by_one():
    case = case_with("llama", seed=4)
    random = torch.Generator().manual_seed(0)
    codes = [torch.randint(size, (5, 3 + level), generator=random) for level, size in enumerate(case.codes.sizes[:-1])]
    parents = [torch.zeros(5, 3, dtype=torch.int64), *(torch.randint(2 + level, (5, 3 + level), generator=random) for level in (1, 2))]
    with torch.no_grad():
        state = case.model.prefill(case.batch)
        together = case.model.steps(state, codes, parents)
        some = case.model.steps(case.model.rows(state, torch.tensor([3, 1])), [c[[3, 1]] for c in codes], [p[[3, 1]] for p in parents])
        for level in range(3):
            logits, state = case.model.step(state, level + 1, parents[level], codes[level])
            torch.testing.assert_close(together[level], logits, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(some[level], logits[[3, 1]], atol=1e-4, rtol=1e-4)


def draft_of(kind: str, case: DecodingCase, seed: int):
    if kind == "itself":
        return ModelDraft(case.model)
    if kind == "other":
        return ModelDraft(decoding_case(seed + 1).model)
    random = np.random.default_rng(seed)
    log = Histories.from_rows([random.integers(0, len(case.codes), size=6).tolist() for _ in range(30)])
    return CountDraft.learn(log, len(case.codes))


@settings(max_examples=25, deadline=None, derandomize=True)  # passes of another shape round differently: the same ties every time
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 8),
    beams=st.integers(1, 10),
    margin=st.sampled_from([1.0, 2.0, 5.0]),
    kind=st.sampled_from(["counts", "itself", "other"]),
    boosted=st.booleans(),
)
def test_speculative_lists_of_a_language_model_are_those_of_beam_search(seed, k, beams, margin, kind, boosted):
    case = case_with("llama", seed)
    trie = CodeTrie.build(case.codes)
    rules = BoundRules(len(case.codes), bonus=np.linspace(0, 2, len(case.codes), dtype=np.float32)) if boosted else None
    plain = beam_search(case.model, case.batch, trie, k, beams=beams, limits=case.limits, rules=rules)
    passes = Passes(case.model)
    lists, figures = speculative_search(
        passes, case.batch, trie, k, draft=draft_of(kind, case, seed), beams=beams, margin=margin, limits=case.limits, rules=rules
    )
    assert lists.items.tolist() == plain.items.tolist()
    np.testing.assert_allclose(lists.scores, plain.scores, atol=2e-4)
    assert passes.levels == [0]  # nothing but the first level is stepped: the rest is checked in passes over several levels
    assert passes.checked == pytest.approx(figures.passes * len(case.histories))
    assert figures.passes <= figures.plain_passes


class Passes:
    """A model, and how it was asked."""

    def __init__(self, model: CausalCodes) -> None:
        self.model, self.levels, self.checked, self.rows = model, [], 0, model.rows

    def prefill(self, batch: HistoryBatch):
        return self.model.prefill(batch)

    def step(self, state, level, parents, last):
        self.levels.append(level)
        return self.model.step(state, level, parents, last)

    def steps(self, state, codes, parents):
        self.checked += len(codes[0])
        return self.model.steps(state, codes, parents)


def test_mistakes_are_named():
    codes = decoding_case(0).codes
    tokens = CodeTokens.after(39, codes)
    inner = make("gpt2", codes).model
    with pytest.raises(ValueError, match="outside a vocabulary of 40; call resize_token_embeddings"):
        CausalCodes(inner, codes, tokens, prompt=code_prompt(codes, tokens, begin=1))
    fewer = CodeTokens(CodeTokens.after(5, codes).levels[:-1])
    with pytest.raises(ValueError, match=r"sizes \(4, 5, 3\), but the items have codes of sizes \(4, 5, 3, 2\)"):
        CausalCodes(inner, codes, fewer, prompt=code_prompt(codes, CodeTokens.after(5, codes), begin=1))


def test_prompts_skip_unknown_items_and_keep_the_latest():
    codes = ItemCodes(np.array([[0, 1], [1, 0], [1, 1]]), (2, 2))
    prompt = code_prompt(codes, CodeTokens.after(10, codes), begin=3, max_history=2)
    batch = HistoryBatch(torch.tensor([0, -1, 1, 2]), torch.tensor([0, 0, 4]))
    ids, real = prompt(batch)
    assert ids.tolist() == [[3, 3, 3, 3, 3], [3, 11, 12, 11, 13]]
    assert real.sum(dim=1).tolist() == [1, 5]
    assert Limits().allowed is None
