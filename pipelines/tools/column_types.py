"""Infers the kind of each column of a file, for `make new-problem`: time, number, flag, category, other text."""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from keyword import kwlist

import pandas as pd
from pandas.tseries.api import guess_datetime_format
from pydantic import BaseModel

from ontime.consistency import QUERY, RESERVED

MOST_CATEGORIES = 100
LONGEST_CATEGORY = 100
LARGEST_WHOLE = 2**31 - 1  # of PostgreSQL's integer; a larger number is a code rather than a count
OFFSET = r"\d:\d{2}(?::\d{2}(?:\.\d+)?)? ?(?:[Zz]|[+-]\d{2}:?\d{2})$"
# Names that the tables, the service's parameters and the model's rows already use.
USED_NAMES = RESERVED | QUERY | {"at_least", "explain", "minute_of_day", "recent_rate", "weekday"}


class Kind(StrEnum):
    TIME = "a time"
    WHOLE = "whole numbers"
    NUMBER = "numbers"
    FLAG = "yes or no"
    CATEGORY = "a category"
    TEXT = "text"  # too many values for a category, or too long ones
    CONSTANT = "one value only"


@dataclass(frozen=True, eq=False)  # compared by identity, because == of two series is a series
class Column:
    source: str  # its name in the file
    name: str  # its name in Python and in SQL
    kind: Kind
    values: pd.Series  # times are parsed, without a zone unless the file gives offsets; categories are text
    format: str = ""  # of times, for pandas.to_datetime

    @property
    def missing(self) -> int:
        return int(self.values.isna().sum())

    @property
    def has_seconds(self) -> bool:
        """For a time: whether any value is not a whole minute."""
        times = self.values.dropna()
        return bool((times != times.dt.floor("min")).any())

    @property
    def stamp(self) -> str:
        """For a time: its strftime format in a key."""
        return "%Y%m%dT%H%M%SZ" if self.has_seconds else "%Y%m%dT%H%MZ"

    @property
    def limits(self) -> tuple[float, float]:
        if self.kind in (Kind.WHOLE, Kind.NUMBER):
            return self.values.min().item(), self.values.max().item()
        return 0, 1

    @property
    def labels(self) -> dict[str, int]:
        """For a label of two words: the rarer one is 1, the positive class."""
        return {str(text): place for place, text in enumerate(self.values.value_counts().index)}

    @property
    def numbers(self) -> pd.Series:
        """For a label: its values as numbers."""
        return (self.values.map(self.labels) if self.kind is Kind.CATEGORY else self.values).astype(float)

    @property
    def least_positive(self) -> float:
        """For a label: the greater of two values, or the upper quartile of more than two."""
        values = self.numbers
        return float(values.max() if values.nunique() == 2 else values.quantile(0.75, interpolation="higher"))


def columns_of(table: pd.DataFrame) -> list[Column]:
    names = python_names(map(str, table))
    return [_column(str(source), name, table[source]) for source, name in zip(table, names, strict=True)]


def python_names(sources: Iterable[str]) -> Iterator[str]:
    """A name for each column that is valid and unused in Python, pydantic and SQL.

    >>> list(python_names(["Days ahead (d)", "2nd visit", "class", "class ", "label"]))
    ['days_ahead_d', 'c_2nd_visit', 'class_', 'class__', 'label_']
    """
    used = {*kwlist, *dir(BaseModel), *USED_NAMES}
    for source in sources:
        plain = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode().lower()
        name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
        name = name if name[:1].isalpha() else f"c_{name}".rstrip("_")
        while name in used:
            name += "_"
        used.add(name)
        yield name


def _column(source: str, name: str, values: pd.Series) -> Column:
    present = values.dropna()
    if present.nunique() <= 1:
        return Column(source, name, Kind.CONSTANT, values)
    if (parsed := times(values)) is not None:
        return Column(source, name, Kind.TIME, *parsed)
    if pd.api.types.is_bool_dtype(present.infer_objects()) and len(present) == len(values):
        return Column(source, name, Kind.FLAG, values.astype(bool))
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        if not pd.api.types.is_integer_dtype(values):
            return Column(source, name, Kind.NUMBER, values)
        if values.isna().any():  # pandas' nullable integers
            return Column(source, name, Kind.NUMBER, values.astype(float))
        if values.abs().max() <= LARGEST_WHOLE:
            return Column(source, name, Kind.WHOLE, values)
    text = values.astype("str")
    few = present.nunique() <= MOST_CATEGORIES and text.str.len().max() <= LONGEST_CATEGORY
    return Column(source, name, Kind.CATEGORY if few else Kind.TEXT, text)


def times(values: pd.Series) -> tuple[pd.Series, str] | None:
    """The parsed times and their format, in UTC if all have an offset; None if any value is not a time.

    A year needs four digits. Exactly one order of day and month must fit all values: 03/04/2020 and 05/06/2020 fit
    both, a guess could be wrong, and they are not taken for times.
    """
    filled = values.dropna()
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert("UTC"), "ISO8601"
    if pd.api.types.is_datetime64_dtype(values):
        return values, "ISO8601"
    if pd.api.types.infer_dtype(filled) not in ("string", "date"):
        return None
    text = values.astype("str")
    offsets = text.dropna().str.contains(OFFSET)
    if offsets.any() and not offsets.all():
        return None
    parsed = {
        each: pd.to_datetime(text, format=each, utc=bool(offsets.all()), errors="coerce")
        for each in _formats(str(text.dropna().iloc[0]))
    }
    fitting = [(moments, each) for each, moments in parsed.items() if moments.count() == len(filled)]
    return fitting[0] if len(fitting) == 1 else None


def _formats(first: str) -> list[str]:
    if re.match(r"\d{4}-\d{2}-\d{2}", first):
        return ["ISO8601"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns about an order that does not fit
        guessed = [guess_datetime_format(first, dayfirst=day_first) for day_first in (False, True)]
    return [each for each in dict.fromkeys(guessed) if each and "%Y" in each and "%d" in each and "%m" in each]
