"""What models are measured by: rankings, ratings and clicks."""

from recgnn.metrics.base import quantile_groups
from recgnn.metrics.ctr import ClickSample, CTRMetrics, auc, grouped_auc
from recgnn.metrics.ranking import BEYOND_ACCURACY, FORMULAS, GroupedRecall, RankingMetrics, gini, judge
from recgnn.metrics.rating import GroupedErrors, RatingMetrics

__all__ = [
    "BEYOND_ACCURACY",
    "ClickSample",
    "CTRMetrics",
    "FORMULAS",
    "GroupedErrors",
    "GroupedRecall",
    "RankingMetrics",
    "RatingMetrics",
    "auc",
    "gini",
    "grouped_auc",
    "judge",
    "quantile_groups",
]
