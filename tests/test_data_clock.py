"""data.clock: what counts as a time, and what is refused as one."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from data import clock
from data.errors import BadInput

MARCH = 1_709_251_200 * clock.SECOND  # 2024-03-01


@pytest.mark.parametrize(
    "when",
    [
        "2024-03",
        " 2024-03 ",
        "2024-03-01",
        "2024-03-01T01:00+01:00",
        dt.date(2024, 3, 1),
        dt.datetime(2024, 3, 1, tzinfo=dt.UTC),
        pd.Timestamp("2024-03-01"),
        np.datetime64("2024-03-01"),
        np.datetime64("2024-03"),
        MARCH,
        np.int64(MARCH),
    ],
)
def test_a_moment_is_told_in_many_ways(when: object) -> None:
    assert clock.moment(when) == MARCH


def test_a_year_is_its_first_moment_and_a_timestamp_keeps_its_nanoseconds() -> None:
    assert clock.iso(clock.moment("2024")) == "2024-01-01 00:00"
    assert clock.moment(pd.Timestamp(MARCH + 7)) == MARCH + 7


@pytest.mark.parametrize(
    "number", [0, -1, True, 1_709_251_200, 1_709_251_200_000, 1_709_251_200_000_000, np.int64(1_709_251_200_000)]
)
def test_a_number_in_another_unit_is_refused(number: int) -> None:
    with pytest.raises(BadInput, match=r"taken as nanoseconds since 1970.*write 2024-01-31"):
        clock.moment(number)


@pytest.mark.parametrize(
    "when", ["2024-13", "20", "soon", None, 1.7e18, np.float64(1.7e18), pd.NaT, np.datetime64("NaT"), [MARCH]]
)
def test_what_is_no_time_is_refused(when: object) -> None:
    with pytest.raises(BadInput, match="is no time: write 2024-01-31"):
        clock.moment(when)
