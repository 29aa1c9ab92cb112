"""The same numbers give the same bytes; a picture that fails leaves the old one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ontime import plots

LINE = np.linspace(0.02, 0.98, 30)
COUNTS = np.arange(1, 31)
FIGURES = {
    "late rate": lambda: plots.late_rate(pd.Series([0.1, 0.3], index=["a", "b"]), 0.2, "title", "x"),
    "heat": lambda: plots.late_by_hour_and_weekday(pd.DataFrame([[0.1, np.nan], [0.5, 0.2]])),
    "drift": lambda: plots.drift(pd.DataFrame({"2013-01": {"temp_f": 0.0}, "2013-02": {"temp_f": 3.0}})),
    "missing": lambda: plots.missingness(pd.Series({"a.b": 0.5, "a.c": 0.01})),
    "roc": lambda: plots.roc({"lightgbm": (LINE, LINE, 0.5)}, "lightgbm"),
    "precision": lambda: plots.precision_recall({"lightgbm": (LINE, LINE, 0.5)}, 0.25, "lightgbm"),
    "reliability": lambda: plots.reliability({"lightgbm": (LINE, LINE, COUNTS)}, "lightgbm"),
    "cost": lambda: plots.cost_by_threshold({"lightgbm": (LINE, 1000 * LINE)}, 0.25, 700, "lightgbm"),
    "latency": lambda: plots.quality_against_latency([("constant", 0.1, 0.57, 1), ("lightgbm", 6.0, 0.47, 900_000)]),
    "importance": lambda: plots.importance(["a", "b"], [0.2, 0.1], [0.01, 0.02]),
    "slices": lambda: plots.slices([("origin", "EWR", 0.7, 1000), ("month", "2013-11", 0.8, 2000)], 0.76),
    "serving": lambda: plots.serving({"ontime": {1: (800.0, 1.5), 64: (4200.0, 19.0)}}, {"ontime": "this service"}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_numbers_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    for path in ("one.png", "two.png"):
        plots.save(FIGURES[name](), tmp_path / path)

    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_other_numbers_give_another_picture(tmp_path: Path) -> None:
    for path, value in (("one.png", 0.1), ("two.png", 0.2)):
        plots.save(plots.importance(["a"], [value], [0.0]), tmp_path / path)

    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_picture_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(b"old")
    broken = Figure()
    broken.add_subplot(title=r"$\nosuchsymbol$")

    with pytest.raises(ValueError, match="nosuchsymbol"):
        plots.save(broken, path)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
