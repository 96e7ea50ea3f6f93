"""P5 over ids in words: the promises of every model, and probabilities that are those of the words."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

pytest.importorskip("transformers")

import torch

import recsmith
from recsmith import Dataset
from recsmith.cli.program import execute
from recsmith.data import Catalogue, Histories, ItemCodes
from recsmith.decoding import CodeTrie, beam_search, score_all
from recsmith.item_tokenizers.title import TitleCodes
from recsmith.models.p5 import P5, P5Config
from recsmith.protocols import HistoryBatch
from recsmith.testing.logs import ITEMS, awkward, cycles
from recsmith.testing.models import ModelTests
from recsmith.training import to_batch
from recsmith.tuning_language import LanguageNetwork, NetworkConfig, TunerConfig

NETWORK = {"dim": 32, "layers": 1, "heads": 2, "ff_dim": 64, "words": 300, "dropout": 0.0}


def title_codes() -> ItemCodes:
    """Ids of one to four pieces, one the beginning of others, two told apart by a number."""
    titles = ["red", "red fox", "red fox den", "owl", "owl", *(f"tale {number}" for number in range(5, ITEMS))]
    tokenizer = TitleCodes()
    tokenizer.bind(pl.Series("item_id", range(ITEMS)), Catalogue(pl.DataFrame({"item_id": range(ITEMS), "title": titles})))
    return tokenizer.fit(np.empty((ITEMS, 0)), seed=0)


CODES = title_codes()


class TestP5OverTitles(ModelTests):
    model_class = P5
    config = P5Config.parse({"network": NETWORK, "mix": {"sequential": 4.0}, "max_history": 8})
    sequential = True
    steps = 100

    def build(self) -> P5:
        return P5(self.config, codes=CODES)

    @torch.no_grad()
    def scores(self, model: P5, histories: Histories | HistoryBatch) -> torch.Tensor:
        return score_all(model, to_batch(histories) if isinstance(histories, Histories) else histories, CodeTrie.build(CODES)).clone()

    def test_finds_the_known_answer(self) -> None:
        asked = cycles().drop_last()
        scores = self.scores(self.fit(cycles()), asked)
        following = (asked.values[asked.offsets[1:] - 1] + 1) % ITEMS
        assert (scores.argmax(1).numpy() == following).mean() > 0.9


@pytest.mark.parametrize("kind", ["causal", "t5"])
def test_an_id_is_as_likely_as_its_words_one_after_the_other(kind: str) -> None:
    torch.manual_seed(0)
    model = P5(P5Config.parse({"network": {**NETWORK, "kind": kind}, "mix": {"sequential": 1.0}}), codes=CODES).eval()
    batch, network = to_batch(awkward()), model.network
    found = score_all(model, batch, CodeTrie.build(CODES))
    own = slice(network.word_count, network.word_count + len(CODES.words))
    with torch.no_grad():
        for row, question in enumerate(model.questions(batch)):
            pairs = [(question, model.wording.item(item)) for item in range(ITEMS)]
            logits, wanted = (network._read_first if network.reads_first else network._read_on)(pairs)
            logs = logits[..., own].float().log_softmax(-1)
            told = [logs[place, wanted[place] >= own.start] for place in range(ITEMS)]
            words = [wanted[place][wanted[place] >= own.start] - own.start for place in range(ITEMS)]
            if not network.reads_first:  # the history before the answer is in words, too
                told, words = zip(*((log[-len(pair[1]) :], word[-len(pair[1]) :]) for log, word, pair in zip(told, words, pairs)))
            expected = torch.stack([log.gather(1, word[:, None]).sum() for log, word in zip(told, words, strict=True)])
            alone = torch.tensor(CODES.sizes[-1]).log()  # a collision level, at which nothing is known
            torch.testing.assert_close(found[row], expected - alone, rtol=1e-3, atol=1e-3)
    assert (found.exp().sum(1) < 1).all()


def test_every_answer_is_an_item_and_the_best_are_found() -> None:
    torch.manual_seed(0)
    model = P5(P5Config.parse({"network": NETWORK, "mix": {"sequential": 1.0}}), codes=CODES).eval()
    batch, trie = to_batch(awkward()), CodeTrie.build(CODES)
    lists = beam_search(model, batch, trie, ITEMS, beams=ITEMS)
    assert all(sorted(row) == list(range(ITEMS)) for row in lists.items.tolist())
    best = score_all(model, batch, trie).sort(dim=1, descending=True).values
    np.testing.assert_allclose(lists.scores, best.numpy(), rtol=1e-4, atol=1e-3)


def test_pieces_start_from_the_words_of_a_folder(tmp_path) -> None:
    source = LanguageNetwork(NetworkConfig.parse(NETWORK), TunerConfig())
    source.make(["red fox den", "owl tale"])
    source.save_folder(tmp_path / "model")
    model = P5(P5Config.parse({"network": {"folder": str(tmp_path / "model")}, "mix": {"sequential": 1.0}}), codes=CODES)
    model.observe(cycles())
    code = CODES.words.index(" red")
    table = model.network.model.get_input_embeddings().weight
    expected = table[torch.tensor(model.network.tokens(" red"))].mean(dim=0)
    torch.testing.assert_close(table[model.network.word_count + code], expected)
    shown = next(iter(model.examples(to_batch(cycles()))))
    assert "<end>" in shown.target


def test_a_run_shows_the_ids_that_it_answers_by(tmp_path, capsys) -> None:
    catalogue = pl.DataFrame({"item_id": range(ITEMS), "title": [f"Tale {number}" for number in range(ITEMS)]})
    log = {"user_id": np.repeat(np.arange(10), 5), "item_id": np.arange(50) % ITEMS, "timestamp": np.arange(50)}
    settings = {"training": {"epochs": 1}, "model": {"network": {**NETWORK, "dim": 16}}}
    fitted = recsmith.fit("indexing-title", Dataset.from_frame(log, catalogue=catalogue), settings=settings, out=tmp_path / "run")
    loaded = recsmith.load(tmp_path / "run")
    assert loaded.codes is not None
    assert loaded.codes.spelled() == [f"Tale {number}" for number in range(ITEMS)]
    assert loaded.recommend(users="all", k=3).equals(fitted.recommend(users="all", k=3))
    assert execute(["tokens", "inspect", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"title +id", shown)
    assert re.search(r"Tale 3 +Tale 3", shown)
