"""The pictures of production: the bench of servers, the replay, the performance of the answers.

All but the bench are drawn in a page's own colours, which have a variant for the dark.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ontime import findings
from ontime.figures import (
    ALERT,
    CALM,
    EDGE,
    INK,
    SOFT,
    WIDTH,
    Picture,
    Sheet,
    axes_of,
    few_ticks,
    label_days,
    label_months,
    legend,
    percents,
    shortened,
    text_width,
    write,
)
from ontime.schema import WORDS

Looks = Mapping[str, tuple[str, dict[str, Any]]]  # column -> its name in the legend, how it is drawn

SERVER_COLOURS = {
    "ontime": "#0072b2",
    "mlflow": "#e69f00",
    "bentoml": "#cc79a7",
    "bare": "#9aa5b1",
}


def serving(servers: Mapping[str, Mapping[int, tuple[float, float]]], labels: Mapping[str, str]) -> Picture:
    """Server -> connections -> (requests a second, p99 in milliseconds); `labels` are the servers' full names."""
    if not servers:
        return Picture("No server was measured", "Run `make bench-serve`.", None)
    with axes_of(400) as (figure, above):
        above.remove()
        lines = {}
        for place, (axes, y) in enumerate(zip(figure.subplots(2, 1), ("requests/s", "p99, ms"), strict=True)):
            for name, loads in servers.items():
                figures = [each[place] for each in loads.values()]
                lines[name] = axes.plot(list(loads), figures, marker="o", color=SERVER_COLOURS.get(name, EDGE),
                                        linewidth=2.6 if name == "ontime" else 1.6,
                                        zorder=3 if name == "ontime" else 2)[0]  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel="connections" if place else "")
            axes.set_title(y, loc="left", fontsize=12, color=SOFT)
            _plain_ticks(axes, sorted({connections for loads in servers.values() for connections in loads}))
        legend(figure, [(line, labels[name]) for name, line in lines.items()])
    measure = "Requests a second: higher is better. p99, the wait of the slowest of 100: lower is better"
    return Picture(findings.serving(servers, labels, "ontime"), measure, figure)


DAY_LOOKS = ("#9aa5b1", "#0072b2", "#e69f00", "#cc79a7", "#009e73")


def gate_power(better: Sequence[Mapping[str, Any]], equal: Sequence[Mapping[str, Any]]) -> Picture:
    """How often a model is promoted that is truly better by so much; `equal` gives the point of no difference."""
    with axes_of(260, "true log-loss below the champion's") as (figure, axes):
        lines = []
        alike = {row["days"]: row["promoted"] for row in equal if row["noise"] == "both"}
        for colour, days in zip(DAY_LOOKS, alike, strict=False):
            points = [
                (0.0, alike[days]),
                *((row["difference"], row["promoted"]) for row in better if row["days"] == days),
            ]
            across, shares = zip(*points, strict=True)
            lines.append((axes.plot(across, shares, marker="o", color=colour)[0], f"{days} days"))
        axes.set(ylim=(0, 1.02), xlim=(0, None))
        percents(axes, "y")
        few_ticks(axes, "x")
        legend(figure, lines)
    return Picture(
        findings.gate_power(better), "Share of simulated gates that promote, by days of the test period", figure
    )


def _plain_ticks(axes: Axes, across: Sequence[int]) -> None:
    """Log axes that say 16 and 2,000, not 2 x 10^3."""
    span = np.log(across[-1] / across[0]) or 1.0
    kept: list[int] = []
    for each in across:
        room = np.log(each / kept[-1]) / span * (WIDTH - 90) if kept else np.inf
        if room > (text_width(f"{each:,}") + text_width(f"{kept[-1]:,}" if kept else "")) / 2 + 6:
            kept.append(each)
    axes.set_xticks(kept, [f"{each:,}" for each in kept])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if np.ptp(np.log10(axes.get_ylim())) < 2.5 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


REPLAY_LOOK: dict[str, dict[str, Any]] = {
    "living": {"color": CALM, "linewidth": 2.6, "marker": "o", "markersize": 5},
    "never": {"color": ALERT, "linewidth": 1.8, "marker": "s", "markersize": 4},
    "rate_table": {"color": SOFT, "linewidth": 1.5, "marker": "^", "markersize": 5, "linestyle": "--"},
}


def _over_months(
    months: Sequence[Mapping[str, Any]], names: Mapping[str, str], figure_name: str, measure: str, digits: int
) -> Picture:
    """One line a system, with the mean of its months in the legend; of a single month, a row a system."""
    if not months:
        return Picture("No month has a label", "Replay more days: make replay MONTHS=1", None)
    values = {name: [month[name][figure_name] for month in months] for name in names}
    finding = findings.retraining(months, figure_name, digits)
    if len(months) == 1:
        told = {
            words: (values[name][0], f"{values[name][0]:.{digits}f}", REPLAY_LOOK[name])
            for name, words in names.items()
        }
        return Picture(finding, f"{measure}, {pd.Period(months[0]['month']).strftime('%B %Y')}", _dots(told))
    with axes_of(200) as (figure, axes):
        lines = [(axes.plot(range(len(months)), values[name], **REPLAY_LOOK[name])[0],
                  f"{words}, mean {np.mean(values[name]):.{digits}f}") for name, words in names.items()]  # fmt: skip
        axes.set_xlim(-0.4, len(months) - 0.6)
        few_ticks(axes, "y")
        label_months(axes, [month["month"] for month in months])
        axes.grid(axis="x", visible=False)
        legend(figure, lines)
    return Picture(finding, f"{measure}, by month", figure)


def _dots(told: Mapping[str, tuple[float, str, Mapping[str, Any]]]) -> Sheet:
    """A row a value, for what is too little to be a course: name -> (value, the value in words, its look)."""
    with axes_of(31 * len(told) + 8) as (figure, axes):
        for place, (name, (value, text, look)) in enumerate(told.items()):
            axes.plot([value], [place + 0.2], color=look["color"], marker=look.get("marker", "o"), markersize=9)
            write(axes, name, 0, place - 0.2, color=INK)
            write(axes, text, 1, place - 0.2, ha="right", color=INK)
        axes.set_ylim(len(told) - 0.4, -0.6)
        axes.set(xticks=[], yticks=[])
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
    return figure


def replay_auc(months: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Picture:
    return _over_months(months, names, "auc", f"AUC on the {WORDS.entities} that were answered", 3)


def replay_cost(months: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Picture:
    return _over_months(months, names, "cost_per_1000", f"Cost of 1,000 {WORDS.entities}, in false alarms", 0)


TIERS = {1: ("alert: stop", ALERT), 2: ("alert: retrain", CALM), 3: ("alert: report", EDGE)}
EVENTS = {  # row of the time line: what is drawn there, and how
    "retraining": ("retraining", "o", CALM),
    "gate promote": ("gate: through", "^", CALM),
    "gate keep": ("gate: kept out", "v", ALERT),
    "promotion": ("promotion", "D", CALM),
    "rollback": ("rollback", "X", ALERT),
}


def replay_timeline(
    events: Sequence[Mapping[str, Any]], days: Sequence[Mapping[str, Any]], start: str, until: str
) -> Picture:
    """Alerts of each tier, and what was done: one row each with its count, days from left to right."""
    if not days and not events:
        return Picture("Nothing was watched and nothing moved", "Replay more days: make replay MONTHS=1", None)
    lived = [event for event in events if event["day"] >= start]  # before it, the first model was made
    rows: dict[str, tuple[list[pd.Timestamp], str, str]] = {
        words: (when, marker, colour)
        for kind, (words, marker, colour) in EVENTS.items()
        for when in [[pd.Timestamp(event["day"]) for event in lived
                      if kind in (event["kind"], f"{event['kind']} {event['verdict']}")]]
    } | {
        words: ([pd.Timestamp(day["day"]) for day in days if any(alert["tier"] == tier for alert in day["alerts"])],
                "|", colour)
        for tier, (words, colour) in TIERS.items()
    }  # fmt: skip
    first, last = pd.Timestamp(start), pd.Timestamp(until)
    with axes_of(22 * len(rows) + 50) as (figure, axes):
        for place, (when, marker, colour) in enumerate(rows.values()):
            axes.scatter(when, [place] * len(when), marker=marker, color=colour, s=44, zorder=3)  # type: ignore[arg-type]  # dates
            write(axes, f"{len(when)}", 1.09, place, ha="right")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        label_days(axes, first, last, WIDTH - 130)
        pad = 0.03 * (last - first)
        axes.set_xlim(first - pad, last + pad)  # type: ignore[arg-type]  # dates
    measure = "What was done, and days with an alert of each tier; at the right how many"
    return Picture(findings.timeline(events, start, len(days)), measure, figure)


OUTCOMES = "`make materialise` brings in the outcomes that have come."
LOSSES: Looks = {
    "log_loss": ("measured", {"color": CALM, "linewidth": 2}),
    "expected": ("if the probabilities were exactly right", {"color": SOFT, "linestyle": "--", "marker": "s"}),
}
SHARES: Looks = {
    "positive": (f"were {WORDS.positive}", {"color": ALERT, "linewidth": 2}),
    "predicted": (f"predicted {WORDS.positive}", {"color": CALM, "linestyle": "--", "marker": "s"}),
}


def loss_by_day(days: pd.DataFrame) -> Picture:
    """By date: log_loss, expected (what exactly right probabilities would have), labelled; NaN where not known."""
    known = days.dropna(subset=list(LOSSES))
    if known.empty:
        return Picture("No day has both labels among its known outcomes", OUTCOMES, None)
    finding = findings.loss(*_means(known, LOSSES))
    return Picture(finding, f"Log-loss of each day's {WORDS.entities}; lower is better", _by_day(known, LOSSES, ".3f"))


def shares_by_day(days: pd.DataFrame) -> Picture:
    """By date: positive, predicted (shares of the labelled entities), labelled; NaN where not known."""
    known = days.dropna(subset=list(SHARES))
    if known.empty:
        return Picture("No outcomes yet", OUTCOMES, None)
    measure = f"Share of {WORDS.entities}, of those with a known outcome, by day"
    return Picture(findings.predicted(*_means(known, SHARES)), measure, _by_day(known, SHARES, ".1%"))


def _means(days: pd.DataFrame, columns: Looks) -> list[float]:
    return [float(np.average(days[name], weights=days["labelled"])) for name in columns]


def _by_day(days: pd.DataFrame, looks: Looks, form: str) -> Sheet:
    """A line a column; of one day a row a value. A day without neighbours would be no line: it gets a dot."""
    if len(days) == 1:
        return _dots({words: (float(days[name].iloc[0]), format(days[name].iloc[0], form), look)
                      for name, (words, look) in looks.items()})  # fmt: skip
    every = pd.date_range(days.index[0], days.index[-1])
    with axes_of(190) as (figure, axes):
        lines = []
        for name, (words, look) in looks.items():
            course = days[name].reindex(every)
            alone = course[course.notna() & course.shift().isna() & course.shift(-1).isna()]
            shown = {"marker": "o", "markersize": 4, **look} if len(every) <= 31 else {**look, "marker": ""}
            lines.append((axes.plot(every, course, **shown)[0], words))
            axes.scatter(alone.index, alone, s=24, color=look["color"], zorder=3)
        few_ticks(axes, "y", 5)
        if form.endswith("%"):
            percents(axes, "y")
        label_days(axes, every[0], every[-1])
        pad = 0.02 * (every[-1] - every[0])
        axes.set_xlim(every[0] - pad, every[-1] + pad)  # type: ignore[arg-type]  # dates
        legend(figure, lines)
    return figure


MARKS = 0.32  # of a row: its interval is drawn below its name
Parts = tuple[float, float, float]  # value, low, high


def causes(rows: Sequence[tuple[str, Parts, bool]], limit: float) -> Picture:
    """A row a cause, the most costly first: name, cost in log-loss with its interval, whether it stands out."""
    coloured = [(name, parts, ALERT if out else SOFT) for name, parts, out in rows]
    measure = f"Log-loss that each costs more than before, with 95 % interval. Dashed: {limit:g}, where it stands out"
    return Picture(findings.causes(rows), measure, _intervals(coloured, limit))


def parts_of_change(rows: Sequence[tuple[str, Parts]]) -> Picture:
    """A row a part of the change of the log-loss; the first is the whole."""
    coloured = [(name, parts, INK if number == 0 else CALM) for number, (name, parts) in enumerate(rows)]
    measure = (
        "Change of the log-loss, with 95 % interval by days; above zero is worse. The parts add up to the first row"
    )
    return Picture(findings.parts_of_change(rows), measure, _intervals(coloured, None))


def _intervals(rows: Sequence[tuple[str, Parts, str]], limit: float | None) -> Sheet:
    """A row each: its name and value above, its interval below, on short marks that no word is written over."""
    with axes_of(38 * len(rows) + 34) as (figure, axes):
        for place, (name, (value, low, high), colour) in enumerate(rows):
            span = place + MARKS - 0.22, place + MARKS + 0.22
            axes.vlines(0, *span, color=EDGE, linewidth=1)
            if limit is not None:
                axes.vlines(limit, *span, color=EDGE, linewidth=1, linestyle=(0, (2, 2)))
            axes.plot([low, high], [place + MARKS] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([value], [place + MARKS], color=colour, marker="o", markersize=7)
            write(axes, shortened(name, WIDTH - 70), 0, place - 0.14, color=INK)
            write(axes, f"{value:+z.3f}", 1, place - 0.14, ha="right", color=INK)
        axes.set_ylim(len(rows) - 0.25, -0.5)
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        few_ticks(axes, "x", 5)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
        axes.margins(x=0.06)
    return figure
