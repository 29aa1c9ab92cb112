"""`ontime profile` writes the file with which the contract compares months."""

from dataclasses import replace
from pathlib import Path

import pytest

from ontime import sources
from ontime.datasets import Tables
from ontime.problem.data import DATA
from pipelines.tools import profile_columns
from tests import ROOT


def test_the_file_is_written_from_the_dataset_of_the_parameters(
    raw: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(profile_columns, "DATA", replace(DATA, profile=tmp_path / "profile.json"))
    monkeypatch.setattr(sources, "read", {"flights-2013": raw}.__getitem__)

    profile_columns.main()

    assert DATA.profile is not None
    assert (tmp_path / "profile.json").read_bytes() == DATA.profile.read_bytes()
    assert capsys.readouterr().out == "profile: wrote profile.json from flights-2013: 16 columns\n"


def test_a_problem_without_measured_columns_is_told_where_to_declare_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = tuple(replace(table, measured=()) for table in DATA.tables)
    monkeypatch.setattr(profile_columns, "DATA", replace(DATA, tables=tables, profile=None))

    with pytest.raises(SystemExit, match=r"profile: problem/data\.py declares no `profile`: name a file there"):
        profile_columns.main()
