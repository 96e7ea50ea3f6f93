"""Language models as writers into the data spine: texts of items, profiles of people, new items, new events, each with its provenance.

What they write are ordinary columns and rows, so any recommender can be fitted with them and without them, and the gain measured.
"""

from recsmith.language.writers.provenance import (
    people_histories,
    provenance_of,
    training_histories,
    with_events,
    with_item_texts,
    with_training_events,
    with_user_texts,
)
from recsmith.registry import Registry

WRITERS = Registry(
    "language writer",
    {
        "llm-rec": "recsmith.language.writers.llm_rec:LlmRec",
        "kar": "recsmith.language.writers.kar:Kar",
        "genre": "recsmith.language.writers.genre:Genre",
        "cold-pairs": "recsmith.language.writers.cold_pairs:ColdPairs",
        "llmrec": "recsmith.language.writers.llmrec:LlmRecGraph",
        "embsum": "recsmith.language.writers.embsum:Embsum",
        "aspects": "recsmith.language.writers.aspects:Aspects",
        "llm4msr": "recsmith.language.writers.llm4msr:Llm4Msr",
        "tf-dcon": "recsmith.language.writers.tf_dcon:TfDcon",
        "mint": "recsmith.language.writers.mint:Mint",
    },
)

__all__ = [
    "WRITERS",
    "people_histories",
    "provenance_of",
    "training_histories",
    "with_events",
    "with_item_texts",
    "with_training_events",
    "with_user_texts",
]
"""Names that a writer of one's own needs."""
