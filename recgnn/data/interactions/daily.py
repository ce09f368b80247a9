"""The days of a log, each to be tested once by what came before it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from recgnn.data.interactions.by_time import times, untimed_in_train
from recgnn.data.interactions.part_sizes import DROPPED, TEST, TRAIN, VAL, checked_parts
from recgnn.data.interactions.split import Split
from recgnn.data.readers.notation import ORDER, date_of
from recgnn.data.readers.times import Written
from recgnn.errors import ConfigError, Count, DataError, Whole


class DailySplit(Split):
    """A day of the log is test, the days before it validation, and all before these train; later rows are left out.

    As the day moves on, `fit --from_run` goes from each day to the next.

    Args:
        day: The day that is tested, such as `2024-05-01`; or how many days before the log's last one it is, 0 for that.
        val_days: Days of validation before it; 0 for no validation part.
        test_days: Days that are tested, the first of which is `day`.
        time_zone: Where midnight is taken, such as `Europe/Paris`; UTC when None. (Of the log's own times its source
            says it.)

    Raises:
        ConfigError: If the day or the zone is none, or the days are beyond the calendar.
        DataError: If the log has no dates, or a part is empty.
    """

    follows_log = True
    order = "time"

    def __init__(
        self, day: Whole | str = 0, val_days: Whole = 1, test_days: Count = 1, time_zone: str | None = None
    ) -> None:
        Written(time_zone=time_zone)  # refuses what is no zone
        self.day, self.val_days, self.test_days, self.time_zone = day, val_days, test_days, time_zone
        if isinstance(day, str):
            try:
                date.fromisoformat(day)
            except ValueError:
                raise ConfigError(
                    f"DailySplit: day is {day!r}; expected a date such as 2024-05-01, or how many days it is before "
                    "the log's last one"
                ) from None

    @untimed_in_train
    def split(self, frame: pd.DataFrame) -> np.ndarray:
        time = times(frame, "DailySplit", within_user=False)
        if time.max() < ORDER:
            raise DataError("DailySplit: times are an order here, and no dates; take TemporalSplit, or name their unit")
        zone = ZoneInfo(self.time_zone or "UTC")
        last = datetime.fromtimestamp(float(time.max()), zone).date()
        try:
            day = date.fromisoformat(self.day) if isinstance(self.day, str) else last - timedelta(days=self.day)
            days = (day - timedelta(days=self.val_days), day, day + timedelta(days=self.test_days))
            val, test, end = (datetime(d.year, d.month, d.day, tzinfo=zone).timestamp() for d in days)
        except (OverflowError, ValueError):
            raise ConfigError(
                f"DailySplit: day {self.day}, with {self.val_days} days before it and {self.test_days} from it on, is "
                f"beyond the calendar; the log's last day is {last}"
            ) from None
        part = np.select([time >= end, time >= test, time >= val], [DROPPED, TEST, VAL], TRAIN).astype(np.int8)
        first, final = (date_of(t) for t in (time.min(), time.max()))
        where = f"test begins {date_of(test)}, validation {date_of(val)}, and the log spans {first} to {final} (UTC)"
        return checked_parts(part, (1, self.val_days, 1), where)

    def describe(self) -> str:
        day = self.day if isinstance(self.day, str) else f"the last but {self.day}" if self.day else "the last"
        val = f"{self.val_days} before it validation, " if self.val_days else ""
        return f"by day ({self.time_zone or 'UTC'}): {day} is test, of {self.test_days}; {val}train until then"
