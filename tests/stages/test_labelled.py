"""Rows that are read in batches are those of the table: their order, their values, the sample for the leak checks."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import leaks, model, split
from ontime.params import Params
from ontime.split import Period, SplitBroken
from pipelines import labelled
from pipelines.layout import FEATURES, write_table

pytestmark = pytest.mark.slow
PERIOD = Period(date(2013, 2, 6), date(2013, 3, 7))


@pytest.fixture
def two_months(weeks: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Three weeks of February, and the same rows as if they were of March, in files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(labelled, "BATCH_ROWS", 4_000)
    march = weeks.assign(day=weeks["day"] + pd.Timedelta(days=28), entity_id="M" + weeks["entity_id"])
    for name, rows in (("2013-02", weeks), ("2013-03", march)):
        write_table(rows, FEATURES / f"{name}.parquet")
    return split.labelled(split.within(pd.concat([weeks, march], ignore_index=True), PERIOD))


def test_the_rows_are_those_of_the_table(two_months: pd.DataFrame) -> None:
    count, categories = labelled.survey(PERIOD)
    rows = labelled.read_rows(PERIOD, count, categories)
    tables: list[pd.DataFrame] = []
    whole = labelled.read_rows(PERIOD, count, categories, tables.append)

    assert count == len(two_months)
    assert categories == model.categories_of(two_months)
    assert rows.rows.in_memory().tobytes() == model.matrix_of(two_months, categories).tobytes()
    assert len([*rows.rows]) > 2
    assert_frame_equal(pd.concat(tables, ignore_index=True), two_months)
    assert all(np.array_equal(getattr(rows, name), getattr(whole, name)) for name in ("label", "day", "keys"))
    assert np.array_equal(rows.label, two_months["label"].to_numpy())
    assert np.array_equal(rows.day, two_months["day"].to_numpy())
    assert np.array_equal(rows.keys, split.row_keys(two_months["entity_id"]))
    assert_frame_equal(labelled.read_period(PERIOD), two_months)


def test_request_only_copies_do_not_depend_on_the_batches(
    two_months: pd.DataFrame, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "COPIED_ROWS", 300)
    count, categories = labelled.survey(PERIOD)
    rows = labelled.read_rows(PERIOD, count, categories)
    matrix = model.matrix_of(two_months, categories)

    batches, labels = model.with_request_only(rows.rows, rows.label, 0.1, params.train.seed)

    chosen = np.random.default_rng(params.train.seed).choice(count, int(0.1 * count), replace=False)
    copies = model.request_only(matrix[chosen])
    assert len(copies) > 300
    assert batches.in_memory().tobytes() == np.vstack([matrix, copies]).tobytes()
    assert np.array_equal(labels, np.concatenate([rows.label, rows.label[chosen]]))


def test_the_sample_of_the_leak_checks_is_the_one_of_the_whole_table(
    two_months: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in (("REGRESSION_ROWS", 5000), ("AUC_ROWS", 700)):
        monkeypatch.setattr(leaks, name, rows)
    sample = leaks.TrainingSample(len(two_months))
    for month in labelled.read_in_batches(PERIOD):
        sample.add(month)

    gathered = [pd.concat(parts, ignore_index=True) for parts in sample._parts]

    steps = (len(two_months) // 5000, len(two_months) // 700)
    assert min(steps) > 1
    for drawn, step in zip(gathered, steps, strict=True):
        assert_frame_equal(drawn, two_months.iloc[::step].reset_index(drop=True))


def test_a_period_without_labels_is_refused(two_months: pd.DataFrame) -> None:
    assert len(two_months)
    with pytest.raises(SplitBroken, match="from 2013-02-01 until 2013-02-03 has a label"):
        labelled.survey(Period(date(2013, 2, 1), date(2013, 2, 3)))


def test_files_that_changed_between_the_passes_are_refused(two_months: pd.DataFrame) -> None:
    count, categories = labelled.survey(PERIOD)

    with pytest.raises(ValueError, match=f"the tables have {len(two_months):,} rows, not {count + 1:,}"):
        labelled.read_rows(PERIOD, count + 1, categories)
    with pytest.raises(ValueError, match=f"the batches have {len(two_months):,} rows, not {count + 1:,}"):
        labelled.encoded_batches(PERIOD, count + 1, categories).in_memory()
