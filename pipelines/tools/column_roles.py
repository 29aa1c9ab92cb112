"""What the columns of a file are to a problem: the time of the event, the label, the key of a row, the features."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from ontime.declaration import ENTITY_ID, FIRST_YEAR, LAST_YEAR
from pipelines.tools.column_types import Column, Kind, columns_of

SUFFIXES = (".csv", ".csv.gz", ".parquet")
FEWEST_DAYS = 28
TRAIN_SHARE, VALID_SHARE = 0.7, 0.15  # of the days
FIT = "see 'Does it fit?' in docs/make-it-yours.md"


class NotWritten(ValueError):
    """Nothing was written; the message says why, and what to do."""


@dataclass(frozen=True)
class Choice:
    """What the columns are to the problem."""

    name: str
    file: str  # in raw/
    columns: Sequence[Column]
    time: Column
    label: Column
    key: tuple[Column, ...]  # with the time where that is among them, or else alone
    first_day: date
    last_day: date

    @property
    def fields(self) -> tuple[Column, ...]:
        """Of the request: all that a number, a category or yes or no can be told of, and the key."""
        asked = (Kind.WHOLE, Kind.NUMBER, Kind.FLAG, Kind.CATEGORY)
        return tuple(each for each in self.columns
                     if each in (self.time, *self.key) or (each.kind in asked and each is not self.label))  # fmt: skip

    @property
    def features(self) -> tuple[Column, ...]:
        """The fields less the time, and less a key that is nothing else."""
        alone = () if self.time in self.key else self.key
        return tuple(each for each in self.fields if each is not self.time and each not in alone)

    @property
    def numbers(self) -> tuple[Column, ...]:
        return tuple(each for each in self.features if each.kind in (Kind.WHOLE, Kind.NUMBER))

    @property
    def categories(self) -> tuple[Column, ...]:
        return tuple(each for each in self.features if each.kind is Kind.CATEGORY)

    @property
    def split(self) -> tuple[date, date, date, date]:
        """train_from, valid_from, test_from, test_until."""
        days = (self.last_day - self.first_day).days + 1
        valid, test = (round(days * share) for share in (TRAIN_SHARE, TRAIN_SHARE + VALID_SHARE))
        return (self.first_day, self.first_day + timedelta(days=valid), self.first_day + timedelta(days=test),
                self.last_day + timedelta(days=1))  # fmt: skip


def choose(name: str, source: Path, label: str, time: str = "") -> Choice:
    """What the columns of the file are to the problem. Raises NotWritten."""
    suffix = next((each for each in SUFFIXES if source.name.endswith(each)), None)
    if suffix is None:
        raise NotWritten(f"{source} is not one of {', '.join(SUFFIXES)}: export it as csv or parquet")
    columns = columns_of(_read(source, suffix))
    at = _time(columns, time)
    days = at.values.dt.date
    first, last = days.min(), days.max()
    if not FIRST_YEAR <= first.year <= last.year <= LAST_YEAR:
        raise NotWritten(
            f"{at.source} runs from {first} to {last}; years from {FIRST_YEAR} to {LAST_YEAR} are possible"
        )
    if (last - first).days + 1 < FEWEST_DAYS:
        raise NotWritten(f"{at.source} runs from {first} to {last}: a split by time needs {FEWEST_DAYS} days or more")
    value = _label([each for each in columns if each is not at], label)
    key = _key([each for each in columns if each is not value], at)
    return Choice(name, f"{name}{suffix}", columns, at, value, key, first, last)


def _read(source: Path, suffix: str) -> pd.DataFrame:
    try:
        # An empty text is a missing one, as read_csv has it.
        table = (
            pd.read_parquet(source).replace("", np.nan)
            if suffix == ".parquet"
            else pd.read_csv(source, low_memory=False)
        )
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own are ValueErrors
        raise NotWritten(f"{source} is not read as {suffix[1:]}: {str(error).strip().splitlines()[0]}") from error
    if table.shape[1] < 2:
        raise NotWritten(
            f"{source} has a single column: separate its columns by commas, and name them in its first line"
        )
    return table


def _named(columns: Sequence[Column], source: str, variable: str) -> Column:
    for each in columns:
        if each.source == source:
            return each
    raise NotWritten(f"{variable}={source} is none of the columns {', '.join(each.source for each in columns)}")


def _time(columns: Sequence[Column], source: str) -> Column:
    found = [_named(columns, source, "TIME")] if source else [each for each in columns if each.kind is Kind.TIME]
    if not found or found[0].kind is not Kind.TIME:
        raise NotWritten(
            f"{f'{source} is {found[0].kind}, not a time' if found else 'the file has no column of times'}. Each row "
            f"needs the time of its event, in one column, written such as 2020-03-02 10:00; without it there is no "
            f"honest split ({FIT})"
        )
    if len(found) > 1:
        raise NotWritten(f"which is the time of the event? Say TIME={' or TIME='.join(each.source for each in found)}")
    if found[0].missing:
        raise NotWritten(f"{found[0].source} is empty in {found[0].missing} rows: fill it in, or remove these rows")
    return found[0]


def _label(columns: Sequence[Column], source: str) -> Column:
    label = _named(columns, source, "LABEL")
    if label.kind is Kind.CONSTANT:
        raise NotWritten(f"LABEL={source} has fewer than two values: a model cannot learn from it ({FIT})")
    classes = label.values.nunique()
    if label.kind in (Kind.TIME, Kind.TEXT) or (label.kind is Kind.CATEGORY and classes != 2):
        raise NotWritten(
            f"LABEL={source} is {label.kind} with {classes:,} values; it must be a number, yes or no, or one of two "
            f"words: add a column that is 1 for what you want to predict and 0 otherwise ({FIT})"
        )
    return label


def _key(columns: Sequence[Column], time: Column) -> tuple[Column, ...]:
    """The columns whose values together name a row: one of them, or the time, or the time with one or two others."""
    kinds = (Kind.WHOLE, Kind.CATEGORY, Kind.TEXT)
    names = [each for each in columns if each.kind in kinds and not each.missing]
    # A text alone is no feature, so it may only be a key by itself.
    beside = [each for each in names if each.kind is not Kind.TEXT]
    tried = [(each,) for each in names] + [
        (*others, time) for count in (0, 1, 2) for others in combinations(beside, count)
    ]
    for key in tried:
        if _is_key(key, time):
            return key
    raise NotWritten(
        "no column names a row, and neither does the time with one or two others: add a column with a number for each"
    )


def _is_key(key: Sequence[Column], time: Column) -> bool:
    if pd.concat([each.values for each in key], axis=1).duplicated().any():
        return False
    parts = [each.values.dt.strftime(each.stamp) if each is time else each.values.astype("str") for each in key]
    written = parts[0].str.cat(pd.concat(parts[1:], axis=1), sep="-") if parts[1:] else parts[0]
    return written.is_unique and bool(written.str.fullmatch(ENTITY_ID).all())
