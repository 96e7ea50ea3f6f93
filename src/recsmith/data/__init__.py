"""The data spine: logs and catalogues in, typed views out. Free of torch."""

from recsmith.data.catalogue import Catalogue, Kind
from recsmith.data.categories import item_categories
from recsmith.data.codes import ItemCodes
from recsmith.data.columns import parse_columns
from recsmith.data.dataset import Dataset
from recsmith.data.fingerprints import codes_fingerprint, fingerprint
from recsmith.data.histories import Cases, Histories, join_histories, offsets_of
from recsmith.data.readers import READERS, Reader
from recsmith.data.report import DatasetReport
from recsmith.data.reviews import TrainingReviews
from recsmith.data.row_logs import basket_log, session_log
from recsmith.data.split import TIE_RULE, Log, Split, SplitConfig
from recsmith.data.splitting import rolling_splits, shuffle_ties, split_log
from recsmith.data.view import ViewConfig
from recsmith.data.views import Baskets, Sessions, baskets, interaction_matrix, popularity, sessions
from recsmith.data.vocabulary import RawId, Vocabulary
from recsmith.data.written import WrittenEvents, require_single_events

__all__ = [
    "READERS",
    "TIE_RULE",
    "Baskets",
    "Cases",
    "Catalogue",
    "Dataset",
    "DatasetReport",
    "Histories",
    "ItemCodes",
    "Kind",
    "Log",
    "RawId",
    "Reader",
    "Sessions",
    "Split",
    "SplitConfig",
    "TrainingReviews",
    "ViewConfig",
    "Vocabulary",
    "WrittenEvents",
    "item_categories",
    "join_histories",
    "codes_fingerprint",
    "fingerprint",
    "basket_log",
    "baskets",
    "interaction_matrix",
    "offsets_of",
    "parse_columns",
    "popularity",
    "require_single_events",
    "rolling_splits",
    "session_log",
    "sessions",
    "shuffle_ties",
    "split_log",
]
