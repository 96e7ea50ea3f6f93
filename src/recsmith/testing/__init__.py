"""Conformance suites that strangers may inherit: models, item tokenizers, decoders. Needs pytest."""

from recsmith.errors import import_extra

import_extra("pytest", extra="dev", purpose="`recsmith.testing`").register_assert_rewrite(
    "recsmith.testing.models", "recsmith.testing.tokenizers", "recsmith.testing.decoders"
)

from recsmith.testing.decoders import DecoderConformance, HashedCodeModel  # noqa: E402
from recsmith.testing.models import CodeModelTests, ScoreModelTests  # noqa: E402
from recsmith.testing.tokenizers import ItemTokenizerTests  # noqa: E402

__all__ = ["CodeModelTests", "DecoderConformance", "HashedCodeModel", "ItemTokenizerTests", "ScoreModelTests"]
