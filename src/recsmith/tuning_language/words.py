"""A tokenizer of the user's own texts: byte-level byte-pair encoding, so that no text of any language is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recsmith.errors import import_extra

PAD, END = "<pad>", "</s>"
"""The first two words of every vocabulary made here: ids 0 and 1."""


def learn_words(texts: Iterable[str], *, size: int) -> Any:
    """A `tokenizers.Tokenizer` of at most `size` tokens (never fewer than the 256 bytes and two marks), trained on `texts`.

    A word has the same tokens wherever it stands: a space is put before the first one and taken away in decoding.
    """
    library = import_extra("tokenizers", extra="text", purpose="a language model of one's own")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
