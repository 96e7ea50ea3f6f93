"""Language models as rankers: histories and candidates in words → an order of the candidates. Each published way is one file."""

from recsmith.language.rankers.case import RankCase, Ranked, Ranker
from recsmith.registry import Registry

RANKERS = Registry(
    "language ranker",
    {
        "list-wise": "recsmith.language.rankers.list_wise:ListWise",
        "point-wise": "recsmith.language.rankers.point_wise:PointWise",
        "pair-wise": "recsmith.language.rankers.pair_wise:PairWise",
        "likelihood": "recsmith.language.rankers.likelihood:Likelihood",
        "nir": "recsmith.language.rankers.nir:Nir",
        "profile": "recsmith.language.rankers.profile:Profile",
        "drdt": "recsmith.language.rankers.drdt:Drdt",
        "temporal": "recsmith.language.rankers.temporal:Temporal",
        "next-poi": "recsmith.language.rankers.next_poi:NextPoi",
        "interest-series": "recsmith.language.rankers.interest_series:InterestSeries",
        "rella": "recsmith.language.rankers.rella:Rella",
        "lifelong": "recsmith.language.rankers.lifelong:Lifelong",
        "memory": "recsmith.language.rankers.memory:FromMemory",
        "po4isr": "recsmith.language.rankers.po4isr:Po4isr",
        "recprompt": "recsmith.language.rankers.recprompt:RecPrompt",
        "re2llm": "recsmith.language.rankers.re2llm:Re2llm",
        "coral": "recsmith.language.rankers.coral:Coral",
    },
)

__all__ = ["RANKERS", "RankCase", "Ranked", "Ranker"]
