"""Retrieval: dense and sparse indexes, candidate sources, fusion by rank, cascades and cross-encoders."""

from recsmith.retrieval.bm25 import Bm25Index
from recsmith.retrieval.cascade import Cascade, Stage
from recsmith.retrieval.cross_encoder import CrossEncoder, CrossEncoderReranker
from recsmith.retrieval.cross_encoder_training import CrossEncoderTraining, train_cross_encoder
from recsmith.retrieval.exact import ExactIndex
from recsmith.retrieval.faiss_index import FaissConfig, FaissIndex
from recsmith.retrieval.fusion import reciprocal_rank_fusion
from recsmith.retrieval.index import Index, load_index
from recsmith.retrieval.judging import JudgingReranker
from recsmith.retrieval.question import Question, Reranker, Source
from recsmith.retrieval.reviews import ReviewSource
from recsmith.retrieval.sources import CooccurrenceSource, DenseSource, PopularitySource, RecommenderSource, SparseSource

__all__ = [
    "Bm25Index",
    "Cascade",
    "CooccurrenceSource",
    "CrossEncoder",
    "CrossEncoderReranker",
    "CrossEncoderTraining",
    "DenseSource",
    "ExactIndex",
    "FaissConfig",
    "FaissIndex",
    "Index",
    "JudgingReranker",
    "PopularitySource",
    "Question",
    "RecommenderSource",
    "Reranker",
    "ReviewSource",
    "Source",
    "SparseSource",
    "Stage",
    "load_index",
    "reciprocal_rank_fusion",
    "train_cross_encoder",
]
