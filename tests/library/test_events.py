"""The window sums against the plainest way to count: look at every event for every query."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ontime.events import ALL_HISTORY, NEVER, Events

GROUPS = st.integers(-1, 3)
MOMENTS = st.one_of(st.integers(22_000_000, 22_000_100), st.just(NEVER))


@st.composite
def histories(draw):  # type: ignore[no-untyped-def]  # hypothesis' draw
    size = draw(st.integers(0, 30))
    groups = draw(arrays(np.int64, size, elements=GROUPS))
    moments = draw(arrays(np.int64, size, elements=MOMENTS))
    values = draw(arrays(np.int64, size, elements=st.integers(-50, 1500)))
    return groups, moments, values


@given(histories(), st.integers(0, 4), st.integers(21_999_900, 22_000_200), st.integers(1, 150))
def test_a_window_holds_what_a_loop_over_all_events_finds(history, group, until, span) -> None:  # type: ignore[no-untyped-def]
    groups, moments, values = history
    inside = (groups == group) & (moments > until - span) & (moments <= until)

    count, sums = Events(groups, moments, {"value": values}).within(np.array([group]), np.array([until]), span)

    assert count[0] == inside.sum()
    assert sums["value"][0] == values[inside].sum()


@given(histories(), st.integers(0, 4), st.integers(21_999_900, 22_000_200), st.integers(1, 150))
def test_the_latest_event_is_the_last_one_that_a_loop_finds(history, group, until, span) -> None:  # type: ignore[no-untyped-def]
    groups, moments, _ = history
    inside = np.flatnonzero((groups == group) & (moments > until - span) & (moments <= until))

    row = Events(groups, moments).latest(np.array([group]), np.array([until]), span)[0]

    assert (row == -1) == (len(inside) == 0)
    assert row == -1 or moments[row] == moments[inside].max()


def test_an_unknown_group_has_no_events() -> None:
    events = Events(np.array([0, -1]), np.array([10, 10]), {"value": np.array([1, 1])})

    count, sums = events.within(np.array([-1]), np.array([20]), ALL_HISTORY)

    assert (count[0], sums["value"][0]) == (0, 0)
