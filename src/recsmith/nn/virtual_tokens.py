"""Trainable vectors that a frozen transformers model reads before its input: soft prompts and prefixes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsmith.nn.prompt_encoder import PromptEncoder

Kind = Literal["prompt", "p-tuning", "prefix"]


class VirtualTokens(nn.Module):
    """A model of the transformers library behind `count` virtual tokens; called as the model itself is.

    "prompt": trainable input embeddings (Lester et al., 2021); "p-tuning": the same, written by a `PromptEncoder` that learns with them;
    "prefix": trainable keys and values of every layer (Li & Liang, 2021). Encoder–decoder models read a prompt at the encoder, a prefix at
    the decoder's self-attention. Positions of the real tokens start behind the virtual ones.
    Deviations: prefixes are learned as they are, without the paper's reparametrisation, and encoders have none.
    """

    def __init__(self, model: nn.Module, *, count: int, kind: Kind) -> None:
        super().__init__()
        self.model, self.count, self.kind = model, count, kind
        weight = model.get_input_embeddings().weight  # type: ignore[operator]
        if kind == "prefix":
            start = torch.randn(_prefix_shape(model.config, count)) * 0.02
        else:
            start = weight[torch.randint(len(weight), (count,))].detach().clone()
        self.virtual = nn.Parameter(start.to(weight.device))
        self.prompt_encoder = PromptEncoder(weight.shape[1]).to(weight.device) if kind == "p-tuning" else None

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
        """The mask `[batch, s]` of what the encoder answers: the virtual tokens of a prompt count, a prefix is not read there."""
        return mask if self.kind == "prefix" else nn.functional.pad(mask, (self.count, 0), value=1)

    def prompt(self) -> Tensor:
        """The vectors that the model reads before its input, `[count, dim]`."""
        return self.virtual if self.prompt_encoder is None else self.prompt_encoder(self.virtual)

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
            if self.kind == "prefix":
                past_key_values = self._before_decoder(options, past_key_values)
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
        if self.kind == "prefix":
            return self.model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask)  # type: ignore[operator]
        embedded = self._behind(self.get_input_embeddings()(input_ids))
        return self.model.get_encoder()(inputs_embeds=embedded, attention_mask=self.read_mask(attention_mask))  # type: ignore[operator]

    def _behind(self, embedded: Tensor) -> Tensor:
        return torch.cat([self.prompt().expand(len(embedded), -1, -1), embedded], dim=1)

    def _before_decoder(self, options: dict[str, Any], cache: Any) -> Any:
        """The cache with the prefix in front, made where nothing has been read yet; a mask of the decoder's tokens is made to fit."""
        if options.get("decoder_attention_mask") is not None:
            options["decoder_attention_mask"] = nn.functional.pad(options["decoder_attention_mask"], (self.count, 0), value=1)
        if cache is not None:
            return cache
        from transformers import DynamicCache, EncoderDecoderCache

        return EncoderDecoderCache(self._cache(len(options["encoder_outputs"][0])), DynamicCache())

    def _cache(self, rows: int) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache()
        for number, layer in enumerate(self.virtual):
            cache.update(layer[0].expand(rows, -1, -1, -1), layer[1].expand(rows, -1, -1, -1), number)
        return cache


def _prefix_shape(config: Any, count: int) -> tuple[int, ...]:
    """Layers, keys and values, heads, virtual tokens, width of a head: of the decoder, where there is an encoder too."""
    shape = config.get_text_config(decoder=True) if config.is_encoder_decoder else config
    layers = getattr(shape, "num_decoder_layers", None) or shape.num_hidden_layers
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    return layers, 2, heads, count, width
