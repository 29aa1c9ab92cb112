"""Kinds of days: found in the training period alone, named by code, and judged honestly."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ontime import day_kinds
from ontime.datasets import DayColumn
from ontime.day_kinds import DayKinds

COLUMNS = (
    DayColumn("wind", "weather", "wind", "mean", "mph", high="strong wind", low="light wind"),
    DayColumn("delay", "flights", "delay", "mean", "minutes", high="long delays", low="short delays"),
)
TRAINING = (date(2013, 1, 1), date(2013, 6, 1))
CENTRES = {"quiet": (10, 5), "windy": (30, 5), "late": (10, 60)}


def year(spread: float = 0.5) -> pd.DataFrame:
    """Four quiet days, then a windy one and a late one, again and again; half of the late days' flights are late."""
    order = ["quiet"] * 4 + ["windy", "late"]
    truth = np.resize(order, 365)
    values = np.array([CENTRES[each] for each in truth]) + np.random.default_rng(0).normal(0, spread, (365, 2))
    days = pd.DataFrame(values, pd.date_range("2013-01-01", periods=365), ["wind", "delay"])
    return days.assign(labelled=100, positive=np.where(truth == "late", 50, 10), truth=truth)


def fitted(days: pd.DataFrame) -> DayKinds:
    kinds = day_kinds.fit_kinds(days, COLUMNS, TRAINING)
    assert kinds is not None
    return kinds


def test_separate_groups_are_found_and_named_after_their_columns() -> None:
    days = year()

    pairs = pd.DataFrame({"kind": fitted(days).of_days(days), "truth": days["truth"]}).drop_duplicates()

    assert set(pairs.itertuples(index=False, name=None)) == {
        ("nothing unusual", "quiet"),
        ("strong wind", "windy"),
        ("long delays", "late"),
    }


def test_later_days_change_no_kind() -> None:
    days = year()
    hot = days.copy()
    hot.loc["2013-06-01":, ["wind", "delay"]] *= 100

    before, after = fitted(days), fitted(hot)

    assert after.names == before.names
    assert after.of_days(days).equals(before.of_days(days))


def test_a_day_without_a_value_has_no_kind() -> None:
    days = year()
    days.iloc[7, 0] = np.nan

    kind = fitted(days).of_days(days)

    assert days.index[7] not in kind.index
    assert len(kind) == 364


def test_groups_have_a_high_silhouette_and_noise_a_low_one() -> None:
    separate, noise = (fitted(year(spread)).chosen for spread in (0.5, 1000))

    assert separate.clusters == 3
    assert separate.stability == 1
    assert day_kinds.strength(separate.silhouette) == "strong"
    assert day_kinds.strength(noise.silhouette) == "weak"


def test_an_unstable_number_of_clusters_is_chosen_only_if_all_are() -> None:
    stable, unstable = day_kinds.Clustering(2, 0.3, 0.95), day_kinds.Clustering(3, 0.6, 0.5)

    assert day_kinds.choose([stable, unstable]) == stable
    assert day_kinds.choose([unstable]) == unstable


@pytest.mark.parametrize("changed", [{"wind": 10.0, "delay": 5.0}, {"wind": np.nan}])
def test_days_that_do_not_differ_or_have_no_values_are_not_grouped(changed: dict[str, Any]) -> None:
    assert day_kinds.fit_kinds(year().assign(**changed), COLUMNS, TRAINING) is None


def test_a_column_that_never_varies_sets_no_day_apart() -> None:
    days = year().assign(wind=10.0)

    assert {*fitted(days).of_days(days)} == {"nothing unusual", "long delays"}


def test_two_kinds_with_the_same_name_are_numbered() -> None:
    centres = np.array([[0.1, 0.2], [-0.3, 0.1], [2.0, -1.5], [0.0, 1.2]])

    names = day_kinds._names(centres, COLUMNS)

    assert names == ["nothing unusual 1", "nothing unusual 2", "strong wind and short delays", "long delays"]


def test_the_summary_has_the_share_of_all_labels_and_days_near_the_centre() -> None:
    days = year()
    extreme = days.index[days["truth"] == "late"][0]
    days.loc[extreme, "delay"] = 200.0
    days.loc[days.index[days["truth"] == "late"][1], ["labelled", "positive"]] = [300, 300]

    table = day_kinds.summarise_kinds(fitted(days), days)

    late = (days["truth"] == "late").sum()
    assert list(table.index[:1]) == ["nothing unusual"]
    assert table.loc["long delays", "share"] == pytest.approx((50 * (late - 1) + 300) / (100 * (late - 1) + 300))
    assert extreme not in table["typical"]["long delays"]
    assert len(table["typical"]["long delays"]) == 3
