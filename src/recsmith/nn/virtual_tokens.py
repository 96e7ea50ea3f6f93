"""Trainable vectors that a frozen transformers model reads before its input: soft prompts and prefixes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn


class VirtualTokens(nn.Module):
    """A model of the transformers library behind `count` virtual tokens; called as the model itself is.

    "prompt": trainable input embeddings (Lester et al., 2021); "prefix": trainable keys and values of every layer (Li & Liang, 2021), for
    decoder-only models. Encoder–decoder models read a prompt at the encoder. Positions of the real tokens start behind the virtual ones.
    Deviation: prefixes are learned as they are, without the paper's reparametrisation.
    """

    def __init__(self, model: nn.Module, *, count: int, kind: Literal["prompt", "prefix"]) -> None:
        super().__init__()
        self.model, self.count, self.kind = model, count, kind
        shape: Any = model.config
        weight = model.get_input_embeddings().weight  # type: ignore[operator]
        if kind == "prompt":
            start = weight[torch.randint(len(weight), (count,))].detach().clone()
        else:
            heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
            width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
            start = torch.randn(shape.num_hidden_layers, 2, heads, count, width) * 0.02
        self.virtual = nn.Parameter(start.to(weight.device))

    @property
    def config(self) -> Any:
        """That of the model."""
        return self.model.config

    def get_input_embeddings(self) -> nn.Module:
        """Those of the model."""
        return self.model.get_input_embeddings()  # type: ignore[operator]

    def get_encoder(self) -> Any:
        """The model's encoder behind the virtual tokens."""
        return self._encode

    def read_mask(self, mask: Tensor) -> Tensor:
        """The mask `[batch, s]` of what the encoder answers: virtual tokens count."""
        return nn.functional.pad(mask, (self.count, 0), value=1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        if self.config.is_encoder_decoder:
            if "encoder_outputs" not in options:
                options["encoder_outputs"] = self._encode(input_ids, attention_mask)
            assert attention_mask is not None
            return self.model(attention_mask=self.read_mask(attention_mask), past_key_values=past_key_values, **options)
        assert input_ids is not None
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if position_ids is None:
            position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        # a 4-dimensional mask is added to the scores, so that 0 shows a virtual token; a plain one shows it by 1
        mask = nn.functional.pad(attention_mask, (self.count, 0), value=0 if attention_mask.dim() == 4 else 1)
        positions = position_ids + self.count
        if past_key_values is not None:
            return self.model(input_ids, attention_mask=mask, position_ids=positions, past_key_values=past_key_values, **options)
        if self.kind == "prefix":
            cache = self._cache(len(input_ids))
            return self.model(input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, **options)
        places = torch.arange(self.count, device=positions.device).expand(len(input_ids), -1)
        embedded = self._behind(self.get_input_embeddings()(input_ids))
        wanted = options.pop("logits_to_keep", torch.arange(input_ids.shape[1], device=positions.device))
        options["logits_to_keep"] = wanted + self.count
        return self.model(inputs_embeds=embedded, attention_mask=mask, position_ids=torch.cat([places, positions], dim=1), **options)

    def _encode(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Any:
        assert input_ids is not None
        assert attention_mask is not None
        embedded = self._behind(self.get_input_embeddings()(input_ids))
        return self.model.get_encoder()(inputs_embeds=embedded, attention_mask=self.read_mask(attention_mask))  # type: ignore[operator]

    def _behind(self, embedded: Tensor) -> Tensor:
        return torch.cat([self.virtual.expand(len(embedded), -1, -1), embedded], dim=1)

    def _cache(self, rows: int) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache()
        for number, layer in enumerate(self.virtual):
            cache.update(layer[0].expand(rows, -1, -1, -1), layer[1].expand(rows, -1, -1, -1), number)
        return cache
