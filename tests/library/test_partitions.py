"""A partition reads its window and no more, and gives the rows that the whole period gives."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import features, partitions, schema, sources
from ontime.datasets import Tables
from ontime.params import Params
from ontime.problem.data import DATA
from pipelines import features as features_stage
from pipelines import layout
from pipelines.features import KeyMissing, build_partition, partitions_of, write_partition


@pytest.fixture
def stored(tables: Tables, tmp_path: Path) -> Path:
    layout.write_tables(tables, tmp_path)
    return tmp_path


def test_a_window_begins_with_the_halo_and_ends_after_what_is_planned(params: Params) -> None:
    march = partitions.month("2013-03", schema.ZONE)

    since, until = march.window(params.features)

    assert march.start - since == timedelta(hours=params.features.halo_hours)
    assert until - march.end == partitions.AHEAD


def test_weeks_fill_a_month_without_gap_or_overlap() -> None:
    """March 2013 has 743 hours in New York."""
    march, weeks = partitions.month("2013-03", schema.ZONE), list(partitions.weeks("2013-03", schema.ZONE))

    assert [week.start for week in weeks] == [march.start, *(week.end for week in weeks[:-1])]
    assert weeks[-1].end == march.end
    assert all(week.end - week.start <= timedelta(days=7, hours=1) for week in weeks)
    assert {week.name[:7] for week in weeks} == {"2013-03"}


def test_only_the_rows_of_the_window_are_read(stored: Path, tables: Tables) -> None:
    since, until = (pd.Timestamp(day, tz="UTC") for day in ("2013-02-27 06:00", "2013-03-02 18:00"))

    read = layout.read_tables(stored, (since, until))

    for table in DATA.long:
        rows = tables[table.name]
        expected = rows[(rows[table.moment] >= since) & (rows[table.moment] < until)]
        assert_frame_equal(read[table.name], expected.reset_index(drop=True))
        assert 0 < len(expected) < len(rows)


@pytest.mark.parametrize("lost", ["weather/2013-01.parquet", "flights/2013-02.parquet", "months.json"])
def test_a_partition_without_its_halo_is_refused(lost: str, stored: Path, params: Params) -> None:
    (stored / lost).unlink()
    february = partitions.month("2013-02", schema.ZONE)

    with pytest.raises(layout.MonthsMissing, match=f"{lost}.* is not there: run `make train`"):
        write_partition(february, params, stored, stored)


def test_a_month_that_the_data_never_had_is_no_error(tables: Tables, params: Params, tmp_path: Path) -> None:
    weather = tables["weather"]
    gap = {**tables, "weather": weather[~sources.months_of(weather["hour"]).isin(["2013-01", "2013-02", "2013-03"])]}
    layout.write_tables(gap, tmp_path)
    february = partitions.month("2013-02", schema.ZONE)

    read = layout.read_tables(tmp_path, february.window(params.features))

    assert read["weather"].empty
    assert [*read["weather"]] == [*weather]


@pytest.mark.slow
def test_weeks_have_the_rows_of_their_month(stored: Path, params: Params, tmp_path: Path) -> None:
    weekly = params.model_copy(update={"features": params.features.model_copy(update={"partition": "week"})})
    folder = tmp_path / "weeks"
    folder.mkdir()
    parts = [part for part in partitions_of(stored, weekly.features) if part.name.startswith("2013-02")]

    counts = [write_partition(part, weekly, stored, folder)[0] for part in parts]

    month = partitions.month("2013-02", schema.ZONE)
    whole, _ = build_partition(month, layout.read_tables(stored, month.window(params.features)), params)
    assert [path.stem for path in layout.month_files(folder, ["2013-02"])] == [part.name for part in parts]
    assert_frame_equal(layout.read_months(folder, ["2013-02"]), whole)
    assert sum(counts) == len(whole)


@pytest.fixture
def keyed(stored: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two groups of which neither looks at the other: the flights, and the same ones under other ids."""
    monkeypatch.setattr(features_stage, "DATA", replace(DATA, partition_key="network"))
    monkeypatch.setattr(layout, "DATA", replace(DATA, partition_key="network"))
    rows = tables["flights"]
    both = [rows.assign(network="a/b", entity_id="copy-" + rows["entity_id"]), rows.assign(network="east")]
    months = pd.concat(both).sort_values(["scheduled_departure", "entity_id"], ignore_index=True)
    layout.write_months(months, sources.months_of(months["scheduled_departure"]), stored / "flights")
    return stored


@pytest.mark.slow
def test_each_value_of_the_partition_key_is_built_without_the_others(
    keyed: Path, tables: Tables, params: Params, tmp_path: Path
) -> None:
    parts = [part for part in partitions_of(keyed, params.features) if part.name.startswith("2013-02")]
    folder = tmp_path / "keyed"
    folder.mkdir()

    for part in parts:
        write_partition(part, params, keyed, folder)

    assert [part.name for part in parts] == ["2013-02_a%2Fb", "2013-02_east"]
    month = partitions.month("2013-02", schema.ZONE)
    since, until = month.window(params.features)
    alone, _ = build_partition(month, sources.cut(tables, since, until), params)
    copy, east = (pd.read_parquet(folder / f"{part.name}.parquet") for part in parts)
    assert_frame_equal(east, alone)
    assert_frame_equal(copy.assign(entity_id=copy["entity_id"].str.removeprefix("copy-")), alone)


def test_a_row_without_the_partition_key_is_refused(keyed: Path, params: Params) -> None:
    path = keyed / "flights" / "2013-04.parquet"
    rows = pd.read_parquet(path)
    rows.loc[:2, "network"] = None
    rows.to_parquet(path, index=False)

    with pytest.raises(KeyMissing, match=r"flights\.network, the partition key, is empty in 3 rows of 2013-04"):
        list(partitions_of(keyed, params.features))


@pytest.mark.slow
def test_a_partition_equals_its_part_of_a_longer_period(stored: Path, tables: Tables, params: Params) -> None:
    february = partitions.month("2013-02", schema.ZONE)

    alone, _ = build_partition(february, layout.read_tables(stored, february.window(params.features)), params)

    start = february.start - timedelta(days=7)
    longer = features.build(tables, start, february.end, params.features, params.question)
    inside = longer[longer["moment"] >= february.start - timedelta(minutes=params.features.lead_minutes)]
    assert_frame_equal(alone[[*inside]], inside.reset_index(drop=True))
