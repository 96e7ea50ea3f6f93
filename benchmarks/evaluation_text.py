"""A published system's explanations scored: XRec on Google Local, 3,000 outputs beside their references.

    RECSMITH_DATA=… python benchmarks/evaluation_text.py

The folder `xrec-google` under `RECSMITH_DATA` holds `tst_pred_ref.jsonl.gz`. Likeness is by MiniLM where its extra is installed, else left
out. The second row scores each output against the reference of the next line: what sounding right without being about the
matter is worth.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsmith.errors import MissingExtraError
from recsmith.evaluation.tables import format_table
from recsmith.evaluation.text import score_texts


def main() -> None:
    folder = os.environ.get("RECSMITH_DATA")
    if folder is None:
        raise SystemExit("set RECSMITH_DATA to the folder that holds xrec-google")
    with gzip.open(Path(folder, "xrec-google", "tst_pred_ref.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts, references = [row["pred"] for row in rows], [row["ref"] for row in rows]
    encode = minilm()
    right = score_texts(texts, references, encode=encode)
    wrong = score_texts(texts, [*references[1:], references[0]], encode=encode)
    print(
        format_table(
            [{f"{len(rows)} texts": name, "XRec": right.metrics[name], "next reference": wrong.metrics[name]} for name in right.metrics]
        )
    )
    print(f"BLEU {right.notes['BLEU']}; {right.seconds:.1f} s")


def minilm() -> Callable[[list[str]], np.ndarray] | None:
    """The small local encoder, or None."""
    from recsmith.encoders import EncoderConfig, encode_texts

    try:
        encode_texts(["a"], EncoderConfig(name="minilm"))
    except MissingExtraError as error:
        print(error)
        return None
    return lambda texts: encode_texts(texts, EncoderConfig(name="minilm")).vectors


if __name__ == "__main__":
    main()
