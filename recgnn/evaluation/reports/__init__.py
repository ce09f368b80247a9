"""A closer look at the test part: figures by group, the metrics of each user, samples of what was recommended.

`REPORTS` has the callback of each task. It is imported when asked for, since callbacks take Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recgnn.evaluation.reports.common import Report, save_figures

    REPORTS: dict[str, type[Report]]

__all__ = ["REPORTS", "Report", "USERS", "save_figures"]
USERS = "users.parquet"  # file of a run folder: the metrics of each user on the test part


def __getattr__(name: str) -> Any:
    if name == "REPORTS":
        from recgnn.evaluation.reports.clicks import ClickReport
        from recgnn.evaluation.reports.errors import RatingReport, RegressionReport
        from recgnn.evaluation.reports.ranking import RankingReport

        return {"ranking": RankingReport, "rating": RatingReport, "clicks": ClickReport, "regression": RegressionReport}
    if name in __all__:
        from recgnn.evaluation.reports import common

        return getattr(common, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
