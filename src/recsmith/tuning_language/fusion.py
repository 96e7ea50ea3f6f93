"""Fusion in the decoder: each passage is read apart with the question, and the answer is written while looking at all of them.

Izacard & Grave, "Leveraging passage retrieval with generative models for open domain question answering", EACL 2021 (arXiv:2007.01282).
Reading costs as many short inputs as there are passages, not one long one; the decoder sees them side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from recsmith.errors import ConfigError
from recsmith.tuning_language.network import LanguageNetwork

Passages = Sequence[Sequence[int]]
"""Tokens of the question with each passage."""

_IGNORED = -100


def require_encoder(network: LanguageNetwork) -> None:
    """Raise `ConfigError` for a model that has no encoder to read passages with."""
    if not network.reads_first:
        raise ConfigError(
            "fusion in the decoder needs an encoder–decoder language model; set network.kind = t5, or give the folder of one in "
            "network.folder"
        )


def read_passages(network: LanguageNetwork, rows: Sequence[Passages]) -> tuple[Tensor, Tensor]:
    """Encode every passage apart and lay those of a row end to end: states `[row, token, dim]` and which are real `[row, token]`."""
    flat = [passage for passages in rows for passage in passages]
    ids, real = network.padded(flat)
    states = network.model.get_encoder()(input_ids=ids, attention_mask=real.long()).last_hidden_state
    most, width = max(len(passages) for passages in rows), ids.shape[1]
    fused = states.new_zeros(len(rows), most * width, states.shape[2])
    standing = torch.zeros(len(rows), most * width, dtype=torch.bool, device=ids.device)
    start = 0
    for number, passages in enumerate(rows):
        stop, length = start + len(passages), len(passages) * width
        fused[number, :length] = states[start:stop].reshape(length, -1)
        standing[number, :length] = real[start:stop].reshape(length)
        start = stop
    return fused, standing


def token_losses(network: LanguageNetwork, states: Tensor, standing: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """Cross-entropy of each token of the targets, one per row of the states; 0 behind their ends, `[row, token]`."""
    from transformers.modeling_outputs import BaseModelOutput

    wanted, real = network.padded(targets)
    begin = torch.full_like(wanted[:, :1], network.model.config.decoder_start_token_id)
    answer = network.model(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=standing.long(),
        decoder_input_ids=torch.cat([begin, wanted[:, :-1]], dim=1),
    )
    wanted = wanted.masked_fill(~real, _IGNORED)
    losses = functional.cross_entropy(answer.logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=_IGNORED, reduction="none")
    return losses.view_as(wanted)


def fused_loss(network: LanguageNetwork, rows: Sequence[Passages], targets: Sequence[Sequence[int]]) -> Tensor:
    """Mean cross-entropy per token of the targets, given each row's passages."""
    losses = token_losses(network, *read_passages(network, rows), targets)
    return losses.sum() / sum(map(len, targets))


def fused_log_likelihood(network: LanguageNetwork, passages: Passages, targets: Sequence[Sequence[int]]) -> Tensor:
    """log p of each target given the same passages, which are read once; nats, `[target]`."""
    states, standing = read_passages(network, [passages])
    return -token_losses(network, states.expand(len(targets), -1, -1), standing.expand(len(targets), -1), targets).sum(dim=1)
