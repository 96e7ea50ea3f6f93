"""Losses over a catalogue: exact softmax that never holds `[token, item]`, and the losses that draw negatives instead.

Letters of the shapes: `token` = positions that predict an item, `item` = size of the catalogue, `dim` = width of a vector,
`negative` = items drawn against one target.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsmith.nn.negatives import tell_scores

_CHUNK_ELEMENTS = 1 << 22  # logits held at once: large enough for full speed of the products, small enough to stay near the cache


def fused_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    label_smoothing: float = 0.0,
    compute_dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Mean cross-entropy of `hidden @ weight.T + bias` against `targets`, with loss and gradient computed chunk by chunk.

    `hidden` `[token, dim]`, `weight` `[item, dim]`, `targets` int64 `[token]`, `bias` `[item]`. `compute_dtype` is the type of
    the large products (None: that of autocast when it is on, else of `hidden`); with bf16 the logits are rounded to bf16 and
    normalised in fp32. `chunk` is the number of tokens handled at once (None: chosen by the size of the catalogue).
    The gradient is made in the forward pass, so a second derivative does not exist. Zero tokens give a loss of 0.
    """
    if compute_dtype is None:
        device = hidden.device.type
        compute_dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    chunk = chunk or max(64, _CHUNK_ELEMENTS // max(len(weight), 1))
    settings = (label_smoothing, compute_dtype, chunk)
    return _FusedCrossEntropy.apply(hidden, weight, bias, targets, settings)


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        settings: tuple[float, torch.dtype, int],
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            loss, *gradients = _loss_and_gradients(
                hidden.detach(),
                weight.detach(),
                None if bias is None else bias.detach(),
                targets,
                settings,
                wanted=any(ctx.needs_input_grad),
            )
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [None if gradient is None else gradient * above.to(gradient.dtype) for gradient in ctx.saved_tensors]
        return *gradients, None, None


def _loss_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    settings: tuple[float, torch.dtype, int],
    *,
    wanted: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Loss and its gradient by `hidden`, `weight` and `bias`; the gradients are None unless `wanted`."""
    smoothing, dtype, chunk = settings
    tokens, items = len(hidden), len(weight)
    table, inputs = weight.to(dtype), hidden.to(dtype)
    exact = torch.promote_types(hidden.dtype, torch.float32)
    total = torch.zeros((), dtype=exact, device=hidden.device)
    by_hidden = torch.empty_like(hidden) if wanted else None
    by_weight = torch.zeros_like(weight) if wanted else None
    by_bias = torch.zeros_like(bias) if wanted and bias is not None else None
    scale = 1.0 / max(tokens, 1)
    # reused for every chunk: fresh memory of this size costs more in page faults than the arithmetic
    logits_buffer = torch.empty(min(chunk, tokens), items, dtype=dtype, device=hidden.device)
    softmax_buffer = torch.empty_like(logits_buffer)
    for start in range(0, tokens, chunk):
        part = slice(start, min(start + chunk, tokens))
        logits = torch.mm(inputs[part], table.T, out=logits_buffer[: part.stop - part.start])
        if bias is not None:
            logits += bias.to(dtype)
        probabilities = torch.softmax(logits, 1, out=softmax_buffer[: len(logits)])
        total += _negative_log_likelihood(logits, probabilities, targets[part]).sum()
        if smoothing:
            total += smoothing * logits.gather(1, targets[part, None]).to(total.dtype).sum()
        if by_hidden is None or by_weight is None:
            continue
        by_hidden[part] = torch.mm(probabilities, table)
        by_weight += torch.mm(probabilities.T, inputs[part])
        if by_bias is not None:
            by_bias += probabilities.sum(0, dtype=by_bias.dtype)
    if smoothing:
        total -= smoothing * _sum_of_mean_logits(hidden, weight, bias)
    if by_hidden is not None and by_weight is not None:
        _subtract_targets(by_hidden, by_weight, by_bias, hidden=hidden, weight=weight, targets=targets, smoothing=smoothing)
        for gradient in (by_hidden, by_weight, by_bias):
            if gradient is not None:
                gradient *= scale
    return (total * scale).to(hidden.dtype), by_hidden, by_weight, by_bias


def _negative_log_likelihood(logits: Tensor, probabilities: Tensor, targets: Tensor) -> Tensor:
    """−log of the targets' probabilities, `[token]`, in fp32 at least."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    likelihood = -probabilities.gather(1, targets[:, None]).squeeze(1).to(exact).log()
    lost = likelihood.isinf().nonzero().squeeze(1)  # where the probability underflowed: almost never, so the cost does not matter
    if len(lost):
        rows = logits[lost].to(exact)
        likelihood[lost] = rows.logsumexp(1) - rows.gather(1, targets[lost, None]).squeeze(1)
    return likelihood


def _sum_of_mean_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Sum over tokens of the mean logit over items, without the logits."""
    summed = hidden.sum(0) @ weight.mean(0)
    return summed if bias is None else summed + len(hidden) * bias.mean()


def _subtract_targets(
    by_hidden: Tensor,
    by_weight: Tensor,
    by_bias: Tensor | None,
    *,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    smoothing: float,
) -> None:
    """Turn gradients of the normaliser into those of the loss, in place: minus the (smoothed) one-hot targets."""
    by_hidden -= (1.0 - smoothing) * weight[targets]
    by_weight.index_add_(0, targets, hidden.to(by_weight.dtype), alpha=smoothing - 1.0)
    if by_bias is not None:
        by_bias.index_add_(0, targets, torch.ones_like(targets, dtype=by_bias.dtype), alpha=smoothing - 1.0)
    if smoothing:
        by_hidden -= smoothing * weight.mean(0)
        by_weight -= smoothing / len(weight) * hidden.sum(0)
        if by_bias is not None:
            by_bias -= smoothing * len(hidden) / len(weight)


def sampled_softmax(hidden: Tensor, weight: Tensor, targets: Tensor, *, negatives: Tensor, log_q: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of each target against drawn items only.

    `negatives` is int64 `[negative]` (shared by all tokens) or `[token, negative]`; `log_q` of the same shape is the logarithm
    of the probability with which each was drawn (None: uniform), subtracted from its logit so that the loss estimates the full
    softmax (Bengio & Senécal 2008). A negative that equals the target does not count.
    """
    positive = (hidden * weight[targets]).sum(1, keepdim=True)
    shared = negatives.dim() == 1
    against = hidden @ weight[negatives].T if shared else _own_scores(hidden, weight, negatives)
    count, items = negatives.shape[-1], len(weight)
    # a draw stands for 1 / (count · q) items; the target stands for itself
    expected = torch.tensor(count / items, device=hidden.device).log() if log_q is None else log_q + _log(count, hidden)
    return cross_entropy_against(positive, against - expected, hit=negatives == targets[:, None])


def cross_entropy_against(positive: Tensor, against: Tensor, *, hit: Tensor) -> Tensor:
    """Mean cross-entropy of the score of each target `[token, 1]` among those of its negatives `[token, negative]`.

    `hit`, bool and broadcast to `[token, negative]`, marks negatives that are the target and do not count.
    """
    tell_scores(against, hit)
    scores = torch.cat([positive, against.masked_fill(hit, float("-inf"))], 1).float()
    return F.cross_entropy(scores, scores.new_zeros(len(scores), dtype=torch.int64))


def bce(hidden: Tensor, weight: Tensor, targets: Tensor, *, negatives: Tensor, beta: float = 1.0) -> Tensor:
    """Mean over tokens of −β log σ(target) − mean over negatives of log(1 − σ(negative)).

    `negatives` int64 `[token, negative]`. With one negative and β = 1 this is SASRec's loss (Kang & McAuley 2018).
    """
    positive = (hidden * weight[targets]).sum(1)
    against = _own_scores(hidden, weight, negatives)
    tell_scores(against)
    return -beta * F.logsigmoid(positive).mean() - F.logsigmoid(-against).mean()


def gbce(hidden: Tensor, weight: Tensor, targets: Tensor, *, negatives: Tensor, t: float) -> Tensor:
    """Generalised binary cross-entropy of gSASRec (Petrov & Macdonald 2023): corrects the overconfidence that sampling causes.

    `negatives` int64 `[token, negative]`; `t` in 0 … 1 (0 is plain BCE with sums over negatives, 1 is fully calibrated).
    Mean over the target and its negatives, as in the paper. Ours: a constant is added to all scores, at which a target pulls up as
    hard as its negatives push down. Without it the first thing that vectors learn, and keep, is that most answers are no; no order of
    items changes by it.
    """
    count = negatives.shape[1]
    rate = count / max(len(weight) - 1, 1)
    beta = 1.0 - t * (1.0 - rate)  # the paper's α (t (1 − 1/α) + 1/α) with α = rate
    balance = math.log(beta / count)
    positive = (hidden * weight[targets]).sum(1) + balance
    against = _own_scores(hidden, weight, negatives) + balance
    tell_scores(against)
    return -(beta * F.logsigmoid(positive) + F.logsigmoid(-against).sum(1)).mean() / (count + 1)


def bpr_max(hidden: Tensor, weight: Tensor, targets: Tensor, *, negatives: Tensor, regularisation: float) -> Tensor:
    """−log of the softmax-weighted probability that the target beats a negative (BPR-max, Hidasi & Karatzoglou 2018).

    `negatives` int64 `[negative]`, shared by all tokens; `regularisation` weighs the squared scores of the negatives. A negative
    that equals the target does not count.
    """
    positive, against, shares = _scores_and_shares(hidden, weight, targets, negatives)
    wins = (shares * (positive - against).sigmoid()).sum(1)
    penalty = (shares * against.square()).sum(1)
    return (-(wins + 1e-10).log() + regularisation * penalty).mean()


def top1_max(hidden: Tensor, weight: Tensor, targets: Tensor, *, negatives: Tensor) -> Tensor:
    """Softmax-weighted probability that a negative beats the target, plus a pull of its score to 0 (TOP1-max, same paper).

    `negatives` int64 `[negative]`, shared by all tokens. A negative that equals the target does not count.
    """
    positive, against, shares = _scores_and_shares(hidden, weight, targets, negatives)
    return (shares * ((against - positive).sigmoid() + against.square().sigmoid())).sum(1).mean()


def _scores_and_shares(hidden: Tensor, weight: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score of the target `[token, 1]`, scores of the negatives and their softmax without the target `[token, negative]`."""
    positive = (hidden * weight[targets]).sum(1, keepdim=True).float()
    against = (hidden @ weight[negatives].T).float()
    tell_scores(against, negatives == targets[:, None])
    # not −inf: a row in which all negatives are the target keeps finite shares
    shares = against.masked_fill(negatives == targets[:, None], -1e9).softmax(1)
    return positive, against, shares


def _own_scores(hidden: Tensor, weight: Tensor, chosen: Tensor) -> Tensor:
    """`hidden` `[token, dim]` times the rows `chosen` `[token, negative]` of `weight` `[item, dim]`; `[token, negative]`.

    Held is the smaller of `[token, negative, dim]` and `[token, item]`: many rows out of a small table are several times as fast to pick
    from all products.
    """
    if chosen.shape[1] * hidden.shape[1] >= len(weight):
        return (hidden @ weight.T).gather(1, chosen)
    return torch.einsum("td,tnd->tn", hidden, weight[chosen])


def _log(number: float, like: Tensor) -> Tensor:
    return torch.tensor(number, dtype=torch.float32, device=like.device).log()
