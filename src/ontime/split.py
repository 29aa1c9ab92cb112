"""Splits training, validation and test by time: a random split would let a model see the future of its test days."""

from datetime import date, timedelta
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime.params import Split
from ontime.refusal import Refusal
from ontime.schema import WORDS


class SplitBroken(Refusal):
    """Entities outside their period, an empty period, or one outside the dataset."""


class Period(NamedTuple):
    """Days in the problem's time zone; `until` is exclusive."""

    start: date
    until: date


def periods(split: Split) -> dict[str, Period]:
    return {
        "train": Period(split.train_from, split.valid_from),
        "valid": Period(split.valid_from, split.test_from),
        "test": Period(split.test_from, split.test_until),
    }


def months(period: Period) -> list[str]:
    """The months that a period overlaps, as `2013-01`.

    >>> months(Period(date(2013, 12, 15), date(2014, 2, 1)))
    ['2013-12', '2014-01']
    """
    first = period.start.year * 12 + period.start.month - 1
    last = period.until.year * 12 + period.until.month - (2 if period.until.day == 1 else 1)
    return [f"{month // 12}-{month % 12 + 1:02d}" for month in range(first, last + 1)]


def within(features: pd.DataFrame, period: Period) -> pd.DataFrame:
    """The rows whose day lies in the period."""
    days = features["day"]
    return features[(days >= pd.Timestamp(period.start)) & (days < pd.Timestamp(period.until))]


def refuse_strays(name: str, entities: pd.DataFrame, period: Period) -> None:
    """Raise SplitBroken for entities outside their period, as after a random split."""
    days = entities["day"]
    strays = days[(days < pd.Timestamp(period.start)) | (days >= pd.Timestamp(period.until))]
    if len(strays):
        raise SplitBroken(
            f"{name}: {len(strays):,} of {len(entities):,} {WORDS.entities} are of {strays.min().date()} to "
            f"{strays.max().date()}, outside {period.start} until {period.until}"
        )


def refuse_outside(split: Split, first: date, last: date) -> None:
    """Raise SplitBroken unless the periods lie between the first and the last day of the dataset."""
    if not first <= split.train_from < split.test_until <= last + timedelta(days=1):
        raise SplitBroken(
            f"split.train_from {split.train_from} until split.test_until {split.test_until} is not within the days of "
            f"the dataset, {first} to {last}: change split in params.yaml"
        )


def refuse_empty(entities: pd.DataFrame, period: Period) -> None:
    """Raise SplitBroken for a period without a labelled row."""
    if entities.empty:
        raise SplitBroken(
            f"no {WORDS.entity} from {period.start} until {period.until} has a label: change split in params.yaml"
        )


def labelled(features: pd.DataFrame) -> pd.DataFrame:
    """The entities whose label is known, with `label` as plain True or False."""
    rows = features[features["label"].notna()]
    return rows.assign(label=rows["label"].astype(bool)).reset_index(drop=True)


def row_keys(names: pd.Series) -> NDArray[np.uint64]:
    """A 64-bit hash of each row's name: enough to identify 300,000 rows without storing their names."""
    keys = [blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(keys), "<u8")
