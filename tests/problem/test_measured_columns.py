"""What the measured columns of both years look like: only the published rain and gusts of 2023 differ."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

import pandas as pd
import pytest

from ontime import column_profiles, contract, features, schema, sources
from ontime.column_profiles import Profile
from ontime.contract import ContractBroken
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem.data import DATA
from pipelines.tools import profile_columns

pytestmark = pytest.mark.slow


def profiles_of(tables: Tables) -> list[Profile]:
    return [each for table in DATA.tables for each in column_profiles.profiles_of(table, tables[table.name])]


@pytest.fixture(scope="module")
def cleaned_2023(raw_2023: Tables) -> Tables:
    return contract.clean(raw_2023)[0]


def test_the_committed_file_is_that_of_2013(raw: Tables) -> None:
    """`ontime profile` writes it."""
    assert DATA.profile is not None
    extremes = profile_columns.extremes_of_tables(contract.repaired(raw))

    assert DATA.profile.read_text(encoding="utf-8") == column_profiles.as_text(extremes)


def violations_without(month: str, profiles: list[Profile]) -> Iterator[str]:
    """Of the columns of this month, by the limits that the other months give."""
    assert DATA.profile is not None
    others = column_profiles.extremes_of(each for each in profiles if each.period != month)
    own = [each for each in profiles if each.period == month]
    yield from map(str, column_profiles.violations_of_profiles(own, others, DATA.profile))


def test_no_month_of_2013_is_refused_by_the_limits_of_the_other_eleven(tables: Tables) -> None:
    """The false alarms of the method: none in 156 months of columns, with three statistics each."""
    profiles = [each for each in profiles_of(tables) if each.period != column_profiles.ALL_ROWS]
    months = sorted({each.period for each in profiles})

    assert len(months) == 12
    assert len(profiles) == 156
    assert [line for month in months for line in violations_without(month, profiles)] == []


def columns_with_values(profiles: list[Profile]) -> set[str]:
    return {each.place for each in profiles if each.values["filled"]}


def test_2013_limits_accept_every_month_of_the_repaired_2023(cleaned_2023: Tables) -> None:
    assert DATA.profile is not None
    profiles, extremes = profiles_of(cleaned_2023), column_profiles.read_extremes(DATA.profile)

    assert len({each.place for each in profiles} - columns_with_values(profiles)) == 2
    assert column_profiles.violations_of_profiles(profiles, extremes, DATA.profile) == []


@pytest.mark.parametrize("moment", ["2023-01-02T05:00Z", "2023-02-27T17:00Z", "2023-07-30T23:00Z"])
def test_2023_as_known_at_a_moment_is_accepted(moment: str) -> None:
    """The first day of a production, and months that are not over."""
    contract.clean(sources.read("flights-2023", pd.Timestamp(moment).to_pydatetime()))


def test_the_published_2023_differs_in_rain_and_gusts_only(as_it_comes: Tables) -> None:
    with pytest.raises(ContractBroken) as refused:
        contract.clean(as_it_comes)

    of_months = [line for line in str(refused.value).splitlines() if " months; " in line]
    assert {line.split(":")[0].strip() for line in of_months} == {"weather.precip_inches", "weather.wind_gust_mph"}
    assert all(": 12 months; " in line for line in of_months)


def rain_of(weather: pd.DataFrame) -> pd.Series:
    return weather["precip_inches"]


def yearly_sums(weather: pd.DataFrame) -> Mapping[str, float]:
    return dict(rain_of(weather).groupby(weather["origin"]).sum().round(2))


def test_the_rain_of_2013_is_the_hours_sum(raw: Tables) -> None:
    rain = rain_of(raw["weather"])

    assert yearly_sums(raw["weather"]) == {"EWR": 43.88, "JFK": 34.69, "LGA": 38.14}
    assert round((rain > 0).mean(), 3) == 0.067
    assert rain[rain > 0].min() == 0.01


def test_the_published_rain_of_2023_is_a_quarter_of_that_with_as_many_wet_hours(as_it_comes: Tables) -> None:
    rain = rain_of(as_it_comes["weather"])

    assert yearly_sums(as_it_comes["weather"]) == {"EWR": 10.88, "JFK": 12.96, "LGA": 11.78}
    assert (rain == 0.0001).sum() == 1_715  # marks a trace, which 2013 has as 0
    assert round((rain > 0.0001).mean(), 3) == 0.067


def test_the_published_rain_of_the_wettest_day_of_2023_at_jfk_is_a_fraction_of_the_official_8_inches(
    as_it_comes: Tables,
) -> None:
    weather = as_it_comes["weather"]
    day = sources.days_of(weather["hour"]) == "2023-09-29"

    assert round(rain_of(weather)[day & (weather["origin"] == "JFK")].sum(), 2) == 0.94


def mean_rain_by_visibility(weather: pd.DataFrame) -> list[float]:
    """In hours with rain: below 3 miles, 3 to 10, 10 and more."""
    wet = weather[weather["precip_inches"] >= 0.01]
    return wet.groupby(pd.cut(wet["visib_miles"], [-1, 2.9, 9.9, 10]))["precip_inches"].mean().tolist()


def test_no_factor_restores_the_rain_of_2023(raw: Tables, as_it_comes: Tables) -> None:
    """One factor would be the same in every weather."""
    whole, first = (mean_rain_by_visibility(each["weather"]) for each in (raw, as_it_comes))

    assert [round(a / b, 1) for a, b in zip(whole, first, strict=True)] == [2.2, 3.8, 3.5]


def test_the_rain_of_2023_is_emptied(raw_2023: Tables) -> None:
    assert rain_of(raw_2023["weather"]).isna().all()


def test_what_2023_has_no_values_of_is_declared_for_the_monitor(cleaned_2023: Tables, params: Params) -> None:
    start = midnight(pd.Timestamp("2023-06-06").date())
    built = features.build(cleaned_2023, start, start + timedelta(days=1), params.features, params.question)

    empty = [name for name in schema.ONLINE if built[name].isna().all()]

    assert sorted(empty) == sorted(DATA.datasets["flights-2023"].blind_features)


def dense(flights: pd.DataFrame) -> pd.Series:
    """Whether a month has every flight number from 1 to the highest."""
    months = flights["flight_number"].groupby(sources.months_of(flights["scheduled_departure"]))
    return months.nunique() == months.max()


def test_the_flight_numbers_of_2023_are_codes_that_each_month_counts_from_one(raw: Tables, raw_2023: Tables) -> None:
    """So they identify a flight within its month, and nothing beyond: no feature uses them."""
    assert not dense(raw["flights"]).any()
    assert dense(raw_2023["flights"]).all()
