"""A model of RecBole 1.2.1 on a sequence file, in RecBole's own virtual environment; prints one JSON line per epoch.

python recbole_model.py MODEL FOLDER EPOCHS      (the folder holds log/log.inter, written by training_speed.py)
"""

import json
import os
import sys
import time
from typing import Any

import numpy as np

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
setattr(np, "bool8", np.bool_)  # noqa: B010  # a name that RecBole still uses

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

SETTINGS = {
    "MAX_ITEM_LIST_LENGTH": 50,
    "train_batch_size": 2048,
    "eval_batch_size": 4096,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
    "metrics": ["NDCG", "Recall"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "show_progress": False,
    "use_gpu": False,
    "seed": 0,
    "reproducibility": True,
}
TRANSFORMER = {"n_layers": 2, "n_heads": 2, "hidden_size": 64, "inner_size": 256}
WHOLE_SOFTMAX = {"loss_type": "CE", "train_neg_sample_args": None}
MODELS: dict[str, dict[str, Any]] = {
    "SASRec": {**TRANSFORMER, **WHOLE_SOFTMAX},
    "BERT4Rec": {**TRANSFORMER, **WHOLE_SOFTMAX, "mask_ratio": 0.4},
    "GRU4Rec": {"embedding_size": 64, "hidden_size": 128, "num_layers": 1, **WHOLE_SOFTMAX},
    "MultiVAE": {"mlp_hidden_dimension": [256], "latent_dimension": 128, "dropout_prob": 0.5},
    "MultiDAE": {"mlp_hidden_size": [256], "latent_dimension": 128, "dropout_prob": 0.5},
    "CDAE": {"embedding_size": 64, "loss_type": "BCE"},
    "RecVAE": {"hidden_dimension": 256, "latent_dimension": 64, "dropout_prob": 0.5, "train_neg_sample_args": None},
    "DiffRec": {"dims_dnn": [256], "steps": 5, "noise_scale": 0.01, "train_neg_sample_args": None},
    "LDiffRec": {"n_cate": 1, "in_dims": [256], "dims_dnn": [256], "steps": 5, "noise_scale": 0.01, "train_neg_sample_args": None},
}


def main(name: str, folder: str, epochs: int) -> None:
    settings = {**SETTINGS, **MODELS[name], "data_path": folder, "checkpoint_dir": folder}
    config = Config(model=name, dataset="log", config_dict=settings)
    init_seed(0, True)
    data = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, data)
    model = get_model(name)(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    seconds = processor = 0.0
    for epoch in range(1, epochs + 1):
        started, busy = time.perf_counter(), time.process_time()
        trainer._train_epoch(train_data, epoch, show_progress=False)
        seconds, processor = seconds + time.perf_counter() - started, processor + time.process_time() - busy
        _, result = trainer._valid_epoch(valid_data, show_progress=False)
        line = {"epoch": epoch, "seconds": seconds, "processor": processor, "NDCG@10": float(result["ndcg@10"])}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
