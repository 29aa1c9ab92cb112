"""Counts and sums over sliding windows of past events, for many queries at once, by binary search.

Sums are exact, because values are integers (minutes, counts): they do not depend on where the history begins.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]

NEVER = 2**60  # the time of an event that has not happened, in minutes
ALL_HISTORY = 2**60  # an unlimited span, in minutes


class Events:
    """Events of `groups` (codes >= 0) at `moments` (minutes), with `values` to sum.

    Each group has its own range in one sorted array of keys, so one search serves all groups. Events at NEVER, or of a
    group below 0 (unknown), are ignored.

    >>> events = Events(np.array([0, 0, 1]), np.array([10, 50, 55]), {"delay": np.array([3, 9, 1])})
    >>> count, sums = events.within(groups=np.array([0, 1]), until=np.array([60, 60]), span=30)
    >>> count.tolist(), sums["delay"].tolist()
    ([1, 1], [9, 1])
    """

    def __init__(self, groups: Integers, moments: Integers, values: Mapping[str, Integers] | None = None) -> None:
        rows = np.flatnonzero((moments < NEVER) & (groups >= 0))
        groups, moments = groups[rows], moments[rows]
        self._begin = int(moments.min(initial=NEVER))
        self._length = int(moments.max(initial=self._begin)) - self._begin
        keys = groups * (self._length + 2) + (moments - self._begin)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._rows = rows[order]
        self._totals = {
            name: np.concatenate([[0], np.cumsum(value[self._rows], dtype=np.int64)])
            for name, value in (values or {}).items()
        }

    def _position(self, groups: Integers, moments: Integers) -> Integers:
        """The number of events in lower groups, plus those of this group at or before the moment."""
        offset = np.clip(moments - self._begin, -1, self._length)
        return np.searchsorted(self._keys, groups * (self._length + 2) + offset, side="right").astype(np.int64)

    def within(self, groups: Integers, until: Integers, span: int) -> tuple[Integers, dict[str, Integers]]:
        """For each query, the number of events of its group in (until - span, until], and the sum of each value."""
        last, first = self._position(groups, until), self._position(groups, until - span)
        return last - first, {name: total[last] - total[first] for name, total in self._totals.items()}

    def latest(self, groups: Integers, until: Integers, span: int) -> Integers:
        """For each query, the row of the latest event of its group in (until - span, until]; -1 if there is none."""
        last, first = self._position(groups, until), self._position(groups, until - span)
        rows = np.append(self._rows, -1)
        return np.where(last > first, rows[last - 1], -1)
