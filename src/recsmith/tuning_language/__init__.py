"""Language models tuned into recommenders: their own small models, task texts, and what of a model learns."""

from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig
from recsmith.tuning_language.tasks import TaskTemplate, load_tasks, task_sets
from recsmith.tuning_language.tuner import TunerConfig

__all__ = ["LanguageNetwork", "NetworkConfig", "TaskTemplate", "TunerConfig", "load_tasks", "task_sets"]
