"""The life of semantic IDs after a run: what they are worth, codes for new items, drift, migration to new codebooks, and the way back."""

from recsmith.tokens.assignment import assign_tokens
from recsmith.tokens.difference import diff_tokens
from recsmith.tokens.drift import token_drift
from recsmith.tokens.inspection import code_tree, inspect_tokens
from recsmith.tokens.migration import migrate_tokens
from recsmith.tokens.picture import draw_code_tree
from recsmith.tokens.reading import codes_of, encode_as_recorded
from recsmith.tokens.versions import rollback, versions, write_version

__all__ = [
    "assign_tokens",
    "code_tree",
    "codes_of",
    "diff_tokens",
    "draw_code_tree",
    "encode_as_recorded",
    "inspect_tokens",
    "migrate_tokens",
    "rollback",
    "token_drift",
    "versions",
    "write_version",
]
