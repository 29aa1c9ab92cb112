"""The figures of the studies: what each family and each idea adds to all other features, and what alerts cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ontime import findings, plots
from ontime.alert_value import ALERT_ALWAYS, NO_ALERTS
from ontime.feature_worth import WorthVerdict
from ontime.figures import (
    ALERT,
    CALM,
    EDGE,
    INK,
    RULE,
    SOFT,
    WIDTH,
    Picture,
    axes_of,
    few_ticks,
    legend,
    shortened,
    text_width,
    write,
)
from ontime.schema import WORDS

VERDICTS = {WorthVerdict.WORTH: "better", WorthVerdict.NOISE: "within noise", WorthVerdict.WORSE: "worse"}
COLOURS = {WorthVerdict.WORTH: CALM, WorthVerdict.NOISE: EDGE, WorthVerdict.WORSE: ALERT}


def worth_of_features(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Rows of the study: families left out of all features, and ideas added to all. Others are not drawn."""
    drawn = sorted((row for row in rows if row["kind"] in ("out", "idea")), key=lambda row: -row["worth"]["value"])
    with axes_of(31 * len(drawn) + 40, "log-loss saved") as (figure, axes):
        dots = {}
        for place, row in enumerate(drawn):
            worth, verdict = row["worth"], WorthVerdict(row["verdict"])
            axes.vlines(0, place, place + 0.4, color=INK, linewidth=1.2)  # not through the name above it
            axes.plot([worth["low"], worth["high"]], [place + 0.2] * 2, color=COLOURS[verdict], linewidth=2)
            dots[verdict] = axes.scatter(worth["value"], place + 0.2, s=42, color=COLOURS[verdict], zorder=3)
            value = f"{worth['value']:+z.4f}"
            name = f"{row['name']} (idea)" if row["kind"] == "idea" else row["name"]
            write(axes, shortened(name, WIDTH - text_width(value) - 16), 0, place - 0.2, color=INK)
            write(axes, value, 1, place - 0.2, ha="right")
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        few_ticks(axes, "x", 5)
        legend(figure, [(dots[verdict], str(verdict)) for verdict in WorthVerdict if verdict in dots])
    saved = "Log-loss that a family or an idea saves beside all other features"
    measure = f"{saved}, with 95\N{NO-BREAK SPACE}% interval by days"
    return Picture(worth_finding(drawn), measure, figure)


def worth_finding(drawn: Sequence[Mapping[str, Any]]) -> str:
    """The title: what is worth most, and how much is within noise.

    >>> row = {"kind": "out", "name": "weather", "verdict": "worth it", "worth": {"value": 0.002}}
    >>> worth_finding([row, row | {"name": "plane", "verdict": "within noise"}])
    'weather is worth most, 0.0020 of log-loss; plane is within noise'
    """
    best, *_ = drawn
    most = "Nothing is worth it"
    if best["verdict"] == WorthVerdict.WORTH:
        most = f"{best['name']} is worth most, {best['worth']['value']:.4f} of log-loss"
    parts = []
    for verdict in (WorthVerdict.NOISE, WorthVerdict.WORSE):
        names = [row["name"] for row in drawn if row["verdict"] == verdict]
        if names:
            few = findings.listed(names) if len(names) < 3 else str(len(names))
            parts.append(f"{few} {'is' if len(names) == 1 else 'are'} {verdict}")
    return "; ".join([most, *parts])


def value_of_steps(report: Mapping[str, Any]) -> Picture:
    """A waterfall: the cost without alerts, what each step saves of it, and the cost that is left."""
    steps = report["steps"]
    with axes_of(31 * (len(steps) + 1) + 6) as (figure, axes):
        before, bars = 0.0, {}
        for place, step in enumerate(steps):
            cost, saved = step["cost_per_1000"], step["saved"]
            colour = INK if saved is None else COLOURS[WorthVerdict(saved["verdict"])]
            bar = axes.barh(place + 0.2, cost - before, left=before, height=0.3, color=colour)
            if saved is not None:
                axes.plot([before - saved["high"], before - saved["low"]], [place + 0.2] * 2, color=INK, linewidth=1.2)
                bars[saved["verdict"]] = bar
                axes.plot([cost, cost], [place + 0.05, place + 1.35], color=RULE, linewidth=1.2, zorder=0)
            text = f"{cost:.0f}" if saved is None else f"{-saved['value']:+z.1f}"
            _row(axes, place, _step_name(step["name"], report), text)
            before = cost
        axes.barh(len(steps) + 0.2, before, height=0.3, color=INK)
        _row(axes, len(steps), "what is left", f"{before:.0f}")
        axes.set_ylim(len(steps) + 0.55, -0.55)
        axes.set_xlim(0, None)
        axes.axis("off")
        legend(figure, [(bars[verdict], str(verdict)) for verdict in WorthVerdict if verdict in bars])
    costs = f"a missed one costs {report['cost']['missed']:g}, a false alarm {report['cost']['false_alarm']:g}"
    measure = f"Cost per 1,000 {WORDS.entities} of the test period, where {costs}; lines: 95\N{NO-BREAK SPACE}% by days"
    return Picture(value_finding(steps, report), measure, figure)


def _row(axes: Axes, place: int, name: str, text: str) -> None:
    write(axes, shortened(name, WIDTH - text_width(text) - 16), 0, place - 0.2, color=INK)
    write(axes, text, 1, place - 0.2, ha="right")


def _step_name(name: str, report: Mapping[str, Any]) -> str:
    plain = name.replace("_", " ")
    if name == report["algorithm"]:
        return f"{plain}, the request's features"
    return plain if name in (NO_ALERTS, report["baseline"]) else f"+ {plain}"


def value_finding(steps: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> str:
    """The title: the share of the cost without alerts that the last step saves, and the baseline.

    >>> steps = [{"name": "no alerts", "cost_per_1000": 800.0}, {"name": "rate_table", "cost_per_1000": 600.0},
    ...          {"name": "lightgbm", "cost_per_1000": 400.0}]
    >>> value_finding(steps, {"algorithm": "lightgbm"}).replace(chr(160), " ")
    'Alerts of lightgbm save 50 % of the cost of no alerts; those of rate table save 25 %'
    """
    nothing, baseline, *_, last = steps
    ours, theirs = (1 - step["cost_per_1000"] / nothing["cost_per_1000"] for step in (last, baseline))
    saves = f"Alerts of {report['algorithm']} {_saves(ours)} of the cost of no alerts"
    return f"{saves}; those of {baseline['name'].replace('_', ' ')} {_saves(theirs)}"


def _saves(share: float) -> str:
    return f"{'save' if share >= 0 else 'add'} {findings.percent(abs(share), 0)}"


def costs_by_ratio(report: Mapping[str, Any]) -> Picture:
    """The cost of no alerts, of alerts always, of the baseline and of the model, by the ratio of both costs."""
    rows, algorithm = report["ratios"], report["algorithm"]
    ratios = [row["ratio"] for row in rows]
    looks = {NO_ALERTS: (SOFT, ":"), ALERT_ALWAYS: (EDGE, "--")}
    with axes_of(250, "cost of a missed one, in false alarms") as (figure, axes):
        lines = []
        for name in rows[0]["costs"]:
            colour, style = looks.get(name, (plots.COLOURS.get(name, INK), "-"))
            costs = [row["costs"][name] for row in rows]
            width = 2.6 if name == algorithm else 1.4
            line = axes.plot(ratios, costs, color=colour, linestyle=style, linewidth=width)[0]
            lines.append((line, name.replace("_", " ")))
        # No alerts at 10 : 1 would flatten all other lines.
        axes.set_ylim(0, 1.3 * max(row["costs"][ALERT_ALWAYS] for row in rows))
        few_ticks(axes, "x", 10)
        few_ticks(axes, "y")
        legend(figure, lines)
    measure = f"Cost per 1,000 {WORDS.entities} of the test period, in false alarms, alerting from 1 / (1 + ratio) on"
    return Picture(ratio_finding(rows, algorithm), measure, figure)


def ratio_finding(rows: Sequence[Mapping[str, Any]], algorithm: str) -> str:
    """The title: at how many ratios the model is cheapest beyond noise, and where it saves most.

    >>> row = {"ratio": 2, "cheapest_other": "no alerts", "saved": {"value": 9.6, "low": 2.0, "high": 17.0}}
    >>> ratio_finding([row, row | {"ratio": 3, "saved": {"value": -1.0, "low": -2.0, "high": 0.5}}], "lightgbm")
    'lightgbm is cheapest at 1 of 2 ratios; at 2 : 1 it saves most, 10 against no alerts'
    """
    wins = sum(row["saved"]["low"] > 0 for row in rows)
    most = max(rows, key=lambda row: row["saved"]["value"])
    cheapest = f"{algorithm} is cheapest at {wins} of {len(rows)} ratios"
    if not wins:
        return cheapest
    other = most["cheapest_other"].replace("_", " ")
    return f"{cheapest}; at {most['ratio']} : 1 it saves most, {most['saved']['value']:.0f} against {other}"


def models_by_latency(report: Mapping[str, Any]) -> Picture:
    """Each candidate's log-loss on the validation period, with the interval of its difference from the best one."""
    rows, best = report["rows"], report["best"]
    (reference,) = (row["valid"]["log_loss"] for row in rows if row["name"] == best)
    with axes_of(260, "microseconds for one row (ONNX, one thread)") as (figure, axes):
        axes.axhline(reference, color=RULE, linewidth=1.2, zorder=0)
        lines = []
        for row in rows:
            latency, loss, worth = row["costs"]["row_us"], row["valid"]["log_loss"], row["worth"]
            colour = plots.COLOURS.get(row["name"], INK)
            if row["name"] != best:
                ends = [reference - worth["high"], reference - worth["low"]]
                axes.plot([latency] * 2, ends, color=colour, linewidth=1.6)
            dot = axes.scatter(latency, loss, s=70, color=colour, zorder=3)
            lines.append((dot, f"{row['name'].replace('_', ' ')}, {row['costs']['size_kb']:,.0f} kB"))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.margins(x=0.1)
        few_ticks(axes, "y", 7)
        legend(figure, lines)
    judged = f"Log-loss on the validation period, means of {report['seeds']} seeds; lower left is better"
    return Picture(models_finding(rows, best), f"{judged}; lines: 95\N{NO-BREAK SPACE}% by days", figure)


def compression(report: Mapping[str, Any]) -> Picture:
    """Each smaller model's log-loss above that of the best candidate, with its interval, its size and its latency."""
    rows = [row for row in report["rows"] if row["name"] != report["best"]]
    with axes_of(31 * len(rows) + 40, f"log-loss above that of {report['best'].replace('_', ' ')}") as (figure, axes):
        dots = {}
        for place, row in enumerate(rows):
            worth, verdict = row["worth"], WorthVerdict(row["verdict"])
            axes.vlines(0, place, place + 0.4, color=INK, linewidth=1.2)  # not through the name above it
            axes.plot([-worth["high"], -worth["low"]], [place + 0.2] * 2, color=COLOURS[verdict], linewidth=2)
            dots[verdict] = axes.scatter(-worth["value"], place + 0.2, s=42, color=COLOURS[verdict], zorder=3)
            text = _file(row["costs"])
            name = shortened(row["name"].replace("_", " "), WIDTH - text_width(text) - 16)
            write(axes, name, 0, place - 0.2, color=INK)
            write(axes, text, 1, place - 0.2, ha="right")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        few_ticks(axes, "x", 5)
        legend(figure, [(dots[verdict], VERDICTS[verdict]) for verdict in WorthVerdict if verdict in dots])
    measure = "Log-loss on the validation period, 95\N{NO-BREAK SPACE}% by days; size, and time of one row"
    return Picture(compression_finding(report["rows"], report["best"]), measure, figure)


def _file(costs: Mapping[str, float]) -> str:
    return f"{costs['size_kb']:,.0f} kB, {costs['row_us']:.0f} µs"


def compression_finding(rows: Sequence[Mapping[str, Any]], best: str) -> str:
    """The title: the smallest file that is not worse than the best candidate; or the one that loses least.

    >>> row = {"name": "lightgbm", "verdict": "within noise", "costs": {"size_kb": 500.0}}
    >>> small = row | {"name": "60 trees", "costs": {"size_kb": 100.0}}
    >>> compression_finding([row, small], "lightgbm").replace(chr(160), " ")
    '60 trees is as good as lightgbm, with 20 % of its size'
    """
    (whole,) = (row["costs"]["size_kb"] for row in rows if row["name"] == best)
    smaller = [row for row in rows if row["costs"]["size_kb"] < whole]
    as_good = [row for row in smaller if row["verdict"] != WorthVerdict.WORSE]
    plain = best.replace("_", " ")
    if not smaller:
        return f"No model is smaller than {plain}"
    if not as_good:
        least = max(smaller, key=lambda row: row["worth"]["value"])
        lost = f"the closest, {least['name'].replace('_', ' ')}, loses {-least['worth']['value']:.4f}"
        return f"Every smaller model is worse than {plain}; {lost}"
    smallest = min(as_good, key=lambda row: row["costs"]["size_kb"])
    share = findings.percent(smallest["costs"]["size_kb"] / whole, 0)
    return f"{smallest['name'].replace('_', ' ')} is as good as {plain}, with {share} of its size"


def models_finding(rows: Sequence[Mapping[str, Any]], best: str) -> str:
    """The title: which candidates are better beyond noise than the best one of the last training.

    >>> row = {"name": "lightgbm", "verdict": "within noise", "worth": {"value": 0.0}}
    >>> models_finding([row, row | {"name": "catboost", "verdict": "worse"}], "lightgbm")
    'Nothing is better than lightgbm beyond noise; catboost is worse'
    """
    better, noise, worse = (
        [row["name"].replace("_", " ") for row in rows if row["verdict"] == verdict and row["name"] != best]
        for verdict in (WorthVerdict.WORTH, WorthVerdict.NOISE, WorthVerdict.WORSE)
    )
    plain = best.replace("_", " ")
    won = (
        f"{_those(better)} better than {plain} beyond noise"
        if better
        else f"Nothing is better than {plain} beyond noise"
    )
    return "; ".join(
        [won, *(f"{_those(names)} {words}" for names, words in ((noise, "within noise"), (worse, "worse")) if names)]
    )


def _those(names: Sequence[str]) -> str:
    """
    >>> _those(["a", "b", "c"])
    '3 are'
    """
    few = findings.listed(names) if len(names) < 3 else str(len(names))
    return f"{few} {'is' if len(names) == 1 else 'are'}"
