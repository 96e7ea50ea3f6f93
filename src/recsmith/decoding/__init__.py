"""Scores or generated codes → ranked items, with every mask applied inside the search; nothing is filtered afterwards."""

from recsmith.decoding.beam import Normalise, beam_search, score_all
from recsmith.decoding.ranking import top_k
from recsmith.decoding.trie import CodeTrie

__all__ = ["CodeTrie", "Normalise", "beam_search", "score_all", "top_k"]
