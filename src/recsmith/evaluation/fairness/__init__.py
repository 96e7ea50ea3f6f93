"""Who gets less: people by group, items and their providers by group, single people, and the same person under another label."""

from recsmith.evaluation.fairness.counterfactual import CounterfactualAudit, attribute_questions, counterfactual_audit
from recsmith.evaluation.fairness.individuals import Envy, consistency, envy
from recsmith.evaluation.fairness.item_groups import ItemGroupExposure, ItemGroupRow, item_group_exposure
from recsmith.evaluation.fairness.user_groups import GroupRow, GroupUtility, group_utility

__all__ = [
    "CounterfactualAudit",
    "Envy",
    "GroupRow",
    "GroupUtility",
    "ItemGroupExposure",
    "ItemGroupRow",
    "attribute_questions",
    "consistency",
    "counterfactual_audit",
    "envy",
    "group_utility",
    "item_group_exposure",
]
