"""RecTools 0.19 SASRec on a sequence file, in RecTools' own virtual environment; prints one JSON line per epoch.

python rectools_sasrec.py LOG_CSV EPOCHS TARGET      (columns user_id, item_id, datetime as a counter; stops when NDCG@10 ≥ TARGET)
"""

import json
import logging
import math
import sys
import time
import warnings

import pandas as pd
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.simplefilter("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def trainer() -> Trainer:
    return Trainer(
        max_epochs=1,
        min_epochs=1,
        deterministic=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        accelerator="cpu",
    )


def validation_ndcg(model: SASRecModel, train: Dataset, target: pd.DataFrame) -> float:
    lists = model.recommend(users=target[Columns.User].to_numpy(), dataset=train, k=10, filter_viewed=False)
    hits = lists.merge(target, on=[Columns.User, Columns.Item])
    return float((1 / hits[Columns.Rank].map(lambda rank: math.log2(rank + 1))).sum() / len(target))


def main(path: str, epochs: int, goal: float) -> None:
    frame = pd.read_csv(path)
    frame[Columns.Datetime] = pd.to_datetime(frame["position"], unit="s")
    frame[Columns.Weight] = 1
    from_end = frame.groupby("user_id").cumcount(ascending=False)
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    train = Dataset.construct(frame.loc[from_end >= 2, columns])
    target = frame.loc[from_end == 1, [Columns.User, Columns.Item]]
    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=64,
        session_max_len=50,
        loss="softmax",
        batch_size=128,
        epochs=1,
        deterministic=True,
        get_trainer_func=trainer,
    )
    seconds = 0.0
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        seconds += time.perf_counter() - started
        ndcg = validation_ndcg(model, train, target)
        print(json.dumps({"epoch": epoch, "seconds": seconds, "NDCG@10": ndcg}), flush=True)
        if ndcg >= goal:
            return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
