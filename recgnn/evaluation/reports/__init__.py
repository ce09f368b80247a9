"""A closer look at the test part: figures by group, the metrics of each user, samples of what was recommended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recgnn.evaluation.reports.common import Report as Report

USERS = "users.parquet"  # file of a run folder: the metrics of each user on the test part


def report_for(task: str, folder: Any) -> Report:
    """Make the callback that looks closely at the test part.

    Args:
        task: ranking, rating, clicks or regression.
        folder: the run folder, a path; None leaves no files.
    """
    from recgnn.evaluation.reports import clicks, errors, ranking

    reports = {
        "ranking": ranking.RankingReport,
        "rating": errors.RatingReport,
        "clicks": clicks.ClickReport,
        "regression": errors.RegressionReport,
    }
    return reports[task](folder)
