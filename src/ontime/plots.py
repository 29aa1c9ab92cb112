"""Every picture of the project, in one style. Functions take small tables and return a figure.

The same numbers give the same bytes, so that DVC can say whether a picture was reproduced.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, MonthLocator
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from ontime import files
from ontime.candidates import CANDIDATES

Floats = NDArray[np.floating[Any]]

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE = "#0b6e99", "#d9730d"
# Okabe and Ito's palette, and three of Tol's: told apart by colour-blind readers too. By its place in the registry a
# candidate has a colour without asking for one, and keeps it everywhere.
PALETTE = ("#9aa5b1", "#cc79a7", "#e69f00", "#009e73", "#0072b2", "#d55e00", "#56b4e9", "#882255", "#117733", "#332288")
COLOURS = dict(zip(CANDIDATES, cycle(PALETTE), strict=False))
SERVER_COLOURS = {
    "ontime": "#0072b2",
    "mlflow": "#e69f00",
    "bentoml": "#cc79a7",
    "bare": "#9aa5b1",
}
STYLE: Any = {
    "figure.dpi": 130,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, whole or not at all; without the time or the version of the program."""
    with files.replacing(path) as aside, rc_context(STYLE):
        figure.savefig(aside, format="png", metadata={"Software": None})


@contextmanager
def _drawn(title: str, x: str, y: str, size: tuple[float, float] = (8, 4.5)) -> Iterator[tuple[Figure, Axes]]:
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        axes = figure.add_subplot(title=title, xlabel=x, ylabel=y)
        yield figure, axes


def _percent(axes: Axes, which: str) -> None:
    getattr(axes, f"{which}axis").set_major_formatter(PercentFormatter(1, decimals=0))


def _label(name: str) -> str:
    return name.replace("_", " ")


def late_rate(rates: pd.Series, overall: float, title: str, x: str) -> Figure:
    """Bars of a share late, that of all flights as a line; the index is what is told apart."""
    with _drawn(title, x, "flights late") as (figure, axes):
        axes.bar(rates.index.astype(str), rates, color=BLUE, width=0.75)
        axes.axhline(overall, color=ORANGE, linewidth=1.2)
        axes.annotate("all", (1, overall), xycoords=("axes fraction", "data"), color=ORANGE,
                      xytext=(2, 0), textcoords="offset points", va="center", annotation_clip=False)  # fmt: skip
        axes.grid(axis="x", visible=False)
        _percent(axes, "y")
    return figure


def late_by_hour_and_weekday(rates: pd.DataFrame) -> Figure:
    """Weekdays in rows, hours in columns; darker is later."""
    return _heatmap(
        rates, "Delays build up over the day", "hour of scheduled departure (New York)", "{:.0%}", "YlOrBr", 0.5
    )


def drift(indices: pd.DataFrame) -> Figure:
    """Columns of the data in rows, months in columns; above 0.25 is what textbooks call a shift."""
    title = "What differs from January to March: population stability index"
    indices = indices.rename(columns=lambda month: pd.Period(month).strftime("%b"))
    return _heatmap(indices, title, "month", "{:.2f}", "PuBu", 1.0)


def _heatmap(table: pd.DataFrame, title: str, x: str, form: str, colours: str, most: float) -> Figure:
    size = (max(8.0, 1.5 + 0.55 * table.shape[1]), 1.3 + 0.42 * table.shape[0])
    with _drawn(title, x, "", size) as (figure, axes):
        axes.imshow(table, cmap=colours, vmin=0, vmax=most, aspect="auto")
        axes.set_xticks(range(table.shape[1]), table.columns.astype(str), fontsize=8.5)
        axes.set_yticks(range(table.shape[0]), [_label(str(name)) for name in table.index])
        axes.grid(visible=False)
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            if not np.isnan(value):
                colour = "white" if value > 0.62 * most else INK
                axes.text(column, row, form.format(value), ha="center", va="center", fontsize=7.5, color=colour)
    return figure


def missingness(shares: pd.Series) -> Figure:
    """Share of nulls of each column that has any."""
    ordered = shares.sort_values()
    with _drawn("What is missing", "rows without a value", "", (8, 1 + 0.3 * len(ordered))) as (figure, axes):
        bars = axes.barh(ordered.index.astype(str), ordered, color=BLUE)
        axes.bar_label(bars, [f"{share:.1%}" for share in ordered], padding=3, fontsize=8.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, min(1.0, float(ordered.max()) * 1.12))
        _percent(axes, "x")
    return figure


def _width(name: str, champion: str) -> dict[str, Any]:
    return {
        "color": COLOURS[name],
        "linewidth": 2.4 if name == champion else 1.3,
        "zorder": 3 if name == champion else 2,
    }


def roc(curves: Mapping[str, tuple[Floats, Floats, float]], champion: str) -> Figure:
    """name -> (false positive rate, true positive rate, AUC)."""
    with _drawn("How well late and on-time flights are told apart", "on-time flights alerted", "late flights alerted",
                (6.4, 5.4)) as (figure, axes):  # fmt: skip
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        for name, (false, true, auc) in curves.items():
            axes.plot(false, true, label=f"{_label(name)}  AUC {auc:.3f}", **_width(name, champion))
        _percent(axes, "x")
        _percent(axes, "y")
        axes.legend(loc="lower right")
    return figure


def precision_recall(curves: Mapping[str, tuple[Floats, Floats, float]], late_rate: float, champion: str) -> Figure:
    """name -> (recall, precision, average precision)."""
    with _drawn("What an alert is worth", "late flights alerted (recall)", "alerts that were late (precision)",
                (6.4, 5.4)) as (figure, axes):  # fmt: skip
        axes.axhline(late_rate, color=MUTED, linewidth=1, linestyle=":")
        axes.text(0.99, late_rate - 0.035, f"all flights: {late_rate:.0%} late", ha="right", color=MUTED, fontsize=9)
        for name, (recall, precision, average) in curves.items():
            axes.plot(recall, precision, label=f"{_label(name)}  AP {average:.3f}", **_width(name, champion))
        axes.set_ylim(0, 1.02)
        _percent(axes, "x")
        _percent(axes, "y")
        axes.legend(loc="upper right")
    return figure


def reliability(curves: Mapping[str, tuple[Floats, Floats, NDArray[np.integer[Any]]]], champion: str) -> Figure:
    """name -> (mean prediction, observed rate, flights) of each bin; a dot's area is its flights."""
    with _drawn("Is a 30 % chance late 30 % of the time?", "predicted probability", "flights that were late",
                (6.4, 5.4)) as (figure, axes):  # fmt: skip
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        for name, (predicted, observed, flights) in curves.items():
            axes.plot(predicted, observed, label=_label(name), **_width(name, champion))
            if name == champion:
                axes.scatter(predicted, observed, s=300 * flights / flights.max() + 6, color=COLOURS[name], zorder=4)
        _percent(axes, "x")
        _percent(axes, "y")
        axes.legend(loc="upper left")
    return figure


def cost_by_threshold(
    curves: Mapping[str, tuple[Floats, Floats]], threshold: float, no_alert_cost: float, champion: str
) -> Figure:
    """name -> (thresholds, cost of 1000 flights)."""
    with _drawn("Where to alert: what 1000 flights cost", "alert from this probability on", "cost") as (figure, axes):
        axes.axhline(no_alert_cost, color=MUTED, linewidth=1, linestyle=":")
        axes.text(0.9, no_alert_cost + 8, "no alerts at all", ha="right", color=MUTED, fontsize=9)
        axes.axvline(threshold, color=ORANGE, linewidth=1.2)
        axes.text(threshold + 0.008, 0.25, f"alert at {threshold:g}", color=ORANGE, fontsize=9,
                  transform=axes.get_xaxis_transform())  # fmt: skip
        for name, (thresholds, cost) in curves.items():
            axes.plot(thresholds, cost, label=_label(name), **_width(name, champion))
        _percent(axes, "x")
        axes.legend(loc="lower right", ncols=2)
    return figure


def quality_against_latency(rows: Sequence[tuple[str, float, float, int]]) -> Figure:
    """(name, microseconds a row, log-loss, bytes); down and left is better."""
    with _drawn("What quality costs", "microseconds a flight (native model, batches)", "log-loss, test") as (
        figure,
        axes,
    ):
        for name, microseconds, loss, size in rows:
            label = f"{_label(name)}, {size / 1000:,.0f} kB"
            axes.scatter(microseconds, loss, s=70, color=COLOURS[name], zorder=3, label=label)
        axes.legend(loc="upper right")
        axes.set_xscale("log")
        axes.margins(x=0.15, y=0.2)
    return figure


def importance(names: Sequence[str], means: Sequence[float], deviations: Sequence[float]) -> Figure:
    """The twenty columns that the champion would miss most."""
    shown = slice(None, 20)
    with _drawn("What the champion looks at", "log-loss lost when the column is shuffled", "", (8, 5.6)) as (
        figure,
        axes,
    ):
        axes.barh(names[shown], means[shown], xerr=deviations[shown], color=BLUE, ecolor=MUTED, height=0.7)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    return figure


def slices(rows: Sequence[tuple[str, str, float, int]], overall: float) -> Figure:
    """(cut, slice, AUC, flights) of each slice that is large enough to judge."""
    with _drawn("Where it works better and worse", "AUC, test", "", (8, 1.2 + 0.27 * len(rows))) as (figure, axes):
        places = {
            cut: BLUE if number % 2 else ORANGE
            for number, cut in enumerate(dict.fromkeys(cut for cut, _, _, _ in rows))
        }
        axes.axvline(overall, color=MUTED, linewidth=1, linestyle=":")
        for place, (cut, _, auc, flights) in enumerate(rows):
            axes.scatter(auc, place, s=42, color=places[cut], zorder=3)
            axes.annotate(f"{flights:,}", (1.08, place), xycoords=("axes fraction", "data"), ha="right", va="center",
                          color=MUTED, fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{cut}: {name}" for cut, name, _, _ in rows])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.annotate("flights", (1.08, -0.9), xycoords=("axes fraction", "data"), ha="right", color=MUTED, fontsize=8)
    return figure


def serving(servers: Mapping[str, Mapping[int, tuple[float, float]]], labels: Mapping[str, str]) -> Figure:
    """Server -> connections -> (requests a second, p99 in milliseconds); `labels` are the servers' full names."""
    panels = (("Answers a second: higher is better", "requests/s"), ("The slowest of 100: lower is better", "p99, ms"))
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6))
        both = figure.subplots(1, 2)
        for place, (axes, (title, y)) in enumerate(zip(both, panels, strict=True)):
            axes.set(title=title, xlabel="connections", ylabel=y, xscale="log", yscale="log")
            for name, loads in servers.items():
                figures = [figures[place] for figures in loads.values()]
                axes.plot(list(loads), figures, label=labels[name], marker="o", color=SERVER_COLOURS[name],
                          linewidth=2.4 if name == "ontime" else 1.6, zorder=3 if name == "ontime" else 2)  # fmt: skip
            _plain_ticks(axes, sorted({connections for loads in servers.values() for connections in loads}))
        handles, names = both[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def _plain_ticks(axes: Axes, across: Sequence[int]) -> None:
    """Log axes that say 16 and 2,000, not 2 x 10^3."""
    axes.set_xticks(across, [str(each) for each in across])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


REPLAY_COLOURS = {"living": "#0072b2", "never": "#d55e00", "rate_table": "#cc79a7"}


def _month_names(months: Sequence[Mapping[str, Any]]) -> list[str]:
    return [pd.Period(month["month"]).strftime("%b") for month in months]


def _over_months(
    months: Sequence[Mapping[str, Any]], names: Mapping[str, str], figure_name: str, title: str, y: str, digits: int
) -> Figure:
    """One line a system, with the mean of its months in the legend."""
    with _drawn(title, "", y, (9, 4.2)) as (figure, axes):
        for name, words in names.items():
            values = [month[name][figure_name] for month in months]
            width = 2.4 if name == "living" else 1.5
            label = f"{words}: {np.mean(values):.{digits}f} in the mean"
            axes.plot(range(len(months)), values, color=REPLAY_COLOURS[name], marker="o", markersize=4,
                      linewidth=width, label=label)  # fmt: skip
        axes.set_xticks(range(len(months)), _month_names(months))
        axes.grid(axis="x", visible=False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.28), ncols=len(names))
    return figure


def replay_auc(months: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Figure:
    return _over_months(months, names, "auc", "How well late and on-time flights are told apart", "AUC", 3)


def replay_cost(months: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Figure:
    return _over_months(months, names, "cost_per_1000", "What missed delays and false alarms cost",
                         "cost of 1000 flights", 0)  # fmt: skip


TIERS = {1: "stop", 2: "retrain", 3: "report"}
EVENTS = {  # row of the time line: what is drawn there, and how
    "retraining": ("retraining", "o", "#0072b2"),
    "gate promote": ("gate: through", "^", "#009e73"),
    "gate keep": ("gate: kept", "v", "#d55e00"),
    "promotion": ("promotion", "D", "#009e73"),
    "rollback": ("rollback", "X", "#d55e00"),
}


def replay_timeline(
    events: Sequence[Mapping[str, Any]], days: Sequence[Mapping[str, Any]], start: str, until: str
) -> Figure:
    """Alerts of each tier, and what was done: one row each, days from left to right."""
    rows: dict[str, tuple[list[pd.Timestamp], str, str]] = {
        f"alert: {words}": ([pd.Timestamp(day["day"]) for day in days if any(a["tier"] == tier for a in day["alerts"])],
                            "|", {1: "#d55e00", 2: "#e69f00", 3: MUTED}[tier])
        for tier, words in sorted(TIERS.items(), reverse=True)
    }  # fmt: skip
    for kind, (words, marker, colour) in EVENTS.items():
        when = [pd.Timestamp(event["day"]) for event in events
                if kind in (event["kind"], f"{event['kind']} {event['verdict']}")]  # fmt: skip
        rows[words] = (when, marker, colour)
    with _drawn("What the loop saw and did", "", "", (9, 3.6)) as (figure, axes):
        for place, (_, (when, marker, colour)) in enumerate(rows.items()):
            axes.scatter(when, [place] * len(when), marker=marker, color=colour, s=60, zorder=3)  # type: ignore[arg-type]  # dates
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(pd.Timestamp(start), pd.Timestamp(until))  # type: ignore[arg-type]  # dates
        axes.xaxis.set_major_locator(MonthLocator())  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(DateFormatter("%b"))  # type: ignore[no-untyped-call]
    return figure


def performance_by_day(days: pd.DataFrame) -> Figure:
    """Above the log-loss and what it should be, below the share late as said and as it came, and how much is known.

    One row a day, by date: late, predicted, known (shares), log_loss, expected; NaN where nothing is known.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 5.4))
        above, below = figure.subplots(2, 1, sharex=True)
        above.set_title("How good the answers were, day by day")
        above.set_ylabel("log-loss")
        above.plot(days.index, days["log_loss"], color="#0072b2", label="as measured")
        above.plot(days.index, days["expected"], color=MUTED, label="if the probabilities were exactly right")
        below.set_ylabel("share of flights")
        below.fill_between(days.index, days["known"], color=MUTED, alpha=0.15, linewidth=0, label="outcome known")
        below.plot(days.index, days["late"], color="#d55e00", label="late")
        below.plot(days.index, days["predicted"], color="#0072b2", label="said to be late")
        below.set_ylim(0, 1.02)
        _percent(below, "y")
        for axes, under in ((above, -0.02), (below, -0.12)):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, under), ncols=3)
    return figure
