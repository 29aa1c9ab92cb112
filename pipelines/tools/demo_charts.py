"""Small charts of characters, for a terminal or a log: bars, days, and an interval around zero."""

from collections.abc import Mapping, Sequence

BAR, HEIGHTS, NO_VALUE = "█", "▁▂▃▄▅▆▇█", "·"
BAR_WIDTH = 40
HALF_WIDTH = 15  # of an interval's axis, on each side of zero


def bars(values: Mapping[str, float]) -> list[str]:
    """A bar for each value, from zero to the largest.

    >>> print("\\n".join(bars({"table": 0.5, "model": 0.375})))
    table  ████████████████████████████████████████  0.5
    model  ██████████████████████████████            0.375
    """
    longest, largest = max(map(len, values)), max(values.values())
    return [
        f"{name:<{longest}}  {BAR * round(BAR_WIDTH * value / largest):<{BAR_WIDTH}}  {value:g}"
        for name, value in values.items()
    ]


def heights(values: Sequence[float | None]) -> str:
    """A character for each value, from the least to the greatest of them.

    >>> heights([0.61, None, 0.65, 0.74])
    '▁·▃█'
    """
    present = [value for value in values if value is not None]
    least, span = min(present, default=0.0), max(present, default=0.0) - min(present, default=0.0)
    top = len(HEIGHTS) - 1
    return "".join(
        NO_VALUE if value is None else HEIGHTS[round(top * (value - least) / span) if span else top] for value in values
    )


def interval(low: float, value: float, high: float) -> list[str]:
    """An interval on an axis with zero in the middle; below zero is better.

    >>> print("\\n".join(interval(-0.02, -0.01, 0.005)))
             ├──────●─────┼──┤
    better                0                worse   -0.01 (95 % interval -0.02 to 0.005)
    """
    largest = max(abs(low), abs(high))
    scale = (HALF_WIDTH - 2) / largest if largest else 0.0
    left, middle, right = (HALF_WIDTH + round(scale * each) for each in (low, value, high))
    axis = [" "] * (2 * HALF_WIDTH + 1)
    axis[left : right + 1] = "─" * (right + 1 - left)
    axis[left], axis[right] = "├", "┤"
    axis[HALF_WIDTH] = "┼" if left < HALF_WIDTH < right else "│"
    axis[middle] = "●"
    margin = len("better ")
    numbers = f"{value:g} (95 % interval {low:g} to {high:g})"
    return [
        (" " * margin + "".join(axis)).rstrip(),
        f"better {'0':^{len(axis)}} worse   {numbers}",
    ]
