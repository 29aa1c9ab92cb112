"""Input of clients: times, texts, encodings, duplicate names. A client error is a 4xx, never a 5xx."""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from ontime import database, database_tables, schema
from ontime.declaration import ENTITY_ID
from ontime.settings import Settings
from serving import examples
from serving.app import create_app
from tests.service import MORNING

pytestmark = pytest.mark.slow

FLIGHT, OUTCOME = MORNING, examples.OUTCOME
WIDTH = len(schema.FEATURE_NAMES)
INFER: dict[str, Any] = {"name": "features", "shape": [1, WIDTH], "datatype": "FP32", "data": [0] * WIDTH}

ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EDGES = st.sampled_from(
    [
        "0001-01-01T00:00:00",
        "1999-12-31T23:59:00",
        "2000-01-01T00:00:00",
        "2099-12-31T20:00:00",
        "9999-12-31T23:59:59.999999",
    ]
)
RECENT = st.datetimes(datetime(2013, 11, 4), datetime(2026, 1, 1))  # noqa: DTZ001  the zone follows
LOCAL = EDGES.map(datetime.fromisoformat) | RECENT | st.datetimes()
TIMES = st.builds(lambda moment, zone: moment.replace(tzinfo=zone).isoformat(), LOCAL, ZONES)
TEXTS = st.text(st.characters())  # also NUL and lone surrogates
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, 2**64, 10**400, True, None])
KEYS = st.builds("UA{}-EWR-{}Z".format, st.integers(-1, 10_000), st.from_regex(r"\d{8}T\d{4}", fullmatch=True))
VALUES = TIMES | KEYS | TEXTS | NUMBERS | st.lists(TEXTS, max_size=2) | st.dictionaries(TEXTS, NUMBERS, max_size=2)

SPECIAL = {"scheduled_departure": TIMES, "scheduled_arrival": TIMES, "known_at": TIMES, "entity_id": KEYS}


def changes(fields: Mapping[str, Any]) -> st.SearchStrategy[tuple[str, object]]:
    """A field and its new value: nearly valid ones as often as any others."""
    chosen = st.sampled_from(sorted(fields))
    return chosen.flatmap(lambda field: st.tuples(st.just(field), SPECIAL.get(field, VALUES) | VALUES))


def flight_between(local: datetime, zone: timezone) -> dict[str, object]:
    """It takes an hour, also on the last day of the calendar."""
    hour = timedelta(hours=1)
    departure = min(local, datetime.max - hour).replace(second=0, microsecond=0, tzinfo=zone)  # noqa: DTZ901
    times = {"scheduled_departure": departure.isoformat(), "scheduled_arrival": (departure + hour).isoformat()}
    return {**FLIGHT, **times}


FLIGHTS = changes(FLIGHT).map(lambda change: {**FLIGHT, change[0]: change[1]}) | st.builds(flight_between, LOCAL, ZONES)

# The same examples each time: whoever wants others runs `make fuzz`.
generated = tries(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def on_each(on_both: Settings) -> Iterator[TestClient]:
    """The service on SQLite, and the service on PostgreSQL."""
    with TestClient(create_app(on_both), raise_server_exceptions=False) as client:
        yield client


def problem_of(answer: Any, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    (problem,) = answer.json()["detail"]
    return dict(problem)


def test_an_outcome_with_any_value_in_a_field_is_rejected_or_stored(on_each: TestClient) -> None:
    numbers = count(1)

    @generated
    @given(change=changes(OUTCOME))
    def answered(change: tuple[str, object]) -> None:
        flight = f"UA{next(numbers)}-EWR-20131105T1015Z"
        sent = {**OUTCOME, "entity_id": flight, change[0]: change[1]}

        answer = on_each.post("/v1/outcomes", content=json.dumps(sent))

        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            stored = on_each.get(f"/v1/outcomes/{sent['entity_id']}").json()
            known_at = datetime.fromisoformat(str(sent["known_at"])).astimezone(UTC)
            assert (stored["entity_id"], stored["label"]) == (sent["entity_id"], sent["label"])
            assert datetime.fromisoformat(stored["known_at"]) == known_at

    answered()


def test_a_flight_with_any_value_in_a_field_is_rejected_or_scored(on_each: TestClient, on_both: Settings) -> None:
    engine = database.connect(on_both.database_url)

    @generated
    @given(flight=FLIGHTS)
    def answered(flight: dict[str, object]) -> None:
        answer = on_each.post("/v1/predictions", content=json.dumps(flight))

        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            prediction = answer.json()
            rows = sa.select(database_tables.predictions.c.entity_id).where(
                database_tables.predictions.c.prediction_id == prediction["prediction_id"]
            )
            with engine.connect() as connection:
                assert connection.execute(rows).scalars().all() == [prediction["entity_id"]]
            departure = datetime.fromisoformat(str(flight["scheduled_departure"])).astimezone(UTC)
            assert prediction["entity_id"].endswith(f"-{departure:%Y%m%dT%H%M}Z")
            assert re.fullmatch(ENTITY_ID, prediction["entity_id"])

    answered()


def test_a_tensor_with_any_value_in_a_field_is_rejected_or_scored(client: TestClient) -> None:
    @generated
    @given(field=st.sampled_from(sorted(INFER)), value=VALUES | st.lists(NUMBERS, min_size=WIDTH, max_size=WIDTH))
    def answered(field: str, value: object) -> None:
        answer = client.post("/v2/models/ontime/infer", content=json.dumps({"inputs": [{**INFER, field: value}]}))

        assert answer.status_code in (200, 400), answer.text

    answered()


def test_a_search_with_any_value_in_a_field_is_rejected_or_executed(on_each: TestClient) -> None:
    texts = st.text() | TIMES | st.integers().map(str) | st.dates().map(str)

    @generated
    @given(field=st.sampled_from(["day", "hour", "limit", "carrier", "flight_number", "origin", "dest"]), value=texts)
    def answered(field: str, value: str) -> None:
        assert on_each.get("/v1/entities", params={field: value}).status_code in (200, 422)

    answered()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("day", "1383609600", "is not a day, such as 2013-11-27"),
        ("day", "2013-11-27T00:00:00", "is not a day, such as 2013-11-27"),
        ("flight_number", "1_0", "is not a whole number, in digits"),
        ("flight_number", " 8 ", "is not a whole number, in digits"),
        ("hour", "8.0", "is not a whole number, in digits"),
        ("limit", "\uff11\uff12", "is not a whole number, in digits"),
        ("limit", "201", "Input should be less than or equal to 200"),
    ],
)
def test_a_query_accepts_one_format_of_days_and_numbers(
    field: str, value: str, reason: str, client: TestClient
) -> None:
    problem = problem_of(client.get("/v1/entities", params={field: value}), 422)

    assert problem == {"place": f"query.{field}", "reason": reason}


def test_one_outcome_from_the_future_is_named_in_its_list_and_nothing_is_stored(client: TestClient) -> None:
    later = {**OUTCOME, "entity_id": "UA2-EWR-20131105T1015Z", "known_at": "9999-12-31T23:59:59-05:00"}

    problem = problem_of(client.post("/v1/outcomes", json=[OUTCOME, later]), 422)

    assert problem["place"] == "outcomes.1.known_at"
    assert "is not between 2000 and 2099" in problem["reason"]
    assert client.get(f"/v1/outcomes/{OUTCOME['entity_id']}").status_code == 404


def test_a_value_that_the_database_rejects_is_an_internal_error(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry cannot succeed, so it is not a 503."""

    def refuses(engine: sa.Engine, _: object) -> None:
        with engine.begin() as connection:
            connection.execute(
                sa.insert(database_tables.outcomes), [{"entity_id": None, "label": True, "known_at": None}]
            )

    monkeypatch.setattr(database, "store_outcomes", refuses)

    assert problem_of(client.post("/v1/outcomes", json=OUTCOME), 500)["place"] == "service"


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/outcomes"])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "gzip, identity", "zstd"])
def test_a_compressed_body_is_rejected(path: str, encoding: str, client: TestClient) -> None:
    sent = gzip.compress(json.dumps(FLIGHT).encode())

    problem = problem_of(client.post(path, content=sent, headers={"Content-Encoding": encoding}), 415)

    assert problem == {
        "place": "header.content-encoding",
        "reason": "is not supported: send the body uncompressed",
        "got": encoding,
    }


def test_a_compressed_tensor_is_rejected_with_the_protocols_error_body(client: TestClient) -> None:
    answer = client.post("/v2/models/ontime/infer", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    assert answer.status_code == 415
    assert answer.json() == {"error": "header.content-encoding: is not supported: send the body uncompressed"}


@pytest.mark.parametrize("headers", [{"Content-Encoding": "identity"}, {"Content-Type": "text/plain"}, {}])
def test_a_body_is_accepted_with_any_content_type(headers: dict[str, str], client: TestClient) -> None:
    assert client.post("/v1/predictions", content=json.dumps(FLIGHT), headers=headers).status_code == 200


def test_a_byte_order_mark_is_ignored(client: TestClient) -> None:
    answers = [
        client.post("/v1/predictions", content=json.dumps(FLIGHT).encode(code)) for code in ("utf-8-sig", "utf-8")
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["entity_id"] == answers[1].json()["entity_id"]


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_an_encoding_other_than_utf_8_is_rejected(code: str, client: TestClient) -> None:
    body = json.dumps({**FLIGHT, "carrier": "\xe9A"}, ensure_ascii=False).encode(code)

    problem = problem_of(client.post("/v1/predictions", content=body), 422)

    assert problem == {"place": "body", "reason": "is not UTF-8, the encoding of JSON"}


ONE = json.dumps(FLIGHT)
REPEATED = {
    "the same value": (ONE[:-1] + ', "carrier": "UA"}', "entity.carrier"),
    "another value": ('{"distance_miles": 1,' + ONE[1:], "entity.distance_miles"),
    "a value of another type": ('{"dest": [[{}]],' + ONE[1:], "entity.dest"),
    "written with an escape": (ONE[:-1] + ', "\\u0063arrier": "UA"}', "entity.carrier"),
    "in a list": (f"[{ONE}, {ONE[:-1]}, " + '"origin": "EWR"}]', "entities.1.origin"),
    "a quotation mark in the value that was dropped": ('{"dest": "\\"",' + ONE[1:], "entity.dest"),
}


@pytest.mark.parametrize("how", REPEATED)
def test_a_duplicate_name_is_rejected_with_its_place(how: str, client: TestClient) -> None:
    body, place = REPEATED[how]

    problem = problem_of(client.post("/v1/predictions", content=body), 422)

    assert problem == {"place": place, "reason": "is given more than once"}


def test_a_duplicate_name_in_an_outcome_is_rejected(client: TestClient) -> None:
    body = json.dumps(OUTCOME)[:-1] + ', "label": true}'

    assert problem_of(client.post("/v1/outcomes", content=body), 422)["place"] == "outcome.label"
    assert client.get(f"/v1/outcomes/{OUTCOME['entity_id']}").status_code == 404


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ('{"a": "b", "c": ["d", {"e": "\\""}]}', None),
        ('{"a": 1, "a": 2}', "request.inputs.0.parameters.a: is given more than once"),
    ],
)
def test_a_duplicate_name_in_a_tensor_is_rejected(parameters: str, error: str | None, client: TestClient) -> None:
    tensor = json.dumps(INFER)[:-1]

    answer = client.post("/v2/models/ontime/infer", content=f'{{"inputs": [{tensor}, "parameters": {parameters}}}]}}')

    assert answer.status_code == (400 if error else 200)
    assert answer.json().get("error") == error


@pytest.mark.parametrize("query", ["explain=true&explain=false", "explain=true&explain=true"])
def test_a_repeated_explain_is_rejected(query: str, client: TestClient) -> None:
    assert problem_of(client.post(f"/v1/predictions?{query}", json=FLIGHT), 422)["place"] == "query.explain"
