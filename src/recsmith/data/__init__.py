"""The data spine: logs and catalogues in, typed views out. Free of torch."""

from recsmith.data.codes import ItemCodes
from recsmith.data.histories import Cases, Histories, offsets_of
from recsmith.data.split import TIE_RULE, Log, Split, SplitConfig
from recsmith.data.vocabulary import RawId, Vocabulary

__all__ = [
    "TIE_RULE", "Cases", "Histories", "ItemCodes", "Log", "RawId", "Split", "SplitConfig", "Vocabulary", "offsets_of",
]
