"""A partition reads its window and no more, and gives the rows that the whole period gives."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import features, partitions, schema
from ontime.datasets import Tables
from ontime.params import Params
from ontime.problem.data import DATA
from pipelines import layout
from pipelines.features import build_partition


@pytest.fixture
def stored(tables: Tables, tmp_path: Path) -> Path:
    layout.write_tables(tables, tmp_path)
    return tmp_path


def test_a_window_begins_with_the_halo_and_ends_after_what_is_planned(params: Params) -> None:
    march = partitions.month("2013-03", schema.ZONE)

    since, until = march.window(params.features)

    assert march.start - since == timedelta(hours=params.features.halo_hours)
    assert until - march.end == partitions.AHEAD


def test_only_the_rows_of_the_window_are_read(stored: Path, tables: Tables) -> None:
    since, until = (pd.Timestamp(day, tz="UTC") for day in ("2013-02-27 06:00", "2013-03-02 18:00"))

    read = layout.read_tables(stored, (since, until))

    for table in DATA.long:
        rows = tables[table.name]
        expected = rows[(rows[table.moment] >= since) & (rows[table.moment] < until)]
        assert_frame_equal(read[table.name], expected.reset_index(drop=True))
        assert 0 < len(expected) < len(rows)


@pytest.mark.slow
def test_a_partition_equals_its_part_of_a_longer_period(stored: Path, tables: Tables, params: Params) -> None:
    february = partitions.month("2013-02", schema.ZONE)

    alone, _ = build_partition(february, layout.read_tables(stored, february.window(params.features)), params)

    start = february.start - timedelta(days=7)
    longer = features.build(tables, start, february.end, params.features, params.question)
    inside = longer[longer["moment"] >= february.start - timedelta(minutes=params.features.lead_minutes)]
    assert_frame_equal(alone[[*inside]], inside.reset_index(drop=True))
