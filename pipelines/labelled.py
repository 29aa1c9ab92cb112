"""Reads the labelled entities of a period from data/features/, for the stages and tools that fit or score.

`read_period` gives the table. `read_rows` gives the model's matrix, which is filled in batches: a row takes 300 bytes,
and in a table more than 600, without the copies that pandas makes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import model, schema, split
from ontime.datasets import KEY
from pipelines.layout import FEATURES, read_batches

BATCH_ROWS = 50_000


class Survey(NamedTuple):
    """What must be known of all rows before the first one is encoded."""

    rows: int
    categories: dict[str, tuple[str, ...]]


class LabelledRows(NamedTuple):
    """The entities of a period as a model sees them, in the order of the table.

    `matrix` may have more rows at its end than there are entities: room for `model.fill_request_only`.
    """

    matrix: model.Matrix
    label: model.Labels
    day: NDArray[np.datetime64]
    keys: NDArray[np.uint64]  # by split.row_keys

    @property
    def entities(self) -> model.Matrix:
        """The matrix without the room at its end."""
        return self.matrix[: len(self.label)]

    @classmethod
    def of(
        cls,
        tables: Iterator[pd.DataFrame],
        rows: int,
        categories: Mapping[str, Sequence[str]],
        room: int = 0,
        look: Callable[[pd.DataFrame], None] = lambda _: None,
    ) -> "LabelledRows":
        """The rows of tables that have `rows` in all; `look` sees each table before it is dropped."""
        whole = cls(
            np.empty((rows + room, len(schema.FEATURE_NAMES)), np.float32),
            np.empty(rows, np.bool_),
            np.empty(rows, "datetime64[us]"),
            np.empty(rows, np.uint64),
        )
        first = 0
        for table in tables:
            part = slice(first, first := first + len(table))
            whole.matrix[part] = model.matrix_of(table, categories)
            whole.label[part], whole.day[part] = table["label"], table["day"]
            whole.keys[part] = split.row_keys(table[KEY])
            look(table)
        if first != rows:  # the rest of the arrays would hold whatever was in memory
            raise ValueError(f"the tables have {first:,} rows, not {rows:,}: {FEATURES} has changed meanwhile")
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


def read_rows(
    period: split.Period,
    rows: int,
    categories: Mapping[str, Sequence[str]],
    room: int = 0,
    look: Callable[[pd.DataFrame], None] = lambda _: None,
) -> LabelledRows:
    """The `rows` labelled entities of a period. Raises SplitBroken if there are none."""
    return LabelledRows.of(read_in_batches(period), rows, categories, room, look)
