"""Authentication, rate limits, limits of requests, errors, outcomes, search, operations, log and metrics."""

import json
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ontime import database, database_tables, heartbeat, online_store
from ontime.datasets import Tables
from ontime.problem.request import Flight
from ontime.settings import BadSettings, Settings
from serving import batcher, examples, keys, metrics
from serving.app import create_app
from serving.middleware import required_scope
from tests.service import MORNING, running, wait_for
from tests.serving.test_serving import request_of, run_service

FLIGHT = MORNING


@pytest.fixture
def guarded(settings: Settings, tmp_path: Path) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A service that requires keys, with a key for each scope and one for all scopes."""
    path = tmp_path / "keys.json"
    made = {scope: keys.add(path, scope, [scope]) for scope in ("predict", "outcomes", "admin")}
    made["all"] = keys.add(path, "all", made)
    asking = settings.model_copy(update={"api_keys": path, "requests_per_minute": 600})
    with TestClient(create_app(asking), raise_server_exceptions=False) as client:
        yield client, made


CALLS: dict[str, tuple[str, str, Any]] = {
    "predict": ("POST", "/v1/predictions", FLIGHT),
    "model": ("GET", "/v1/model", None),
    "problem": ("GET", "/v1/problem", None),
    "entities": ("GET", "/v1/entities", None),
    "entity": ("GET", "/v1/entities/UA1487-EWR-20131105T1015Z", None),
    "infer": ("POST", "/v2/models/ontime/infer", {"inputs": []}),
    "outcomes": ("POST", "/v1/outcomes", examples.OUTCOME),
    "outcome": ("GET", "/v1/outcomes/UA1487-EWR-20131105T1015Z", None),
    "ops": ("GET", "/v1/ops", None),
    "metrics": ("GET", "/metrics", None),
}
RIGHTS = {"outcomes": "outcomes", "ops": "admin", "metrics": "admin"}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scope", ["predict", "outcomes", "admin", "all"])
def test_a_key_allows_the_routes_of_its_scopes_only(
    call: str, scope: str, guarded: tuple[TestClient, dict[str, str]]
) -> None:
    client, made = guarded
    method, path, body = CALLS[call]

    status = client.request(method, path, json=body, headers={"Authorization": f"Bearer {made[scope]}"}).status_code

    assert (status == 403) == (scope not in ("all", RIGHTS.get(call, "predict")))
    assert status != 401


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic {key}", "{key}", "bearer  {key}"])
def test_a_request_without_a_valid_key_is_rejected(
    header: str | None, guarded: tuple[TestClient, dict[str, str]]
) -> None:
    client, made = guarded
    sent = {} if header is None else {"Authorization": header.format(key=made["all"])}

    for method, path, body in CALLS.values():
        answer = client.request(method, path, json=body, headers=sent)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["detail"][0]["place"] == "authorization"


def test_health_and_pages_need_no_key(guarded: tuple[TestClient, dict[str, str]]) -> None:
    client, _ = guarded

    for path in (
        "/",
        "/ops",
        "/static/common.js",
        "/health/live",
        "/health/ready",
        "/v2",
        "/v2/health/ready",
        "/openapi.json",
        "/docs",
        "/static/swagger-ui/swagger-ui-bundle.js",
        "/favicon.ico",
        "/static/favicon.svg",
    ):
        assert client.get(path).status_code == 200


def test_a_path_without_a_rule_requires_the_admin_scope() -> None:
    assert required_scope("GET", "/something/new") == "admin"
    assert required_scope("DELETE", "/v1/outcomes") == "predict"  # no route has this method: 405


def test_the_openapi_document_lists_the_routes_that_require_a_key(guarded: tuple[TestClient, dict[str, str]]) -> None:
    document = guarded[0].get("/openapi.json").json()

    assert "requires an API key" in document["info"]["description"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needs_key = required_scope(method.upper(), path) is not None
            assert ("security" in operation, {"401", "403", "429"} <= operation["responses"].keys()) == (needs_key,) * 2


def test_the_openapi_document_of_a_service_without_keys_requires_none(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    assert "requires no API key" in document["info"]["description"]
    assert "securitySchemes" not in document["components"]
    for methods in document["paths"].values():
        assert all(
            "security" not in operation and "401" not in operation["responses"] for operation in methods.values()
        )


LOCAL = "localhost:8000"
SENT_BY_BROWSERS: dict[str, tuple[str, dict[str, str], int]] = {
    "this page": ("POST", {"origin": f"http://{LOCAL}", "sec-fetch-site": "same-origin"}, 200),
    "another site": ("POST", {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
    "a form of another site": ("POST", {"origin": "null", "sec-fetch-site": "cross-site"}, 403),
    "an old browser on another site": ("POST", {"origin": "https://evil.example"}, 403),
    "another service of this machine": (
        "POST",
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        403,
    ),
    "a name that resolves to 127.0.0.1": ("GET", {"host": "evil.example", "sec-fetch-site": "same-origin"}, 403),
    "a link on another site": ("GET", {"sec-fetch-site": "cross-site"}, 200),
    "an address that was typed": ("GET", {"sec-fetch-site": "none"}, 200),
}


@pytest.mark.parametrize("sender", SENT_BY_BROWSERS)
def test_without_keys_a_browser_sends_nothing_for_another_site(sender: str, client: TestClient) -> None:
    """Not even as text/plain, for which a browser asks no permission."""
    method, headers, status = SENT_BY_BROWSERS[sender]
    path, content = ("/v1/outcomes", json.dumps(examples.OUTCOME)) if method == "POST" else ("/v1/model", None)

    sent = {"host": LOCAL, "content-type": "text/plain", **headers}
    answer = client.request(method, path, headers=sent, content=content)

    assert answer.status_code == status


def test_with_keys_a_browser_on_another_site_needs_one_too(guarded: tuple[TestClient, dict[str, str]]) -> None:
    client, made = guarded
    headers = {"origin": "https://portal.example", "sec-fetch-site": "cross-site"}

    assert client.get("/v1/model", headers=headers).status_code == 401
    key = {"Authorization": f"Bearer {made['all']}"}
    assert client.get("/v1/model", headers={**headers, **key}).status_code == 200


@pytest.mark.parametrize("path", ["/docs/", "/v1/model/", "/static"])
def test_no_redirect_follows_the_host_of_a_request(path: str, client: TestClient) -> None:
    answer = client.get(path, headers={"host": "evil.example"}, follow_redirects=False)

    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_the_key_file_contains_no_key(guarded: tuple[TestClient, dict[str, str]], tmp_path: Path) -> None:
    text = (tmp_path / "keys.json").read_text()

    assert not any(key in text for key in guarded[1].values())
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


def test_a_new_key_replaces_the_old_key_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = keys.add(path, "desk", ["predict"])

    new = keys.add(path, "desk", ["predict"])

    assert set(keys.read_keys(path).by_digest()) == {keys.key_digest(new)}
    assert new != old


@pytest.mark.parametrize("content", ["", "{}", '{"keys": []}', '{"keys": [{"name": "x"}]}', "\x00"])
def test_a_file_without_valid_keys_is_refused_and_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)

    with pytest.raises(BadSettings, match=r"ONTIME_API_KEYS=.*keys.json: "):
        keys.read_keys(path)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/predictions", "/v1/predictions"),
        ("/v2/models/ontime/infer", "/v2/models/{name}/infer"),
        ("/v1/nothing", "other"),
    ],
)
def test_a_request_without_a_valid_key_is_counted_at_the_route_that_it_asks_for(
    path: str, route: str, guarded: tuple[TestClient, dict[str, str]]
) -> None:
    client, _ = guarded
    counter, requests = metrics.REQUESTS.labels(route, 401), metrics.REQUEST_SECONDS.labels(route)
    before, measured = counter._value.get(), requests._sum.get()

    statuses = [client.post(path, json=examples.OUTCOME).status_code for _ in range(5)]

    assert statuses == [401] * 5
    assert counter._value.get() == before + 5
    assert requests._sum.get() == measured  # so that many fast rejections do not hide slow responses


def test_the_rate_limit_of_one_key_does_not_affect_others(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first, second = (keys.add(path, name, ["predict"]) for name in ("first", "second"))
    slow = settings.model_copy(update={"api_keys": path, "requests_per_minute": 60})

    with TestClient(create_app(slow)) as client:
        statuses = [client.get("/v1/model", headers={"Authorization": f"Bearer {first}"}) for _ in range(4)]
        other = client.get("/v1/model", headers={"Authorization": f"Bearer {second}"})

    assert [answer.status_code for answer in statuses[:2]] == [200, 429]
    assert statuses[1].headers["retry-after"] == "1"
    assert other.status_code == 200


REFUSED_SETTINGS = {
    "ONTIME_PORT": ("eighty", "ONTIME_PORT=eighty Input should be a valid integer"),
    "ONTIME_WORKERS": ("0", "ONTIME_WORKERS=0 Input should be greater than or equal to 1"),
    "ONTIME_HOST": ("0.0.0.0", "ONTIME_HOST=0.0.0.0 is reachable from outside: set ONTIME_API_KEYS"),  # noqa: S104  that is the point
    "ONTIME_API_KEYS": ("nowhere.json", "ONTIME_API_KEYS=nowhere.json: No such file"),
    "ONTIME_PROT": ("8000", "ONTIME_PROT is not a setting; the settings are ONTIME_ACTOR, ONTIME_API_KEYS"),
    "ONTIME_DATABASE_URL": ("mysql://u:secret@h/d", "ONTIME_DATABASE_URL mysql is not supported"),
}


@pytest.mark.parametrize("name", REFUSED_SETTINGS)
@pytest.mark.slow
def test_an_invalid_setting_is_named_in_one_line(name: str, settings: Settings) -> None:
    value, message = REFUSED_SETTINGS[name]

    completed = run_service(settings, **{name: value})

    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert line.startswith(f"serve: {message}")
    assert "secret" not in line


def test_every_response_has_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/v1/model", "/nowhere", "/metrics"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


@pytest.mark.parametrize(("request_id", "is_valid"), [("abc-1", True), ("a b", False), ("x" * 65, False), ("", False)])
def test_a_valid_request_id_is_returned(request_id: str, is_valid: bool, client: TestClient) -> None:
    header = client.get("/health/live", headers={"X-Request-ID": request_id}).headers["x-request-id"]

    assert (header == request_id) == is_valid
    assert header


def test_the_log_is_json_and_names_no_flight_no_key_and_no_address(
    guarded: tuple[TestClient, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    client, made = guarded
    sent = {"Authorization": f"Bearer {made['predict']}", "X-Request-ID": "r1"}

    client.post("/v1/predictions?explain=true", json=FLIGHT, headers=sent)
    client.get("/v1/outcomes/UA1487-EWR-20131105T1015Z", headers=sent)

    text = capsys.readouterr().out
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["route"], line["status"], line["key"], line["request_id"]) for line in lines[-2:]] == [
        ("/v1/predictions", 200, "predict", "r1"),
        ("/v1/outcomes/{entity_id}", 404, "predict", "r1"),
    ]
    assert not any(word in text for word in ("UA1487", "1487", "testclient", made["predict"]))


def test_every_get_route_supports_head(client: TestClient) -> None:
    paths = [path for path, methods in client.get("/openapi.json").json()["paths"].items() if "get" in methods]
    pages = ["/", "/ops", "/docs", "/openapi.json", "/favicon.ico", "/static/common.js", "/nowhere"]
    assert len(paths) > 10

    for path in (*paths, *pages):
        called = path.format(name="ontime", version="1", entity_id="UA9-EWR-20131105T1015Z")
        response, head_response = client.get(called), client.head(called)
        assert head_response.status_code == response.status_code
        assert head_response.headers["content-type"] == response.headers["content-type"]
        assert head_response.content == b""


@pytest.mark.slow
def test_a_head_over_a_socket_has_no_body_and_is_logged_as_one(settings: Settings) -> None:
    with running(settings) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller:
            caller.sendall(
                b"HEAD /docs HTTP/1.1\r\nHost: x\r\n\r\nGET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            answer = b"".join(iter(lambda: caller.recv(65_536), b""))
        service.stop()
        lines = [json.loads(line) for line in service.output().splitlines() if line.startswith("{")]

    first, second = answer.split(b"HTTP/1.1 200 OK")[1:]
    assert first.endswith(b"\r\n\r\n")
    assert b"content-length: " in first
    assert second.endswith(b'"extensions":[]}')
    assert ("HEAD", "/docs", 200) in [(line.get("method"), line.get("route"), line.get("status")) for line in lines]


@pytest.mark.parametrize("path", ["/redoc", "/static/swagger-ui/main.py", "/static/swagger-ui/../main.py"])
def test_only_browser_files_of_the_swagger_package_are_served(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 404


def test_head_of_a_post_route_is_rejected(client: TestClient) -> None:
    assert client.head("/v1/predictions").status_code == 405


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/predictions", 405)])
def test_an_unknown_path_has_an_error_body(method: str, path: str, status: int, client: TestClient) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.json()["detail"][0]["place"] == "path"


def test_an_internal_error_reveals_nothing_about_the_server(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("serving.scoring.predictions_of", fails)

    answer = client.post("/v1/predictions", json=FLIGHT)

    assert answer.status_code == 500
    assert answer.json() == {"detail": [{"place": "service", "reason": "internal error; see the log of the service"}]}


def test_an_internal_error_of_any_route_has_the_headers_of_every_response(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("serving.search.problem_info", fails)

    answer = client.get("/v1/problem", headers={"X-Request-Id": "mine"})

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret detail" not in answer.text
    assert answer.headers["x-request-id"]


def test_outcomes_converge_whatever_their_order(client: TestClient, settings: Settings) -> None:
    """Late, twice, out of order, and for a flight without a prediction."""
    flight = "UA9-EWR-20131105T1015Z"
    outcomes = [
        {"entity_id": flight, "label": False, "known_at": "2013-11-05T15:00:00Z"},
        {"entity_id": flight, "label": True, "known_at": "2013-11-05T17:00:00+01:00"},
        {"entity_id": flight, "label": False, "known_at": "2013-11-05T10:15:00Z"},
    ]

    for order in (
        outcomes,
        outcomes[::-1],
        [outcomes[1], outcomes[0], outcomes[1]],
        [[outcomes[0], outcomes[2]], [outcomes[2]]],
    ):
        for body in order:
            assert client.post("/v1/outcomes", json=body).status_code == 200
        assert client.get(f"/v1/outcomes/{flight}").json() == {
            "entity_id": flight,
            "label": True,
            "value": None,
            "words": "Arrived late, by 15 minutes or more.",
            "known_at": "2013-11-05T16:00:00Z",
        }

    engine = database.connect(settings.database_url)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(database_tables.outcomes)).scalar() == 1


EARLY = {**examples.OUTCOME, "known_at": "2013-11-05T10:14:00Z"}  # a minute before it leaves


@pytest.mark.parametrize(
    ("changed", "place", "reason"),
    [
        ({"entity_id": "UA9 EWR 20131105T1015Z"}, "outcome.entity_id", "is not an entity_id such as UA1487-EWR-"),
        ({"entity_id": "../UA9-EWR-20131105T1015Z"}, "outcome.entity_id", "is not an entity_id such as UA1487-EWR-"),
        ({"entity_id": f"UA9-EWR-{'0' * 100}"}, "outcome.entity_id", "is not an entity_id such as UA1487-EWR-"),
        ({"label": 1}, "outcome.label", "valid boolean"),
        ({"known_at": "2013-11-05T10:00:00"}, "outcome.known_at", "timezone"),
        ({"known_at": 5}, "outcome.known_at", "text with its offset"),
        ({"delay": 5}, "outcome.delay", "Extra inputs"),
        ({"value": 15}, "outcome.label", "contradicts value 15: Late means 15 minutes or more"),
        ({"value": 14, "label": True}, "outcome.label", "contradicts value 14"),
        ({"value": 5000}, "outcome.value", "less than or equal to 2880"),
        ({"value": "5"}, "outcome.value", "valid number"),
        ({"value": True}, "outcome.value", "valid number"),
    ],
)
def test_an_invalid_outcome_is_rejected(changed: dict[str, Any], place: str, reason: str, client: TestClient) -> None:
    answer = client.post("/v1/outcomes", json={**examples.OUTCOME, **changed})

    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["place"] == place
    assert reason in problem["reason"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (EARLY, "outcome.known_at"),
        ([EARLY], "outcomes.0.known_at"),
        ([examples.OUTCOME, {**EARLY, "entity_id": "UA9-EWR-20131105T1015Z"}, EARLY], "outcomes.2.known_at"),
    ],
    ids=["one", "a list of one", "in a list"],
)
def test_an_outcome_before_the_event_is_rejected_if_the_event_is_known(
    body: Any, place: str, client: TestClient, settings: Settings
) -> None:
    """A flight that is not in the database, such as the second of the list, is not checked."""
    flight = Flight.model_validate_json(json.dumps(FLIGHT))
    engine = database.connect(settings.database_url)
    online_store.store_entities(
        engine, [{"entity_id": flight.entity_id, "event_at": flight.event_at, **flight.model_dump()}]
    )

    answer = client.post("/v1/outcomes", json=body)

    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["place"] == place
    assert problem["reason"] == "is before the scheduled departure, 2013-11-05T10:15:00+00:00"
    assert client.get(f"/v1/outcomes/{examples.OUTCOME['entity_id']}").status_code == 404


def test_a_contradiction_in_a_list_is_named_by_its_position_and_nothing_is_stored(client: TestClient) -> None:
    wrong = {**examples.OUTCOME, "label": True}

    answer = client.post("/v1/outcomes", json=[examples.OUTCOME, wrong])

    assert [problem["place"] for problem in answer.json()["detail"]] == ["outcomes.1.label"]
    assert client.get(f"/v1/outcomes/{examples.OUTCOME['entity_id']}").status_code == 404


def test_the_value_of_an_outcome_is_returned_with_a_sentence(client: TestClient) -> None:
    client.post("/v1/outcomes", json=[examples.OUTCOME, {**examples.OUTCOME, "value": None}]).raise_for_status()

    assert client.get(f"/v1/outcomes/{examples.OUTCOME['entity_id']}").json() == {
        "entity_id": "UA1487-EWR-20131105T1015Z",
        "label": False,
        "value": -3,
        "words": "Arrived 3 minutes early.",
        "known_at": "2013-11-05T14:05:00Z",
    }


def test_an_unknown_outcome_is_not_found(client: TestClient) -> None:
    assert client.get("/v1/outcomes/UA9-EWR-20131105T1015Z").status_code == 404
    assert client.get("/v1/outcomes/not a key").status_code == 422


def test_reasons_add_up_to_the_probability(client: TestClient, stored: pd.DataFrame, tables: Tables) -> None:
    flight = request_of(tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"].iloc[100]])

    answer = client.post("/v1/predictions?explain=true", json=flight).json()

    reasons = answer["reasons"]
    parts = [each["log_odds"] for each in reasons["features"]]
    assert reasons["base_log_odds"] + sum(parts) + reasons["others_log_odds"] == pytest.approx(reasons["log_odds"])
    assert 1 / (1 + 2.718281828459045 ** -reasons["log_odds"]) == pytest.approx(answer["probability"], abs=1e-6)
    assert [abs(part) for part in parts] == sorted((abs(part) for part in parts), reverse=True)
    assert all((each["effect"] == "raises") == (each["log_odds"] > 0) for each in reasons["features"])


@pytest.mark.parametrize(("query", "status"), [("?explain=perhaps", 422), ("?explain=", 422), ("?explain=false", 200)])
def test_explain_is_true_or_false(query: str, status: int, client: TestClient) -> None:
    assert client.post(f"/v1/predictions{query}", json=FLIGHT).status_code == status


def test_reasons_are_given_for_a_few_flights_only(client: TestClient) -> None:
    answer = client.post("/v1/predictions?explain=true", json=[FLIGHT] * 21)

    assert answer.status_code == 422
    assert "at most 20 entities" in answer.json()["detail"][0]["reason"]


@pytest.mark.slow
def test_a_client_with_a_large_body_gets_a_response_and_no_reset(settings: Settings) -> None:
    with running(settings) as service:
        status, response = service.ask("POST", "/v1/predictions", "x" * 30_000_000)
        service.stop()

    assert (status, response["detail"][0]["place"]) == (413, "body")


@pytest.mark.slow
def test_a_body_that_does_not_arrive_in_time_is_rejected(settings: Settings) -> None:
    with running(settings, ONTIME_REQUEST_SECONDS="0.3") as service:
        for path in (b"/v1/predictions", b"/v1/outcomes", b"/v2/models/ontime/infer"):
            caller = socket.create_connection(("127.0.0.1", service.port), timeout=30)
            caller.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert caller.recv(65536).startswith(b"HTTP/1.1 408")
            caller.close()
        service.stop()


def test_an_overloaded_service_rejects_requests(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "MAX_WAITING_ENTITIES", 5)

    answer = client.post("/v1/predictions", json=[FLIGHT] * 6)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.post("/v1/predictions", json=[FLIGHT] * 5).status_code == 200


def test_flights_are_found_by_day_hour_and_every_declared_field(
    client: TestClient, stored: pd.DataFrame, tables: Tables
) -> None:
    flights = tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"]]
    local = flights["scheduled_departure"].dt.tz_convert("America/New_York")
    chosen = flights[(local.dt.day == 19) & (local.dt.hour == 8) & (flights["origin"] == "JFK")]

    listing = client.get("/v1/entities", params={"day": "2013-02-19", "hour": 8, "origin": "JFK", "limit": 200}).json()

    assert listing["days"] == ["2013-02-18", "2013-02-19"]
    assert listing["more"] is False
    assert {each["entity_id"] for each in listing["entities"]} == set(chosen["entity_id"])
    one = listing["entities"][0]
    flight = one["request"]
    assert one["event_at"].endswith("-05:00")
    assert one["event_at"] == flight["scheduled_departure"]
    assert one["title"] == f"{flight['carrier']} {flight['flight_number']}"
    route = {name: flight[name] for name in ("carrier", "flight_number", "dest")}
    assert one in client.get("/v1/entities", params=route).json()["entities"]
    assert client.get(f"/v1/entities/{one['entity_id']}").json() == one
    answer = client.post("/v1/predictions", json=flight)
    assert (answer.status_code, answer.json()["entity_id"]) == (200, one["entity_id"])


def test_of_many_flights_the_first_are_listed(client: TestClient, stored: pd.DataFrame) -> None:
    listing = client.get("/v1/entities", params={"limit": 3}).json()

    assert (len(listing["entities"]), listing["more"]) == (3, True)
    departures = [datetime.fromisoformat(each["event_at"]).astimezone(UTC) for each in listing["entities"]]
    assert departures == sorted(departures)
    assert client.get("/v1/entities", params={"day": "2014-01-01"}).json()["entities"] == []
    assert len(stored) > 3


@pytest.mark.parametrize("hour", [{}, {"hour": 8}])
def test_flights_of_ten_years_are_listed_in_their_order(
    hour: dict[str, int], client: TestClient, settings: Settings
) -> None:
    morning = Flight.model_validate_json(json.dumps(FLIGHT))
    times = [datetime(year, 11, 5, 13, 15, tzinfo=UTC) for year in (2013, 2018, 2023)]
    flights = [
        {**morning.model_dump(), "scheduled_departure": at, "scheduled_arrival": at + timedelta(hours=3)}
        | {"entity_id": f"UA1-EWR-{at:%Y%m%dT%H%MZ}", "event_at": at}
        for at in reversed(times)
    ]
    online_store.store_entities(database.connect(settings.database_url), flights)

    listing = client.get("/v1/entities", params=hour).json()
    first = client.get("/v1/entities", params={**hour, "limit": 1}).json()

    assert [datetime.fromisoformat(each["event_at"]) for each in listing["entities"]] == times
    assert (listing["more"], first["more"], first["entities"]) == (False, True, listing["entities"][:1])


@pytest.mark.parametrize("field", [{}, {"origin": "JFK"}, {"hour": 8}])
def test_pages_together_list_every_flight_once(field: dict[str, Any], client: TestClient, stored: pd.DataFrame) -> None:
    whole, pages = list[tuple[str, str]](), 0
    after = dict[str, str]()
    while True:
        page = client.get("/v1/entities", params={**field, **after, "limit": 200}).json()
        whole += [(each["event_at"], each["entity_id"]) for each in page["entities"]]
        pages += 1
        if not page["more"]:
            break
        after = {"after": whole[-1][1]}

    assert whole == sorted(set(whole), key=lambda each: (datetime.fromisoformat(each[0]), each[1]))
    assert len(whole) == len(stored) or field
    assert pages == len(whole) // 200 + 1


def test_a_page_after_an_unknown_flight_is_refused(client: TestClient, stored: pd.DataFrame) -> None:
    answer = client.get("/v1/entities", params={"after": "UA9-EWR-20131105T1015Z"})

    assert len(stored)
    assert (answer.status_code, answer.json()["detail"][0]["place"]) == (422, "query.after")


def test_an_empty_online_store_lists_nothing(client: TestClient) -> None:
    assert client.get("/v1/entities").json() == {"days": None, "more": False, "entities": []}
    assert client.get("/v1/entities/UA9-EWR-20131105T1015Z").status_code == 404
    assert client.get("/v1/entities/not a key").status_code == 422


def test_the_overview_shows_releases_traffic_and_decisions(client: TestClient, settings: Settings) -> None:
    client.post("/v1/predictions", json=[FLIGHT] * 3)
    engine = database.connect(settings.database_url)
    database.record_decision(engine, "gate", "reject", {"reason": "no better"})

    overview = client.get("/v1/ops").json()

    assert (overview["answering"], overview["ready"], overview["challenger"]) == ("1", True, None)
    assert [(each["version"], each["state"]) for each in overview["releases"]] == [("2", "on standby"), ("1", "live")]
    assert (overview["traffic"]["predictions"], overview["traffic"]["request_only"]) == (3, 3)
    assert sum(minute["predictions"] for minute in overview["traffic"]["by_minute"]) == 3
    assert overview["traffic"]["lists"]["p50_ms"] <= overview["traffic"]["lists"]["p99_ms"]
    assert (overview["decisions"][0]["verdict"], overview["decisions"][0]["reason"]) == ("reject", "no better")


def test_single_requests_and_lists_have_latencies_of_their_own(on_both: Settings) -> None:
    with TestClient(create_app(on_both)) as client:
        for size in (3, 1, 1, 5):
            client.post("/v1/predictions", json=[FLIGHT] * size if size > 1 else FLIGHT)
        traffic = client.get("/v1/ops").json()["traffic"]

    assert [(traffic[kind]["requests"], traffic[kind]["entities"]) for kind in ("single", "lists")] == [(2, 2), (2, 8)]
    assert traffic["single"]["p50_ms"] > 0


def test_single_requests_of_one_batch_are_not_counted_as_a_list(on_both: Settings) -> None:
    """Under load a batch holds the rows of many requests: with the same time, but each request has its own latency."""
    engine, now = database.connect(on_both.database_url), datetime.now(UTC)
    rows = [
        {
            "prediction_id": database.new_prediction_ids(1)[0],
            "entity_id": "UA1545-EWR-20131105T1015Z",
            "answered_at": now,
            "model_version": "1",
            "probability": 0.2,
            "alert": False,
            "features": "online",
            "vector": b"",
            "latency_ms": latency,
        }
        for latency in (1.5, 2.5, 4.0, 4.0)
    ]
    database.log_predictions(engine, rows)

    with TestClient(create_app(on_both)) as client:
        traffic = client.get("/v1/ops").json()["traffic"]

    assert traffic["single"] == {"requests": 2, "entities": 2, "p50_ms": 2.0, "p95_ms": 2.45, "p99_ms": 2.49}
    assert (traffic["lists"]["requests"], traffic["lists"]["entities"], traffic["lists"]["p50_ms"]) == (1, 2, 4.0)


def test_a_decision_names_its_clock(client: TestClient, settings: Settings) -> None:
    engine = database.connect(settings.database_url)
    database.record_decision(engine, "promotion", "by hand", {"reason": "requested by hand"})
    database.record_decision(engine, "quarantine", "quarantined", {"rows": 72}, MIDNIGHT)

    decisions = client.get("/v1/ops").json()["decisions"]

    assert [(each["kind"], each["clock"], each["reason"]) for each in decisions] == [
        ("quarantine", "feed", "rows 72"),
        ("promotion", "real", "requested by hand"),
    ]


QUALITY = {
    "since": "2013-02-06",
    "until": "2013-02-19",
    "entities": 200,
    "labelled": 150,
    "positive_rate": 0.24,
    "predicted_rate": 0.22,
    "auc": 0.71,
    "ece": 0.012,
    "cost_per_1000": 438.2,
}
BROKEN = {"name": "blind_features", "tier": 1, "value": 2.0, "above": 0.0, "reason": "features lost their values"}
STOPPED = (
    "tier 1 alert on 2013-02-19: features lost their values (blind_features 2, limit 0)",
    "the policy has stopped: no release is retrained or promoted",
)


@pytest.fixture
def stopped(settings: Settings) -> sa.Engine:
    """The database after a day with an alert of tier 1."""
    engine = database.connect(settings.database_url)
    looked = {"day": "2013-02-19", "figures": {}, "alerts": [BROKEN], "quality": QUALITY}
    decided = {"day": "2013-02-19", "action": "stop", "reason": "blind_features 2 (limit 0)", "champion": "1"}
    database.record_decision(engine, "monitor", "alert", looked, MIDNIGHT)
    database.record_decision(engine, "policy", "stop", decided, MIDNIGHT)
    return engine


@pytest.mark.usefixtures("stopped")
def test_a_tier_1_alert_is_a_note_of_readiness(client: TestClient) -> None:
    answer = client.get("/health/ready")

    assert answer.status_code == 200
    assert tuple(answer.json()["notes"]) == STOPPED


def test_readiness_includes_new_alerts_while_the_service_runs(client: TestClient, settings: Settings) -> None:
    before = client.get("/health/ready").json()["notes"]
    engine = database.connect(settings.database_url)
    looked = {"day": "2013-02-19", "figures": {}, "alerts": [BROKEN]}
    database.record_decision(engine, "monitor", "alert", looked, MIDNIGHT)

    wait_for(lambda: client.get("/health/ready").json()["notes"] == [STOPPED[0]])

    assert before == []


@pytest.mark.usefixtures("stopped")
def test_the_overview_includes_monitor_and_policy(client: TestClient) -> None:
    overview = client.get("/v1/ops").json()

    assert tuple(overview["notes"]) == STOPPED
    assert overview["monitored"] == {
        "day": "2013-02-19",
        "alerts": [BROKEN],
        "why": None,
        "quality": {**QUALITY, "coverage": 0.75},
        "policy": {"day": "2013-02-19", "action": "stop", "reason": "blind_features 2 (limit 0)"},
    }


def test_a_monitor_row_of_another_version_does_not_stop_the_service(client: TestClient, settings: Settings) -> None:
    engine = database.connect(settings.database_url)
    later = {"day": "2013-02-19", "figures": {}, "alerts": [{**BROKEN, "since": "2013-02-18"}], "more": 1}
    database.record_decision(engine, "monitor", "alert", later, MIDNIGHT)

    monitored = client.get("/v1/ops").json()["monitored"]

    assert (monitored["alerts"], monitored["quality"], monitored["policy"]) == ([BROKEN], None, None)


def test_a_monitor_row_with_missing_fields_does_not_stop_the_service(client: TestClient, settings: Settings) -> None:
    engine = database.connect(settings.database_url)
    earlier = {"day": "2013-02-19", "alerts": [{"name": "old"}, BROKEN], "quality": {"auc": 0.7}}
    database.record_decision(engine, "monitor", "alert", earlier, MIDNIGHT)
    database.record_decision(engine, "policy", "stop", {"day": "2013-02-19"}, MIDNIGHT)

    monitored = client.get("/v1/ops").json()["monitored"]

    assert (monitored["alerts"], monitored["quality"], monitored["policy"]) == ([BROKEN], None, None)


def test_a_calm_day_leaves_no_note(client: TestClient, settings: Settings) -> None:
    engine = database.connect(settings.database_url)
    report = {**BROKEN, "tier": 3}
    database.record_decision(engine, "monitor", "alert", {"day": "2013-02-19", "alerts": [report]}, MIDNIGHT)

    assert client.get("/v1/ops").json()["notes"] == []


def test_a_tool_of_make_ui_is_linked_while_it_listens(client: TestClient, settings: Settings) -> None:
    assert client.get("/v1/ops").json()["links"] == {}
    with socket.create_server(("127.0.0.1", 0)) as page:
        shown = f"http://127.0.0.1:{page.getsockname()[1]}/runs"
        settings.ui_links.write_text(json.dumps({"Prefect: flow runs": shown}))
        linked = client.get("/v1/ops").json()["links"]

    assert linked == {"Prefect: flow runs": shown}
    assert client.get("/v1/ops").json()["links"] == {}  # `make ui` was killed, and could not remove its file


@pytest.mark.parametrize("written", ["", "[1]", "no JSON", '{"Prefect": 7}', '{"Prefect": "http://[::1"}'])
def test_an_invalid_file_of_links_is_ignored(written: str, client: TestClient, settings: Settings) -> None:
    settings.ui_links.write_text(written)

    assert client.get("/v1/ops").json()["links"] == {}


def test_metrics_count_requests_and_predictions(client: TestClient) -> None:
    def value(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    names = (
        "ontime_predictions_total",
        "ontime_predictions_without_features_total",
        "ontime_probability_count",
        "ontime_missing_features_share_count",
    )
    before = {name: value(name) for name in names}
    commits = value('ontime_stage_seconds_count{stage="commit"}')

    client.post("/v1/predictions", json=[FLIGHT] * 7)

    assert {name: value(name) - before[name] for name in names} == dict.fromkeys(names, 7)
    assert value('ontime_stage_seconds_count{stage="commit"}') == commits + 1
    assert value("ontime_release_refused") == value("ontime_spool_predictions") == 0
    assert value("ontime_release_trained_until_seconds") == datetime(2013, 2, 18, tzinfo=UTC).timestamp()


def test_errors_are_counted_from_zero(settings: Settings) -> None:
    """Otherwise the first errors of a replica between two scrapes are no increase, and the burn rate is 0."""
    with running(settings) as service:
        lines = str(service.get("/metrics")).splitlines()

    of_errors = [line for line in lines if re.match(r'ontime_requests_total\{.*status="5', line)]
    assert of_errors == [
        f'ontime_requests_total{{route="/v1/predictions",status="{status}"}} 0.0' for status in (500, 503)
    ]


def test_metrics_say_when_the_mirror_last_succeeded(settings: Settings, client: TestClient) -> None:
    without = "ontime_mirror" in client.get("/metrics").text
    (settings.releases / heartbeat.COPY).touch()
    os.utime(settings.releases / heartbeat.COPY, (MIDNIGHT.timestamp(), MIDNIGHT.timestamp()))

    lines = client.get("/metrics").text.splitlines()

    of_mirror = [line.split() for line in lines if line.startswith("ontime_mirror")]
    assert not without
    assert [(name, float(value)) for name, value in of_mirror] == [
        ("ontime_mirror_succeeded_seconds", MIDNIGHT.timestamp())
    ]


def test_metrics_say_when_the_last_backup_succeeded(settings: Settings, client: TestClient) -> None:
    without = "ontime_backup" in client.get("/metrics").text
    engine = database.connect(settings.database_url)
    for _ in range(2):
        database.record_decision(engine, "backup", "made", {"reason": "for a test"})
    row = database.last_decision(engine, "backup")

    lines = client.get("/metrics").text.splitlines()

    (of_backup,) = [line.split() for line in lines if line.startswith("ontime_backup")]
    assert not without
    assert row is not None
    assert of_backup[0] == "ontime_backup_succeeded_seconds"
    assert float(of_backup[1]) == pytest.approx(row.decided_at.timestamp(), abs=1e-3)


MIDNIGHT = datetime(2013, 2, 20, 5, tzinfo=UTC)


@pytest.fixture
def looked_at(settings: Settings) -> sa.Engine:
    """The database after a run of the monitor, with an alert."""
    engine = database.connect(settings.database_url)
    alert = {"name": "rate_gap", "tier": 2, "value": 0.06, "above": 0.05, "reason": "for two weeks"}
    evidence = {"day": "2013-02-19", "figures": {"rate_gap": 0.06, "auc_shortfall": None}, "alerts": [alert]}
    database.record_decision(engine, "monitor", "alert", evidence, MIDNIGHT)
    return engine


@pytest.mark.usefixtures("looked_at")
def test_metrics_include_the_monitors_last_day(client: TestClient) -> None:
    status = monitored(client)

    assert status == {
        "ontime_monitored_until_seconds": MIDNIGHT.timestamp(),
        'ontime_monitor_metric{metric="rate_gap"}': 0.06,
        'ontime_alert{metric="rate_gap",tier="2"}': 1,
    }


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("policy", "retrain"), ("retraining", "begun")],
    ids=["requested by the policy", "begun by hand"],
)
def test_metrics_include_a_retraining_until_it_has_finished(
    kind: str, verdict: str, looked_at: sa.Engine, client: TestClient
) -> None:
    database.record_decision(looked_at, kind, verdict, {"day": "2013-02-19"}, MIDNIGHT)
    waiting = monitored(client)
    database.record_decision(looked_at, "retrained", "done", {"day": "2013-02-19"}, MIDNIGHT)

    assert waiting["ontime_retraining_requested_timestamp_seconds"] == MIDNIGHT.timestamp()
    assert "ontime_retraining_requested_timestamp_seconds" not in monitored(client)


def monitored(client: TestClient) -> dict[str, float]:
    """The monitor's metrics in /metrics."""
    lines = client.get("/metrics").text.splitlines()
    names = ("ontime_monitored", "ontime_monitor_metric", "ontime_alert", "ontime_retraining")
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names)}
