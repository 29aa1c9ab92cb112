"""Reads the labelled entities of a period from data/features/, for the stages and tools that fit or score.

`read_period` gives the table. `encoded_batches` gives the model's rows in batches, which need not fit into memory: as a
matrix a row takes 280 bytes, and in a table more than 600, without the copies that pandas makes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import model, schema, split
from ontime.batches import Batches
from ontime.datasets import KEY
from pipelines.layout import FEATURES, read_batches

BATCH_ROWS = 20_000  # 12 MB as a table, of which pandas and Arrow hold several copies at once


class Survey(NamedTuple):
    """What must be known of all rows before the first one is encoded."""

    rows: int
    categories: dict[str, tuple[str, ...]]


class LabelledRows(NamedTuple):
    """The entities of a period as a model sees them, in the order of the table."""

    rows: Batches
    label: model.Labels
    day: NDArray[np.datetime64]
    keys: NDArray[np.uint64]  # by split.row_keys

    @classmethod
    def of(
        cls, tables: Iterator[pd.DataFrame], rows: Batches, look: Callable[[pd.DataFrame], None] = lambda _: None
    ) -> "LabelledRows":
        """`rows` with the labels, days and keys of the same entities in `tables`; `look` sees each table."""
        count = rows.rows
        whole = cls(rows, np.empty(count, np.bool_), np.empty(count, "datetime64[us]"), np.empty(count, np.uint64))
        first = 0
        for table in tables:
            part = slice(first, first := first + len(table))
            whole.label[part], whole.day[part] = table["label"], table["day"]
            whole.keys[part] = split.row_keys(table[KEY])
            look(table)
        if first != count:  # the rest of the arrays would hold whatever was in memory
            raise ValueError(f"the tables have {first:,} rows, not {count:,}: {FEATURES} has changed meanwhile")
        return whole


def read_in_batches(period: split.Period, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """The labelled entities of a period, at most BATCH_ROWS at a time, with `columns` or all. No table is empty.

    `columns` includes `day` and `label`. Raises SplitBroken if the whole period has none.
    """
    is_empty = True
    for batch in read_batches(FEATURES, split.months(period), BATCH_ROWS, columns):
        entities = split.labelled(split.within(batch, period))
        if len(entities):
            is_empty = False
            yield entities
    if is_empty:
        split.refuse_empty(pd.DataFrame(), period)


def read_period(period: split.Period, columns: list[str] | None = None) -> pd.DataFrame:
    """The labelled entities of a period, with `columns` or all. Raises SplitBroken if there are none."""
    return pd.concat(read_in_batches(period, columns), ignore_index=True)


def survey(period: split.Period) -> Survey:
    """The number of labelled entities, and the values of their categorical features.

    Raises SplitBroken if there are none, and ProblemBroken for a category that is not text.
    """
    rows, seen = 0, dict[str, set[str]]()
    for batch in read_in_batches(period, ["day", "label", *schema.CATEGORICAL]):
        rows += len(batch)
        for name, values in model.categories_of(batch).items():
            seen.setdefault(name, set()).update(values)
    return Survey(rows, {name: tuple(sorted(values)) for name, values in seen.items()})


def encoded_batches(period: split.Period, rows: int, categories: Mapping[str, Sequence[str]]) -> Batches:
    """The `rows` labelled entities of a period as the model's input; each pass reads the files again."""
    return Batches(rows, lambda: (model.matrix_of(table, categories) for table in read_in_batches(period)))


def read_rows(
    period: split.Period,
    rows: int,
    categories: Mapping[str, Sequence[str]],
    look: Callable[[pd.DataFrame], None] | None = None,
) -> LabelledRows:
    """The `rows` labelled entities of a period. `look` sees each table, with all columns, before it is dropped."""
    batches = encoded_batches(period, rows, categories)
    if look is None:
        return LabelledRows.of(read_in_batches(period, [KEY, "day", "label"]), batches)
    return LabelledRows.of(read_in_batches(period), batches, look)
