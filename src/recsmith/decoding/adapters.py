"""Language models as `CodeModel`s: any causal or encoder–decoder model of the transformers library can be searched.

    tokens = CodeTokens.after(vocabulary, codes)
    model = CausalCodes(llama, codes, tokens, prompt=code_prompt(codes, tokens, begin=1))
    beam_search(model, batch, CodeTrie.build(codes), k=10)

The models are called, never asked to `generate`: nothing in a model's `generation_config` (sampling, beams, penalties) has any effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.protocols import HistoryBatch

_NEVER = -1e4
"""Logit of a code that does not follow on the end of an id; its probability is exactly 0."""

Prompt = Callable[[HistoryBatch], tuple[Tensor, Tensor]]
"""Histories → token ids and whether they are real (not padding), both `[batch, token]`; every row has a real token."""


@dataclass(frozen=True)
class CodeTokens:
    """Which token of a language model stands for which code."""

    levels: tuple[Tensor, ...]
    """Token of each code, per level, int64 `[size of level]`."""

    @classmethod
    def after(cls, first: int, codes: ItemCodes) -> CodeTokens:
        """One new token per level and code, numbered from `first` on."""
        starts = [first + sum(codes.sizes[:level]) for level in range(codes.levels)]
        return cls(tuple(torch.arange(start, start + size) for start, size in zip(starts, codes.sizes, strict=True)))

    @classmethod
    def spelled(cls, first: int, codes: ItemCodes) -> CodeTokens:
        """One new token per code, the same at every level: for ids that are words (`codes.words`)."""
        return cls(tuple(torch.arange(first, first + size) for size in codes.sizes))

    def of(self, level: int, codes: Tensor) -> Tensor:
        """Tokens of codes of a level, any shape."""
        return self.levels[level].to(codes.device)[codes]


def code_prompt(codes: ItemCodes, tokens: CodeTokens, *, begin: int, max_history: int = 20) -> Prompt:
    """Prompts of a begin token and the codes of the last `max_history` known items, padded on the right with the begin token."""
    table = torch.from_numpy(codes.table)
    rows = torch.stack([tokens.of(level, table[:, level]) for level in range(codes.levels)], dim=1)

    def prompt(batch: HistoryBatch) -> tuple[Tensor, Tensor]:
        device, parts = batch.items.device, []
        for first, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
            items = batch.items[first:end]
            parts.append(torch.cat([torch.tensor([begin]), rows[items[items >= 0][-max_history:].cpu()].flatten()]))
        ids = nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=begin)
        lengths = torch.tensor([len(part) for part in parts])
        return ids.to(device), (torch.arange(ids.shape[1]) < lengths[:, None]).to(device)

    return prompt


@dataclass(frozen=True)
class _Tree:
    """What a causal model has read: the prompts, and all codes tried so far side by side in one row per user."""

    cache: Any
    real: Tensor
    """Which prompt tokens are real, bool `[batch, token]`."""
    logits: Tensor
    """After the prompt, `[batch, vocabulary]`."""
    seen: Tensor
    """Which of the codes read so far each beam continues, bool `[batch, beam, read]`."""


class CausalCodes(nn.Module):
    """A decoder-only model (GPT-2, Llama, Qwen, …) that generates item codes after a prompt.

    The prompt is read once per row and stays there once: all beams of a row are laid side by side behind it, and a mask says which
    codes each beam descends from. Nothing is copied or reordered between levels. Models whose attention counts places instead of
    taking `position_ids` (ALiBi) cannot be laid out so; give them `layout="rows"`, which copies the prompt's keys for every beam.
    """

    Config: ClassVar[type[Config]] = Config
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(
        self,
        model: nn.Module,
        codes: ItemCodes,
        tokens: CodeTokens,
        *,
        prompt: Prompt,
        layout: Literal["tree", "rows"] = "tree",
        softmax: Literal["level", "vocabulary"] = "level",
        ends: bool = False,
    ) -> None:
        """`softmax="vocabulary"` answers log-probabilities over all tokens; search with `normalise="none"` then.

        `ends`: code 0 is the end of an id, and nothing but code 0 follows on it.
        """
        super().__init__()
        _check_tokens(tokens, codes, model)
        self.config = Config()
        self.model, self.tokens, self.prompt, self.layout = model, tokens, prompt, layout
        self.softmax, self.ends = softmax, ends

    def prefill(self, batch: HistoryBatch) -> Any:
        """Read the prompts."""
        ids, real = self.prompt(batch)
        positions = (real.cumsum(dim=1) - 1).clamp(min=0)
        places, last = (real * torch.arange(1, ids.shape[1] + 1, device=ids.device)).argmax(dim=1).unique(return_inverse=True)
        read = {"input_ids": ids, "attention_mask": real.long(), "position_ids": positions}
        answer = self.model(**read, use_cache=True, logits_to_keep=places)
        logits = answer.logits[torch.arange(len(ids), device=ids.device), last]
        seen = torch.zeros(len(ids), 1, 0, dtype=torch.bool, device=ids.device)
        return _Tree(answer.past_key_values, real, logits, seen)

    def step(self, state: _Tree, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, Any]:
        """Logits over the codes of `level`."""
        if parents is None or last is None:
            return self._of_level(state.logits[:, None], level), state
        if self.layout == "rows":
            return self._step_rows(state, level, parents, last)
        beams = last.shape[1]
        inherited = state.seen.gather(1, parents[..., None].expand(-1, -1, state.seen.shape[2]))
        itself = torch.eye(beams, dtype=torch.bool, device=last.device).expand(len(last), -1, -1)
        seen = torch.cat([inherited, itself], dim=2)
        positions = state.real.sum(dim=1, keepdim=True) + level - 1
        logits, cache = self._read(state, self.tokens.of(level - 1, last), positions.expand_as(last), seen)
        return self._of_level(logits, level, last), replace(state, cache=cache, seen=seen)

    def steps(self, state: _Tree, codes: list[Tensor], parents: list[Tensor]) -> list[Tensor]:
        """Logits after several levels of codes at once, in one pass: what `step` for level 1, 2, … answers, level by level.

        `codes[d]` `[batch, n]` are codes of level d and `parents[d]` `[batch, n]` their places in `codes[d - 1]` (zeros for d = 0). The
        state stays as it is. Needs the layout "tree".
        """
        seen, visible = state.seen, []
        for code, parent in zip(codes, parents, strict=True):
            inherited = seen.gather(1, parent[..., None].expand(-1, -1, seen.shape[2]))
            itself = torch.eye(code.shape[1], dtype=torch.bool, device=code.device).expand(len(code), -1, -1)
            seen = torch.cat([inherited, itself], dim=2)
            visible.append(seen)
        width = seen.shape[2]
        every = torch.cat([nn.functional.pad(part, (0, width - part.shape[2])) for part in visible], dim=1)
        tokens = torch.cat([self.tokens.of(level, code) for level, code in enumerate(codes)], dim=1)
        depth = torch.cat([torch.full_like(code, level) for level, code in enumerate(codes)], dim=1)
        positions = state.real.sum(dim=1, keepdim=True) + depth
        logits, _ = self._read(replace(state, cache=_copied(state.cache)), tokens, positions, every)
        parts = logits.split([code.shape[1] for code in codes], dim=1)
        return [self._of_level(part, level + 1, code) for level, (part, code) in enumerate(zip(parts, codes, strict=True))]

    def rows(self, state: _Tree, rows: Tensor) -> _Tree:
        """The state of some rows, before any step."""
        cache = _copied(state.cache)
        cache.reorder_cache(rows)
        return _Tree(cache, state.real[rows], state.logits[rows], state.seen[rows])

    def _read(self, state: _Tree, tokens: Tensor, positions: Tensor, seen: Tensor) -> tuple[Tensor, Any]:
        visible = torch.cat([state.real[:, None].expand(-1, tokens.shape[1], -1), seen], dim=2)[:, None]
        dtype = next(self.model.parameters()).dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=tokens.device).masked_fill_(~visible, torch.finfo(dtype).min)
        answer = self.model(input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=state.cache, use_cache=True)
        return answer.logits, answer.past_key_values

    def _step_rows(self, state: _Tree, level: int, parents: Tensor, last: Tensor) -> tuple[Tensor, Any]:
        rows, beams = last.shape
        before = len(state.logits) // rows
        origin = torch.arange(rows, device=last.device)[:, None] * before + parents
        flat = origin.flatten()
        state.cache.reorder_cache(flat)
        real = torch.cat([state.real[flat], torch.ones(len(flat), 1, dtype=torch.bool, device=last.device)], dim=1)
        positions = real.sum(dim=1, keepdim=True) - 1
        answer = self.model(
            input_ids=self.tokens.of(level - 1, last).view(-1, 1),
            attention_mask=real.long(),
            position_ids=positions,
            past_key_values=state.cache,
            use_cache=True,
        )
        state = _Tree(answer.past_key_values, real, state.logits[flat], state.seen[flat])
        return self._of_level(answer.logits.view(rows, beams, -1), level, last), state

    def _of_level(self, logits: Tensor, level: int, last: Tensor | None = None) -> Tensor:
        return _of_level(logits, self.tokens.levels[level], self.softmax, last if self.ends else None)


@dataclass(frozen=True)
class _Read:
    """What an encoder–decoder model has read."""

    encoded: Any
    real: Tensor
    cache: Any
    beams: int


class EncoderDecoderCodes(nn.Module):
    """An encoder–decoder model (T5, BART, …) that reads a prompt and generates item codes; each beam is a row of its decoder."""

    Config: ClassVar[type[Config]] = Config
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(
        self,
        model: nn.Module,
        codes: ItemCodes,
        tokens: CodeTokens,
        *,
        prompt: Prompt,
        softmax: Literal["level", "vocabulary"] = "level",
        ends: bool = False,
    ) -> None:
        """`softmax="vocabulary"` answers log-probabilities over all tokens; search with `normalise="none"` then.

        `ends`: code 0 is the end of an id, and nothing but code 0 follows on it.
        """
        super().__init__()
        _check_tokens(tokens, codes, model)
        self.config = Config()
        self.model, self.tokens, self.prompt, self.softmax, self.ends = model, tokens, prompt, softmax, ends

    def prefill(self, batch: HistoryBatch) -> _Read:
        """Encode the prompts."""
        ids, real = self.prompt(batch)
        model: Any = self.model
        return _Read(model.get_encoder()(input_ids=ids, attention_mask=real.long()), real, None, 1)

    def step(self, state: _Read, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, _Read]:
        """Logits over the codes of `level`."""
        model: Any = self.model
        rows = len(state.real) // state.beams
        if parents is None or last is None:
            start = model.config.decoder_start_token_id
            tokens = torch.full((rows, 1), start, device=state.real.device)
            encoded, real = state.encoded, state.real
        else:
            flat = (torch.arange(rows, device=last.device)[:, None] * state.beams + parents).flatten()
            state.cache.reorder_cache(flat)
            tokens, real = self.tokens.of(level - 1, last), state.real[flat]
            encoded = type(state.encoded)(last_hidden_state=state.encoded.last_hidden_state[flat])
        answer = model(
            encoder_outputs=encoded,
            attention_mask=real.long(),
            decoder_input_ids=tokens.reshape(-1, 1),
            past_key_values=state.cache,
            use_cache=True,
        )
        logits = answer.logits.view(*tokens.shape, -1)
        found = _of_level(logits, self.tokens.levels[level], self.softmax, last if self.ends else None)
        return found, _Read(encoded, real, answer.past_key_values, tokens.shape[1])


def _of_level(logits: Tensor, tokens: Tensor, softmax: str, last: Tensor | None) -> Tensor:
    """Of the codes of a level; where `last` `[batch, beam]`, the code before, ended the id, code 0 has all the probability."""
    tokens = tokens.to(logits.device)
    if softmax == "vocabulary":
        logits = logits.float().log_softmax(dim=-1)
    own = logits[..., tokens]
    if last is None:
        return own
    over = torch.full_like(own[0, 0], _NEVER)
    over[0] = 0
    return torch.where((last == 0)[..., None], over, own)


def _copied(cache: Any) -> Any:
    """A cache that may grow without the original growing; keys and values are shared until then."""
    from copy import copy

    other = copy(cache)
    other.layers = [copy(layer) for layer in cache.layers]
    return other


def _check_tokens(tokens: CodeTokens, codes: ItemCodes, model: nn.Module) -> None:
    sizes = tuple(len(level) for level in tokens.levels)
    if sizes != tuple(codes.sizes):
        raise ValueError(f"there are tokens for codes of sizes {sizes}, but the items have codes of sizes {tuple(codes.sizes)}")
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    largest = max(int(level.max()) for level in tokens.levels)
    if largest >= vocabulary:
        raise ValueError(f"token {largest} of the item codes is outside a vocabulary of {vocabulary}; call resize_token_embeddings first")
