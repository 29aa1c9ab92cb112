"""The figure of the searches for parameters: the lowest log-loss that each has found, by CPU time."""

from collections.abc import Mapping
from typing import Any

from ontime import findings
from ontime.feature_worth import WorthVerdict
from ontime.figures import ALERT, CALM, INK, RULE, SOFT, Picture, axes_of, few_ticks, legend

# The Bayesian search begins with the random one's trials: its line is thin, so that both are seen.
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "grid": {"color": SOFT, "linewidth": 2, "linestyle": ":"},
    "random": {"color": ALERT, "linewidth": 4},
    "bayesian": {"color": CALM, "linewidth": 1.6},
}


def progress_of_searches(report: Mapping[str, Any]) -> Picture:
    """A falling line for each search, and the current parameters with the noise of one seed around them."""
    current, noise = report["current"]["first_seed"], report["one_seed"]
    with axes_of(250, "CPU minutes") as (figure, axes):
        entries: list[tuple[Any, str]] = []
        lowest, longest = current, 0.0
        for search in report["searches"]:
            minutes = [trial["cpu_seconds"] / 60 for trial in search["trials"]]
            best = [min(trial["log_loss"] for trial in search["trials"][: n + 1]) for n in range(len(minutes))]
            line = axes.step(minutes, best, where="post", **LOOKS[search["name"]])[0]
            entries.append((line, search["name"]))
            lowest, longest = min(lowest, best[-1]), max(longest, minutes[-1])
        band = axes.axhspan(current - noise, current + noise, color=RULE, linewidth=0, zorder=0)
        line = axes.axhline(current, color=INK, linewidth=1.2)
        entries += [(line, "current parameters"), (band, "one seed's noise")]
        # The first trials of a search may be far worse, and would flatten all that follows.
        axes.set_ylim(min(lowest, current - noise) - noise, current + 4 * noise)
        axes.set_xlim(0, 1.02 * longest)
        few_ticks(axes, "x")
        few_ticks(axes, "y", 5)
        legend(figure, entries)
    return Picture(search_finding(report), "Lowest log-loss so far, mean over the folds with one seed", figure)


def search_finding(report: Mapping[str, Any]) -> str:
    """The title: what the best search saves in validation, the period that no search has read, and all verdicts.

    >>> worth = {"value": 0.0012, "verdict": "worth it"}
    >>> random = {"name": "random", "judged": {"validation": {"worth": worth}}}
    >>> grid = {"name": "grid", "judged": {"validation": {"worth": worth | {"value": 0.0, "verdict": "within noise"}}}}
    >>> search_finding({"searches": [grid, random]})
    'The best of random saves 0.0012 of log-loss in validation; grid is within noise'
    """
    worths = {search["name"]: search["judged"]["validation"]["worth"] for search in report["searches"]}
    best = max(worths, key=lambda name: worths[name]["value"])
    others = dict(worths)
    parts = ["No search is worth it in validation"]
    if worths[best]["verdict"] == WorthVerdict.WORTH:
        del others[best]
        parts = [f"The best of {best} saves {worths[best]['value']:.4f} of log-loss in validation"]
    for verdict in WorthVerdict:
        names = [name for name, worth in others.items() if worth["verdict"] == verdict]
        if names:
            parts.append(f"{findings.listed(names)} {'is' if len(names) == 1 else 'are'} {verdict}")
    return "; ".join(parts)
