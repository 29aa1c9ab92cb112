"""The figure of the studies of features: what each family and each idea adds to all other features."""

from collections.abc import Mapping, Sequence
from typing import Any

from ontime import findings
from ontime.feature_worth import WorthVerdict
from ontime.figures import (
    ALERT,
    CALM,
    EDGE,
    INK,
    WIDTH,
    Picture,
    axes_of,
    few_ticks,
    legend,
    shortened,
    text_width,
    write,
)

COLOURS = {WorthVerdict.WORTH: CALM, WorthVerdict.NOISE: EDGE, WorthVerdict.WORSE: ALERT}


def worth_of_features(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Rows of the study: families left out of all features, and ideas added to all. Others are not drawn."""
    drawn = sorted((row for row in rows if row["kind"] != "in"), key=lambda row: -row["worth"]["value"])
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
