"""A closer look at the test part: figures by group, the metrics of each user, samples of what was recommended."""

from recgnn.evaluation.reports.attention import attended
from recgnn.evaluation.reports.common import USERS, save_figures
from recgnn.evaluation.reports.events import CTRReport, NumberReport
from recgnn.evaluation.reports.ranking import RecommendationReport
from recgnn.evaluation.reports.rating import RatingReport

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
