"""LC-Rec: items as index tokens of a language model that is taught what they mean (Zheng et al., ICDE 2024)."""

from __future__ import annotations

from typing import ClassVar

from recsmith.tuning_language.tasks import Family
from recsmith.tuning_language.text_to_items import TextToItems, TextToItemsConfig


class LcRecConfig(TextToItemsConfig):
    """Settings of `LcRec`."""

    tasks: str = "lc-rec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    mix: dict[Family, float] = {"sequential": 1.0, "alignment": 1.0}
    """Examples of each task family per history of a batch."""
    user_tokens: int = 0
    """Tokens for people; LC-Rec has none."""


class LcRec(TextToItems):
    """A causal language model with the items' codes as further words, tuned to go on with the next item's and to tell what codes mean.

    Paper: "Adapting large language models by integrating collaborative semantics for recommendation" (ICDE 2024). Alignment tasks: title →
    codes, codes → title, and titles of a history → codes of the next item.

    Deviations: a small model of one's own unless `network.folder` names another; of the paper's tasks those that need an intention written
    by another language model are left out; codes by the recipe's tokenizer (paper: RQ-VAE with uniform last level).
    """

    Config: ClassVar[type[LcRecConfig]] = LcRecConfig
    reads: ClassVar[tuple[str, ...]] = ("texts",)
