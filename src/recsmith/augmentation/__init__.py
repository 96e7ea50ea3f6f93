"""Generators as writers of training data: learned on the training part of a log, they put events before people's own."""

from recsmith.augmentation.writing import augment, write_events
from recsmith.registry import Registry

WRITERS = Registry(
    "writer",
    {
        "gan": "recsmith.augmentation.gan:GanWriter",
        "diffuasr": "recsmith.augmentation.diffuasr:DiffuAsr",
        "llm4dsr": "recsmith.augmentation.llm4dsr:Llm4Dsr",
        "diff4rec": "recsmith.augmentation.diff4rec:Diff4Rec",
    },
)
"""Writers by name; strangers add theirs through the entry-point group `recsmith.writers`."""

__all__ = ["WRITERS", "augment", "write_events"]
