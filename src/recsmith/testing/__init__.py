"""Conformance suites that strangers may inherit: models, item tokenizers, decoders. Needs pytest."""

from recsmith.errors import import_extra

import_extra("pytest", extra="dev", purpose="`recsmith.testing`").register_assert_rewrite(
    *(f"recsmith.testing.{name}" for name in ("models", "slates", "baskets", "tokenizers", "decoders"))
)

from recsmith.testing.baskets import BasketModelTests, basket_rows  # noqa: E402
from recsmith.testing.decoders import DecoderConformance, HashedCodeModel  # noqa: E402
from recsmith.testing.models import CodeModelTests, ScoreModelTests  # noqa: E402
from recsmith.testing.slates import SlateModelTests  # noqa: E402
from recsmith.testing.tokenizers import ItemTokenizerTests  # noqa: E402

__all__ = [
    "BasketModelTests",
    "CodeModelTests",
    "DecoderConformance",
    "HashedCodeModel",
    "ItemTokenizerTests",
    "ScoreModelTests",
    "SlateModelTests",
    "basket_rows",
]
