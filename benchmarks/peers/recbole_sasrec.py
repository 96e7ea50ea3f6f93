"""RecBole 1.2.1 SASRec on a sequence file, in RecBole's own virtual environment; prints one JSON line per epoch.

python recbole_sasrec.py SEQUENCES_FOLDER EPOCHS      (the folder holds log/log.inter, written by training_speed.py)
"""

import json
import os
import sys
import time

import numpy as np

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
np.bool8 = np.bool_

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402
from recbole.utils import get_trainer, init_seed  # noqa: E402

SETTINGS = {
    "MAX_ITEM_LIST_LENGTH": 50,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_size": 64,
    "inner_size": 256,
    "loss_type": "CE",
    "train_neg_sample_args": None,
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


def main(folder: str, epochs: int) -> None:
    config = Config(model="SASRec", dataset="log", config_dict={**SETTINGS, "data_path": folder, "checkpoint_dir": folder})
    init_seed(0, True)
    data = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, data)
    model = SASRec(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    seconds = 0.0
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        trainer._train_epoch(train_data, epoch, show_progress=False)
        seconds += time.perf_counter() - started
        _, result = trainer._valid_epoch(valid_data, show_progress=False)
        print(json.dumps({"epoch": epoch, "seconds": seconds, "NDCG@10": float(result["ndcg@10"])}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
