"""Item tokenizers: item vectors → item codes. `TOKENIZERS` names them; they and the helpers are imported only when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsmith.registry import Registry

if TYPE_CHECKING:
    from recsmith.item_tokenizers.card import tokenizer_card
    from recsmith.item_tokenizers.collisions import assign_new, with_collision_level
    from recsmith.item_tokenizers.figures import code_figures
    from recsmith.item_tokenizers.vectors import checked_vectors

TOKENIZERS = Registry(
    "item tokenizer",
    {
        "rq-kmeans": "recsmith.item_tokenizers.rq_kmeans:RqKMeans",
        "balanced-rq-kmeans": "recsmith.item_tokenizers.balanced_residual:BalancedRqKMeans",
        "rq-vae": "recsmith.item_tokenizers.rq_vae:RqVae",
        "letter": "recsmith.item_tokenizers.letter:Letter",
        "pq": "recsmith.item_tokenizers.product:ProductCodes",
        "hierarchical": "recsmith.item_tokenizers.hierarchical:HierarchicalKMeans",
        "random": "recsmith.item_tokenizers.random_codes:RandomCodes",
        "independent": "recsmith.item_tokenizers.independent:IndependentCodes",
        "sequential": "recsmith.item_tokenizers.sequential:SequentialCodes",
        "collaborative": "recsmith.item_tokenizers.spectral:SpectralCodes",
        "graph": "recsmith.item_tokenizers.graph_tree:GraphCodes",
        "lm-indexer": "recsmith.item_tokenizers.lm_indexer:LmIndexer",
        "svd": "recsmith.item_tokenizers.svd:SvdCodes",
        "binary": "recsmith.item_tokenizers.binary:BinaryCodes",
        "categories": "recsmith.item_tokenizers.category_tree:CategoryCodes",
        "hybrid": "recsmith.item_tokenizers.hybrid:HybridCodes",
        "title": "recsmith.item_tokenizers.title:TitleCodes",
        "numeric": "recsmith.item_tokenizers.numeric:NumericCodes",
        "idgenrec": "recsmith.item_tokenizers.idgenrec:IdGenRecCodes",
        "given": "recsmith.item_tokenizers.given:GivenCodes",
    },
)

__all__ = ["TOKENIZERS", "assign_new", "checked_vectors", "code_figures", "tokenizer_card", "with_collision_level"]

_HOMES = {
    "assign_new": "recsmith.item_tokenizers.collisions",
    "with_collision_level": "recsmith.item_tokenizers.collisions",
    "code_figures": "recsmith.item_tokenizers.figures",
    "tokenizer_card": "recsmith.item_tokenizers.card",
    "checked_vectors": "recsmith.item_tokenizers.vectors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module `recsmith.item_tokenizers` has no attribute `{name}`")
