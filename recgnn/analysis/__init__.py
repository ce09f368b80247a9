"""A closer look at the test part: figures by group, the metrics of each user, samples of what was recommended."""

from recgnn.analysis.attention import attended
from recgnn.analysis.common import USERS, save_figures
from recgnn.analysis.events import CTRReport, NumberReport
from recgnn.analysis.ranking import RecommendationReport
from recgnn.analysis.rating import RatingReport

REPORTS = {  # by a model's task
    "ranking": RecommendationReport,
    "rating": RatingReport,
    "ctr": CTRReport,
    "regression": NumberReport,
}

__all__ = [
    "CTRReport",
    "NumberReport",
    "REPORTS",
    "RatingReport",
    "RecommendationReport",
    "USERS",
    "attended",
    "save_figures",
]
