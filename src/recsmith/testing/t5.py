"""`to_t5`: a `Tiger` as a `transformers` T5 with the same weights, to compare forward passes, gradients and searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from recsmith.errors import import_extra
from recsmith.models.tiger import PAD, START, Tiger
from recsmith.protocols import HistoryBatch


def to_t5(model: Tiger) -> Any:
    """`transformers.T5ForConditionalGeneration` that computes what `model` (bidirectional) computes, weights copied."""
    if model.config.encoder_attention != "bidirectional":
        raise ValueError("a T5 reads in both directions; build the model with encoder_attention='bidirectional'")
    transformers = import_extra("transformers", extra="text", purpose="comparing with T5")
    config = model.config
    t5 = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=model.embedding.num_embeddings,
            d_model=config.dim,
            d_kv=config.head_dim,
            d_ff=config.ff_dim,
            num_layers=config.encoder_layers,
            num_decoder_layers=config.decoder_layers,
            num_heads=config.heads,
            relative_attention_num_buckets=config.position_buckets,
            relative_attention_max_distance=config.position_distance,
            dropout_rate=config.dropout,
            feed_forward_proj="relu",
            tie_word_embeddings=config.head == "tied",
            pad_token_id=PAD,
            decoder_start_token_id=PAD,
            eos_token_id=None,
        )
    )
    if model.head is not None:
        # the configuration above only decides whether outputs are scaled; T5 of transformers 5 ties the weights all the same
        t5.lm_head.weight = nn.Parameter(torch.empty_like(model.head.weight))
    weights = dict(_weights(model))
    _, unexpected = t5.load_state_dict(weights, strict=False)
    if unexpected:
        raise ValueError(f"this transformers has no T5 weights {unexpected}")
    return t5.train(model.training)


def t5_inputs(model: Tiger, batch: HistoryBatch) -> tuple[Tensor, Tensor]:
    """`input_ids` and `attention_mask` `[batch, length]` of the histories as `model` reads them."""
    rows = []
    for first, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        items = batch.items[first:end][-model.config.max_history :]
        rows.append([START, *(model.item_codes[items] + model.level_offsets).flatten().tolist()])
    padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long()


def allowed_tokens(model: Tiger) -> Callable[[int, Tensor], list[int]]:
    """The usual `prefix_allowed_tokens_fn`: a dictionary from prefixes of item codes to the tokens that may follow."""
    tokens = (model.item_codes + model.level_offsets).tolist()
    following: dict[tuple[int, ...], set[int]] = {}
    for item in tokens:
        for level, token in enumerate(item):
            following.setdefault(tuple(item[:level]), set()).add(token)
    lists = {prefix: sorted(allowed) for prefix, allowed in following.items()}

    def allowed(_row: int, generated: Tensor) -> list[int]:
        return lists[tuple(generated[1:].tolist())]

    return allowed


def _weights(model: Tiger) -> Iterator[tuple[str, Tensor]]:
    yield "shared.weight", model.embedding.weight
    yield "lm_head.weight", model.embedding.weight if model.head is None else model.head.weight
    for name, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        yield f"{name}.embed_tokens.weight", model.embedding.weight
        yield f"{name}.final_layer_norm.weight", stack.norm.weight
        yield f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", stack.bias.weight
        for number, layer in enumerate(stack.layers):
            yield from _layer_weights(f"{name}.block.{number}.layer", layer)


def _layer_weights(prefix: str, layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    attention: Any = layer.attention
    for part, weight in zip("qkv", attention.qkv.weight.chunk(3), strict=True):
        yield f"{prefix}.0.SelfAttention.{part}.weight", weight
    yield f"{prefix}.0.SelfAttention.o.weight", attention.out.weight
    yield f"{prefix}.0.layer_norm.weight", attention.norm.weight
    cross: Any = getattr(layer, "cross", None)
    if cross is not None:
        yield f"{prefix}.1.EncDecAttention.q.weight", cross.q.weight
        for part, weight in zip("kv", cross.kv.weight.chunk(2), strict=True):
            yield f"{prefix}.1.EncDecAttention.{part}.weight", weight
        yield f"{prefix}.1.EncDecAttention.o.weight", cross.out.weight
        yield f"{prefix}.1.layer_norm.weight", cross.norm.weight
    last = 1 if cross is None else 2
    feed_forward: Any = layer.feed_forward
    yield f"{prefix}.{last}.DenseReluDense.wi.weight", feed_forward.widen.weight
    yield f"{prefix}.{last}.DenseReluDense.wo.weight", feed_forward.narrow.weight
    yield f"{prefix}.{last}.layer_norm.weight", feed_forward.norm.weight
