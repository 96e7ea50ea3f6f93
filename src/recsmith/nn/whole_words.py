"""Whole-word embeddings: the tokens of one id carry the same further vector, so that a model sees where an id begins and ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_SHARE = 0.1
"""Strength of the numbers beside the tokens' own vectors; so Adam, whose steps are of one size, learns them slowly and what they mean
first."""


class WholeWords(nn.Module):
    """A model of the transformers library that adds to each token of an id the vector of the id's number in the input; called as the model
    is.

    From Geng et al., 2022 (P5), also in POD: ids are numbered from 1 as they come, words get nothing. `kinds` says of each token of the
    vocabulary whether it is a word (0), begins an id (1) or goes on with one (2). The count so far travels with the cache, so that reading
    on after a cached input numbers on. An encoder–decoder numbers what its encoder reads. Numbers above `most` share the last vector.
    """

    kinds: Tensor

    def __init__(self, model: nn.Module, *, most: int = 128) -> None:
        super().__init__()
        self.model = model
        embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
        self.numbers = nn.Embedding(most + 1, embeddings.embedding_dim)
        nn.init.normal_(self.numbers.weight, std=embeddings.weight.detach().std().item())
        self.register_buffer("kinds", torch.zeros(embeddings.num_embeddings, dtype=torch.uint8))

    @property
    def config(self) -> Any:
        """That of the model."""
        return self.model.config

    def get_input_embeddings(self) -> nn.Module:
        """Those of the model."""
        return self.model.get_input_embeddings()  # type: ignore[operator]

    def get_output_embeddings(self) -> nn.Module:
        """Those of the model."""
        return self.model.get_output_embeddings()  # type: ignore[operator]

    def get_encoder(self) -> Any:
        """The model's encoder behind the numbers."""
        return self._encode

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **options: Any) -> Any:
        if self.config.is_encoder_decoder:
            if "encoder_outputs" not in options:
                options["encoder_outputs"] = self._encode(input_ids, attention_mask)
            return self.model(attention_mask=attention_mask, **options)
        assert input_ids is not None
        cache = options.get("past_key_values")
        before = input_ids.new_zeros(len(input_ids)) if cache is None else cache.ids_before
        numbers = self._numbered(input_ids, before, alone=cache is not None)
        answer = self.model(inputs_embeds=self._embedded(input_ids, numbers), attention_mask=attention_mask, **options)
        if getattr(answer, "past_key_values", None) is not None:
            answer.past_key_values.ids_before = before if cache is not None else self._count(input_ids, attention_mask)
        return answer

    def _encode(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Any:
        assert input_ids is not None
        embedded = self._embedded(input_ids, self._numbered(input_ids, input_ids.new_zeros(len(input_ids)), alone=False))
        return self.model.get_encoder()(inputs_embeds=embedded, attention_mask=attention_mask)  # type: ignore[operator]

    def _numbered(self, ids: Tensor, before: Tensor, *, alone: bool) -> Tensor:
        """Number of each token's id, 0 for words. Tokens read `alone`, behind a cache, are all of the one id that is being written."""
        kinds = self.kinds[ids]
        numbers = (before[:, None] + 1).expand_as(ids) if alone else before[:, None] + (kinds == 1).cumsum(1)
        return numbers.masked_fill(kinds == 0, 0).clamp(max=len(self.numbers.weight) - 1)

    def _count(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        begins = self.kinds[ids] == 1
        return (begins if mask is None else begins & mask.bool()).sum(1)

    def _embedded(self, ids: Tensor, numbers: Tensor) -> Tensor:
        return self.get_input_embeddings()(ids) + _SHARE * self.numbers(numbers) * (numbers > 0)[..., None]
