"""`ontime score`: the probabilities of the service, bit for bit; a row is scored once, or rejected with its place."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ontime import batch_scoring, database, database_tables
from ontime.batch_scoring import FIELDS
from ontime.datasets import Tables
from ontime.params import Params
from ontime.settings import Settings
from pipelines.layout import write_tables
from pipelines.operations import score, score_input
from pipelines.operations.score import Options, Result, score_files
from pipelines.operations.score_input import NotScored
from tests import ROOT
from tests.service import environment, wait_for

DEFAULT = Options()
AT_ONCE = 1000  # the service's limit of a list


@pytest.fixture
def flights(stored: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Two days whose features are in the online store, a day whose features are not, and an airport never seen."""
    timetable = tables["flights"]
    days = timetable["scheduled_departure"].between(
        datetime(2013, 2, 18, 5, tzinfo=UTC), datetime(2013, 2, 21, 5, tzinfo=UTC)
    )
    chosen = timetable.loc[days, [*FIELDS]].reset_index(drop=True)
    chosen.loc[[3, 2000], "dest"] = "ZZZ"
    assert 0 < chosen.merge(timetable).merge(stored, on="entity_id").shape[0] < len(chosen)
    return chosen


@pytest.fixture
def source(flights: pd.DataFrame, tmp_path: Path) -> Path:
    flights.to_parquet(tmp_path / "flights.parquet", index=False)
    return tmp_path / "flights.parquet"


def scored(settings: Settings, source: Path, options: Options = DEFAULT) -> tuple[Result, pd.DataFrame]:
    output = source.with_name("scored.parquet")
    output.unlink(missing_ok=True)
    result = score_files(settings, source, output, options)
    return result, pd.read_parquet(output)


def logged(settings: Settings) -> Sequence[sa.Row[Any]]:
    engine = database.connect(settings.database_url)
    with engine.connect() as connection:
        return connection.execute(sa.select(database_tables.predictions)).all()


def answers(client: TestClient, flights: pd.DataFrame) -> list[Mapping[str, Any]]:
    bodies = json.loads(flights.to_json(orient="records", date_format="iso"))
    return [
        answer
        for start in range(0, len(bodies), AT_ONCE)
        for answer in client.post("/v1/predictions", json=bodies[start : start + AT_ONCE]).json()
    ]


def test_a_file_gets_the_predictions_of_the_service_bit_for_bit(
    settings: Settings, flights: pd.DataFrame, source: Path, client: TestClient
) -> None:
    served = answers(client, flights)

    result, batch = scored(settings, source)

    assert result.scored == len(batch) == len(served) == len(flights)
    assert batch["row"].tolist() == [*range(1, len(flights) + 1)]
    assert batch["probability"].tolist() == [np.float32(each["probability"]) for each in served]
    for name in ("entity_id", "alert", "model_version", "features"):
        assert batch[name].tolist() == [each[name] for each in served], name
    assert [each.tolist() for each in batch["flags"]] == [each["flags"] for each in served]
    moments = [None if pd.isna(each) else each.isoformat() for each in batch["features_as_of"]]
    assert moments == [
        each["features_as_of"] and datetime.fromisoformat(each["features_as_of"]).isoformat() for each in served
    ]
    assert {flag for each in served for flag in each["flags"]} == {"request_only", "unknown_category:dest"}
    assert result.without_features == sum("request_only" in each["flags"] for each in served)


def test_a_csv_file_gets_those_of_a_parquet_file(settings: Settings, flights: pd.DataFrame, source: Path) -> None:
    _, expected = scored(settings, source)
    flights.to_csv(source.with_suffix(".csv"), index=False)

    _, batch = scored(settings, source.with_suffix(".csv"))

    pd.testing.assert_frame_equal(batch.drop(columns="file"), expected.drop(columns="file"))


def test_a_folder_is_scored_file_by_file(settings: Settings, flights: pd.DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    flights[:30].to_csv(folder / "a.csv", index=False)
    flights[30:50].to_parquet(folder / "b.parquet", index=False)
    (folder / "notes.txt").write_text("not read")
    output = tmp_path / "scored.parquet"

    score_files(settings, folder, output, DEFAULT)

    batch = pd.read_parquet(output)
    assert batch["file"].value_counts().to_dict() == {"a.csv": 30, "b.parquet": 20}
    assert batch["row"].tolist() == [*range(1, 31), *range(1, 21)]


def test_features_built_from_history_are_those_of_the_online_store(
    settings: Settings,
    stored: pd.DataFrame,
    tables: Tables,
    tmp_path: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_tables(tables, tmp_path / "history")
    timetable = tables["flights"].set_index("entity_id")
    timetable.loc[stored["entity_id"], [*FIELDS]].to_parquet(tmp_path / "flights.parquet", index=False)
    monkeypatch.setattr(score, "load_params", lambda: params)
    _, expected = scored(settings, tmp_path / "flights.parquet")
    away = type(settings.database_url)("postgresql+psycopg://user@127.0.0.1:1/none")
    without_database = settings.model_copy(update={"database_url": away})

    _, batch = scored(without_database, tmp_path / "flights.parquet", Options(history=tmp_path / "history"))

    assert set(batch["features"]) == {"online"}
    pd.testing.assert_frame_equal(batch, expected)


def test_a_row_that_is_no_request_is_rejected_with_its_place_and_the_rest_goes_on(
    settings: Settings, flights: pd.DataFrame, tmp_path: Path
) -> None:
    source, rejections = tmp_path / "flights.csv", tmp_path / "scored.rejected.csv"
    flights[:5].to_csv(source, index=False)
    lines = source.read_text().splitlines()
    lines[2] = lines[2].replace("2013-02", "2013-13", 1)
    lines[3] = f"{lines[3]},7"
    lines[4] = lines[4].replace(str(flights["flight_number"][3]), "12.5")
    source.write_text("\n".join(lines))

    result, batch = scored(settings, source)

    assert (result.scored, result.rejected, batch["row"].tolist()) == (2, 3, [1, 5])
    rows = list(csv.DictReader(rejections.read_text().splitlines()))
    assert [(row["file"], row["row"], row["field"]) for row in rows] == [
        ("flights.csv", "2", "scheduled_departure"),
        ("flights.csv", "3", ""),
        ("flights.csv", "4", "flight_number"),
    ]
    assert rows[1]["reason"] == "has 8 columns, the header has 7"
    assert (rows[2]["reason"], rows[2]["value"]) == ("Input should be a valid integer", "'12.5'")


def test_an_empty_line_of_a_csv_file_is_no_row(settings: Settings, flights: pd.DataFrame, tmp_path: Path) -> None:
    source = tmp_path / "flights.csv"
    header, first, second = flights[:2].to_csv(index=False).splitlines()
    source.write_text(f"{header}\n{first}\n\n{second}\n\n")

    result, batch = scored(settings, source)

    assert (result.rejected, batch["row"].tolist()) == (0, [1, 3])


def test_strict_stops_at_the_first_such_row(settings: Settings, flights: pd.DataFrame, tmp_path: Path) -> None:
    source = tmp_path / "flights.parquet"
    flights.assign(distance_miles=[1, 0, *[1] * (len(flights) - 2)]).to_parquet(source, index=False)

    with pytest.raises(NotScored, match=r"^flights\.parquet, row 2: distance_miles: Input should be greater than"):
        scored(settings, source, Options(strict=True))

    assert not (tmp_path / "scored.parquet").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "carrier,origin\nUA,EWR\n", r"a\.csv has no column flight_number: a request has carrier, "),
        ("a.csv", "", r"a\.csv has no column carrier"),
        ("a.csv", f"{','.join(FIELDS)}\n", "the input has no rows"),
        ("a.csv", f'{",".join(FIELDS)}\n"UA', "line 2: unexpected end of data"),
        ("a.parquet", "PAR1", r"a\.parquet: .*Parquet"),
        ("a.json", "{}", "is not a csv or parquet file, nor a folder of them"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    name: str, content: str, reason: str, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(NotScored, match=reason):
        scored(settings, tmp_path / name)

    assert not (tmp_path / "scored.parquet").exists()


def test_an_existing_output_stays(settings: Settings, source: Path) -> None:
    output = source.with_name("scored.parquet")
    output.write_text("mine")

    with pytest.raises(NotScored, match=r"scored\.parquet exists: move it away first"):
        score_files(settings, source, output, DEFAULT)

    assert output.read_text() == "mine"


@pytest.fixture
def interrupted(settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The run stops after three parts of 200 rows; the list gets the size of each part that is scored afterwards."""
    monkeypatch.setattr(score_input, "CHUNK_ROWS", 200)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)  # in this process, so that the list is filled
    score_requests, sizes = batch_scoring.score_requests, list[int]()

    def stop(*arguments: Any) -> batch_scoring.Scored:
        sizes.append(len(arguments[1]))
        if len(sizes) > 3:
            raise KeyboardInterrupt
        return score_requests(*arguments)

    monkeypatch.setattr(batch_scoring, "score_requests", stop)
    with pytest.raises(KeyboardInterrupt):
        score_files(settings, source, source.with_name("scored.parquet"), Options(log=True))

    def counted(*arguments: Any) -> batch_scoring.Scored:
        sizes.append(len(arguments[1]))
        return score_requests(*arguments)

    monkeypatch.setattr(batch_scoring, "score_requests", counted)
    sizes.clear()
    return sizes


def test_an_interrupted_run_continues_and_scores_nothing_twice(
    interrupted: list[int], settings: Settings, flights: pd.DataFrame, source: Path
) -> None:
    output = source.with_name("scored.parquet")
    assert not output.exists()

    result = score_files(settings, source, output, Options(log=True))

    assert result.reused_parts == 3
    assert sum(interrupted) == len(flights) - 600
    assert pd.read_parquet(output)["row"].tolist() == [*range(1, len(flights) + 1)]
    assert sorted(row.entity_id for row in logged(settings)) == sorted(pd.read_parquet(output)["entity_id"])
    assert {path.name for path in source.parent.glob("scored*")} == {"scored.parquet"}


def test_parts_of_another_input_are_not_used(
    interrupted: list[int], settings: Settings, flights: pd.DataFrame, source: Path
) -> None:
    flights[:1000].to_parquet(source, index=False)

    result = score_files(settings, source, source.with_name("scored.parquet"), Options(log=True))

    assert (result.reused_parts, sum(interrupted), result.scored) == (0, 1000, 1000)


@pytest.mark.usefixtures("stored")
def test_the_production_log_gets_the_predictions_only_if_asked(settings: Settings, source: Path) -> None:
    scored(settings, source)
    assert logged(settings) == []

    _, batch = scored(settings, source, Options(log=True))

    rows = sorted(logged(settings), key=lambda row: row.prediction_id)
    assert [row.entity_id for row in rows] == batch["entity_id"].tolist()
    assert [np.float32(row.probability) for row in rows] == batch["probability"].tolist()
    assert len({row.prediction_id for row in rows}) == len(rows)


def test_another_release_is_scored_and_explained(settings: Settings, flights: pd.DataFrame, tmp_path: Path) -> None:
    flights[:3].to_parquet(tmp_path / "flights.parquet", index=False)

    _, batch = scored(settings, tmp_path / "flights.parquet", Options(version="2", reasons=True))

    assert set(batch["model_version"]) == {"2"}
    assert [json.loads(each)["method"] for each in batch["reasons"]] == ["tree_shap"] * 3


@pytest.mark.slow
def test_a_run_that_is_killed_continues(settings: Settings, flights: pd.DataFrame, tmp_path: Path) -> None:
    source, output = tmp_path / "flights.parquet", tmp_path / "scored.parquet"
    pd.concat([flights] * 30).to_parquet(source, index=False)
    command = [sys.executable, "-m", "cli", "score", str(source), "--to", str(output), "--log"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(settings))
    wait_for(lambda: (tmp_path / "scored.parquet.parts/000000.parquet").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()

    completed = subprocess.run(command, cwd=ROOT, env=environment(settings), capture_output=True, text=True)

    assert completed.returncode == 0, completed.stderr
    assert "continued after" in completed.stdout
    assert pd.read_parquet(output)["row"].tolist() == [*range(1, 30 * len(flights) + 1)]
    assert len(logged(settings)) == 30 * len(flights)
