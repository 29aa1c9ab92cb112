"""Promotion, rollback, shadow and canary reach a running service, and a bad release does not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from monitoring import performance
from ontime import database, database_tables, files, release, release_pointer
from ontime.datasets import Tables
from ontime.release import Manifest
from ontime.settings import Settings
from pipelines.operations import release_commands as by_hand
from pipelines.tools import compare_releases
from serving.app import create_app
from serving.model_store import ModelStore
from tests.library.test_release import publish_changed
from tests.service import MORNING, Load, Service, running, wait_for
from tests.serving.test_serving import request_of
from tests.small_world import Small

pytestmark = pytest.mark.slow

FLIGHT = MORNING


def rows_of(settings: Settings, table: sa.Table) -> list[Any]:
    engine = database.connect(settings.database_url)
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)))


def all_workers_answer_with(service: Service, version: str) -> bool:
    """Whether ten new connections in a row get this version: the kernel spreads them over the workers."""
    return all(service.get("/health/ready")["model_version"] == version for _ in range(10))


def test_promotion_and_rollback_are_live_without_a_failed_request(settings: Settings) -> None:
    engine = database.connect(settings.database_url)
    database.record_decision(engine, "gate", "promote", {"version": "2", "against": "release 1", "reason": "better"})
    with running(settings, ONTIME_WORKERS="2") as service:
        with Load(service.port, FLIGHT) as load:
            wait_for(lambda: len(load.answers) > 50)
            by_hand.promote(settings, "2")
            wait_for(lambda: all_workers_answer_with(service, "2"))
            promoted = len(load.answers)
            wait_for(lambda: len(load.answers) > promoted + 50)
            by_hand.roll_back(settings)
            # Readiness is not enough: on a busy machine one worker may accept every new connection.
            wait_for(lambda: {answer["model_version"] for answer in load.answers[-200:]} == {"1"})
        service.stop()

    versions = [answer["model_version"] for answer in load.answers]
    assert load.failures == []
    assert set(versions) == {"1", "2"}
    assert versions[0] == "1"
    assert [(row.kind, row.verdict) for row in rows_of(settings, database_tables.decisions)] == [
        ("gate", "promote"),
        ("promotion", "by hand"),
        ("rollback", "from 2"),
    ]


def test_a_rollback_needs_no_mlflow(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    release_pointer.set_live(settings.releases, "2")

    message = by_hand.roll_back(settings)  # this MLflow has no registered model

    assert message == "release 1 is live again"
    assert "MLflow's alias champion was not moved" in capsys.readouterr().err
    assert rows_of(settings, database_tables.decisions)[0].kind == "rollback"


def test_a_rollback_leaves_a_damaged_release(settings: Settings) -> None:
    release_pointer.set_live(settings.releases, "2")
    (settings.releases / "2" / release.MODEL).write_bytes(b"damaged")

    assert by_hand.roll_back(settings) == "release 1 is live again"


def test_a_prediction_names_the_release_that_made_it(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        first = client.post("/v1/predictions", json=FLIGHT).json()
        release_pointer.set_live(settings.releases, "2")
        wait_for(lambda: bool(client.get("/health/ready").json()["model_version"] == "2"))
        second = client.post("/v1/predictions", json=FLIGHT).json()

    assert first["probability"] != second["probability"]
    assert (first["model_version"], second["model_version"]) == ("1", "2")


def point_at(releases: Path, version: str) -> None:
    """Move the pointer without checks: `release.point` refuses most of these moves."""
    pointer = release_pointer.read_pointer(releases)
    assert pointer is not None
    digest = files.digest(releases / version / release.MANIFEST)
    moved = pointer.model_copy(update={"version": version, "manifest_sha256": digest})
    (releases / release_pointer.POINTER).write_text(moved.model_dump_json())


BAD = ["a byte was changed", "the manifest was changed", "the probes disagree", "the pointer is no JSON", "no pointer"]


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_release_is_refused_and_the_old_one_stays_live(
    fault: str, settings: Settings, small: Small, other: Small
) -> None:
    releases = settings.releases
    with TestClient(create_app(settings)) as client:
        if fault == "a byte was changed":
            point_at(releases, "2")
            model = releases / "2" / release.MODEL
            model.write_bytes(model.read_bytes()[:-1] + b"x")
            point_at(releases, "2")
        elif fault == "the manifest was changed":
            release_pointer.set_live(releases, "2")
            wait_for(lambda: bool(client.get("/health/ready").json()["model_version"] == "2"))
            release_pointer.set_live(releases, "1")
            wait_for(lambda: bool(client.get("/health/ready").json()["model_version"] == "1"))
            pointer = (releases / release_pointer.POINTER).read_text()
            (releases / release_pointer.POINTER).write_text(pointer.replace('"1"', '"2"', 1))
        elif fault == "the probes disagree":
            publish_changed(small, releases, model_onnx=other.contents[release.MODEL])
            point_at(releases, "9")
        elif fault == "the pointer is no JSON":
            (releases / release_pointer.POINTER).write_text("2")
        else:
            (releases / release_pointer.POINTER).unlink()
        wait_for(lambda: bool(client.get("/health/ready").json()["notes"]))
        ready, answer = client.get("/health/ready"), client.post("/v1/predictions", json=FLIGHT).json()
        metrics = client.get("/metrics").text
        (releases / release_pointer.POINTER).unlink(missing_ok=True)
        release_pointer.set_live(releases, "1")
        wait_for(lambda: client.get("/health/ready").json()["notes"] == [])

    assert (ready.status_code, ready.json()["model_version"], answer["model_version"]) == (200, "1", "1")
    assert ready.json()["notes"][0].startswith("the newest release was refused")
    assert "ontime_release_refused 1.0" in metrics
    assert str(releases) not in ready.text


def test_a_refused_challenger_does_not_affect_the_champion(settings: Settings, small: Small, other: Small) -> None:
    publish_changed(small, settings.releases, model_onnx=other.contents[release.MODEL])
    with TestClient(create_app(settings)) as client:
        release_pointer.set_challenger(settings.releases, "9")
        wait_for(lambda: bool(client.get("/health/ready").json()["notes"]))
        ready = client.get("/health/ready").json()

    assert (ready["model_version"], ready["challenger"]) == ("1", None)


def ask_all(client: TestClient, flights: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = client.post("/v1/predictions", content=json.dumps(flights)).json()
    return answers


def test_a_shadow_challenger_scores_every_flight_and_serves_none(settings: Settings) -> None:
    flights = [{**FLIGHT, "flight_number": number} for number in range(1, 41)]
    release_pointer.set_challenger(settings.releases, "2")
    with TestClient(create_app(settings)) as client:
        answers = ask_all(client, flights)
        wait_for(lambda: len(rows_of(settings, database_tables.shadows)) == 40)
    release_pointer.set_live(settings.releases, "2")
    with TestClient(create_app(settings)) as client:
        alone = ask_all(client, flights)

    shadows = {row.prediction_id: row for row in rows_of(settings, database_tables.shadows)}
    assert {answer["model_version"] for answer in answers} == {"1"}
    assert {row.model_version for row in shadows.values()} == {"2"}
    probabilities = [shadows[answer["prediction_id"]].probability for answer in answers]
    assert probabilities == [answer["probability"] for answer in alone]


def test_a_canary_always_serves_the_same_share_of_flights(settings: Settings) -> None:
    flights = [{**FLIGHT, "flight_number": number} for number in range(1, 401)]
    release_pointer.set_challenger(settings.releases, "2", 0.25)
    with TestClient(create_app(settings)) as client:
        first = ask_all(client, flights)
        wait_for(lambda: len(rows_of(settings, database_tables.shadows)) == 400)
    with TestClient(create_app(settings)) as client:  # after a restart
        second = ask_all(client, flights[::-1])[::-1]

    versions = [answer["model_version"] for answer in first]
    assert 60 < versions.count("2") < 140
    assert versions == [answer["model_version"] for answer in second]
    shadows = {row.prediction_id: row.model_version for row in rows_of(settings, database_tables.shadows)}
    assert all({answer["model_version"], shadows[answer["prediction_id"]]} == {"1", "2"} for answer in first)


def test_a_larger_share_keeps_the_flights_of_a_smaller_one(settings: Settings) -> None:
    ids = [f"UA{number}-EWR-20131105T1015Z" for number in range(1, 500)]
    chosen = {}
    for share in (0.1, 0.3):
        release_pointer.set_challenger(settings.releases, "2", share)
        live = ModelStore(settings.releases).live
        chosen[share] = {entity_id for entity_id in ids if live.routes_to_challenger(entity_id)}

    assert chosen[0.1] < chosen[0.3]


def both_of(settings: Settings) -> tuple[Manifest, Manifest]:
    return release.verify(settings.releases / "1"), release.verify(settings.releases / "2")


def test_champion_and_challenger_are_compared_on_flights_with_outcomes(
    settings: Settings, stored: pd.DataFrame, tables: Tables
) -> None:
    flights = tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"]][::4]
    release_pointer.set_challenger(settings.releases, "2", 0.5)
    with TestClient(create_app(settings)) as client:
        answers = ask_all(client, [request_of(flight) for _, flight in flights.iterrows()])
        wait_for(lambda: len(rows_of(settings, database_tables.shadows)) == len(flights))
    pointer = release_pointer.read_pointer(settings.releases)
    assert pointer is not None

    engine = database.connect(settings.database_url)
    both = performance.paired_predictions(engine, *both_of(settings))
    comparison = compare_releases.compare_pairs(both, pointer)

    with_outcome = stored.set_index("entity_id")["label"].loc[flights.index].notna()
    assert len(both) == with_outcome.sum()
    canary = sum(answer["model_version"] == "2" for answer in answers)
    assert 0 < both["canary"].sum() <= canary
    assert (comparison.days, comparison.entities) == (2, len(both))
    assert comparison.as_json()["difference"]["mean"] == pytest.approx(
        comparison.challenger_log_loss - comparison.champion_log_loss, abs=1e-4
    )
    assert "challenger minus champion" in comparison.lines()[-1]
    late = both["label"].to_numpy()
    truth = stored.set_index("entity_id")["label"].loc[flights.index][with_outcome].to_numpy(bool)
    assert late.sum() == truth.sum()


def test_a_comparison_without_outcomes_says_what_is_missing(settings: Settings) -> None:
    release_pointer.set_challenger(settings.releases, "2")
    pointer = release_pointer.read_pointer(settings.releases)
    assert pointer is not None
    engine = database.connect(settings.database_url)

    with pytest.raises(ValueError, match="0 flights of 0 days were scored by both and have an outcome"):
        compare_releases.compare_pairs(
            performance.paired_predictions(engine, *both_of(settings)),
            pointer,
        )


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (lambda settings: by_hand.promote(settings, "9"), "release 9 is not published; published releases: 1, 2"),
        (by_hand.roll_back, "there is no earlier release to roll back to"),
        (lambda settings: by_hand.challenge(settings, "1", 0), "cannot challenge itself"),
        (lambda settings: by_hand.challenge(settings, "2", 1.5), "share 1.5 is not between 0 and 1"),
    ],
)
def test_an_impossible_move_is_reported_and_moves_nothing(
    command: Callable[[Settings], str], reason: str, settings: Settings
) -> None:
    before = (settings.releases / release_pointer.POINTER).read_bytes()

    with pytest.raises(ValueError, match=reason):
        command(settings)

    assert (settings.releases / release_pointer.POINTER).read_bytes() == before


def test_every_move_is_recorded(settings: Settings) -> None:
    by_hand.challenge(settings, "2", 0.1)
    by_hand.withdraw(settings)

    decisions = rows_of(settings, database_tables.decisions)
    assert [(row.kind, row.verdict) for row in decisions] == [("challenge", "share 0.1"), ("challenge", "withdrawn")]
