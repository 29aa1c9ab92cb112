"""The style of all figures, and their output as PNG or as SVG in a page. plots.py and operation_plots.py draw them.

A figure is as wide as a page on a phone, so that it is never scaled down; its title is outside the axes, because a page
sets it in its own font. The same numbers give the same bytes, so that DVC can tell whether a figure was reproduced.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ontime import files

# The light colours of serving/pages/style.css, by their names, for figures outside a page.
SHEET, INK, SOFT, RULE, EDGE = "#fffdf8", "#1a1c1e", "#575a5c", "#d8d2c4", "#85806f"
CALM, ALERT, CALM_SOFT, ALERT_SOFT = "#0b5c70", "#a33a06", "#d3e3e4", "#f2dccb"

# In points.
WIDTH = 358  # of a phone, 390 px, minus the margins of a page
MARGIN = 10  # around a PNG
TEXT, TITLE = 12, 17
LINE, TITLE_LINE = 15.5, 20
DPI = 144
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 2 / 72,
    "figure.constrained_layout.w_pad": 2 / 72,
    "figure.facecolor": SHEET,
    "savefig.facecolor": SHEET,
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "text.color": INK,
    "text.parse_math": False,  # a name may contain a dollar sign
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.labelsize": TEXT,
    "axes.edgecolor": EDGE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.frameon": False,
    "legend.fontsize": TEXT,
    "legend.handlelength": 1.3,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "legend.labelspacing": 0.25,
    "legend.columnspacing": 1.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "ontime",
}
HEADING = FontProperties(family="STIXGeneral", weight="bold")


class PageFigure(Figure):
    """A figure of the common width, which stores the height of its legend."""

    legend_points = 0.0

    def __init__(self, height: float) -> None:
        super().__init__(figsize=(WIDTH / 72, height / 72))

    def arrange(self, margin: float, head: float) -> None:
        """Add a margin around axes and legend, and space for a title of height `head` above them."""
        width, body = WIDTH + 2 * margin, self.get_figheight() * 72
        height = body + head + 2 * margin
        self.set_size_inches(width / 72, height / 72)
        below = (margin / width, margin / height, WIDTH / width, (body - self.legend_points) / height)
        if (engine := self.get_layout_engine()) is not None:
            engine.set(rect=below)  # type: ignore[call-arg]  # of the constrained layout
        for each in self.legends:
            each.set_bbox_to_anchor((margin / width, (margin + body) / height), self.transFigure)


class Picture(NamedTuple):
    """A figure with its title. Without data `figure` is None, and only finding and measure are shown."""

    finding: str  # the title: the result in a sentence
    measure: str  # the subtitle: the quantity and its unit; without data, what to do
    figure: PageFigure | None

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return png(self)


@contextmanager
def axes_of(height: float, x: str = "") -> Iterator[tuple[PageFigure, Axes]]:
    """A figure of the common width and `height` points, with one pair of axes."""
    with rc_context(STYLE):
        figure = PageFigure(height)
        yield figure, figure.add_subplot(xlabel=x)


def text_width(text: str, size: float = TEXT, heading: bool = False) -> float:
    """The width of the widest line in points, plus 2 % because letters are placed on whole pixels."""
    return 1.02 * size * max(sum(_advance(letter, heading) for letter in line) for line in text.split("\n"))


@cache
def _advance(letter: str, heading: bool) -> float:
    """The advance width of a letter at a size of one point."""
    font = get_font(findfont(HEADING if heading else FontProperties(family="DejaVu Sans")))
    font.set_size(100, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance) / 65536 / 100


def wrapped(text: str, width: float, size: float = TEXT, heading: bool = False) -> list[str]:
    """The text in lines of at most `width` points; a wider word is shortened."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, heading) <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(word, width, size, heading))
    return lines


def shortened(text: str, width: float, size: float = TEXT, heading: bool = False) -> str:
    """The text, with its middle elided if it is wider than `width`: names differ at their ends.

    >>> shortened("minutes_since_previous_event", 100)
    'minute…_event'
    """
    length = len(text)
    short = text
    while text_width(short, size, heading) > width and length > 2:
        length -= 1
        short = f"{text[: (length + 1) // 2]}…{text[len(text) - length // 2 :]}"
    return short


def png(picture: Picture) -> bytes:
    """The figure with its title as PNG; its metadata hold no time and no version."""
    content = io.BytesIO()
    with rc_context(STYLE), headed(picture) as figure:
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()


def save(picture: Picture, path: Path) -> None:
    """Write the figure with its title as PNG, atomically."""
    with files.replacing(path) as temporary:
        temporary.write_bytes(png(picture))


@contextmanager
def headed(picture: Picture) -> Iterator[Figure]:
    """The figure with title, subtitle and margins; restored at the end of the block."""
    figure = picture.figure or PageFigure(1e-3)
    titles, measures = wrapped(picture.finding, WIDTH, TITLE, heading=True), wrapped(picture.measure, WIDTH)
    body = figure.get_figheight()
    figure.arrange(MARGIN, len(titles) * TITLE_LINE + len(measures) * LINE + 10)
    width, height = WIDTH + 2 * MARGIN, figure.get_figheight() * 72
    texts, top = [], height - MARGIN
    for line in titles:
        texts.append(figure.text(MARGIN / width, top / height, line, fontproperties=HEADING, size=TITLE, va="top"))
        top -= TITLE_LINE
    for line in measures:
        texts.append(figure.text(MARGIN / width, (top - 3) / height, line, color=SOFT, va="top"))
        top -= LINE
    try:
        yield figure
    finally:
        for text in texts:
            text.remove()
        figure.set_figheight(body)


def svg(figure: PageFigure, name: str, variables: Mapping[str, str]) -> str:
    """The figure without its title as an SVG element; `variables` maps light colours to the page's CSS variables.

    It uses the page's font and colours, also in dark mode, and its ids begin with `name`.
    """
    buffer = io.StringIO()
    figure.arrange(0, 0)
    with rc_context({**STYLE, "savefig.transparent": True}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    markup = buffer.getvalue()
    markup = re.sub(r"<metadata>.*?</metadata>\s*", "", markup[markup.index("<svg") :], flags=re.DOTALL)
    markup = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', rf"<svg {HIDDEN} \1>", markup, count=1)
    markup = re.sub(r'\bid="', f'id="{name}-', markup)
    markup = re.sub(r'(url\(|xlink:href=")#', rf"\1#{name}-", markup).replace("xlink:href", "href")
    markup = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", markup)
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: variables.get(colour[0], colour[0]), markup)


HIDDEN = 'aria-hidden="true"'  # captions and tables hold the same information


# Tick labels never overlap: labels that do not fit are left out at even steps.


def percents(axes: Axes, which: str) -> None:
    form = FuncFormatter(lambda share, _: f"{100 * share:g}\N{NO-BREAK SPACE}%")
    getattr(axes, f"{which}axis").set_major_formatter(form)


def few_ticks(axes: Axes, which: str, most: int = 6) -> None:
    getattr(axes, f"{which}axis").set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))


def sparse(labels: Sequence[str], width: float) -> list[int]:
    """The positions of evenly spaced labels that fit side by side into `width`."""
    gap, widest = width / max(1, len(labels)), max(map(text_width, labels), default=0) + 6
    step = next((step for step in (1, 2, 3, 4, 5, 6, 10, 12, 20, 50) if step * gap >= widest), len(labels))
    return list(range(0, len(labels), max(1, step)))


def label_places(axes: Axes, labels: Sequence[str], width: float = WIDTH - 50) -> None:
    """Label the categories at 0, 1, 2 ..."""
    shown = sparse(labels, width)
    axes.set_xticks(shown, [labels[place] for place in shown])


def label_months(axes: Axes, months: Sequence[str], width: float = WIDTH - 50) -> None:
    """Label the months at 0, 1, 2 ... with names, and years below the first and each January; or with years only."""
    periods = [pd.Period(month, "M") for month in months]
    numbers = [(period.year - periods[0].year) * 12 + period.month - 1 for period in periods]
    gap = width / len(periods)
    step = next((step for step in (1, 2, 3, 6) if step * gap >= text_width("May") + 5), 12)
    if len(periods) < 4:
        step = 1
    while step >= 12 and step * gap < text_width("2013") + 6:
        step += 12
    shown = [place for place, number in enumerate(numbers) if number % step == 0]
    if step >= 12:
        axes.set_xticks(shown, [str(periods[place].year) for place in shown])
        return
    axes.set_xticks(shown, [periods[place].strftime("%b") for place in shown])
    _label_years(axes, [(place, str(periods[place].year), periods[place].month == 1) for place in shown], gap)


def _label_years(axes: Axes, shown: Sequence[tuple[Any, str, bool]], gap: float) -> None:
    """A second line of labels: (position, year, whether the year begins there)."""
    years = [each for number, each in enumerate(shown) if each[2] or number == 0]
    if len(years) > 1 and gap * _distance(years[0][0], years[1][0]) < text_width("2013") + 6:
        del years[0]
    axes.xaxis.remove_overlapping_locs = False
    axes.set_xticks([place for place, _, _ in years], [year for _, year, _ in years], minor=True)
    axes.tick_params(axis="x", which="minor", length=0, pad=4 + LINE)


def _distance(first: Any, second: Any) -> float:
    return (second - first).days if isinstance(first, date) else float(second - first)


def label_days(axes: Axes, first: pd.Timestamp, last: pd.Timestamp, width: float = WIDTH - 50) -> None:
    """Label the days from `first` to `last` with as many days, months or years as fit."""
    axes.set_xlim(first, last)  # type: ignore[arg-type]  # dates
    gap = width / max(1, (last - first).days)
    for freq, form in (("D", "%-d %b"), ("2D", "%-d %b"), ("7D", "%-d %b"), ("14D", "%-d %b"), ("MS", "%b"),
                       ("2MS", "%b"), ("QS", "%b"), ("YS", "%Y"), ("5YS", "%Y")):  # fmt: skip
        days = list(pd.date_range(first.normalize(), last, freq=freq))
        labels = [day.strftime(form) for day in days]
        nearest = min(((later - earlier).days * gap for earlier, later in pairwise(days)), default=width)
        if days and nearest >= max(map(text_width, labels)) + 5:
            axes.set_xticks(days, labels)  # type: ignore[arg-type]
            if form != "%Y":
                starts = [(day, str(day.year), day.dayofyear == 1) for day in days]
                _label_years(axes, starts, gap)
            return


def legend(figure: PageFigure, entries: Sequence[tuple[Any, str]]) -> None:
    """Add a legend above the axes, in as many columns as fit; the figure grows by its height."""
    handle = 1.3 * TEXT + 0.8 * TEXT
    labels = [shortened(label, WIDTH - handle - 4) for _, label in entries]
    cell = max(map(text_width, labels)) + handle + 1.4 * TEXT
    columns = max(1, min(len(entries), int((WIDTH + 1.4 * TEXT) // cell)))
    rows = -(-len(entries) // columns)
    figure.legend_points = rows * LINE + 8
    figure.set_figheight(figure.get_figheight() + figure.legend_points / 72)
    shown = figure.legend([handle for handle, _ in entries], labels, loc="upper left", ncols=columns)
    shown.set_in_layout(False)


def write(axes: Axes, text: str, x: float, y: float, ha: str = "left", color: str = SOFT) -> None:
    """Write text at x, a share of the axes' width, and y in data coordinates."""
    axes.annotate(text, (x, y), xycoords=("axes fraction", "data"), ha=ha, va="center", color=color)
