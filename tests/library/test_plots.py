"""Each picture at many sizes of data: nothing collides, nothing leaves the sheet, too little is said in words."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ontime import figures, operation_plots, plots, search_plots, study_plots
from ontime.figures import Picture

LINE = np.linspace(0.02, 0.98, 30)
COUNTS = np.arange(1, 31)
CANDIDATES = ["constant", "rate_table", "logistic", "hist_gradient_boosting", "lightgbm"]
SYSTEMS = {"retrained": "retrained", "never_retrained": "never retrained", "rate_table": "rate table"}
SIZES = (1, 2, 3, 12, 24, 60)
LONG = "a_name_that_nobody_would_choose_and_that_is_longer_than_a_phone_is_wide"


def months_of(count: int, first: str = "2012-11") -> list[str]:
    return [str(month) for month in pd.period_range(first, periods=count, freq="M")]


def candidates(count: int) -> list[str]:
    """The project's own, then others with long names; the first is the best on validation."""
    return [*reversed(CANDIDATES), *(f"{LONG}_{number}" for number in range(20))][: min(count, 12)]


def replayed(count: int) -> list[dict[str, Any]]:
    return [
        {"month": month, **{name: {"auc": 0.7 + 0.01 * (n % 5) + 0.001 * k, "cost_per_1000": 400.0 + n + 50 * k}
                            for k, name in enumerate(SYSTEMS)}}
        for n, month in enumerate(months_of(count))
    ]  # fmt: skip


def lived(count: int) -> Picture:
    days = pd.date_range("2012-11-30", periods=count * 5)
    events = [{"day": str(day.date()), "kind": "gate", "verdict": "reject"} for day in days[::3]]
    watched = [{"day": str(day.date()), "alerts": [{"tier": 2}]} for day in days]
    return operation_plots.replay_timeline(events, watched, str(days[0].date()), str(days[-1].date()))


def told_days(count: int) -> pd.DataFrame:
    shares = np.resize([0.1, 0.35, 0.2], count)
    return pd.DataFrame(
        {"positive": shares, "predicted": shares + 0.01, "log_loss": shares, "expected": shares, "labelled": 100.0},
        index=pd.date_range("2012-12-30", periods=count, freq="D" if count < 24 else "11D"),
    )


def named(count: int) -> list[str]:
    return [LONG[: 5 + 7 * (number % 10)] + str(number) for number in range(count)]


def value_report(count: int) -> dict[str, Any]:
    """As many steps and ratios; a step saves 80, nothing, or -50."""
    steps: list[dict[str, Any]] = [{"name": "no alerts", "cost_per_1000": 2500.0, "saved": None}]
    for number, name in enumerate(["rate_table", "lightgbm", *named(count)]):
        value, verdict = [(80.0, "worth it"), (0.0, "within noise"), (-50.0, "worse")][number % 3]
        saved = {"value": value, "low": value - 40, "high": value + 40, "verdict": verdict}
        steps.append({"name": name, "cost_per_1000": steps[-1]["cost_per_1000"] - value, "saved": saved})
    costs = {"alert always": 750.0, "rate_table": 600.0, "lightgbm": 400.0, LONG: 500.0}
    saved = {"value": 200.0, "low": 150.0, "high": 250.0}
    ratios = [
        {"ratio": ratio, "costs": {"no alerts": 250.0 * ratio, **costs}, "cheapest_other": LONG, "saved": saved}
        for ratio in range(1, count + 1)
    ]
    cost = {"missed": 3.0, "false_alarm": 1.0}
    return {"algorithm": "lightgbm", "baseline": "rate_table", "cost": cost, "steps": steps, "ratios": ratios}


def kinds_picture(count: int) -> Picture:
    """As many weeks, and up to six kinds of days."""
    names = named(min(count, 6))
    days = pd.Series(np.resize(names, 7 * count), pd.date_range("2012-12-30", periods=7 * count))
    table = pd.DataFrame({"days": 7 * count // len(names), "share": np.linspace(0.1, 0.5, len(names))}, names)
    return plots.kinds_of_days(table, days.drop(days.index[2]))


def search_report(count: int) -> dict[str, Any]:
    """Three searches with as many trials; the second one is worse than all that is drawn."""
    searches = []
    for place, name in enumerate(("grid", "random", "bayesian")):
        worth = {"value": 0.0004 * place, "verdict": "within noise"}
        trials = [{"log_loss": 0.48 + place % 2 - 0.0001 * n, "cpu_seconds": 90.0 * n} for n in range(1, count + 1)]
        searches.append({"name": name, "judged": {"validation": {"worth": worth}}, "trials": trials})
    return {"one_seed": 0.0015, "current": {"first_seed": 0.4795}, "searches": searches}


PICTURES: dict[str, Callable[[int], Picture]] = {
    "rate by month": lambda n: plots.rate_by_month(pd.Series(np.resize([0.1, 0.335], n), months_of(n)), 0.2),
    "rate by hour": lambda n: plots.rate_by_hour(pd.Series(np.resize([0.1, 0.3], min(n, 24)), range(min(n, 24))), 0.2),
    "heat": lambda n: plots.rate_by_hour_and_weekday(
        pd.DataFrame(np.resize([0.1, np.nan, 0.46], (min(n, 7), min(n, 24))),
                     index=["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][: min(n, 7)])
    ),
    "drift": lambda n: plots.drift(pd.DataFrame(np.resize([0.0, 12.34, 0.3], (n, n)), named(n), months_of(n)), 3),
    "kinds of days": kinds_picture,
    "missing": lambda n: plots.missingness(pd.Series(np.linspace(0.9, 1e-5, n), named(n))),
    "roc": lambda n: plots.roc(dict.fromkeys(candidates(n), (LINE, LINE, 0.5)), "lightgbm"),
    "precision": lambda n: plots.precision_recall(dict.fromkeys(candidates(n), (LINE, LINE, 0.5)), 0.25, "lightgbm"),
    "reliability": lambda n: plots.reliability(dict.fromkeys(candidates(n), (LINE, LINE, COUNTS)), "lightgbm"),
    "cost": lambda n: plots.cost_by_threshold(
        dict.fromkeys(candidates(n), (LINE, 1000 * LINE)), 0.25, 700, "lightgbm"
    ),
    "latency": lambda n: plots.quality_against_latency(
        [(name, 0.01 * 6.0**k, 0.5 - 0.001 * k, 10**k) for k, name in enumerate(candidates(n))]
    ),
    "importance": lambda n: plots.importance(named(n), list(np.linspace(0.2, 0.0, n)), [0.01] * n),
    "slices": lambda n: plots.slices(
        [(f"dimension {k // 3}", name, 0.7 + 0.001 * k, (0.6, 0.8) if k % 4 else None, 10**min(k, 8))
         for k, name in enumerate(named(n))], 0.76, "on the test period"
    ),
    "worth": lambda n: study_plots.worth_of_features(
        [{"kind": ("out", "idea")[k % 2], "name": name, "verdict": ("worth it", "within noise", "worse")[k % 3],
          "worth": {"value": 0.01 - 0.002 * k, "low": 0.005 - 0.002 * k, "high": 0.015 - 0.002 * k}}
         for k, name in enumerate(named(n))]
    ),
    "value": lambda n: study_plots.value_of_steps(value_report(n)),
    "ratios": lambda n: study_plots.costs_by_ratio(value_report(n)),
    "search": lambda n: search_plots.progress_of_searches(search_report(n)),
    "serving": lambda n: operation_plots.serving(
        {"ontime": {2**k: (800.0 * 2**k, 1.5 * 3**k) for k in range(min(n, 12))},
         "mlflow": {2**k: (700.0, 1.5 * 2**k) for k in range(min(n, 12))}}, {"ontime": "this service", "mlflow": LONG}
    ),
    "replay auc": lambda n: operation_plots.replay_auc(replayed(n), SYSTEMS),
    "replay cost": lambda n: operation_plots.replay_cost(replayed(n), SYSTEMS),
    "timeline": lived,
    "loss by day": lambda n: operation_plots.loss_by_day(told_days(n)),
    "shares by day": lambda n: operation_plots.shares_by_day(told_days(n)),
}  # fmt: skip
NOTHING: dict[str, Picture] = {
    "rate by month": plots.rate_by_month(pd.Series([np.nan], ["2013-01"]), np.nan),
    "rate by hour": plots.rate_by_hour(pd.Series([], dtype=float), np.nan),
    "heat": plots.rate_by_hour_and_weekday(pd.DataFrame()),
    "drift": plots.drift(pd.DataFrame({"2013-01": {"temp_f": 0.0}}), 3),
    "kinds of days": plots.kinds_of_days(pd.DataFrame({"share": [np.nan]}), pd.Series([], dtype=str)),
    "missing": plots.missingness(pd.Series([], dtype=float)),
    "importance": plots.importance([], [], []),
    "slices": plots.slices([], 0.76, "on the test period"),
    "serving": operation_plots.serving({}, {}),
    "replay": operation_plots.replay_auc([], SYSTEMS),
    "timeline": operation_plots.replay_timeline([], [], "2013-04-01", "2013-05-01"),
    "loss by day": operation_plots.loss_by_day(told_days(3).assign(log_loss=np.nan)),
    "shares by day": operation_plots.shares_by_day(told_days(0)),
}


def texts_of(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[str, float, Bbox]], Bbox]:
    """What is really written on the sheet, with its size and place, and the sheet."""
    written: list[tuple[str, float, Bbox]] = []
    draw = Text.draw

    def noted(self: Text, renderer: Any) -> None:
        if self.get_text().strip() and self.get_visible():
            written.append((self.get_text(), float(self.get_fontsize()), self.get_window_extent(renderer)))
        draw(self, renderer)

    with rc_context(figures.STYLE), figures.headed(picture) as figure:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]  # the first draw lays out
        monkeypatch.setattr(Text, "draw", noted)
        canvas.draw()  # type: ignore[no-untyped-call]
        monkeypatch.undo()
        return written, figure.bbox.frozen()


def collisions(written: list[tuple[str, float, Bbox]]) -> list[tuple[str, str]]:
    """Pairs whose boxes share more than the soft edge of a letter."""
    x0, y0, x1, y1 = np.array([box.extents for _, _, box in written]).T
    edge = 1.4
    apart = (x1[:, None] - edge <= x0) | (y1[:, None] - edge <= y0)
    return [(written[a][0], written[b][0]) for a, b in np.argwhere(~(apart | apart.T)) if a < b]


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.slow
def test_no_text_collides_or_leaves_the_sheet_or_is_too_small_for_a_phone(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, sheet = texts_of(PICTURES[name](count), monkeypatch)

    assert written
    assert collisions(written) == []
    assert [text for text, _, box in written if not (box.x0 >= -0.5 and box.x1 <= sheet.x1 + 0.5)] == []
    assert [text for text, _, box in written if not (box.y0 >= -0.5 and box.y1 <= sheet.y1 + 0.5)] == []
    shown = 358 / (figures.WIDTH + 2 * figures.MARGIN)  # pixels a point, on a page that is 390 wide
    assert min(size * shown for _, size, _ in written) >= 11


def test_what_collides_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = PICTURES["rate by month"](3)
    assert picture.figure is not None
    picture.figure.axes[0].set_xticks([0, 0.05], ["January", "February"])

    written, _ = texts_of(picture, monkeypatch)

    assert ("January", "February") in collisions(written)


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_draw_is_said_in_words_with_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = NOTHING[name]
    figures.save(picture, tmp_path / "nothing.png")

    assert picture.figure is None
    assert picture.finding
    assert picture.measure
    assert collisions(texts_of(picture, monkeypatch)[0]) == []


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    drawn = [PICTURES[name](12) for _ in range(2)]
    for place, picture in enumerate(drawn):
        figures.save(picture, tmp_path / f"{place}.png")

    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
    one, two = (figures.svg(each.figure, "drawn", {}) for each in drawn if each.figure is not None)
    assert one == two


def test_a_page_gets_the_drawing_without_title_and_margins_also_after_it_was_saved(tmp_path: Path) -> None:
    picture = PICTURES["replay auc"](9)
    assert picture.figure is not None
    before = re.findall("viewBox=.*?>", figures.svg(picture.figure, "a", {}))

    figures.save(picture, tmp_path / "saved.png")

    drawn = figures.svg(picture.figure, "a", {})
    assert re.findall("viewBox=.*?>", drawn) == before
    assert before[0].startswith(f'viewBox="0 0 {figures.WIDTH} ')
    assert picture.finding not in drawn


def test_other_numbers_give_another_picture(tmp_path: Path) -> None:
    for path, value in (("one.png", 0.1), ("two.png", 0.2)):
        figures.save(plots.importance(["a"], [value], [0.0]), tmp_path / path)

    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_picture_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(b"old")
    broken = PICTURES["roc"](1)
    assert broken.figure is not None
    broken.figure.text(0, 0, r"$\nosuchsymbol$", parse_math=True)

    with pytest.raises(ValueError, match="nosuchsymbol"):
        figures.save(broken, path)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_single_month_is_drawn_as_values_that_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    written = {text for text, _, _ in texts_of(operation_plots.replay_auc(replayed(1), SYSTEMS), monkeypatch)[0]}

    assert {"retrained", "0.700", "never retrained", "0.701", "rate table", "0.702"} <= written


def test_a_slice_shows_its_interval_and_one_without_is_hollow() -> None:
    rows = [("origin", "EWR", 0.70, (0.68, 0.72), 5000), ("origin", "HA", 0.9, None, 12)]

    picture = plots.slices(rows, 0.76, "on the test period")

    assert picture.figure is not None
    axes = picture.figure.axes[0]
    spans = [list(line.get_xdata()) for line in axes.lines]  # type: ignore[arg-type]  # an array
    assert [0.68, 0.72] in spans
    hollow = [len(dot.get_facecolor()) == 0 for dot in axes.collections]
    assert hollow == [False, True]
    assert "hollow: too few days for an interval" in picture.measure


def test_a_name_that_is_too_long_keeps_its_ends() -> None:
    short = figures.shortened("version-2026-11-25T10:00-of-a-very-long-branch-name-7", 100)

    assert figures.text_width(short) <= 100
    assert short.startswith("versi")
    assert short.endswith("7")


def test_an_svg_takes_the_colours_and_letters_of_its_page_and_has_ids_of_its_own() -> None:
    picture = PICTURES["replay auc"](9)
    assert picture.figure is not None

    drawn = figures.svg(picture.figure, "auc", {figures.CALM: "var(--calm)"})

    assert "var(--calm)" in drawn
    assert figures.CALM not in drawn
    assert "var(--sans)" in drawn
    assert "DejaVu" not in drawn
    assert all(name.startswith("auc-") for name in re.findall(r'\bid="([^"]*)"', drawn))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', drawn)) <= set(re.findall(r'\bid="([^"]*)"', drawn))
    assert not re.search(r"20\d\d-\d\d-\d\dT|matplotlib\.org", drawn)
