"""Generators: one published model per file. `MODELS` names them; each is imported only when asked for."""

from recsmith.registry import Registry

MODELS = Registry(
    "model",
    {
        "popularity": "recsmith.models.popularity:Popularity",
        "item-knn": "recsmith.models.item_knn:ItemKnn",
        "ease": "recsmith.models.ease:Ease",
        "mult-dae": "recsmith.models.mult_dae:MultDae",
        "cdae": "recsmith.models.cdae:Cdae",
        "mult-vae": "recsmith.models.mult_vae:MultVae",
        "recvae": "recsmith.models.recvae:RecVae",
        "diffrec": "recsmith.models.diffrec:DiffRec",
        "gru4rec": "recsmith.models.gru4rec:Gru4Rec",
        "sasrec": "recsmith.models.sasrec:Sasrec",
        "bert4rec": "recsmith.models.bert4rec:Bert4Rec",
        "lrurec": "recsmith.models.lrurec:LruRec",
        "hstu": "recsmith.models.hstu:Hstu",
        "tiger": "recsmith.models.tiger:Tiger",
    },
)

__all__ = ["MODELS"]
