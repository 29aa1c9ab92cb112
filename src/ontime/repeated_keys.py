"""Keys that are repeated in several months, found by 8 bytes for each row."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ontime.datasets import Table
from ontime.violations import SHOWN_ROWS, Violation

RULE = "field_uniqueness"
Key = tuple[str, tuple[str, ...]]  # a table, and the columns of its key
Hashes = dict[Key, np.ndarray]


def hashes_of(table: Table, keys: Iterable[tuple[str, ...]], rows: pd.DataFrame) -> Hashes:
    """The hashes of the values of each key of a table; none of a key with the moment: it cannot be in two months."""
    return {(table.name, key): pd.unique(_hash(rows, key)) for key in keys if table.moment not in key}


def _hash(rows: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    return pd.util.hash_pandas_object(rows[[*columns]], index=False, categorize=False).to_numpy()


def in_several_months(months: Iterable[Hashes]) -> Hashes:
    """The hashes that more than one month has, of the keys that have any."""
    by_key = dict[Key, list[np.ndarray]]()
    for month in months:
        for key, hashes in month.items():
            by_key.setdefault(key, []).append(hashes)
    repeated = Hashes()
    for key in list(by_key):
        every = np.concatenate(by_key.pop(key))
        every.sort()
        if (again := every[1:][every[1:] == every[:-1]]).size:
            repeated[key] = again
    return repeated


def violation(key: Key, hashes: np.ndarray, months: Iterable[pd.DataFrame]) -> Violation:
    """The rows of a key's table that repeat a key of another month, given its rows month by month.

    The rows decide, and not the hashes, of which two may be equal by chance. Keys that one month repeats are a
    violation of that month already.
    """
    name, columns = key
    candidates = []
    for rows in months:
        chosen = rows[np.isin(_hash(rows, columns), hashes)][[*columns]]
        candidates.append(chosen.assign(once=~chosen.duplicated(keep=False)))
    every = pd.concat(candidates)
    again = every[every.duplicated([*columns], keep=False) & every["once"]]
    place = f"{name}.{columns[0]}" if len(columns) == 1 else name
    first = tuple((row, "/".join(map(str, again.loc[row, [*columns]]))) for row in again.index[:SHOWN_ROWS])
    return Violation(place, RULE if len(columns) == 1 else "multiple_fields_uniqueness", len(again), first)
