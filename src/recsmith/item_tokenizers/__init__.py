"""Item tokenizers: item vectors → item codes. `TOKENIZERS` names them; each is imported only when asked for."""

from recsmith.item_tokenizers.collisions import assign_new, with_collision_level
from recsmith.item_tokenizers.figures import code_figures
from recsmith.registry import Registry

TOKENIZERS = Registry(
    "item tokenizer",
    {
        "rq-kmeans": "recsmith.item_tokenizers.rq_kmeans:RqKMeans",
        "rq-vae": "recsmith.item_tokenizers.rq_vae:RqVae",
    },
)

__all__ = ["TOKENIZERS", "assign_new", "code_figures", "with_collision_level"]
