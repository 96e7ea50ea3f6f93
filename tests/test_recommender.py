"""The main job from Python: fit, recommend, save, load, evaluate, update, for ids as they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith import Dataset
from recsmith.errors import ArtifactError, ConfigError, DataError, StorageError, UserError
from recsmith.recipe import load_recipe
from recsmith.recipe_files import recipe_names
from recsmith.recommender import Recommender

SMALL_LM = {"dim": 16, "layers": 1, "heads": 2, "ff_dim": 32, "words": 300}
SMALL_COLLABORATIVE = {
    "network": SMALL_LM,
    "pretrain_steps": 2,
    "collaborative": {"settings": {"dim": 8, "layers": 1, "heads": 1, "hidden": 8}, "training": {"epochs": 2}},
}
SMALL_T5 = {"dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
LEAVE_ONE_OUT = {"name": "leave-one-out"}
QUICK = {
    "popularity": {},
    "item-knn": {},
    "ease": {},
    "mult-dae": {"training": {"epochs": 2}, "model": {"hidden": [16]}},
    "cdae": {"training": {"epochs": 2}, "model": {"dim": 8, "user_slots": 64}},
    "mult-vae": {"training": {"epochs": 2}},
    "recvae": {"training": {"epochs": 2}, "model": {"hidden": 16, "dim": 8}},
    "diffrec": {"training": {"epochs": 2}, "model": {"hidden": [16]}},
    "l-diffrec": {"training": {"epochs": 2}, "model": {"hidden": [16], "encoder_hidden": 16, "latent": 8, "cluster_dim": 4}},
    "codigem": {"training": {"epochs": 2}, "model": {"hidden": [16]}},
    "dcrec": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "denoising_layers": 1, "hidden": 32}},
    "gru4rec": {"training": {"epochs": 2}},
    "sasrec": {"training": {"epochs": 2}},
    "bert4rec": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32}},
    "locker": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32}},
    "gptrec": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32}},
    "gptrec-codes": {
        "training": {"epochs": 2},
        "tokenizer": {"name": "svd", "levels": 2, "size": 4},
        "model": {"dim": 16, "layers": 1, "hidden": 32},
    },
    "personal-top-frequency": {"split": LEAVE_ONE_OUT},
    "personal-top-frequency-blended": {"split": LEAVE_ONE_OUT},
    "sets2sets": {"split": LEAVE_ONE_OUT, "training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16}},
    "dnntsp": {"split": LEAVE_ONE_OUT, "training": {"epochs": 2}, "model": {"dim": 16}},
    "bgn": {"split": LEAVE_ONE_OUT, "training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16}},
    "lrurec": {"training": {"epochs": 2}, "model": {"dim": 16, "state": 16, "layers": 1, "hidden": 32}},
    "hstu": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1}},
    "tiger": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf"},
        "tokenizer": {"name": "rq-kmeans", "levels": 2, "size": 8},
        "model": {"dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1},
    },
    "rpg": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"name": "pq", "levels": 4, "size": 8},
        "model": {"dim": 16, "layers": 1, "hidden": 32},
    },
    "action-piece": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"name": "pq", "levels": 2, "size": 8},
        "model": {**SMALL_T5, "merges": 20, "rounds": 2, "segmentations": 2},
    },
    "cobra": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"name": "rq-kmeans", "levels": 2, "size": 4},
        "model": {"dim": 16, "layers": 1, "hidden": 32},
    },
    "hstu-codes": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"name": "rq-kmeans", "levels": 2, "size": 8},
        "model": {"dim": 16, "layers": 1, "heads": 2, "hidden": 32},
    },
    "eager": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"first_settings": {"levels": 1, "size": 4}, "second_settings": {"levels": 1, "size": 4}},
        "model": {**SMALL_T5, "behaviour_levels": 1},
    },
    "onerec": {
        "training": {"epochs": 2, "least_batches": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"levels": 2, "size": 4},
        "model": {**SMALL_T5, "hidden": 16, "slate": 3, "experts": 2, "pretraining_steps": 2, "preference_rows": 2, "preference_lists": 2},
    },
    "colarec": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"levels": 2, "dim": 8, "steps": 5},
        "model": {**SMALL_T5, "index_items": 8},
    },
    "lmindexer": {
        "training": {"epochs": 2},
        "tokenizer": {**SMALL_T5, "decoder_layers": 1, "levels": 2, "size": 4, "words": 300, "warm_up_epochs": 1, "epochs": 1},
        "model": SMALL_T5,
    },
    "letter-tiger": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"name": "letter", "levels": 2, "size": 8, "hidden": [16], "latent": 4, "epochs": 3, "warm_up_epochs": 1},
        "model": SMALL_T5,
    },
    "indexing-sequential": {"training": {"epochs": 2}, "model": SMALL_T5},
    "indexing-hybrid": {
        "training": {"epochs": 2},
        "tokenizer": {"name": "hybrid", "first_settings": {"size": 4, "levels": 2}},
        "model": SMALL_T5,
    },
    "content-knn": {"encoder": {"name": "tfidf", "dim": 16}},
    "content-knn-tfidf": {"encoder": {"dim": 16}},
    "llmseqsim": {"encoder": {"name": "tfidf", "dim": 16}},
    "unisrec": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "model": {"dim": 16, "layers": 1, "hidden": 32, "experts": 2},
    },
    "zesrec": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16, "hidden": 16}},
    "alpharec": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16, "hidden": 16}},
    "vqrec": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"name": "pq", "levels": 2, "size": 4},
        "model": {"dim": 16, "layers": 1, "hidden": 32},
    },
    "liked-items": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "model": {"dim": 16, "layers": 1, "hidden": 32},
    },
    "tcf": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16, "layers": 1, "hidden": 32}},
    "rlmrec": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16}},
    "t-diffrec": {"training": {"epochs": 2}, "model": {"hidden": [16]}},
    "cfgan": {"training": {"epochs": 2}, "model": {"hidden": 16}},
    "irgan": {"training": {"epochs": 2}, "model": {"dim": 16}},
    "augcf": {"training": {"epochs": 2}, "model": {"dim": 16}, "augmentation": {"epochs": 2, "dim": 8}},
    "diffuasr": {"training": {"epochs": 2}, "model": {"dim": 16}, "augmentation": {"epochs": 2, "dim": 8}},
    "diff4rec": {"training": {"epochs": 2}, "model": {"dim": 16}, "augmentation": {"epochs": 2, "hidden": [16]}},
    "adversarial-negatives": {"training": {"epochs": 2}, "model": {"dim": 16}},
    "fissa": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32, "negatives": 8}},
    "sse-pt": {"training": {"epochs": 2}, "model": {"dim": 16, "user_dim": 8, "layers": 1, "hidden": 32, "user_slots": 64}},
    "svae": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "latent": 8}},
    "vaser": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "latent": 8}},
    "idnp": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "latent": 8}},
    "dreamrec": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32, "denoiser": 16}},
    "diffurec": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32, "steps": 4}},
    "list-cvae": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "latent": 4}},
    "pivot-cvae": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "latent": 4}},
    "gfn4rec": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "lists": 16}},
    "latent-slate-rl": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "pretraining_steps": 1}},
    "adversarial-user-model": {"training": {"epochs": 2}, "model": {"dim": 16, "hidden": 16, "pretraining_steps": 1}},
    "p5": {"training": {"epochs": 2}, "model": {"network": SMALL_LM}},
    "lc-rec": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"name": "rq-kmeans", "levels": 2, "size": 8},
        "model": {"network": SMALL_LM},
    },
    "pod": {"training": {"epochs": 2}, "model": {"network": SMALL_LM}},
    "rdrec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM}},
    "reat": {"training": {"epochs": 2}, "model": {"network": SMALL_LM}},
    "dealrec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "selection": {"steps": 5, "share": 0.5}}},
    "slim": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "people": 10, "max_rationale": 4}},
    "llm-trsr": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4, "block": 3}},
    "delrec": {
        "training": {"epochs": 2},
        "model": {
            "network": SMALL_LM,
            "pretrain_steps": 2,
            "candidates": 4,
            "distil_steps": 2,
            "teacher_epochs": 1,
            "teacher_settings": {"dim": 8, "layers": 1, "hidden": 8},
        },
    },
    "user-prompts": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4}},
    "llm4dsr": {
        "training": {"epochs": 2},
        "model": {"dim": 16, "layers": 1, "hidden": 32},
        "augmentation": {"network": SMALL_LM, "pretrain_steps": 2, "steps": 2},
    },
    "tallrec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "question_steps": 1, "candidates": 4}},
    "cross-encoder-rating": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4}},
    "llamarec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4}},
    "bigrec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2}},
    "collm": {"training": {"epochs": 2}, "model": {**SMALL_COLLABORATIVE, "question_steps": 1, "candidates": 4, "language_steps": 1}},
    "binllm": {"training": {"epochs": 2}, "model": {**SMALL_COLLABORATIVE, "question_steps": 1, "candidates": 4, "bit_steps": 2}},
    "llara": {"training": {"epochs": 2}, "model": {**SMALL_COLLABORATIVE, "candidates": 4, "curriculum_steps": 1}},
    "reclora": {"training": {"epochs": 2}, "model": {**SMALL_COLLABORATIVE, "question_steps": 1, "candidates": 4, "parts": 2}},
    "reindex-then-adapt": {"training": {"epochs": 2}, "model": {**SMALL_COLLABORATIVE, "reindex_steps": 1}},
    "cllm4rec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "token_steps": 1, "user_tokens": 8}},
    "e4srec": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"network": SMALL_LM}},
    "instructrec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4}},
    "palr": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4, "length": 2}},
    "recranker": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 3, "clusters": 2}},
    "llama4rec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 3, "augment_at": 1}},
    "calrec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "texts": 2}},
    "recgpt": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2}},
    "recgpt-kuaishou": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32, "user_slots": 64, "pretrain_steps": 1}},
    "genrec-seq2seq": {"training": {"epochs": 2}, "model": {**SMALL_T5, "pretrain_steps": 1}},
    "once": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16, "hidden": 16}},
    "embsum": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16, "hidden": 16, "negatives": 8}},
    "mint": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16, "hidden": 16}},
    "idreamrec": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "model": {"dim": 8, "layers": 1, "hidden": 32, "denoiser": 16},
    },
    "llm-rec": {"encoder": {"name": "tfidf", "dim": 16}},
    "aspect-augmentation": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "model": {"dim": 16, "layers": 1, "hidden": 32, "experts": 2},
    },
    "llmrec": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 16}, "model": {"dim": 16}},
    "tf-dcon": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "model": {"dim": 16, "layers": 1, "hidden": 32, "experts": 2},
    },
    "gpt4rec": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "queries": 2, "max_title": 4}},
    "text-is-all-you-need": {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1, "hidden": 32, "words": 256}},
    "adapter-transfer": {
        "training": {"epochs": 2},
        "encoder": {"name": "tfidf", "dim": 16},
        "model": {"dim": 16, "layers": 1, "hidden": 32, "adapters": "houlsby"},
    },
    "zero-shot-ranker": {"model": {"encoder": {"name": "tfidf", "dim": 16}, "candidates": 6}},
    "unillmrec": {"model": {"encoder": {"name": "tfidf", "dim": 16}, "candidates": 6, "leaf": 4}},
    "rella": {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4}},
    "pap-rec": {
        "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4, "questions": 8, "triggers": {"rounds": 2, "tries": 2}},
    },
    "fusion-in-decoder": {
        "training": {"epochs": 2},
        "model": {"network": {**SMALL_LM, "kind": "t5"}, "pretrain_steps": 2, "candidates": 4, "passages": 2},
    },
    "llm2bert4rec": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 32}, "model": {"dim": 16, "layers": 1, "hidden": 32}},
    "indexing-title": {"training": {"epochs": 2}, "model": {"network": SMALL_LM}},
    "indexing-numeric": {"training": {"epochs": 2}, "model": {"network": SMALL_LM}},
    "idgenrec": {
        "training": {"epochs": 2},
        "tokenizer": {"network": SMALL_LM, "tag_steps": 2, "rounds": 1, "recommender_steps": 2, "writer_steps": 2},
        "model": {"network": SMALL_LM},
    },
    "transrec": {"training": {"epochs": 2}, "text": "{title}", "model": {"network": SMALL_LM, "pretrain_steps": 2, "beams": 6}},
    "said": {
        "training": {"epochs": 2},
        "model": {"network": SMALL_LM, "steps": 3, "downstream_settings": {"dim": 16, "layers": 1, "hidden": 32}},
    },
    "llm2sequential": {"training": {"epochs": 2}, "encoder": {"name": "tfidf", "dim": 32}, "model": {"dim": 16, "layers": 1, "hidden": 32}},
}


def cycle(users: int = 40, items: int = 12, length: int = 8, *, text_ids: bool = False) -> Dataset:
    """Everybody walks round the same circle of items, from different starts."""
    rows = [(user, (user + step) % items, step) for user in range(users) for step in range(length)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").with_columns(pl.col("item_id") * 10)
    titles = pl.DataFrame({"item_id": [i * 10 for i in range(items)], "title": [f"Chapter {i}" for i in range(items)]})
    if text_ids:
        name = pl.format("i{}", pl.col("item_id"))
        frame = frame.with_columns(name.alias("item_id"), pl.format("u{}", pl.col("user_id")).alias("user_id"))
        titles = titles.with_columns(name.alias("item_id"))
    return Dataset.from_frame(frame, catalogue=titles, name="cycle")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return cycle()


@pytest.fixture(scope="module", params=list(QUICK))
def fitted(request: pytest.FixtureRequest, data: Dataset) -> Recommender:
    return recsmith.fit(request.param, data, settings=QUICK[request.param])


def test_every_recipe_is_tried_here() -> None:
    variants = {"tiger-paper", "tiger-published-ids", "rpg-paper"}
    variants |= {f"indexing-{name}" for name in ("random", "independent", "collaborative", "semantic")}
    # the language ranker with other prompts: tests/language
    variants |= {"point-wise-ranker", "pair-wise-ranker", "nir", "near-cold-start", "language-profile", "drdt", "doke"}
    variants |= {"diversity-reranker", "lm-likelihood", "po4isr", "recprompt", "re2llm", "coral", "temporal-prompts", "lifelong-rag"}
    variants |= {"llmtime", "next-poi", "rella-zero-shot", "bookgpt", "five-task-prompts", "memory-retrieval"}
    # want scenarios, cold items, categories: tests/language, tests/models
    variants |= {"llm4msr", "cold-item-augmenter", "hamur", "domain-lora", "uni-ctr"}
    variants |= {"reviewed-items", "multi-aspect-retrieval"}  # want reviews: tests/models
    variants.add("genrec")  # bigrec without popularity
    variants |= {"llms-rec", "autorec", "hstu-actions", "rating-means"}  # need ratings: below
    assert set(QUICK) | variants == set(recipe_names())


def test_a_rating_model_wants_ratings(data: Dataset) -> None:
    with pytest.raises(DataError, match="AutoRec predicts ratings, but the log has none"):
        recsmith.fit("autorec", data)
    rated = Dataset.from_frame(data.interactions.with_columns(rating=pl.col("timestamp") % 5 + 1.0), name="rated")
    found = recsmith.fit("autorec", rated, settings={"training": {"epochs": 2}}).recommend(users=[1], k=3)
    assert found["score"].is_between(0, 7).all()
    with pytest.raises(DataError, match="LLMs-Rec predicts ratings, but the log has none"):
        recsmith.fit("llms-rec", data)
    quick = {"training": {"epochs": 2}, "model": {"network": SMALL_LM, "pretrain_steps": 2, "candidates": 4}}
    titles = pl.DataFrame({"item_id": range(0, 120, 10), "title": [f"Chapter {i}" for i in range(12)]})
    titled = Dataset.from_frame(rated.interactions, catalogue=titles, name="titled")
    assert len(recsmith.fit("llms-rec", titled, settings=quick).recommend(users=[1], k=3)) == 3
    with pytest.raises(DataError, match="HSTU is to read actions, but the log has no ratings"):
        recsmith.fit("hstu-actions", data)
    tiny = {"training": {"epochs": 2}, "model": {"dim": 16, "layers": 1}}
    assert len(recsmith.fit("hstu-actions", rated, settings=tiny).recommend(users=[1], k=3)) == 3


def test_users_histories_and_the_unknown(fitted: Recommender) -> None:
    table = fitted.recommend(users=[0, "1", 999], k=3)
    speaks = [] if fitted.spoken_by is None else ["backend"]
    assert table.columns == ["user_id", "item_id", "score", "rank", *speaks]
    assert table["rank"].to_list() == [1, 2, 3] * 3
    assert not set(table.filter(pl.col("user_id") == 0)["item_id"]) & set(fitted.history(0))
    other = fitted.recommend(histories=[[0, 10, 12345], [], [777]], k=3)
    assert other["user_id"].to_list() == [0] * 3 + [1] * 3 + [2] * 3
    popular = np.argsort(-fitted.popularity, kind="stable")[:3] * 10
    assert other.filter(pl.col("user_id") == 1)["item_id"].to_list() == popular.tolist()
    assert other.filter(pl.col("user_id") == 2)["item_id"].to_list() == popular.tolist()
    assert not {0, 10} & set(other.filter(pl.col("user_id") == 0)["item_id"])


def test_where_the_task_repeats_items_lists_may_repeat_them(data: Dataset) -> None:
    fitted = recsmith.fit("personal-top-frequency", data)
    assert fitted.recipe.split.name == "next-basket"
    assert set(fitted.recommend(users=[0], k=3)["item_id"]) <= set(fitted.history(0))
    assert not set(fitted.recommend(users=[0], k=3, include_seen=False)["item_id"]) & set(fitted.history(0))
    assert set(fitted.recommend_slate(users=[0], size=3)["item_id"]) <= set(fitted.history(0))


def test_limits_are_kept(fitted: Recommender) -> None:
    table = fitted.recommend(histories={"me": [0, 10]}, k=4, allow=[0, 20, 30, 40], deny=[30])
    assert sorted(table["item_id"]) == [20, 40]
    seen = fitted.recommend(histories=[[0, 10]], k=12, include_seen=True)
    assert sorted(seen["item_id"]) == [i * 10 for i in range(12)]


def test_batch_equals_single(fitted: Recommender) -> None:
    together = fitted.recommend(users=[0, 1, 2, 3], k=4)
    alone = pl.concat([fitted.recommend(users=[user], k=4) for user in range(4)])
    assert together["item_id"].to_list() == alone["item_id"].to_list()
    assert np.allclose(together["score"], alone["score"], atol=1e-4)


def test_save_and_load_answer_the_same(fitted: Recommender, tmp_path: Path) -> None:
    fitted.save(tmp_path / "run")
    loaded = recsmith.load(tmp_path / "run")
    assert loaded.recommend(users="all", k=5).equals(fitted.recommend(users="all", k=5))
    assert loaded.recipe == fitted.recipe
    assert loaded.titles([10, 5]) == ["Chapter 1", None]
    assert loaded.evaluate("test").metrics == fitted.evaluate("test").metrics


def test_update_takes_new_people_and_skips_unknown_items(fitted: Recommender) -> None:
    rows = {"user_id": [500, 500, 500, 0], "item_id": [0, 10, 99999, 50], "timestamp": [100, 101, 102, 103]}
    newer = recsmith.fitting.update(
        fitted, Dataset.from_frame(pl.DataFrame(rows), name="new"), settings={"view": {"missing_items": "keep"}}
    )
    assert newer.history(500) == [0, 10]
    assert newer.history(0)[-1] == 50
    assert newer.card["update"]["events on unknown items, left out"] == 1
    assert len(newer.recommend(users=[500], k=3)) == 3
    assert fitted.history(500) == []


def test_text_ids(tmp_path: Path) -> None:
    recommender = recsmith.fit("ease", cycle(text_ids=True))
    table = recommender.recommend(users=["u0", "nobody"], k=2)
    assert table["user_id"].to_list() == ["u0", "u0", "nobody", "nobody"]
    assert all(item.startswith("i") for item in table["item_id"])


def test_a_sequential_model_learns_the_circle(data: Dataset) -> None:
    settings = {"training": {"epochs": 60, "learning_rate": 0.01, "patience": None}, "model": {"dropout": 0.0}}
    recommender = recsmith.fit("sasrec", data, settings=settings)
    assert recommender.recommend(histories=[[0, 10, 20]], k=1)["item_id"].to_list() == [30]
    assert recommender.evaluate("test").metrics["Recall@5"] > 0.9


def test_run_writes_card_and_curve(data: Dataset, tmp_path: Path) -> None:
    card = recsmith.fitting.run("sasrec", data, out=tmp_path / "run", settings=QUICK["sasrec"], command="test")
    assert {"Recall@10", "NDCG@10"} <= set(card["metrics"])
    assert set(card["validation"]) == set(card["metrics"])
    assert card["data"]["hash"] == data.hash
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"card.json", "card.md", "config.json", "model.safetensors", "curve.jsonl", "catalogue.parquet"} <= files
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_user_mistakes(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = recsmith.fit("popularity", data)
    with pytest.raises(UserError, match="k = 13 does not fit a catalogue of 12 items; allowed: 1 to 12"):
        recommender.recommend(users=[0], k=13)
    with pytest.raises(UserError, match="give either `users` or `histories`"):
        recommender.recommend()
    with pytest.raises(UserError, match=r"unknown recipe `sasreck`; did you mean `sasrec`\?"):
        recsmith.fit("sasreck", data)
    with pytest.raises(ConfigError, match=r"unknown setting `model\.dimm`; did you mean `dim`\?"):
        recsmith.fit("sasrec", data, settings={"model": {"dimm": 3}})
    with pytest.raises(UserError, match="unknown split `train`"):
        recommender.evaluate("train")
    bare = Dataset.from_frame(data.interactions, name="bare")
    with pytest.raises(DataError, match="has no catalogue"):
        recsmith.fit("tiger", bare)
    with pytest.raises(ArtifactError, match="no run folder at"):
        recsmith.load(tmp_path / "none")
    recommender.save(tmp_path / "run")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recsmith.run_folder.save_file", full)
    with pytest.raises(StorageError, match="the disk is full; what was there before is unchanged"):
        recommender.save(tmp_path / "run")
    assert len(recsmith.load(tmp_path / "run").recommend(users=[0], k=2)) == 2


def test_recipes_build_and_survive_their_table() -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        assert type(recipe).build(recipe.table()) == recipe


def test_a_catalogue_smaller_than_the_cutoff(tmp_path: Path) -> None:
    recommender = recsmith.fit("sasrec", cycle(items=6, length=4), settings=QUICK["sasrec"])
    assert "NDCG@5" in recommender.evaluate("test").metrics


def test_an_update_keeps_the_numbers_of_people(tmp_path: Path) -> None:
    recommender = recsmith.fit("popularity", cycle())
    rows = {"user_id": [-5, -5, 3], "item_id": [0, 10, 50], "timestamp": [100, 101, 102]}
    newer = recsmith.fitting.update(recommender, Dataset.from_frame(pl.DataFrame(rows), name="new"))
    assert [newer.log.users.index(user) for user in (0, 39, -5)] == [0, 39, 40]
    newer.save(tmp_path / "run")
    assert recsmith.load(tmp_path / "run").history(-5) == [0, 10]
