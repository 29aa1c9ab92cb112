"""Plots of production: server benchmark, gate power, replay, performance and diagnosis.

All but the benchmarks use the page's colours, which have a dark variant.
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
    PageFigure,
    Picture,
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

Looks = Mapping[str, tuple[str, dict[str, Any]]]  # column -> its name in the legend, its line style

SERVER_COLOURS = {
    "ontime": "#0072b2",
    "mlflow": "#e69f00",
    "bentoml": "#cc79a7",
    "bare": "#9aa5b1",
}


def serving(servers: Mapping[str, Mapping[int, tuple[float, float]]], labels: Mapping[str, str]) -> Picture:
    """Server -> connections -> (requests per second, p99 in milliseconds); `labels` are the servers' full names."""
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
    measure = "Requests per second: higher is better. p99, the latency that 1 of 100 requests exceeds: lower is better"
    return Picture(findings.serving(servers, labels, "ontime"), measure, figure)


def soak(samples: Sequence[Mapping[str, float]]) -> Picture:
    """rows: requests, rss_mb, descriptors, over the course of `make bench-soak`."""
    thousands = [each["requests"] / 1000 for each in samples]
    with axes_of(320) as (figure, above):
        above.remove()
        curves = (("memory, MB", "rss_mb"), ("open file descriptors", "descriptors"))
        for place, (axes, (title, name)) in enumerate(zip(figure.subplots(2, 1, sharex=True), curves, strict=True)):
            axes.plot(thousands, [each[name] for each in samples], color=CALM)
            axes.set(ylim=(0, None), xlabel="thousand requests" if place else "")
            axes.set_title(title, loc="left", fontsize=12, color=SOFT)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        few_ticks(axes, "x")
    early, late = samples[len(samples) // 5], samples[-1]
    finding = (
        f"From {early['requests']:,.0f} to {late['requests']:,.0f} requests, memory goes from {early['rss_mb']:.0f} to "
        f"{late['rss_mb']:.0f} MB, and open descriptors from {early['descriptors']:.0f} to {late['descriptors']:.0f}"
    )
    return Picture(finding, "Resident memory and open descriptors of the service, by requests served", figure)


DAY_COLOURS = ("#9aa5b1", "#0072b2", "#e69f00", "#cc79a7", "#009e73")


def gate_power(better: Sequence[Mapping[str, Any]], equal: Sequence[Mapping[str, Any]]) -> Picture:
    """How often a better model is promoted, by its true difference; `equal` gives the point at no difference."""
    with axes_of(260, "true log-loss below the champion's") as (figure, axes):
        lines = []
        equally_good = {row["days"]: row["promoted"] for row in equal if row["noise"] == "both"}
        for colour, days in zip(DAY_COLOURS, equally_good, strict=False):
            points = [
                (0.0, equally_good[days]),
                *((row["difference"], row["promoted"]) for row in better if row["days"] == days),
            ]
            across, shares = zip(*points, strict=True)
            lines.append((axes.plot(across, shares, marker="o", color=colour)[0], f"{days} days"))
        axes.set(ylim=(0, 1.02), xlim=(0, None))
        percents(axes, "y")
        few_ticks(axes, "x")
        legend(figure, lines)
    return Picture(
        findings.gate_power(better),
        "Share of simulated challengers that are promoted, by days of the test period",
        figure,
    )


def _plain_ticks(axes: Axes, across: Sequence[int]) -> None:
    """Log axes labelled 16 and 2,000 instead of powers of ten."""
    span = np.log(across[-1] / across[0]) or 1.0
    shown: list[int] = []
    for each in across:
        room = np.log(each / shown[-1]) / span * (WIDTH - 90) if shown else np.inf
        if room > (text_width(f"{each:,}") + text_width(f"{shown[-1]:,}" if shown else "")) / 2 + 6:
            shown.append(each)
    axes.set_xticks(shown, [f"{each:,}" for each in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if np.ptp(np.log10(axes.get_ylim())) < 2.5 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


REPLAY_LOOK: dict[str, dict[str, Any]] = {
    "retrained": {"color": CALM, "linewidth": 2.6, "marker": "o", "markersize": 5},
    "never_retrained": {"color": ALERT, "linewidth": 1.8, "marker": "s", "markersize": 4},
    "rate_table": {"color": SOFT, "linewidth": 1.5, "marker": "^", "markersize": 5, "linestyle": "--"},
}


def _over_months(
    months: Sequence[Mapping[str, Any]], names: Mapping[str, str], figure_name: str, measure: str, digits: int
) -> Picture:
    """One line per system, with its mean over the months in the legend; for a single month one row per system."""
    if not months:
        return Picture("No month has a label", "Replay more days: `make replay MONTHS=1`.", None)
    values = {name: [month[name][figure_name] for month in months] for name in names}
    finding = findings.retraining(months, figure_name, digits)
    if len(months) == 1:
        rows = {
            words: (values[name][0], f"{values[name][0]:.{digits}f}", REPLAY_LOOK[name])
            for name, words in names.items()
        }
        return Picture(finding, f"{measure}, {pd.Period(months[0]['month']).strftime('%B %Y')}", _dots(rows))
    with axes_of(200) as (figure, axes):
        lines = [(axes.plot(range(len(months)), values[name], **REPLAY_LOOK[name])[0],
                  f"{words}, mean {np.mean(values[name]):.{digits}f}") for name, words in names.items()]  # fmt: skip
        axes.set_xlim(-0.4, len(months) - 0.6)
        few_ticks(axes, "y")
        label_months(axes, [month["month"] for month in months])
        axes.grid(axis="x", visible=False)
        legend(figure, lines)
    return Picture(finding, f"{measure}, by month", figure)


def _dots(rows: Mapping[str, tuple[float, str, Mapping[str, Any]]]) -> PageFigure:
    """One row per value, for too few points for a line: name -> (value, its text, its style)."""
    with axes_of(31 * len(rows) + 8) as (figure, axes):
        for place, (name, (value, text, look)) in enumerate(rows.items()):
            axes.plot([value], [place + 0.2], color=look["color"], marker=look.get("marker", "o"), markersize=9)
            write(axes, name, 0, place - 0.2, color=INK)
            write(axes, text, 1, place - 0.2, ha="right", color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set(xticks=[], yticks=[])
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
    return figure


def replay_auc(months: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Picture:
    return _over_months(months, names, "auc", f"AUC on the predicted {WORDS.entities}", 3)


def replay_cost(months: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Picture:
    return _over_months(months, names, "cost_per_1000", f"Cost per 1,000 {WORDS.entities}, in false alarms", 0)


TIERS = {1: ("alert: stop", ALERT), 2: ("alert: retrain", CALM), 3: ("alert: report", EDGE)}
EVENTS = {  # a row of the timeline: its label, marker and colour
    "retraining": ("retraining", "o", CALM),
    "gate promote": ("gate: promoted", "^", CALM),
    "gate reject": ("gate: rejected", "v", ALERT),
    "promotion": ("promotion", "D", CALM),
    "rollback": ("rollback", "X", ALERT),
}


def replay_timeline(
    events: Sequence[Mapping[str, Any]], days: Sequence[Mapping[str, Any]], start: str, until: str
) -> Picture:
    """Alerts of each tier and actions: one row each with its count, days from left to right."""
    if not days and not events:
        return Picture(
            "No alerts and no actions: no day was monitored", "Replay more days: `make replay MONTHS=1`.", None
        )
    replayed = [event for event in events if event["day"] >= start]  # earlier ones concern the first model
    rows: dict[str, tuple[list[pd.Timestamp], str, str]] = {
        words: (when, marker, colour)
        for kind, (words, marker, colour) in EVENTS.items()
        for when in [[pd.Timestamp(event["day"]) for event in replayed
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
    measure = "Actions, and days with an alert of each tier, with their number on the right"
    return Picture(findings.timeline(events, start, len(days)), measure, figure)


OUTCOMES = "Run `make materialise` to load the outcomes that have arrived."
LOSSES: Looks = {
    "log_loss": ("measured", {"color": CALM, "linewidth": 2}),
    "expected": ("if the probabilities were exactly right", {"color": SOFT, "linestyle": "--", "marker": "s"}),
}
SHARES: Looks = {
    "positive": (f"were {WORDS.positive}", {"color": ALERT, "linewidth": 2}),
    "predicted": (f"predicted {WORDS.positive}", {"color": CALM, "linestyle": "--", "marker": "s"}),
}


def loss_by_day(days: pd.DataFrame) -> Picture:
    """By date: log_loss, expected (of exactly right probabilities), labelled; NaN without labels."""
    labelled = days.dropna(subset=list(LOSSES))
    if labelled.empty:
        return Picture("No day has outcomes of both labels", OUTCOMES, None)
    finding = findings.loss(*_means(labelled, LOSSES))
    return Picture(
        finding, f"Log-loss of each day's {WORDS.entities}; lower is better", _by_day(labelled, LOSSES, ".3f")
    )


def shares_by_day(days: pd.DataFrame) -> Picture:
    """By date: positive, predicted (shares of the labelled entities), labelled; NaN without labels."""
    labelled = days.dropna(subset=list(SHARES))
    if labelled.empty:
        return Picture("No outcomes yet", OUTCOMES, None)
    measure = f"Share of {WORDS.entities} with a known outcome, by day"
    return Picture(findings.predicted(*_means(labelled, SHARES)), measure, _by_day(labelled, SHARES, ".1%"))


def _means(days: pd.DataFrame, columns: Looks) -> list[float]:
    return [float(np.average(days[name], weights=days["labelled"])) for name in columns]


def _by_day(days: pd.DataFrame, looks: Looks, form: str) -> PageFigure:
    """One line per column, or for a single day one row per value. A day without neighbours is a dot."""
    if len(days) == 1:
        return _dots({words: (float(days[name].iloc[0]), format(days[name].iloc[0], form), look)
                      for name, (words, look) in looks.items()})  # fmt: skip
    all_days = pd.date_range(days.index[0], days.index[-1])
    with axes_of(190) as (figure, axes):
        lines = []
        for name, (words, look) in looks.items():
            series = days[name].reindex(all_days)
            alone = series[series.notna() & series.shift().isna() & series.shift(-1).isna()]
            shown = {"marker": "o", "markersize": 4, **look} if len(all_days) <= 31 else {**look, "marker": ""}
            lines.append((axes.plot(all_days, series, **shown)[0], words))
            axes.scatter(alone.index, alone, s=24, color=look["color"], zorder=3)
        few_ticks(axes, "y", 5)
        if form.endswith("%"):
            percents(axes, "y")
        label_days(axes, all_days[0], all_days[-1])
        pad = 0.02 * (all_days[-1] - all_days[0])
        axes.set_xlim(all_days[0] - pad, all_days[-1] + pad)  # type: ignore[arg-type]  # dates
        legend(figure, lines)
    return figure


INTERVAL_OFFSET = 0.32  # of a row: its interval is drawn below its name
Parts = tuple[float, float, float]  # value, low, high


def causes(rows: Sequence[tuple[str, Parts, bool]], limit: float) -> Picture:
    """One row per cause, the most costly first: name, cost in log-loss with its interval, whether it stands out."""
    coloured = [(name, parts, ALERT if out else SOFT) for name, parts, out in rows]
    measure = f"Increase of the log-loss by cause, with 95 % interval. Dashed: {limit:g}, from which a cause stands out"
    return Picture(findings.causes(rows), measure, _intervals(coloured, limit))


def parts_of_change(rows: Sequence[tuple[str, Parts]]) -> Picture:
    """One row per part of the change of the log-loss; the first is the total."""
    coloured = [(name, parts, INK if number == 0 else CALM) for number, (name, parts) in enumerate(rows)]
    measure = (
        "Change of the log-loss, with 95 % interval by days; above zero is worse. The parts add up to the first row"
    )
    return Picture(findings.parts_of_change(rows), measure, _intervals(coloured, None))


def _intervals(rows: Sequence[tuple[str, Parts, str]], limit: float | None) -> PageFigure:
    """One row each, with name and value above the interval, so that no text overlaps a line."""
    with axes_of(38 * len(rows) + 34) as (figure, axes):
        for place, (name, (value, low, high), colour) in enumerate(rows):
            span = place + INTERVAL_OFFSET - 0.22, place + INTERVAL_OFFSET + 0.22
            axes.vlines(0, *span, color=EDGE, linewidth=1)
            if limit is not None:
                axes.vlines(limit, *span, color=EDGE, linewidth=1, linestyle=(0, (2, 2)))
            axes.plot([low, high], [place + INTERVAL_OFFSET] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([value], [place + INTERVAL_OFFSET], color=colour, marker="o", markersize=7)
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
