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
        "fissa": "recsmith.models.fissa:Fissa",
        "sse-pt": "recsmith.models.sse_pt:SsePt",
        "svae": "recsmith.models.svae:Svae",
        "vaser": "recsmith.models.vaser:Vaser",
        "idnp": "recsmith.models.idnp:Idnp",
        "autorec": "recsmith.models.autorec:AutoRec",
        "cfgan": "recsmith.models.cfgan:Cfgan",
        "dreamrec": "recsmith.models.dreamrec:DreamRec",
        "diffurec": "recsmith.models.diffurec:DiffuRec",
        "tiger": "recsmith.models.tiger:Tiger",
        "language-ranker": "recsmith.models.language_ranker:LanguageRanker",
        "rpg": "recsmith.models.rpg:Rpg",
        "action-piece": "recsmith.models.action_piece:ActionPiece",
        "cobra": "recsmith.models.cobra:Cobra",
        "hstu-codes": "recsmith.models.hstu_codes:HstuCodes",
        "eager": "recsmith.models.eager:Eager",
        "content-knn": "recsmith.models.content_knn:ContentKnn",
        "unisrec": "recsmith.models.unisrec:Unisrec",
        "zesrec": "recsmith.models.zesrec:Zesrec",
        "alpharec": "recsmith.models.alpharec:Alpharec",
        "vqrec": "recsmith.models.vqrec:Vqrec",
        "liked-items": "recsmith.models.liked_items:LikedItems",
        "tcf": "recsmith.models.tcf:Tcf",
        "rlmrec": "recsmith.models.rlmrec:Rlmrec",
    },
)

__all__ = ["MODELS"]
