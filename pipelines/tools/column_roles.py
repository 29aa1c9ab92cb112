"""The role of each column of a file in a problem: time of the event, label, key of a row, feature."""

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
    """The problem cannot be generated, and nothing was written; the message says why, and what to do."""


@dataclass(frozen=True)
class ColumnRoles:
    """A file's columns, and which of them are the time, the label and the key."""

    name: str
    file: str  # in raw/
    columns: Sequence[Column]
    time: Column
    label: Column
    key: tuple[Column, ...]  # may include the time
    first_day: date
    last_day: date

    @property
    def fields(self) -> tuple[Column, ...]:
        """The fields of a request: the time, the key, and every number, flag and category except the label."""
        kinds = (Kind.WHOLE, Kind.NUMBER, Kind.FLAG, Kind.CATEGORY)
        return tuple(each for each in self.columns
                     if each in (self.time, *self.key) or (each.kind in kinds and each is not self.label))  # fmt: skip

    @property
    def features(self) -> tuple[Column, ...]:
        """The fields without the time, and without columns that are only a key."""
        key_only = () if self.time in self.key else self.key
        return tuple(each for each in self.fields if each is not self.time and each not in key_only)

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


def assign_roles(name: str, source: Path, label: str, time: str = "") -> ColumnRoles:
    """The roles of the columns of the file; `time` may be omitted if only one column holds times. Raises NotWritten."""
    suffix = next((each for each in SUFFIXES if source.name.endswith(each)), None)
    if suffix is None:
        raise NotWritten(f"{source} is not one of {', '.join(SUFFIXES)}: export it as csv or parquet")
    columns = columns_of(_read(source, suffix))
    event_time = _time(columns, time)
    days = event_time.values.dt.date
    first, last = days.min(), days.max()
    if not FIRST_YEAR <= first.year <= last.year <= LAST_YEAR:
        raise NotWritten(
            f"{event_time.source} runs from {first} to {last}; years from {FIRST_YEAR} to {LAST_YEAR} are possible"
        )
    if (last - first).days + 1 < FEWEST_DAYS:
        raise NotWritten(
            f"{event_time.source} runs from {first} to {last}: a split by time needs {FEWEST_DAYS} days or more"
        )
    label_column = _label([each for each in columns if each is not event_time], label)
    key = _key([each for each in columns if each is not label_column], event_time)
    return ColumnRoles(name, f"{name}{suffix}", columns, event_time, label_column, key, first, last)


def _read(source: Path, suffix: str) -> pd.DataFrame:
    try:
        # Empty strings count as missing, as in read_csv.
        table = (
            pd.read_parquet(source).replace("", np.nan)
            if suffix == ".parquet"
            else pd.read_csv(source, low_memory=False)
        )
    except (ValueError, OSError) as error:  # the errors of pandas and pyarrow are ValueErrors
        raise NotWritten(f"{source} cannot be read as {suffix[1:]}: {str(error).strip().splitlines()[0]}") from error
    if table.shape[1] < 2:
        raise NotWritten(
            f"{source} has a single column: separate the columns by commas, and put their names in the first line"
        )
    return table


def _named(columns: Sequence[Column], source: str, variable: str) -> Column:
    for each in columns:
        if each.source == source:
            return each
    raise NotWritten(f"{variable}={source} is not one of the columns {', '.join(each.source for each in columns)}")


def _time(columns: Sequence[Column], source: str) -> Column:
    candidates = [_named(columns, source, "TIME")] if source else [each for each in columns if each.kind is Kind.TIME]
    if not candidates or candidates[0].kind is not Kind.TIME:
        raise NotWritten(
            f"{f'{source} is {candidates[0].kind}, not a time' if candidates else 'the file has no column of times'}. "
            "Each row needs the time of its event, in one column, written such as 2020-03-02 10:00; a split by time "
            f"is not possible without it ({FIT})"
        )
    if len(candidates) > 1:
        names = " or TIME=".join(each.source for each in candidates)
        raise NotWritten(f"several columns hold times; choose the time of the event: TIME={names}")
    if candidates[0].missing:
        raise NotWritten(
            f"rows with an empty {candidates[0].source}: {candidates[0].missing}; fill them in, or remove them"
        )
    return candidates[0]


def _label(columns: Sequence[Column], source: str) -> Column:
    label = _named(columns, source, "LABEL")
    if label.kind is Kind.CONSTANT:
        raise NotWritten(f"LABEL={source} has fewer than two values, so there is nothing to predict ({FIT})")
    classes = label.values.nunique()
    if label.kind in (Kind.TIME, Kind.TEXT) or (label.kind is Kind.CATEGORY and classes != 2):
        raise NotWritten(
            f"LABEL={source} is {label.kind} with {classes:,} values; it must be a number, yes or no, or one of two "
            f"words: add a column that is 1 for what you want to predict, and 0 otherwise ({FIT})"
        )
    return label


def _key(columns: Sequence[Column], time: Column) -> tuple[Column, ...]:
    """The columns that identify a row: one column, or the time, or the time with one or two others."""
    kinds = (Kind.WHOLE, Kind.CATEGORY, Kind.TEXT)
    complete = [each for each in columns if each.kind in kinds and not each.missing]
    # A text is not a feature, so the request would have it for the key alone.
    combined = [each for each in complete if each.kind is not Kind.TEXT]
    keys = [(each,) for each in complete] + [
        (*others, time) for count in (0, 1, 2) for others in combinations(combined, count)
    ]
    for key in keys:
        if _is_key(key, time):
            return key
    raise NotWritten(
        "neither a column nor the time with up to two others identifies a row: add a column that numbers the rows"
    )


def _is_key(key: Sequence[Column], time: Column) -> bool:
    if pd.concat([each.values for each in key], axis=1).duplicated().any():
        return False
    parts = [each.values.dt.strftime(each.stamp) if each is time else each.values.astype("str") for each in key]
    written = parts[0].str.cat(pd.concat(parts[1:], axis=1), sep="-") if parts[1:] else parts[0]
    return written.is_unique and bool(written.str.fullmatch(ENTITY_ID).all())
