"""Scores or generated codes → ranked items, with every mask applied inside the search; nothing is filtered afterwards."""

from recsmith.decoding.beam import BEST, beam_search, score_all, score_items, score_levels
from recsmith.decoding.conditions import AgeRating, Between, Condition, Fresh, InStock, Items, OneOf, PriceRange, Region
from recsmith.decoding.diverse import Diverse
from recsmith.decoding.drafts import CountDraft, Draft, ModelDraft
from recsmith.decoding.expansion import Normalise, Selection
from recsmith.decoding.gap import beam_gap
from recsmith.decoding.item_table import ItemTable
from recsmith.decoding.masks import Rules
from recsmith.decoding.part_scores import all_scores, best_items
from recsmith.decoding.precision import Tried, fastest, with_weights
from recsmith.decoding.ranking import top_k
from recsmith.decoding.rules import Allow, AtLeast, AtMost, Boost, BoundRules, Deny, Pin, Rule, bind_rules, must_include
from recsmith.decoding.sampling import Sampled, list_log_likelihood
from recsmith.decoding.scan import Scan, faster_scan
from recsmith.decoding.slates import Told, fill_slates, judge_slates, slate_log_likelihood
from recsmith.decoding.speculation import Speculation, compare_lists, speculative_search
from recsmith.decoding.trie import CodeTrie

__all__ = [
    "BEST",
    "AgeRating",
    "Allow",
    "AtLeast",
    "AtMost",
    "Between",
    "Boost",
    "BoundRules",
    "CodeTrie",
    "Condition",
    "CountDraft",
    "Deny",
    "Diverse",
    "Draft",
    "Fresh",
    "InStock",
    "ItemTable",
    "Items",
    "ModelDraft",
    "Normalise",
    "OneOf",
    "Pin",
    "PriceRange",
    "Region",
    "Rule",
    "Rules",
    "Sampled",
    "Scan",
    "Selection",
    "Speculation",
    "Told",
    "Tried",
    "all_scores",
    "beam_gap",
    "beam_search",
    "best_items",
    "bind_rules",
    "compare_lists",
    "faster_scan",
    "fastest",
    "fill_slates",
    "judge_slates",
    "list_log_likelihood",
    "must_include",
    "score_all",
    "score_items",
    "score_levels",
    "slate_log_likelihood",
    "speculative_search",
    "top_k",
    "with_weights",
]
