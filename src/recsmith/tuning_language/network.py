"""`LanguageNetwork`: a transformers model and its tokenizer as one module, made here or read from a folder, saved with the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.errors import BackendError, UserError, import_extra
from recsmith.tuning_language.tuner import TunerConfig, merge, tuned
from recsmith.tuning_language.words import END, PAD, learn_words

Pair = tuple[Sequence[int], Sequence[int]]
"""Tokens of an input and of the target that should follow it."""


class Guide(Protocol):
    """What may be written next, token by token."""

    def allowed(self) -> Sequence[int]:
        """Tokens that may come next; the end token where the text may end."""
        ...

    def take(self, token: int) -> None:
        """The token that was written; tokens behind the end mean nothing."""
        ...


_IGNORED = -100
_EMBEDDING_STD, _LINEAR_SHARE = 0.1, 0.4
"""Start of a small model: embeddings, and linear maps by their fan-in; of ten pairs tried on the simulated world the quickest."""


class NetworkConfig(Config):
    """Which language model: a small one made from scratch, or a folder."""

    folder: str | None = None
    """Folder that `save_pretrained` wrote (config.json, a tokenizer, safetensors); None makes a small model of one's own."""
    kind: Literal["t5", "causal"] = "causal"
    """Own model: causal (a small Llama) or t5 (reads all of the input, then writes; learns far more slowly from scratch)."""
    dim: int = Field(64, ge=8)
    """Own model: width."""
    layers: int = Field(2, ge=1)
    """Own model: layers (of the encoder and of the decoder each)."""
    heads: int = Field(4, ge=1)
    """Own model: attention heads."""
    ff_dim: int = Field(256, ge=8)
    """Own model: width of the feed-forward layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Own model: probability of dropping a unit or an attention weight in training."""
    words: int = Field(4000, ge=300)
    """Own model: size of the vocabulary of word pieces, at most."""
    longest: int = Field(512, ge=16)
    """Tokens of an input with its target, at most."""


class LanguageNetwork(nn.Module):
    """A language model that reads and writes tokens of words, and further tokens that stand for items and people.

    Tokens 0 … `word_count` - 1 are those of the tokenizer, the `extra` ones follow. The shape of the model and the tokenizer travel as
    bytes with the weights, so that a saved run needs no folder. Weights that a model shares between places are saved once.
    """

    description: Tensor

    def __init__(self, config: NetworkConfig, tuner: TunerConfig) -> None:
        super().__init__()
        self.config, self.tuner = config, tuner
        self.model: Any = None
        self._kept: dict[str, Any] = {}
        self.register_buffer("description", torch.zeros(0, dtype=torch.uint8))
        self.register_state_dict_post_hook(_without_shared)

    # ---- making it ----

    def make(self, texts: Iterable[str], *, extra: int = 0, notes: Mapping[str, Any] | None = None, tune: bool = True) -> None:
        """A model for these texts with `extra` further tokens: from scratch, or the folder's with its own words.

        `notes` are JSON values to be kept with the weights; `facts["notes"]` gives them back. Without `tune` all weights learn until
        `tune()` is called. Raises `UserError` for a folder that holds no model.
        """
        self._kept = {"extra": extra, "notes": dict(notes or {})}
        if self.config.folder is not None:
            self._from_folder(Path(self.config.folder), extra)
        else:
            self._from_scratch(texts, extra)
        self.model = self.around(self.model)
        if tune:
            self.tune()

    def start_extra(self, spelled: Sequence[Sequence[int]]) -> None:
        """Let the first extra tokens start from the mean vector of the word tokens that each spells; those that spell nothing stay."""
        tables = {id(one.weight): one.weight for one in (self.model.get_input_embeddings(), self.model.get_output_embeddings())}
        with torch.no_grad():
            for place, tokens in enumerate(spelled):
                for table in tables.values() if tokens else ():
                    table[self.word_count + place] = table[torch.tensor(tokens, device=table.device)].mean(dim=0)

    def around(self, model: Any) -> Any:
        """The model itself; a network of another kind puts something around it that is called as the model is."""
        return model

    def tune(self) -> None:
        """Put in what the tuner's method adds; from then on only that learns."""
        self.model = tuned(self.model, self.tuner)

    def _from_scratch(self, texts: Iterable[str], extra: int) -> None:
        tokenizer = learn_words(texts, size=self.config.words)
        count = tokenizer.get_vocab_size()
        shape = _small(self.config, count + extra)
        self._describe(shape, tokenizer.to_str(), {"words": count, "pad": tokenizer.token_to_id(PAD), "end": tokenizer.token_to_id(END)})
        self.model = self._dropping(_fresh(_build(shape)))

    def _from_folder(self, folder: Path, extra: int) -> None:
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise UserError(f"`{folder}` holds no language model (config.json and *.safetensors); give a folder written by save_pretrained")
        library = import_extra("transformers", extra="text", purpose="a language model from a folder")
        local = {"local_files_only": True, "trust_remote_code": False}
        shape = library.AutoConfig.from_pretrained(folder, **local)
        kind = library.AutoModelForSeq2SeqLM if shape.is_encoder_decoder else library.AutoModelForCausalLM
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(folder, use_fast=True, **local)
            model = kind.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **local)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"`{folder}` cannot be read as a language model ({reason:.120}); give a folder written by save_pretrained"
            ) from None
        if not hasattr(tokenizer, "backend_tokenizer") or tokenizer.eos_token_id is None:
            raise UserError(
                f"the tokenizer of `{folder}` has no tokenizer.json or no end token; save it again as a fast tokenizer with one"
            )
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        model.resize_token_embeddings(len(tokenizer) + extra, mean_resizing=False)
        words = tokenizer.backend_tokenizer
        words.no_padding()
        words.no_truncation()
        self._describe(model.config, words.to_str(), {"words": len(tokenizer), "pad": pad, "end": tokenizer.eos_token_id})
        self.model = model

    def _dropping(self, model: Any) -> Any:
        """An own causal model with dropout behind its embedding and its layers' parts, which the library's Llama does not have."""
        if self.config.folder is None and not model.config.is_encoder_decoder and self.config.dropout > 0:
            parts = [part for layer in model.model.layers for part in (layer.self_attn.o_proj, layer.mlp.down_proj)]
            for part in (model.get_input_embeddings(), *parts):
                part.register_forward_hook(self._drop)
        return model

    def _drop(self, module: nn.Module, _: Any, answer: Tensor) -> Tensor:
        return functional.dropout(answer, self.config.dropout, module.training)

    def _describe(self, shape: Any, tokenizer: str, facts: dict[str, int]) -> None:
        shape = json.loads(shape.to_json_string(use_diff=False))
        self._note({"shape": shape, "tokenizer": tokenizer, "tuner": self.tuner.model_dump(mode="json"), **facts, **self._kept})

    def _note(self, content: dict[str, Any]) -> None:
        self.description = _bytes(content).to(self.description.device)
        for name in ("facts", "tokenizer"):
            self.__dict__.pop(name, None)

    # ---- what it is ----

    @cached_property
    def facts(self) -> dict[str, Any]:
        """`shape`, `tokenizer`, `tuner`, `words`, `pad`, `end`, `extra` and `notes` of the model as it stands."""
        if not len(self.description):
            raise UserError("this language network has not been made yet; call make(texts, extra=…) or load a run")
        facts: dict[str, Any] = json.loads(self.description.cpu().numpy().tobytes())
        return facts

    @cached_property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer` of its words."""
        return import_extra("tokenizers", extra="text", purpose="a language model of one's own").Tokenizer.from_str(self.facts["tokenizer"])

    @property
    def word_count(self) -> int:
        """Tokens of words; the extra ones follow."""
        return int(self.facts["words"])

    @property
    def end(self) -> int:
        """The token that ends a text."""
        return int(self.facts["end"])

    @property
    def reads_first(self) -> bool:
        """Whether it is an encoder–decoder."""
        return bool(self.facts["shape"].get("is_encoder_decoder"))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.description.device

    def tokens(self, text: str, *, longest: int | None = None) -> list[int]:
        """The tokens of a text, without end; the first `longest`."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids[:longest])

    def text(self, tokens: Sequence[int]) -> str:
        """The text of word tokens; others are skipped."""
        words = self.word_count
        return str(self.tokenizer.decode([token for token in tokens if token < words], skip_special_tokens=True)).strip()

    def merge(self) -> None:
        """Fold low-rank updates into the weights, float32 from then on, and all learn. Raises `UserError` where there are no updates."""
        merge(self.model)
        self.tuner = TunerConfig()
        self._note({**self.facts, "tuner": self.tuner.model_dump(mode="json")})
        self.requires_grad_(True)

    def save_folder(self, folder: Path) -> Path:
        """Write the model (merged where it has low-rank updates) and its tokenizer as transformers does; it can be `folder` again."""
        if type(self).around is not LanguageNetwork.around or self.tuner.frozen_tokens:
            raise UserError(
                "this model has parts of its own around the language model, so it is no plain transformers folder; save the run"
            )
        if self.tuner.method == "lora":
            self.merge()
        if self.tuner.method != "full":
            raise UserError(
                f"a model with {self.tuner.method} parts is no plain transformers folder; save the run, or tune by lora or full"
            )
        library = import_extra("transformers", extra="text", purpose="a folder of a language model")
        pad, end = (self.tokenizer.id_to_token(self.facts[name]) for name in ("pad", "end"))
        library.PreTrainedTokenizerFast(tokenizer_object=self.tokenizer, pad_token=pad, eos_token=end).save_pretrained(folder)
        self.model.save_pretrained(folder)
        return folder

    # ---- learning ----

    def loss(self, pairs: Sequence[Pair], *, weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy per token of the targets, given the inputs; `weights` `[pair]` say how much each pair counts. No pairs: 0."""
        if not pairs:
            return next(one for one in self.parameters() if one.requires_grad).sum() * 0.0
        read = self._read_first if self.reads_first else self._read_on
        logits, wanted = read(pairs)
        losses = functional.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=_IGNORED, reduction="none")
        counts = (wanted != _IGNORED).float()
        if weights is not None:
            counts = counts * weights.to(counts.device)[:, None]
        return (losses.view_as(counts) * counts).sum() / counts.sum().clamp(min=1e-9)

    def _read_first(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        ids, real = self.padded([source for source, _ in pairs])
        wanted, standing = self.padded([target for _, target in pairs])
        begin = torch.full_like(wanted[:, :1], self.model.config.decoder_start_token_id)
        answer = self.model(input_ids=ids, attention_mask=real.long(), decoder_input_ids=torch.cat([begin, wanted[:, :-1]], dim=1))
        return answer.logits, wanted.masked_fill(~standing, _IGNORED)

    def _read_on(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        ids, real = self.padded([[*source, *target] for source, target in pairs])
        lengths = torch.tensor([len(source) for source, _ in pairs], device=ids.device)
        place = torch.arange(ids.shape[1], device=ids.device)
        wanted = ids.masked_fill(~real | (place < lengths[:, None]), _IGNORED)[:, 1:]
        places = (wanted != _IGNORED).any(dim=0).nonzero()[:, 0]
        return self._logits_at(places, ids, real), wanted[:, places]

    def _logits_at(self, places: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        """Logits of a decoder-only model at some places of all rows, `[row, place, vocabulary]`; at all they would fill the memory."""
        logits: Tensor = self.model(input_ids=ids, attention_mask=real.long(), logits_to_keep=places).logits
        return logits

    def pretrain(self, rows: Sequence[Sequence[int]], *, steps: int, batch_size: int = 32, learning_rate: float = 3e-3) -> list[float]:
        """Go on with `rows` of tokens, `steps` optimiser steps of all weights (AdamW, falling to 0); the loss of each step."""
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        losses, was_training = [], self.training
        self.train()
        with torch.enable_grad():
            for _ in range(steps):
                chosen = torch.randint(len(rows), (batch_size,)).tolist()
                loss = self.loss([((), rows[row]) for row in chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
        self.train(was_training)
        return losses

    def embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Mean of the last hidden states over each row (of an encoder–decoder: of its encoder), float32 `[row, dim]`."""
        ids, real = self.padded(rows)
        read: dict[str, Any] = {"input_ids": ids, "attention_mask": real.long()}
        if self.reads_first:
            states = self.model.get_encoder()(**read).last_hidden_state.float()
        else:
            states = self.model(**read, output_hidden_states=True).hidden_states[-1].float()
        states = states[:, -ids.shape[1] :] * real[:, :, None]
        return states.sum(dim=1) / real.sum(dim=1, keepdim=True)

    def log_likelihood(self, pairs: Sequence[Pair]) -> Tensor:
        """log p of each target given its input, in nats, `[pair]`."""
        logits, wanted = (self._read_first if self.reads_first else self._read_on)(pairs)
        return -functional.cross_entropy(
            logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=_IGNORED, reduction="none"
        ).view_as(wanted).sum(dim=1)  # fmt: skip

    def next_logits(self, inputs: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the first token that follows each input, `[row, vocabulary]`."""
        ids, real = self.padded(inputs)
        if self.reads_first:
            begin = torch.full_like(ids[:, :1], self.model.config.decoder_start_token_id)
            return self.model(input_ids=ids, attention_mask=real.long(), decoder_input_ids=begin).logits[:, 0].float()
        places, which = (real.sum(dim=1) - 1).unique(return_inverse=True)
        return self._logits_at(places, ids, real)[torch.arange(len(ids), device=ids.device), which].float()

    def last_states(self, inputs: Sequence[Sequence[int]]) -> Tensor:
        """The state from which the first token behind each input is predicted, float32 `[row, dim]`."""
        ids, real = self.padded(inputs)
        read: dict[str, Any] = {"input_ids": ids, "attention_mask": real.long(), "output_hidden_states": True}
        if self.reads_first:
            begin = torch.full_like(ids[:, :1], self.model.config.decoder_start_token_id)
            return self.model(**read, decoder_input_ids=begin).decoder_hidden_states[-1][:, 0].float()
        states = self.model(**read).hidden_states[-1]
        states = states[:, states.shape[1] - ids.shape[1] :]
        return states[torch.arange(len(ids), device=ids.device), real.sum(dim=1) - 1].float()

    def choose(self, inputs: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]) -> Tensor:
        """How likely each of the choices follows each input, given that one of them does: `[row, choice]`, rows add up to 1."""
        if all(len(choice) == 1 for choice in choices):
            first = torch.tensor([choice[0] for choice in choices], device=self.device)
            return self.next_logits(inputs)[:, first].softmax(dim=1)
        scores = [self.log_likelihood([(source, [*choice, self.end]) for source in inputs]) for choice in choices]
        return torch.stack(scores, dim=1).softmax(dim=1)

    @torch.no_grad()
    def write(self, inputs: Sequence[Sequence[int]], *, longest: int, guides: Sequence[Guide] = ()) -> list[list[int]]:
        """The most likely next word token, again and again up to the end or `longest` tokens; tokens without the end.

        With `guides`, one per input, each keeps to what its guide allows.
        """
        if not inputs:
            return []
        ids, real = self.padded(inputs)
        options: dict[str, Any] = {"use_cache": True}
        if self.reads_first:
            encoded = self.model.get_encoder()(input_ids=ids, attention_mask=real.long())
            token = torch.full((len(ids), 1), self.model.config.decoder_start_token_id, device=ids.device)
            answer = self.model(encoder_outputs=encoded, attention_mask=real.long(), decoder_input_ids=token, **options)
            logits = answer.logits[:, 0]
        else:
            answer = self.model(input_ids=ids, attention_mask=real.long(), position_ids=(real.cumsum(1) - 1).clamp(min=0), **options)
            logits = answer.logits[torch.arange(len(ids), device=ids.device), real.sum(dim=1) - 1]
        written, open_ = [], torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        for place in range(longest):
            token = _guided(logits[:, : self.word_count], guides, open_).argmax(dim=1).masked_fill(~open_, self.end)
            written.append(token)
            for guide, one in zip(guides, token.tolist()):
                guide.take(one)
            open_ &= token != self.end
            if not open_.any() or place == longest - 1:
                break
            state = {"past_key_values": answer.past_key_values, **options}
            if self.reads_first:
                answer = self.model(encoder_outputs=encoded, attention_mask=real.long(), decoder_input_ids=token[:, None], **state)
            else:
                positions = real.sum(dim=1, keepdim=True)
                real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)
                answer = self.model(input_ids=token[:, None], attention_mask=real.long(), position_ids=positions, **state)
            logits = answer.logits[:, -1]
        rows = torch.stack(written, dim=1).tolist()
        return [row[: row.index(self.end)] if self.end in row else row for row in rows]

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows as token ids padded on the right, and which are real; both `[row, longest]`, at least one token wide."""
        width = max(1, max(map(len, rows)))
        self._require_room(width)
        ids = np.full((len(rows), width), self.facts["pad"], dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
        lengths = torch.tensor([max(1, len(row)) for row in rows])
        real = torch.arange(width) < lengths[:, None]
        return torch.from_numpy(ids).to(self.device), real.to(self.device)

    def _require_room(self, used: int) -> None:
        room = getattr(self.model.config, "max_position_embeddings", None) or self.config.longest
        if used > room:
            raise BackendError(
                f"a question with its answer has {used} tokens, but the language model holds {room}; tell fewer items or shorter texts"
            )

    # ---- saving ----

    def shared(self) -> dict[str, str]:
        """Parameters that are the same object as an earlier one: name → name of the first."""
        first: dict[int, str] = {}
        named = self.named_parameters(remove_duplicate=False)
        return {name: first[id(one)] for name, one in named if first.setdefault(id(one), name) != name}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Only the file knows which model it holds: build it before its weights are read."""
        stored = state_dict.get(prefix + "description")
        if stored is not None and len(stored) and not torch.equal(stored.cpu(), self.description.cpu()):
            self._note(json.loads(stored.cpu().numpy().tobytes()))
            self.tuner = TunerConfig.parse(self.facts["tuner"])
            model = self.around(self._dropping(_build(_shape_of(self.facts["shape"]))))
            self.model = tuned(model, self.tuner).to(self.description.device)
        for name, kept in self.shared().items():
            if prefix + kept in state_dict:
                state_dict[prefix + name] = state_dict[prefix + kept]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _guided(logits: Tensor, guides: Sequence[Guide], open_: Tensor) -> Tensor:
    """Logits `[row, word]` of what is allowed; those of all other tokens are -inf."""
    if not guides:
        return logits
    mask = torch.full_like(logits, -torch.inf)
    for row, (guide, running) in enumerate(zip(guides, open_.tolist(), strict=True)):
        if running:
            mask[row, list(guide.allowed())] = 0.0
    return logits + mask


def _without_shared(module: LanguageNetwork, state_dict: dict[str, Any], prefix: str, _: Any) -> None:
    for name in module.shared():
        state_dict.pop(prefix + name, None)


def _fresh(model: Any) -> Any:
    """Starting weights for a small causal model; those of transformers are made for large ones. T5's own already go by the width."""
    if model.config.is_encoder_decoder:
        return model
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=_LINEAR_SHARE * module.in_features**-0.5)
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            nn.init.normal_(table.weight, std=_EMBEDDING_STD)
    return model


def _bytes(value: Any) -> Tensor:
    return torch.from_numpy(np.frombuffer(json.dumps(value).encode(), dtype=np.uint8).copy())


def _small(config: NetworkConfig, vocabulary: int) -> Any:
    """The shape of an own model; token 0 is the padding and what a T5 decoder starts from, token 1 the end."""
    if config.dim % config.heads:
        raise UserError(f"dim = {config.dim} is not a multiple of heads = {config.heads}; choose one")
    library = import_extra("transformers", extra="text", purpose="a language model of one's own")
    if config.kind == "t5":
        return library.T5Config(
            vocab_size=vocabulary, d_model=config.dim, d_kv=config.dim // config.heads, d_ff=config.ff_dim, num_layers=config.layers,
            num_decoder_layers=config.layers, num_heads=config.heads, dropout_rate=config.dropout, feed_forward_proj="relu",
            pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, tie_word_embeddings=False,
        )  # fmt: skip
    return library.LlamaConfig(
        vocab_size=vocabulary, hidden_size=config.dim, intermediate_size=config.ff_dim, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, max_position_embeddings=config.longest, attention_dropout=config.dropout,
        tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip


def _shape_of(values: dict[str, Any]) -> Any:
    library = import_extra("transformers", extra="text", purpose="a language model of one's own")
    return library.AutoConfig.for_model(**values)


def _build(shape: Any) -> Any:
    library = import_extra("transformers", extra="text", purpose="a language model of one's own")
    kind = library.AutoModelForSeq2SeqLM if shape.is_encoder_decoder else library.AutoModelForCausalLM
    return kind.from_config(shape, dtype=torch.float32)
