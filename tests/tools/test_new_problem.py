"""A first problem from a file: the kinds of its columns, what is refused, and that the problem reads the file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.operations import raw_files
from pipelines.tools import new_problem, open_decisions
from pipelines.tools.column_roles import ColumnRoles, NotWritten, assign_roles
from pipelines.tools.column_types import Kind, columns_of
from tests import ROOT

ROWS = 400
HOURS = pd.Series(pd.date_range("2021-01-01 09:30", periods=ROWS, freq="5h"))
DRAWN = np.random.default_rng(1)
VISITS = pd.DataFrame(
    {
        "Visit no.": range(ROWS),
        "at": HOURS.dt.strftime("%Y-%m-%d %H:%M"),
        "Clinic": DRAWN.choice(["north", "St. Mary"], ROWS),
        "days ahead": DRAWN.integers(0, 40, ROWS),
        "fee": np.where(DRAWN.random(ROWS) < 0.1, np.nan, DRAWN.normal(50, 9, ROWS).round(2)),
        "reminded": DRAWN.random(ROWS) < 0.5,
        "notes": [f"said: {number}" for number in range(ROWS)],
        "country": "IN",
        "missed": DRAWN.random(ROWS) < 0.3,
    }
)
KINDS: dict[str, tuple[Any, Kind]] = {
    "numbers with a hole": ([1, None, 3], Kind.NUMBER),
    "whole numbers": ([1, 2, 3], Kind.WHOLE),
    "codes in digits": ([29872499824296, 5642903, 7], Kind.CATEGORY),
    "yes or no": ([True, False, True], Kind.FLAG),
    "yes, no or a hole": ([True, None, False], Kind.CATEGORY),
    "words": (["a", "b", None], Kind.CATEGORY),
    "long words": (["a" * 200, "b", "c"], Kind.TEXT),
    "one value": (["a", None, "a"], Kind.CONSTANT),
    "a time": (["2021-01-01 09:30", "2021-01-01T10:00", None], Kind.TIME),
    "a time with offsets": (["2021-01-01T09:30:00+01:00", "2021-07-01T09:30:00+02:00"], Kind.TIME),
    "a time with and without": (["2021-01-01T09:30:00+01:00", "2021-07-01T09:30:00"], Kind.CATEGORY),
    "days, day first": (["13/01/2021", "02/01/2021"], Kind.TIME),
    "days, month first": (["01/13/2021", "01/02/2021"], Kind.TIME),
    "days in either order": (["01/02/2021", "03/04/2021"], Kind.CATEGORY),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chosen(table: pd.DataFrame, label: str = "missed", time: str = "", name: str = "visits.csv") -> ColumnRoles:
    path = Path(name)
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    return assign_roles("noshows", path, label, time)


@pytest.mark.parametrize("case", KINDS)
def test_the_kind_of_a_column_is_inferred(case: str) -> None:
    values, kind = KINDS[case]

    (column,) = columns_of(pd.DataFrame({"one": values}))

    assert column.kind is kind


@pytest.mark.usefixtures("folder")
def test_what_columns_are_to_the_problem() -> None:
    roles = chosen(VISITS)

    assert [each.name for each in roles.key] == ["visit_no"]
    assert [each.name for each in roles.features] == ["clinic", "days_ahead", "fee", "reminded"]
    assert str(roles.first_day) == "2021-01-01"
    assert str(roles.last_day) == str(HOURS.iloc[-1].date())


REFUSED: dict[str, tuple[pd.DataFrame, dict[str, str], str]] = {
    "no time": (VISITS.drop(columns="at"), {}, "no column of times.*Does it fit"),
    "two times": (VISITS.assign(booked="2020-01-01 00:00").assign(booked=HOURS), {}, "TIME=at or TIME=booked"),
    "TIME is none": (VISITS, {"time": "fee"}, "fee is numbers, not a time"),
    "a time is missing": (VISITS.assign(at=VISITS["at"].where(VISITS.index != 3)), {}, "rows with an empty at: 1"),
    "a fortnight": (VISITS[:60], {}, "a split by time needs 28 days"),
    "another century": (VISITS.assign(at=HOURS - pd.Timedelta(days=36525)), {}, "years from 2000 to 2099"),
    "no such label": (VISITS, {"label": "mised"}, "LABEL=mised is not one of the columns Visit no., Clinic"),
    "one value": (VISITS, {"label": "country"}, "LABEL=country has fewer than two values.*Does it fit"),
    "several classes": (VISITS.assign(Clinic=list("abcd") * 100), {"label": "Clinic"}, "a category with 4 values"),
    "no key": (VISITS.drop(columns="Visit no.").assign(at="2021-01-01 10:00").assign(
        at=VISITS["at"].where(VISITS.index % 2 == 0).ffill(), fee=1.5, **{"days ahead": 2}), {}, "identifies a row"),
}  # fmt: skip


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_does_not_fit_is_refused_by_name(case: str) -> None:
    table, arguments, message = REFUSED[case]

    with pytest.raises(NotWritten, match=message):
        chosen(table, **arguments)


def test_another_format_is_refused(folder: Path) -> None:
    with pytest.raises(NotWritten, match=r"visits\.xlsx is not one of \.csv, \.csv\.gz, \.parquet"):
        assign_roles("noshows", folder / "visits.xlsx", "missed")


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "No columns"), (b"\x8d\xff", "codec"), (b"a;b\n1;2\n", "single column")]
)
def test_a_file_that_is_no_csv_is_refused(content: bytes, why: str, folder: Path) -> None:
    (folder / "visits.csv").write_bytes(content)

    with pytest.raises(NotWritten, match=rf"visits\.csv .*{why}"):
        assign_roles("noshows", folder / "visits.csv", "missed")


@pytest.mark.usefixtures("folder")
def test_what_is_to_be_decided_is_listed_with_its_line() -> None:
    written = new_problem.write_problem(chosen(VISITS), Path("visits.csv"))

    listed = open_decisions.open_in(written)

    assert any(line.startswith("examples/noshows/problem/__init__.py:") and "time zone" in line for line in listed)
    for line in listed:
        path, number, text = line.split(":", 2)
        assert text.strip() in Path(path).read_text().splitlines()[int(number) - 1]


@pytest.mark.parametrize("path", ["examples/noshows/params.yaml", "raw/noshows.csv", "tests/library/test_noshows.py"])
def test_nothing_is_overwritten(path: str, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_text("mine")
    roles = chosen(VISITS)

    with pytest.raises(NotWritten, match="choose another NAME"):
        new_problem.write_problem(roles, Path("visits.csv"))

    assert {each for each in folder.rglob("*") if each.is_file()} == {folder / path, folder / "visits.csv"}
    assert (folder / path).read_text() == "mine"


def test_a_clone_has_the_raw_files(folder: Path) -> None:
    new_problem.write_problem(chosen(VISITS), Path("visits.csv"))

    for _ in range(2):
        raw_files.link_into(folder / "clone")

    assert (folder / "clone/raw/noshows.csv").read_bytes() == (folder / "visits.csv").read_bytes()


# Files with unusual formats: each generated problem reads its file, and the service computes the same features.
TIMED = VISITS.drop(columns="Visit no.")
ODD: dict[str, tuple[pd.DataFrame, dict[str, str]]] = {
    "offsets, the time as key": (TIMED.assign(at=HOURS.dt.tz_localize("UTC").map(pd.Timestamp.isoformat)), {}),
    "seconds, a label of many numbers": (TIMED.assign(at=HOURS + pd.Timedelta(seconds=7)), {"label": "days ahead"}),
    "day first, words as label": (
        VISITS.assign(at=HOURS.dt.strftime("%d/%m/%Y %H:%M"), missed=VISITS["missed"].map({True: "Yes", False: "No"})),
        {},
    ),
    "parquet, long numbers as key": (
        VISITS.assign(at=HOURS, **{"Visit no.": 10**12 + np.arange(ROWS)}), {"name": "visits.parquet"}
    ),
    "parquet, short numbers": (
        VISITS.astype({"days ahead": "int16", "Visit no.": "int32", "fee": "float32"}).assign(
            at=HOURS, beds=DRAWN.integers(0, 9, ROWS).astype("uint8"), staff=pd.array(range(ROWS), "Int32"),
            reminded=VISITS["reminded"].astype("boolean"),
        ),
        {"name": "visits.parquet"},
    ),
    "parquet, empty text": (
        VISITS.assign(at=HOURS, Clinic=VISITS["Clinic"].where(VISITS.index % 3 > 0, "")), {"name": "visits.parquet"}
    ),
    "time and clinic as key": (
        pd.concat([TIMED.assign(Clinic="north"), TIMED.assign(Clinic="south")]).drop(columns=["fee"]), {}
    ),
    "names that are taken": (
        VISITS.rename(columns={"days ahead": "label", "fee": "weekday", "reminded": "class", "Clinic": "It's \"x\""}),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
@pytest.mark.slow
def test_the_problem_reads_its_file(case: str, folder: Path) -> None:
    table, arguments = ODD[case]
    written = new_problem.write_problem(chosen(table, **arguments), Path(arguments.get("name", "visits.csv")))

    completed = own_tests(written, folder)

    assert completed.returncode == 0, completed.stdout


@pytest.mark.slow
def test_the_example_of_a_feature_that_is_looked_up_works(folder: Path) -> None:
    written = new_problem.write_problem(chosen(VISITS), Path("visits.csv"))
    for path in written.glob("problem/*.py"):
        text = path.read_text().replace("# from ontime.problem.online", "from ontime.problem.online")
        path.write_text(text.replace("# online_features=", "online_features=").replace("# Feature(", "Feature("))
    test = written / "tests/test_noshows.py"
    test.write_text(test.read_text().replace("    served =", LOOKED_UP))

    completed = own_tests(written, folder)

    assert completed.returncode == 0, completed.stdout


# The share of all rows known by then, in the 7 days before that, by hand.
LOOKED_UP = """    rows, week = tables["rows"], pd.Timedelta(days=7)
    recent = rows[(rows["known_at"] <= at) & (rows["known_at"] > at - week)]
    assert row["recent_rate"] == pytest.approx(recent["missed"].mean())
    served ="""


def own_tests(written: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    shutil.copy(written / "params.yaml", folder)
    environment = {**os.environ, "ONTIME_PROBLEM": str(folder / written / "problem"), "PYTHONPATH": str(ROOT / "src"),
                   "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # fmt: skip  # a second of imports
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(written / "tests")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
