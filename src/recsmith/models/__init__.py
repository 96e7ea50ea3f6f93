"""Generators: one published model per file. `MODELS` names them; each is imported only when asked for."""

from recsmith.registry import Registry

MODELS = Registry(
    "model",
    {
        "popularity": "recsmith.models.popularity:Popularity",
        "item-knn": "recsmith.models.item_knn:ItemKnn",
        "ease": "recsmith.models.ease:Ease",
        "mult-vae": "recsmith.models.mult_vae:MultVae",
        "gru4rec": "recsmith.models.gru4rec:Gru4Rec",
        "sasrec": "recsmith.models.sasrec:Sasrec",
        "tiger": "recsmith.models.tiger:Tiger",
    },
)

__all__ = ["MODELS"]
