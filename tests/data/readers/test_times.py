"""Moments written in any notation come back; two notations in one column, and dates that can be two, are refused."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recgnn.data.readers.notation import ISO, Notation, as_dates, read
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.times import Finder, Written, clean_times, moment
from recgnn.errors import ConfigError, DataError

SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86_400
FORMATS = {
    "%Y-%m-%d %H:%M:%S": SECOND, "%Y-%m-%dT%H:%M:%SZ": SECOND, "%Y-%m-%dT%H:%M:%S+00:00": SECOND, "%Y/%m/%d": DAY,
    "%Y-%m-%d %H:%M:%S UTC": SECOND, "%d/%m/%Y %H:%M": MINUTE, "%m/%d/%Y %I:%M:%S %p": SECOND, "%d.%m.%Y": DAY,
    "%d.%m.%y %H:%M": MINUTE, "%d-%b-%Y": DAY, "%B %d, %Y": DAY, "%a %b %d %H:%M:%S +0000 %Y": SECOND,
    "%m %d, %Y": DAY, "%d/%m/%Y, %H:%M:%S,%f": SECOND, "%Y%m%d": DAY, "%y%m%d%H": HOUR, "%Y%m%d%H": HOUR,
    "%Y%m%d%H%M": MINUTE, "%Y%m%d%H%M%S": SECOND,
}  # fmt: skip
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
SETTLING = datetime(2023, 12, 25, 13, 30, 15)  # its day is no month, its hour no half of a day
MOMENTS = st.lists(st.datetimes(datetime(2002, 1, 1), datetime(2067, 1, 1)), min_size=2, max_size=12)


def written(moments: list[datetime], name: str) -> list:
    """The moments in a notation."""
    if name in UNITS:
        seconds = [round((one - datetime(1970, 1, 1)).total_seconds()) for one in moments]
        return [second * UNITS[name] for second in seconds]
    return [one.strftime(name) for one in moments]


def clean(values: object, **options: str) -> np.ndarray:
    found, _ = clean_times(pd.Series(values), "when", Origin("log.csv"), Written(**options))
    return found.to_numpy()


@pytest.mark.parametrize("name", [*FORMATS, *UNITS])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(drawn=MOMENTS, as_number=st.booleans())
def test_moments_in_any_notation_come_back(name, drawn, as_number) -> None:
    moments = [one.replace(microsecond=0) for one in [SETTLING, *drawn]]
    values = written(moments, name)
    if as_number and all(str(value).isdecimal() for value in values):
        values = [int(value) for value in values]
    elif not as_number:
        values = [str(value) for value in values]
    step = FORMATS.get(name, SECOND)
    expected = [int(one.replace(tzinfo=UTC).timestamp()) // step * step for one in moments]
    assert clean(values).tolist() == expected
    how = clean_times(pd.Series(values), "when", Origin())[1]
    assert (how.first, how.last) == (min(expected), max(expected))
    assert read(pd.Series(values), how)[0].tolist() == expected  # and so they do when they are read later


@settings(max_examples=40, deadline=None, derandomize=True)
@given(drawn=MOMENTS, two=st.sampled_from([
    (one, other) for one, other in itertools.combinations([*FORMATS, *UNITS], 2)
    if {one, other} not in ({"%Y-%m-%d %H:%M:%S", "%Y/%m/%d"}, {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00"})
]))  # fmt: skip
def test_two_notations_in_one_column_are_refused(drawn, two) -> None:
    moments = [SETTLING, *drawn, *(SETTLING + timedelta(days=d) for d in range(3))]
    values = [str(value) for name in two for value in written(moments, name)]
    with pytest.raises(DataError, match="^log.csv, row [0-9]+, column 'when': ") as error:
        clean(values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2024-05-01", "2024-05-02", "soon"], "row 3, column 'when': 'soon'; expected a date in ISO 8601"),
        (["13/05/2024", "14/05/2024", "2024-05-15"], "row 3, column 'when': '2024-05-15'; expected %d/%m/%Y, as"),
        (["13/05/2024", "30/02/2024"], "row 2, column 'when': '30/02/2024'"),
        ([20240228, 20240229, 20240230], "row 3, column 'when': 20240230; expected %Y%m%d"),
        ([1_700_000_000, 1_700_000_001_000], "row 2, column 'when': 1700000001000; expected a number .seconds."),
        ([1_700_000_000, 1_700_000_001, 1_700_000_002, 20_240_501],
         "row 4, column 'when': 20240501 is no moment as log.csv, row 1"),
        ([1_700_000_000, 99_999_999_999], "expected a number"),
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00"], "row 2, .* names no zone, and log.csv, row 1"),
        (["01/02/2024", "03/04/2024"], "'01/02/2024' can be two dates.*'%d/%m/%Y' or '%m/%d/%Y'"),
        (["01/01/2024", "24-05-02"], "row"),
        ([True, False], "row 1, column 'when': True"),
        (["2020-W01-1", "2020-W02-1"], "row 1, column 'when': '2020-W01-1'"),
        (["2024 Q1 01", "2024 Q2 01"], "row 1, column 'when': '2024 Q1 01'"),
        (["2024-05-01", "9999-12-31"], "row 2, column 'when': '9999-12-31'"),
        (["13/05/2024", "01/01/0001"], "row 2, column 'when': '01/01/0001'"),
        (["2024-05-01 10:00:00 EST", "2024-05-01 11:00:00 EST"], "row 1, column 'when': '2024-05-01 10:00:00 EST'"),
        (["Sun Sep 13 12:27:17 CST 2020"], "row 1, column 'when': 'Sun Sep 13 12:27:17 CST 2020'"),
        ([5.0, np.inf], "row 2, column 'when': inf"),
        ([5.0, None], "row 2, column 'when': empty; .*on_missing: drop .*keep"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_named(values, message) -> None:
    with pytest.raises(DataError, match=message) as error:
        clean(values)
    assert "\n" not in str(error.value) and "log.csv" in str(error.value)


@pytest.mark.parametrize("end", [" UTC", " GMT", "Z", "+00:00"])
def test_a_zone_that_is_written_goes_before_the_one_that_is_said(end) -> None:
    assert clean([f"13.05.2024 10:00:00{end}"], time_zone="Asia/Tokyo").tolist() == [1_715_594_400]
    naive = clean(["13.05.2024 10:00:00 EST"], time_format="%d.%m.%Y %H:%M:%S EST", time_zone="America/Panama")
    assert naive.tolist() == [1_715_594_400 + 5 * 3600]


@pytest.mark.parametrize("values", [[*range(5)], [3, 1, 2], [1997, 2005], [0, 40_000_000], [0.5, 2.5], ["7", "0"]])
def test_numbers_that_are_no_moments_stay_an_order(values) -> None:
    assert clean(values).tolist() == [float(value) for value in values]
    assert clean_times(pd.Series(values), "t", Origin())[1].describe().startswith("numbers as they are, ")


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (["01/02/2024"], {"time_format": "%d/%m/%Y"}, [1_706_745_600]),
        (["01/02/2024"], {"time_format": "%m/%d/%Y"}, [1_704_153_600]),
        ([5], {"time_unit": "d"}, [432_000]), ([3, 5], {"time_unit": "ms"}, [0.003, 0.005]),
        ([10**18, 2 * 10**18], {"time_unit": "order"}, [10**18, 2 * 10**18]),
        ([20_240_501, 20_240_502], {"time_unit": "s"}, [20_240_501, 20_240_502]),
        (["2024-07-01 12:00", "2024-01-01 12:00"], {"time_zone": "Europe/Paris"}, [1_719_828_000, 1_704_106_800]),
        (["2024-07-01T12:00:00Z", "2024-07-01T12:00:00"], {"time_zone": "Europe/Paris"},
         [1_719_835_200, 1_719_828_000]),
        (pd.to_datetime(["2024-07-01 12:00"]), {"time_zone": "Europe/Paris"}, [1_719_828_000]),
        (["2024-10-27 02:30"], {"time_zone": "Europe/Paris"}, [1_729_989_000]),  # passed twice: the first
        (["01.07.2024 12:00", "13.07.2024 12:00"], {"time_zone": "Asia/Tokyo"}, [1_719_802_800, 1_720_839_600]),
    ],
)  # fmt: skip
def test_what_is_said_of_times(values, options, expected) -> None:
    assert clean(values, **options).tolist() == expected


@pytest.mark.parametrize(
    "options",
    [{"time_unit": "sec"}, {"time_zone": "Paris"}, {"time_format": "dd/mm/yyyy"}, {"on_missing": "no"},
     {"time_unit": "s", "time_format": "%d"}],
)  # fmt: skip
def test_options_that_cannot_be(options) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Written(**options)


def test_missing_times_are_kept_or_dropped_and_counted() -> None:
    values = pd.Series(["2024-05-01", "", None, "NaT"])
    found, how = clean_times(values, "t", Origin(), Written(on_missing="keep"))
    assert found.isna().tolist() == [False, True, True, True]
    assert how.untimed == 3 and "3 rows without a time, in train" in how.describe()
    assert "left out" in clean_times(values, "t", Origin(), Written(on_missing="drop"))[1].describe()


def test_all_blocks_count() -> None:
    """The first block leaves day and month open, the second settles them; the third has another notation."""
    finder, at = Finder("when"), Origin("log.csv").at
    for start, values in ((0, ["01/02/2024", "05/06/2024"]), (2, ["20/02/2024", ""])):
        finder.look(pd.Series(values, index=range(start, start + 2)), at)
    how = finder.found()
    assert how.written == "%d/%m/%Y" and how.untimed == 1
    assert [how.first, how.last] == [1_706_745_600, 1_717_545_600]
    with pytest.raises(DataError, match="log.csv, row 6, column 'when': '2024-05-01'"):
        finder.look(pd.Series(["21/02/2024", "2024-05-01"], index=[4, 5]), at)


def test_notations_that_take_turns() -> None:
    """What is looked at is no every nth row."""
    days = pd.date_range("2024-01-01", periods=6000, freq="h")
    values = [d.strftime("%d/%m/%Y %H:%M") if n % 3 else str(d) for n, d in enumerate(days)]
    with pytest.raises(DataError, match="row 1, column 'when': '2024-01-01 00:00:00'; expected %d/%m/%Y %H:%M"):
        clean(values)


def test_later_values_are_read_as_the_first_ones() -> None:
    milliseconds = Notation("ms")
    values = pd.Series(["1700000000500", "2023-11-14T22:13:20.5Z", "1700000000", "soon", "NA", None])
    seconds, wrong = read(values, milliseconds, lenient=True)
    assert seconds[:2].tolist() == [1_700_000_000.5] * 2 and np.isnan(seconds[2:]).all()
    assert wrong.tolist() == [False, False, True, True, False, False]
    dates = pd.Series(pd.to_datetime(["2023-11-14T22:13:20.5Z", None]))
    assert read(dates, milliseconds)[0][0] == 1_700_000_000.5 and read(dates, Notation(ISO))[1].tolist() == [False] * 2
    assert as_dates(pd.Series([1_700_000_000.123456, np.nan])).dt.microsecond.iloc[0] == 123_456


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2024-05-01", 1_714_521_600), ("2024-05-01T02:00+02:00", 1_714_521_600), (20_240_501, 1_714_521_600),
     (1_714_521_600_000, 1_714_521_600), ("25/12/2024", 1_735_084_800), (7, 7)],
)  # fmt: skip
def test_a_moment_of_its_own(value, seconds) -> None:
    assert moment(value, "test_start") == seconds
    for other in ("soon", "", "05/06/2024", "12:30"):
        with pytest.raises(ConfigError, match="test_start is '.*'; expected a moment, such as 2024-05-01"):
            moment(other, "test_start")


def test_small_seconds_are_moments_only_where_that_was_said() -> None:
    assert Notation("s", first=5, last=9).describe() == "numbers as they are, 5 to 9"
    said = Notation("s", stated=True, first=5, last=9).describe()
    assert said.endswith(", 1970-01-01 00:00:05 to 1970-01-01 00:00:09 UTC")
