"""Sums over sliding windows of past events, for many queries at once, by binary search.

Exact: values are integers (whole minutes, counts), so a sum does not depend on where the history begins.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]

NEVER = 2**60  # the moment of what has not happened
ALL_HISTORY = 2**60  # a span without end


class Events:
    """Events of `groups` (codes >= 0) at `moments` (minutes), with `values` to add up.

    Each group has its own stretch of one sorted number line, so one search answers for all groups.
    An event at NEVER, or of a group below 0 (unknown), is left out.
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
        """How many events lie in earlier groups, or in this group at or before the moment."""
        offset = np.clip(moments - self._begin, -1, self._length)
        return np.searchsorted(self._keys, groups * (self._length + 2) + offset, side="right").astype(np.int64)

    def within(self, groups: Integers, until: Integers, span: int) -> tuple[Integers, dict[str, Integers]]:
        """For each query the count of events in (until - span, until] of its group, and the sum of each value."""
        last, first = self._position(groups, until), self._position(groups, until - span)
        return last - first, {name: total[last] - total[first] for name, total in self._totals.items()}

    def latest(self, groups: Integers, until: Integers, span: int) -> Integers:
        """For each query the row of the last event in (until - span, until] of its group, -1 where there is none."""
        last, first = self._position(groups, until), self._position(groups, until - span)
        rows = np.append(self._rows, -1)
        return np.where(last > first, rows[last - 1], -1)
