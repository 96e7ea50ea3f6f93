"""What somebody would write in an afternoon: FastAPI before RecTools' SASRec or implicit's ALS. Runs in RecTools' virtual environment.

python serving.py rectools|implicit LOG_CSV PORT SETTINGS_JSON      (columns user_id, item_id, position)

Says on standard output when it listens. The weights hardly saw any data: the arithmetic of an answer is the same.
"""

import json
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI

warnings.simplefilter("ignore")
app = FastAPI()


def rectools(frame: pd.DataFrame, settings: dict) -> object:
    from pytorch_lightning import Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    frame[Columns.Datetime] = pd.to_datetime(frame["position"], unit="s")
    frame[Columns.Weight] = 1
    dataset = Dataset.construct(frame[[Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]])
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "enable_checkpointing": False}
    model = SASRecModel(
        n_blocks=settings["layers"],
        n_heads=settings["heads"],
        n_factors=settings["dim"],
        session_max_len=settings["max_history"],
        loss="sampled_softmax",
        n_negatives=8,
        batch_size=64,
        epochs=1,
        get_trainer_func=lambda: Trainer(max_epochs=1, limit_train_batches=1, accelerator="cpu", **quiet),
    )
    model.fit(dataset)
    turn = threading.Lock()

    def answer(user: int, k: int) -> tuple[list, list]:
        with turn:
            table = model.recommend(users=[user], dataset=dataset, k=k, filter_viewed=True)
        return table[Columns.Item].tolist(), table[Columns.Score].tolist()

    return answer


def implicit(frame: pd.DataFrame, settings: dict) -> object:
    from implicit.als import AlternatingLeastSquares
    from scipy import sparse

    seen = sparse.csr_matrix((np.ones(len(frame), dtype=np.float32), (frame["user_id"], frame["item_id"])))
    model = AlternatingLeastSquares(factors=settings["dim"], iterations=1, num_threads=1)
    model.fit(seen, show_progress=False)

    def answer(user: int, k: int) -> tuple[list, list]:
        items, scores = model.recommend(user, seen[user], N=k)
        return items.tolist(), scores.tolist()

    return answer


@app.get("/recommend/{user}")
def recommend(user: int, k: int = 10) -> dict:
    items, scores = app.state.answer(user, k)
    return {"items": [{"item_id": item, "score": score} for item, score in zip(items, scores, strict=True)]}


if __name__ == "__main__":
    which, path, port, settings = sys.argv[1:]
    app.state.answer = {"rectools": rectools, "implicit": implicit}[which](pd.read_csv(path), json.loads(settings))
    app.state.answer(0, 10)
    print("ready", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")
