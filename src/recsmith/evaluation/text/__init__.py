"""Measures of generated text: overlap with references, variety, fluency, likeness, features, faithfulness, and a judge's opinion."""

from recsmith.evaluation.text.bleu import Bleu, bleu
from recsmith.evaluation.text.faithfulness import Faithfulness, faithfulness
from recsmith.evaluation.text.features import FeatureScores, feature_scores
from recsmith.evaluation.text.judge import Agreement, JudgedPairs, agreement, judge_pairs
from recsmith.evaluation.text.likelihood import perplexity
from recsmith.evaluation.text.rouge import rouge
from recsmith.evaluation.text.scores import TextScores, score_texts
from recsmith.evaluation.text.similarity import EncodeTokens, sentence_similarity, token_similarity, word_encoder
from recsmith.evaluation.text.variety import distinct, unique_sentence_ratio

__all__ = [
    "Agreement",
    "Bleu",
    "EncodeTokens",
    "Faithfulness",
    "FeatureScores",
    "JudgedPairs",
    "TextScores",
    "agreement",
    "bleu",
    "distinct",
    "faithfulness",
    "feature_scores",
    "judge_pairs",
    "perplexity",
    "rouge",
    "score_texts",
    "sentence_similarity",
    "token_similarity",
    "unique_sentence_ratio",
    "word_encoder",
]
