"""The service as its clients use it, with a real release, a real database and a real socket."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from ontime import database, database_tables, model, release, release_pointer, schema
from ontime.datasets import Tables
from ontime.problem.request import Flight
from ontime.settings import Settings
from pipelines.operations.local_server import free_port
from serving.app import create_app
from serving.responses import Prediction
from tests import ROOT
from tests.service import MORNING, THANKSGIVING_EVE, environment, running

FLIGHT = MORNING


def request_of(flight: pd.Series) -> dict[str, Any]:
    """A flight of the table as a request."""
    return {
        **{name: flight[name] for name in ("carrier", "origin", "dest")},
        "flight_number": int(flight["flight_number"]),
        "distance_miles": int(flight["distance_miles"]),
        "scheduled_departure": flight["scheduled_departure"].isoformat(),
        "scheduled_arrival": flight["scheduled_arrival"].isoformat(),
    }


def logged(settings: Settings) -> list[sa.Row[Any]]:
    engine = database.connect(settings.database_url)
    with engine.connect() as connection:
        return list(connection.execute(sa.select(database_tables.predictions)))


def test_a_flight_without_a_row_in_the_online_store_is_scored_from_its_request(client: TestClient) -> None:
    answer = client.post("/v1/predictions", json=FLIGHT).json()

    assert answer["entity_id"] == "UA1487-EWR-20131105T1015Z"
    assert 0 < answer["probability"] < 1
    assert answer["alert"] == (answer["probability"] >= 0.25)
    assert (answer["features"], answer["features_as_of"], answer["reasons"]) == ("request", None, None)
    assert answer["flags"] == ["request_only"]
    assert answer["model_version"] == "1"


def test_the_service_computes_the_same_features_as_training_bit_for_bit(
    settings: Settings, stored: pd.DataFrame, tables: Tables, client: TestClient
) -> None:
    """There is one definition of a feature, so training and service compute the same input for the model."""
    flights = tables["flights"].set_index("entity_id").loc[stored["entity_id"]].reset_index()[::9]

    answers = client.post("/v1/predictions", json=[request_of(flight) for _, flight in flights.iterrows()]).json()

    manifest = release_pointer.load_live(settings.releases).manifest
    expected = model.matrix_of(stored, manifest.categories)[::9]
    sent = {row.prediction_id: np.frombuffer(row.vector, "<f4") for row in logged(settings)}
    got = np.stack([sent[answer["prediction_id"]] for answer in answers])
    assert len(answers) > 100
    np.testing.assert_array_equal(got, expected)


def test_the_prediction_of_a_materialised_flight_has_the_time_of_its_features(
    stored: pd.DataFrame, tables: Tables, client: TestClient
) -> None:
    flight = tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"].iloc[100]]

    answer = client.post("/v1/predictions", json=request_of(flight)).json()

    assert (answer["features"], answer["flags"]) == ("online", [])
    assert pd.Timestamp(answer["features_as_of"]) == flight["scheduled_departure"] - pd.Timedelta(minutes=120)


def test_every_response_matches_the_openapi_document(client: TestClient) -> None:
    """The service returns plain dictionaries, for speed; their fields must be those of the response model."""
    answers = client.post("/v1/predictions?explain=true", content=json.dumps([FLIGHT, {**FLIGHT, "dest": "QQQ"}]))

    for answer in answers.json():
        Prediction.model_validate_json(json.dumps(answer), strict=True)


def test_a_prediction_is_in_the_database_when_its_response_arrives(client: TestClient, settings: Settings) -> None:
    answer = client.post("/v1/predictions", json=FLIGHT).json()

    (row,) = logged(settings)
    assert (row.prediction_id, row.entity_id) == (answer["prediction_id"], answer["entity_id"])
    assert (row.probability, row.alert) == (answer["probability"], answer["alert"])
    assert (row.model_version, row.features) == ("1", "request")


def test_the_predictions_of_a_list_are_in_its_order(client: TestClient, settings: Settings) -> None:
    numbers = list(range(1000, 0, -1))

    answers = client.post("/v1/predictions", json=[{**FLIGHT, "flight_number": number} for number in numbers]).json()

    assert [answer["entity_id"] for answer in answers] == [f"UA{number}-EWR-20131105T1015Z" for number in numbers]
    assert len(logged(settings)) == 1000


def test_the_same_flight_twice_gets_two_predictions(client: TestClient) -> None:
    first, second = client.post("/v1/predictions", json=[FLIGHT, FLIGHT]).json()

    assert first["prediction_id"] != second["prediction_id"]
    assert first["probability"] == second["probability"]


def test_the_prediction_does_not_depend_on_the_time_zone_of_the_request(client: TestClient) -> None:
    in_utc = {
        **FLIGHT,
        "scheduled_departure": "2013-11-05T10:15:00Z",
        "scheduled_arrival": "2013-11-05T14:08:00Z",
    }

    first, second = client.post("/v1/predictions", json=[FLIGHT, in_utc]).json()

    assert first["entity_id"] == second["entity_id"]
    assert first["probability"] == second["probability"]


@pytest.mark.parametrize(
    ("departure", "arrival", "minutes", "elapsed"),
    [
        ("2013-11-03T05:30:00Z", "2013-11-03T07:30:00Z", (90, 150), 120),  # 1:30, the first of two, to 2:30
        ("2013-11-03T06:30:00Z", "2013-11-03T07:30:00Z", (90, 150), 60),  # 1:30, the second
        ("2013-03-10T06:30:00Z", "2013-03-10T07:30:00Z", (90, 210), 60),  # 1:30 to 3:30 in one hour
    ],
)
def test_a_daylight_saving_change_affects_clock_times_but_not_durations(
    departure: str, arrival: str, minutes: tuple[int, int], elapsed: int, client: TestClient, settings: Settings
) -> None:
    flight = {**FLIGHT, "scheduled_departure": departure, "scheduled_arrival": arrival}

    client.post("/v1/predictions", json=flight).raise_for_status()

    (row,) = logged(settings)
    values = dict(zip(schema.FEATURE_NAMES, np.frombuffer(row.vector, "<f4").tolist(), strict=True))
    assert (values["departure_minute"], values["arrival_minute"]) == minutes
    assert values["elapsed_minutes"] == elapsed


def test_an_unknown_airline_and_destination_are_scored_and_flagged(client: TestClient) -> None:
    answer = client.post("/v1/predictions", json={**FLIGHT, "carrier": "ZZ", "dest": "QQQ"}).json()

    assert set(answer["flags"]) == {"request_only", "unknown_category:carrier", "unknown_category:dest"}
    assert 0 < answer["probability"] < 1


WRONG: dict[str, tuple[object, str, str]] = {
    "unknown field": ({**FLIGHT, "dep_delay": 12}, "entity.dep_delay", "Extra inputs are not permitted"),
    "missing field": ({k: v for k, v in FLIGHT.items() if k != "dest"}, "entity.dest", "Field required"),
    "unknown airport": ({**FLIGHT, "origin": "PHL"}, "entity.origin", "Input should be 'EWR', 'JFK' or 'LGA'"),
    "lower case": ({**FLIGHT, "dest": "iah"}, "entity.dest", "String should match pattern"),
    "no offset": ({**FLIGHT, "scheduled_departure": "2013-11-05T05:15:00"}, "entity.scheduled_departure", "timezone"),
    "a number for a time": ({**FLIGHT, "scheduled_departure": 1383646500}, "entity.scheduled_departure", "offset"),
    "no such day": ({**FLIGHT, "scheduled_departure": "2013-02-30T05:15:00Z"}, "entity.scheduled_departure", "day"),
    "seconds": (
        {**FLIGHT, "scheduled_departure": "2013-11-05T05:15:07-05:00"},
        "entity.scheduled_departure",
        "whole minute",
    ),
    "digits for a time": ({**FLIGHT, "scheduled_departure": "1383646500"}, "entity.scheduled_departure", "offset"),
    "infinity": ({**FLIGHT, "distance_miles": float("inf")}, "entity.distance_miles", "valid integer"),
    "lands before it leaves": (
        {**FLIGHT, "scheduled_arrival": "2013-11-05T04:00:00-06:00"},
        "entity.scheduled_arrival",
        "-15 minutes after scheduled_departure; must be 15 to 1200",
    ),
    "the year zero of computing": (
        {**FLIGHT, "scheduled_departure": "1970-01-01T00:00:00Z"},
        "entity.scheduled_departure",
        "not between 2000 and 2099",
    ),
    "true for a number": ({**FLIGHT, "flight_number": True}, "entity.flight_number", "valid integer"),
    "a number too large": ({**FLIGHT, "distance_miles": 10**30}, "entity.distance_miles", "less than or equal to"),
    "no flights": ([], "entities", "at least 1 item"),
    "text": ("UA1487", "entity", "Input should be an object"),
    "null": (None, "entity", "Input should be an object"),
    "a list in a list": ([[FLIGHT]], "entities.0", "Input should be an object"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_names_its_place_and_reason(wrong: str, client: TestClient, settings: Settings) -> None:
    body, place, reason = WRONG[wrong]

    answer = client.post("/v1/predictions", content=json.dumps(body))

    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["place"] == place
    assert reason in problem["reason"]
    assert logged(settings) == []


@pytest.mark.parametrize("field", ["origin", "scheduled_arrival"])
def test_one_invalid_flight_in_a_thousand_is_named_by_position_and_field(
    field: str, client: TestClient, settings: Settings
) -> None:
    wrong = {"origin": "PHL", "scheduled_arrival": "2013-11-05T04:00:00-06:00"}
    flights = [FLIGHT] * 999 + [{**FLIGHT, field: wrong[field]}]

    answer = client.post("/v1/predictions", json=flights)

    assert answer.status_code == 422
    assert [problem["place"] for problem in answer.json()["detail"]] == [f"entities.999.{field}"]
    assert logged(settings) == []


def test_of_many_errors_the_first_are_named_and_the_rest_counted(client: TestClient) -> None:
    detail = client.post("/v1/predictions", json=[{}] * 1000).json()["detail"]

    assert len(detail) == 21
    assert detail[-1] == {"place": "entities", "reason": "6980 more errors"}


def test_more_than_1000_flights_are_rejected(client: TestClient) -> None:
    answer = client.post("/v1/predictions", json=[FLIGHT] * 1001)

    assert answer.status_code == 422
    assert "at most 1000 items" in answer.json()["detail"][0]["reason"]


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"{", b"[1,", b"\xff\xfe\x00", b'{"carrier": NaN}', b"[" * 50_000, b"\x00", b'{"a": 1e999}']
)
def test_invalid_json_is_rejected_and_not_a_server_error(body: bytes, client: TestClient) -> None:
    answer = client.post("/v1/predictions", content=body)

    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_body_of_more_than_a_megabyte_is_rejected(client: TestClient) -> None:
    answer = client.post("/v1/predictions", content=b"[" + b" " * 1_000_001)

    assert answer.status_code == 413
    assert answer.json()["detail"][0]["place"] == "body"


@pytest.mark.parametrize("long", [{"dest": "X" * 5000}, {"x" * 5000: 1}], ids=["value", "name"])
def test_an_error_does_not_repeat_long_values(long: dict[str, object], client: TestClient) -> None:
    answer = client.post("/v1/predictions", json={**FLIGHT, **long})

    assert answer.status_code == 422
    assert len(answer.content) < 500


def test_a_client_that_disconnects_halfway_is_not_a_server_error(settings: Settings) -> None:
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": "/v1/predictions", "query_string": b"", "headers": []}

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(create_app(settings)(scope, receive, send))

    assert sent[0]["status"] == 422
    assert logged(settings) == []


def test_the_model_route_describes_the_model_and_its_lineage(client: TestClient) -> None:
    model = client.get("/v1/model").json()

    assert (model["version"], model["algorithm"], model["threshold"]) == ("1", "lightgbm", 0.25)
    assert [feature["name"] for feature in model["features"]] == list(schema.FEATURE_NAMES)
    assert set(model["features"][0]) == {"name", "unit", "meaning", "known"}
    assert (model["name"], model["base_rate"], model["lead_minutes"]) == ("ontime", 0.24, 120)
    assert (model["trained_from"], model["trained_until"]) == ("2013-02-04", "2013-02-18")
    assert model["lineage"] == {"git_commit": "unknown", "mlflow_run": "none", "dvc_lock": {}}


def test_a_service_that_runs_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").json() == {
        "status": "ready",
        "model_version": "1",
        "challenger": None,
        "notes": [],
    }


def test_the_openapi_document_names_every_status(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    assert set(paths["/v1/predictions"]["post"]["responses"]) == {"200", "408", "413", "415", "422", "503"}
    assert set(paths["/health/ready"]["get"]["responses"]) == {"200", "503"}


def test_every_route_has_a_unique_summary_and_a_tag(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]

    groups = [tag["name"] for tag in document["tags"]]
    assert groups == ["predictions", "outcomes", "model", "health", "operations", "protocol v2"]
    assert {tag for operation in operations for tag in operation["tags"]} == set(groups)
    assert len({operation["summary"] for operation in operations}) == len(operations)


def test_the_examples_of_the_openapi_document_are_valid(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    tried: dict[tuple[str, int], int] = {}
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {"application/json": {}})
        shown = content["application/json"]
        values = [each["value"] for each in shown.get("examples", {}).values()] + [
            shown[key] for key in shown if key == "example"
        ]
        called = path.format(name="ontime", version="1", entity_id="")
        tried |= {(path, place): client.post(called, json=value).status_code for place, value in enumerate(values)}

    assert tried == {
        ("/v1/predictions", 0): 200,
        ("/v1/predictions", 1): 200,
        ("/v1/predictions", 2): 200,
        ("/v1/outcomes", 0): 200,
        ("/v1/outcomes", 1): 200,
        ("/v2/models/{name}/infer", 0): 200,
        ("/v2/models/{name}/versions/{version}/infer", 0): 200,
    }


def test_the_examples_are_real_flights(tables: Tables) -> None:
    flights = tables["flights"].set_index("entity_id", drop=False)

    for example in (MORNING, THANKSGIVING_EVE):
        flight = Flight.model_validate_json(json.dumps(example))
        row = flights.loc[flight.entity_id]
        assert (row["dest"], row["distance_miles"]) == (flight.dest, flight.distance_miles)
        assert row["scheduled_arrival"] == flight.scheduled_arrival


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (release.MODEL, "model.onnx: sha256 is not the one in manifest.json"),
        (release.MANIFEST, "manifest.json: sha256 is not the one that was published"),
    ],
)
def test_a_tampered_release_is_refused_and_its_file_named(file: str, message: str, settings: Settings) -> None:
    tampered = settings.releases / "1" / file
    tampered.write_bytes(tampered.read_bytes().replace(b"lightgbm", b"lightgbn", 1) + b" ")

    with pytest.raises(release.ReleaseRefused, match=message):
        create_app(settings)


def run_service(settings: Settings, **changed: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        [sys.executable, "-m", "serving"],
        cwd=ROOT,
        env=environment(settings, **{"ONTIME_PORT": str(free_port()), **changed}),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_a_service_without_a_release_exits_with_an_instruction(tmp_path: Path) -> None:
    completed = run_service(
        Settings(releases=tmp_path, database_url=f"sqlite:///{tmp_path}/ontime.db", spool=tmp_path / "spool")
    )

    assert completed.returncode == 1
    assert completed.stderr == f"serve: {tmp_path}/current.json: no release yet; run `make train`\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (f"1/{release.MODEL}", "sha256 is not the one in manifest.json"),
        (f"1/{release.MANIFEST}", "sha256 is not the one that was published"),
        (release_pointer.POINTER, "Invalid JSON"),
    ],
)
def test_a_service_with_a_tampered_release_exits_with_an_instruction(
    file: str, reason: str, settings: Settings
) -> None:
    (settings.releases / file).write_bytes(b"\xff not what was published")

    completed = run_service(settings)

    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert line.startswith(f"serve: {settings.releases / file}: {reason}")
    assert line.endswith("; restore the releases from a copy, or remove them and run `make train`")


@pytest.mark.slow
def test_a_service_without_a_usable_database_exits_with_an_error(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "no_database").write_bytes(b"something else\n" * 1000)

    completed = run_service(
        settings.model_copy(update={"database_url": SecretStr(f"sqlite:///{tmp_path}/no_database")})
    )

    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert "file is not a database" in line
    assert line.endswith("check ONTIME_RELEASES, ONTIME_DATABASE_URL and ONTIME_SPOOL")


@pytest.mark.slow
def test_the_process_serves_on_a_socket_and_stores_its_predictions(settings: Settings) -> None:
    # Many platforms set WEB_CONCURRENCY; it must not change the number of workers.
    with running(settings, WEB_CONCURRENCY="2") as service:
        prediction = service.post("/v1/predictions", FLIGHT)
        service.stop()

    assert [row.prediction_id for row in logged(settings)] == [prediction["prediction_id"]]


@pytest.mark.slow
def test_serving_imports_none_of_the_heavy_libraries() -> None:
    heavy = {
        "dvc",
        "evidently",
        "fairlearn",
        "lightgbm",
        "matplotlib",
        "mlflow",
        "onnx",
        "pandas",
        "prefect",
        "sklearn",
    }
    listing = "import sys, serving.app; print(*{name.partition('.')[0] for name in sys.modules})"

    completed = subprocess.run([sys.executable, "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True)

    loaded = set(completed.stdout.split())
    assert "fastapi" in loaded
    assert loaded & heavy == set()
