"""What models are measured by: rankings, ratings and clicks."""

from recgnn.evaluation.metrics.base import quantile_groups
from recgnn.evaluation.metrics.ctr import Clicks, ClickSample, CTRMetrics, auc, aucs, calibration_bins, grouped_auc
from recgnn.evaluation.metrics.per_user import UserRankings, by_group
from recgnn.evaluation.metrics.ranking import (
    BEYOND_ACCURACY,
    FORMULAS,
    GroupedRecall,
    RankingMetrics,
    gini,
    judge,
)
from recgnn.evaluation.metrics.rating import GroupedErrors, RatingMetrics

__all__ = [
    "BEYOND_ACCURACY",
    "ClickSample",
    "Clicks",
    "CTRMetrics",
    "FORMULAS",
    "GroupedErrors",
    "GroupedRecall",
    "RankingMetrics",
    "RatingMetrics",
    "UserRankings",
    "auc",
    "aucs",
    "by_group",
    "calibration_bins",
    "gini",
    "grouped_auc",
    "judge",
    "quantile_groups",
]
