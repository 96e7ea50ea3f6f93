"""BIGRec: a language model writes the next title in its own words, which are then grounded in the catalogue (Bao et al., 2023)."""

from __future__ import annotations

from typing import ClassVar

from recsmith.tuning_language.writing import WritingConfig, WritingModel


class BigrecConfig(WritingConfig):
    """Settings of `Bigrec`."""

    tasks: str = "bigrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""


class Bigrec(WritingModel):
    """Scores items by how near their titles are to what the model writes; whatever it writes, only items of the catalogue are answered.

    Paper: "A bi-step grounding paradigm for large language models in recommendation systems" (2023): step one tunes the model to write
    titles, step two divides distances of embeddings by popularity. `written` gives the titles as they were written.

    Deviations: embeddings are means over the tokens' last hidden states; titles are written greedily, where the paper searches with beams.
    """

    Config: ClassVar[type[BigrecConfig]] = BigrecConfig
