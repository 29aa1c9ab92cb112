"""The report of the attacks as a page: docs/attacks.md."""

from collections.abc import Mapping

Figures = dict[str, int | float | str]  # what was counted, with its unit, and how much
HEAD = """# Attacks

Written by `make bench-faults` ([bench_faults.json](../reports/bench_faults.json)), on two cores that the callers share
with the service. Each row is a new service with an empty database; *lost* are predictions in a response that are not in
the database afterwards.
Requests that a kill cuts off have no response, so they count neither as answered nor as lost.

| attack | result |
| --- | --- |
"""


def page(results: Mapping[str, Figures]) -> str:
    """docs/attacks.md, from the contents of reports/bench_faults.json."""
    rows = [f"| {attack} | {'; '.join(figure_words(figures))} |\n" for attack, figures in results.items()]
    return HEAD + "".join(rows)


def figure_words(figures: Figures) -> list[str]:
    return [f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}" for name, value in figures.items()]
