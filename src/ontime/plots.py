"""Plots of the data and of a model. Each function takes a small table and returns a figure with its title."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from ontime import findings
from ontime.candidates import CANDIDATES
from ontime.figures import (
    ALERT,
    ALERT_SOFT,
    CALM,
    CALM_SOFT,
    EDGE,
    INK,
    LINE,
    RULE,
    SHEET,
    SOFT,
    WIDTH,
    PageFigure,
    Picture,
    axes_of,
    few_ticks,
    label_days,
    label_months,
    label_places,
    legend,
    percents,
    save,
    shortened,
    text_width,
    write,
)
from ontime.problem import PROBLEM
from ontime.schema import WORDS

__all__ = ["Picture", "save"]

Floats = NDArray[np.floating[Any]]

# Okabe and Ito's palette and five of Tol's, which colour-blind readers can distinguish. A candidate's position in the
# registry determines its colour in all plots.
PALETTE = ("#9aa5b1", "#cc79a7", "#e69f00", "#009e73", "#0072b2", "#d55e00", "#56b4e9", "#882255", "#117733", "#332288",
           "#aa4499", "#999933")  # fmt: skip
COLOURS = dict(zip(CANDIDATES, cycle(PALETTE), strict=False))
MAX_COLUMNS = 12  # of a heat map: more do not fit side by side
MAX_BARS = 20
HIGHER = LinearSegmentedColormap.from_list("higher", [SHEET, ALERT_SOFT, "#d98d5f", ALERT])
FARTHER = LinearSegmentedColormap.from_list("farther", [SHEET, CALM_SOFT, "#5a9aa9", CALM])
KINDS = (RULE, CALM, ALERT, "#e69f00", "#882255", "#332288")  # of days, the most frequent first
MAX_WEEKS = 53
NO_LABEL = "No row of the data has a label: run `make train`, or see reports/data_quality.json."
ENTITIES, POSITIVE, NEGATIVE = WORDS.entities, WORDS.positive, WORDS.negative


def _label(name: str) -> str:
    return name.replace("_", " ")


def rate_by_month(rates: pd.Series, overall: float) -> Picture:
    """The share of positive rows by month (`2013-01`); NaN without labels."""
    labelled = rates.dropna()
    if labelled.empty:
        return Picture(f"No month has {ENTITIES} with a label", NO_LABEL, None)
    figure, axes = _rate_bars(labelled, overall, findings.highest(labelled))
    label_months(axes, [str(month) for month in labelled.index])
    return Picture(findings.rate_by_month(labelled), f"Share of {ENTITIES} that were {POSITIVE}, by month", figure)


def rate_by_hour(rates: pd.Series, overall: float) -> Picture:
    """The share of positive rows by hour of the day; NaN without labels."""
    labelled = rates.dropna()
    if labelled.empty:
        return Picture(f"No hour has enough {ENTITIES} with a label", NO_LABEL, None)
    figure, axes = _rate_bars(labelled, overall, labelled == labelled.max())
    label_places(axes, [str(hour) for hour in labelled.index])
    measure = f"Share of {ENTITIES} that were {POSITIVE}, by hour of the {WORDS.event} ({PROBLEM.zone})"
    return Picture(findings.rate_by_hour(labelled), measure, figure)


def _rate_bars(rates: pd.Series, overall: float, highlighted: "pd.Series[bool]") -> tuple[PageFigure, Axes]:
    """Bars of the shares, highlighted if the title names them; the overall share is a line."""
    with axes_of(220) as (figure, axes):
        colours = np.where(highlighted, ALERT, CALM)
        axes.bar(range(len(rates)), rates, color=list(colours), width=0.75 if len(rates) > 3 else 0.3)
        line = axes.axhline(overall, color=INK, linewidth=1.2, linestyle="--")
        axes.set_xlim(-0.6, len(rates) - 0.4)
        axes.grid(axis="x", visible=False)
        few_ticks(axes, "y")
        percents(axes, "y")
        legend(figure, [(line, f"all {ENTITIES}, {findings.percent(overall)}")])
    return figure, axes


def rate_by_hour_and_weekday(rates: pd.DataFrame) -> Picture:
    """`rates`: weekdays in rows, hours in columns. Drawn with hours from top to bottom; darker is higher."""
    if rates.size == 0 or rates.isna().all(axis=None):
        return Picture(f"No hour has enough {ENTITIES} with a label", NO_LABEL, None)
    clock = rates.T.rename(index=lambda hour: f"{hour}:00")
    figure = _heatmap(clock, lambda value: f"{100 * value:.0f}", HIGHER, 0.5)
    when = f"by weekday and hour of the {WORDS.event} ({PROBLEM.zone})"
    measure = f"{ENTITIES.capitalize()} that were {POSITIVE}, in percent, {when}"
    return Picture(findings.rate_by_hour_and_weekday(rates), measure, figure)


def drift(indices: pd.DataFrame, reference_months: int) -> Picture:
    """`indices`: columns of the data in rows, months in columns; the first `reference_months` are the reference."""
    if indices.shape[1] <= reference_months:
        hint = f"The first {reference_months} months are the reference for later ones."
        return Picture(f"No month to compare: the data have {indices.shape[1]} months", hint, None)
    ends = [findings.month_names([str(indices.columns[place])])[0] for place in (0, reference_months - 1)]
    reference = " to ".join(dict.fromkeys(ends))
    most = indices.max(axis=1).nlargest(MAX_COLUMNS).index
    table = indices.loc[[name for name in indices.index if name in most]].rename(index=_label)
    names = [pd.Period(month, "M") for month in indices.columns]
    table.columns = pd.Index([name.strftime("%b %Y") for name in names])
    figure = _heatmap(table.T, lambda value: f"{value:.{int(0.05 <= value < 9.95)}f}", FARTHER, 1.0)
    selection = f"; the {len(table)} of {len(indices)} columns that shift most" if len(table) < len(indices) else ""
    shift = f"above {findings.SHIFTED:g} is a shift"
    measure = f"Population stability index of each month against {reference}; {shift}{selection}"
    return Picture(findings.drift(indices), measure, figure)


def kinds_of_days(table: pd.DataFrame, of_days: pd.Series) -> Picture:
    """A calendar with the colour of each day's kind. `table`: of day_kinds.summarise_kinds; `of_days`: by date."""
    if table["share"].isna().all():
        return Picture(f"No kind of day has {ENTITIES} with a label", NO_LABEL, None)
    calendar = _calendar(of_days.map({name: place for place, name in enumerate(table.index)}))
    weeks = pd.date_range(calendar.columns[0], periods=calendar.shape[1] + 1, freq="7D")  # and the end of the last one
    with axes_of(7 * LINE + 40) as (figure, axes):
        look: dict[str, Any] = {"cmap": ListedColormap(KINDS), "vmin": -0.5, "vmax": len(KINDS) - 0.5}
        axes.pcolormesh(weeks, np.arange(8), calendar, edgecolors=SHEET, linewidth=1, **look)
        label_days(axes, weeks[0], weeks[-1])
        axes.set_yticks(np.arange(7) + 0.5, list(findings.DAYS))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        legend(figure, [(Patch(color=colour), name) for colour, name in zip(KINDS, table.index, strict=False)])
    first, last = max(weeks[0], of_days.index.min()), of_days.index.max()
    measure = f"Each week is a column, {first:%-d %b %Y} to {last:%-d %b %Y}; blank: a value of the day is missing"
    return Picture(findings.kinds_of_days(table), measure, figure)


def _calendar(numbers: pd.Series) -> pd.DataFrame:
    """The number of each day, weekdays in rows, the last weeks in columns, by their Monday."""
    days = pd.DatetimeIndex(numbers.index)
    mondays = days - pd.to_timedelta(days.weekday.to_numpy(), unit="D")
    table = pd.DataFrame({"monday": mondays, "weekday": days.weekday, "number": numbers.to_numpy()})
    cells = table.pivot(index="weekday", columns="monday", values="number").reindex(range(7)).astype(float)
    weeks = pd.date_range(mondays.min(), mondays.max(), freq="7D")
    return cells.reindex(columns=weeks[-MAX_WEEKS:])


def _heatmap(table: pd.DataFrame, form: Any, colours: LinearSegmentedColormap, most: float) -> PageFigure:
    names = [shortened(str(name), 130) for name in table.columns]
    upright = max(map(text_width, names)) + 4 > (WIDTH - 75) / len(names)
    head = max(map(text_width, names)) if upright else LINE
    with axes_of(18.5 * len(table) + head + 10) as (figure, axes):
        axes.imshow(table, cmap=colours, vmin=0, vmax=most, aspect="auto", interpolation="nearest")
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
        axes.set_yticks(range(len(table)), [str(name) for name in table.index])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(table.to_numpy(float)):
            if not np.isnan(value):
                colour = SHEET if value > 0.6 * most else INK
                axes.text(column, row, form(value), ha="center", va="center_baseline", color=colour)
    return figure


def missingness(shares: pd.Series) -> Picture:
    """The share of nulls of each column that has any."""
    if shares.empty:
        return Picture("Nothing is missing", "Every column of every table has a value in each row.", None)
    ordered = shares.sort_values(ascending=False)
    shown = ordered.iloc[:MAX_BARS]
    texts = ["< 0.1\N{NO-BREAK SPACE}%" if share < 0.0005 else findings.percent(share) for share in shown]
    selection = (
        f", the {len(shown)} of {len(ordered)} columns with most missing values" if len(shown) < len(ordered) else ""
    )
    return Picture(
        findings.missing(shares),
        f"Share of rows without a value{selection}",
        _named_bars([str(name) for name in shown.index], shown.to_list(), texts),
    )


def _named_bars(
    names: Sequence[str], values: Sequence[float], texts: Sequence[str], spread: Sequence[float] | None = None
) -> PageFigure:
    """One bar per row below its name, which may be as long as the figure is wide; the value is on the right."""
    with axes_of(31 * len(names) + 6) as (figure, axes):
        places = np.arange(len(names))
        axes.barh(places + 0.22, values, height=0.3, color=CALM)
        if spread is not None:
            axes.errorbar(values, places + 0.22, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.2, clip_on=False)
        for place, name, text in zip(places, names, texts, strict=True):
            left = shortened(name, WIDTH - text_width(text) - 16)
            write(axes, left, 0, place - 0.2, color=INK)
            write(axes, text, 1, place - 0.2, ha="right")
        axes.set_ylim(len(names) - 0.45, -0.55)
        errors = np.zeros(len(names)) if spread is None else np.asarray(spread)
        axes.set_xlim(min(0.0, np.min(values - errors)), max(np.max(values + errors), 1e-12))
        axes.axis("off")
    return figure


def _width(name: str, best: str, colours: Mapping[str, str] = COLOURS) -> dict[str, Any]:
    return {
        "color": colours.get(name, EDGE),
        "linewidth": 2.6 if name == best else 1.4,
        "zorder": 3 if name == best else 2,
    }


def _curves_axes(axes: Axes) -> None:
    for which in "xy":
        percents(axes, which)
        getattr(axes, f"set_{which}ticks")(np.linspace(0, 1, 6))
        getattr(axes, f"set_{which}lim")(-0.02, 1.02)


def roc(curves: Mapping[str, tuple[Floats, Floats, float]], best: str) -> Picture:
    """name -> (false positive rate, true positive rate, AUC)."""
    with axes_of(300, f"{NEGATIVE}, and alerted") as (figure, axes):
        guess = axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1.2, linestyle=":")
        lines = [(axes.plot(false, true, **_width(name, best))[0], f"{_label(name)}  {auc:.3f}")
                 for name, (false, true, auc) in curves.items()]  # fmt: skip
        _curves_axes(axes)
        legend(figure, [*lines, (guess[0], "chance  0.500")])
    aucs = {name: auc for name, (_, _, auc) in curves.items()}
    measure = f"Alerts among those {POSITIVE} by alerts among those {NEGATIVE}, at each threshold; with the AUC"
    return Picture(findings.best_of(aucs, best, "AUC"), measure, figure)


def precision_recall(curves: Mapping[str, tuple[Floats, Floats, float]], positive_rate: float, best: str) -> Picture:
    """name -> (recall, precision, average precision)."""
    with axes_of(300, f"{POSITIVE}, and alerted (recall)") as (figure, axes):
        chance = axes.axhline(positive_rate, color=SOFT, linewidth=1.2, linestyle=":")
        lines = [(axes.plot(recall, precision, **_width(name, best))[0], f"{_label(name)}  {average:.3f}")
                 for name, (recall, precision, average) in curves.items()]  # fmt: skip
        _curves_axes(axes)
        legend(figure, [*lines, (chance, f"chance  {positive_rate:.3f}")])
    recall, precision, _ = curves[best]
    finding = findings.precision_at_half(recall, precision, positive_rate, best)
    return Picture(finding, f"Alerts that were {POSITIVE} (precision) by recall; with the average precision", figure)


def reliability(
    curves: Mapping[str, tuple[Floats, Floats, NDArray[np.integer[Any]]]],
    best: str,
    colours: Mapping[str, str] = COLOURS,
) -> Picture:
    """name -> (mean prediction, observed rate, entities) of each bin; a dot's area shows its number of entities."""
    with axes_of(300, "predicted probability") as (figure, axes):
        exact = axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1.2, linestyle=":")
        lines = []
        for name, (predicted, observed, entities) in curves.items():
            look = _width(name, best, colours)
            marker: dict[str, Any] = {} if len(predicted) > 1 else {"marker": "o", "markersize": 6}
            lines.append((axes.plot(predicted, observed, **look, **marker)[0], _label(name)))
            if name == best:
                axes.scatter(predicted, observed, s=260 * entities / entities.max() + 8, color=look["color"], zorder=4)
        _curves_axes(axes)
        legend(figure, [*lines, (exact[0], "exactly right")])
    shown = f"{ENTITIES.capitalize()} that were {POSITIVE}, by predicted probability"
    measure = f"{shown}; the area of a dot shows their number ({_label(best)})"
    return Picture(findings.reliability(*curves[best], best), measure, figure)


def cost_by_threshold(
    curves: Mapping[str, tuple[Floats, Floats]], threshold: float, no_alert_cost: float, best: str
) -> Picture:
    """name -> (thresholds, cost per 1,000 entities)."""
    with axes_of(230, "alert from this probability on") as (figure, axes):
        silent = axes.axhline(no_alert_cost, color=SOFT, linewidth=1.2, linestyle=":")
        chosen = axes.axvline(threshold, color=ALERT, linewidth=1.4, linestyle="--")
        lines = [(axes.plot(thresholds, cost, **_width(name, best))[0], _label(name))
                 for name, (thresholds, cost) in curves.items()]  # fmt: skip
        percents(axes, "x")
        few_ticks(axes, "y")
        legend(figure, [*lines, (chosen, f"alert from {findings.percent(threshold, 0)}"), (silent, "never alerting")])
    finding = findings.threshold(*curves[best], threshold, no_alert_cost)
    return Picture(finding, f"Cost per 1,000 {ENTITIES} (cost in params.yaml), by alert threshold", figure)


def quality_against_latency(rows: Sequence[tuple[str, float, float, int]]) -> Picture:
    """(name, microseconds per row, log-loss, bytes); lower left is better."""
    with axes_of(200, "microseconds per row (native model, batches)") as (figure, axes):
        lines = []
        for name, microseconds, loss, size in rows:
            colour = COLOURS.get(name, EDGE)
            dot = axes.scatter(microseconds, loss, s=80, color=colour, zorder=3)
            lines.append((dot, f"{_label(name)}, {size / 1000:,.0f} kB"))
        times = [row[1] for row in rows]
        axes.set_xscale("log")
        axes.set_xlim(min(times) / 3, max(times) * 3)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        few_ticks(axes, "y", 9)
        axes.margins(y=0.2)
        legend(figure, lines)
    return Picture(findings.quality_against_latency(rows), "Log-loss on the test period; lower left is better", figure)


def importance(names: Sequence[str], means: Sequence[float], deviations: Sequence[float]) -> Picture:
    """The twenty features of highest permutation importance for the best candidate."""
    if not names:
        return Picture("Feature importance was not measured", "`make study` measures it.", None)
    top = slice(None, MAX_BARS)
    figure = _named_bars(names[top], means[top], [f"{mean:.4f}" for mean in means[top]], deviations[top])
    measure = "Increase of the log-loss when a feature is shuffled, mean and standard deviation"
    return Picture(findings.importance(names, means), measure, figure)


def slices(rows: Sequence[tuple[str, str, float, Sequence[float] | None, int]], overall: float, where: str) -> Picture:
    """(dimension, slice, AUC, its 95 % interval, entities) of each slice; no interval for too few days."""
    if not rows:
        hint = "The minimum is evaluate.slice_min_rows and slice_min_positive in params.yaml."
        return Picture(f"No slice has enough {ENTITIES} to judge", hint, None)
    lines: list[tuple[str, tuple[float, Sequence[float] | None, int] | None]] = []
    for dimension in dict.fromkeys(row[0] for row in rows):
        lines += [
            (dimension, None),
            *((name, (auc, interval, count)) for each, name, auc, interval, count in rows if each == dimension),
        ]
    with axes_of(18.5 * len(lines) + 34) as (figure, axes):
        axes.axvline(overall, color=SOFT, linewidth=1.2, linestyle=":")
        for place, (_, score) in enumerate(lines):
            if score is not None:
                _slice(axes, place, *score, overall)
        labels = axes.set_yticks(range(len(lines)), [shortened(name, 130) for name, _ in lines])
        for tick, (_, score) in zip(labels, lines, strict=True):
            tick.label1.set(fontweight="normal" if score else "bold", color=SOFT if score else INK)
        write(axes, ENTITIES, 1.17, 0, ha="right")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(lines) - 0.4, -0.7)
        axes.margins(x=0.08)
        few_ticks(axes, "x", 4)
        axes.grid(axis="y", visible=False)
    none = "" if all(interval for _, _, _, interval, _ in rows) else "; hollow: too few days for an interval"
    measure = f"AUC {where} with 95\N{NO-BREAK SPACE}% interval by days; dotted: all {ENTITIES}, {overall:.3f}{none}"
    return Picture(findings.slices(rows, overall), measure, figure)


def _slice(axes: Axes, place: int, auc: float, interval: Sequence[float] | None, entities: int, overall: float) -> None:
    worse = interval is not None and interval[1] < overall
    colour = ALERT if worse else CALM
    if interval is not None:
        axes.plot(interval, [place, place], color=colour, linewidth=2, solid_capstyle="round")
    axes.scatter(auc, place, s=42, color="none" if interval is None else colour, edgecolor=colour, zorder=3)
    write(axes, f"{entities:,}", 1.17, place, ha="right")
