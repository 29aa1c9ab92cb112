"""Severe alerts reach a real receiver once and in order, also after the receiver was down."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import AnyHttpUrl

from monitoring import webhook
from monitoring.alerts import Alert, Tier
from ontime import database
from pipelines.operations.local_server import free_port

STOP = Alert("quarantined_batches", Tier.STOP, 1.0, 0.0, "a batch broke the contract")
WORSE = Alert("auc_shortfall", Tier.RETRAIN, 0.06, 0.04, "ranks worse than expected")
SUMMER = Alert("feature_psi", Tier.REPORT, 3.2, 0.25, "seasons move")


class Receiver:
    """Keeps what was posted and responds with 200; the statuses in `refused` come first, each once."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: list[dict[str, Any]] = []
        self.refused: list[int] = []

    @property
    def url(self) -> AnyHttpUrl:
        return AnyHttpUrl(f"http://127.0.0.1:{self.port}/alerts")

    @property
    def days(self) -> list[str]:
        return [each["day"] for each in self.taken]

    @contextmanager
    def open(self) -> Iterator[None]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = receiver.refused.pop(0) if receiver.refused else 200
                if status == 200:
                    receiver.taken.append(content)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """No output among that of the tests."""

        with HTTPServer(("127.0.0.1", self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture
def away() -> Receiver:
    """A receiver that is not running."""
    return Receiver()


@pytest.fixture
def receiver(away: Receiver) -> Iterator[Receiver]:
    with away.open():
        yield away


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    connected = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    yield connected
    connected.dispose()


def store_alerts(engine: sa.Engine, day: str, *raised: Alert) -> None:
    """Store a day's row of the monitor, as pipelines/operations/monitor.py writes it."""
    evidence = {"day": day, "reason": "for a test", "figures": {}, "alerts": [vars(alert) for alert in raised]}
    database.record_decision(engine, "monitor", "alert" if raised else "ok", evidence)


@pytest.mark.parametrize(
    ("raised", "severity"),
    [
        ((STOP,), "page"),
        ((STOP, WORSE, SUMMER), "page"),
        ((WORSE,), "ticket"),
        ((WORSE, SUMMER), "ticket"),
    ],
)
def test_the_most_serious_alert_determines_the_severity(
    raised: tuple[Alert, ...], severity: str, engine: sa.Engine, receiver: Receiver
) -> None:
    store_alerts(engine, "2013-07-01", *raised)

    webhook.post_alerts(engine, receiver.url)

    (posted,) = receiver.taken
    severe = [alert for alert in raised if alert is not SUMMER]
    assert posted["severity"] == severity
    assert posted["alerts"] == [vars(alert) for alert in severe]
    assert posted["text"].startswith(f"ontime, 2013-07-01: {severe[0].summary}: {severe[0].reason}")
    assert "feature_psi" not in posted["text"]


@pytest.mark.parametrize("raised", [(), (SUMMER,)])
def test_no_alerts_and_seasonal_drift_are_not_posted(
    raised: tuple[Alert, ...], engine: sa.Engine, receiver: Receiver
) -> None:
    store_alerts(engine, "2013-07-01", *raised)

    assert webhook.post_alerts(engine, receiver.url) == 0
    assert receiver.taken == []


def test_an_alert_is_delivered_once(engine: sa.Engine, receiver: Receiver) -> None:
    store_alerts(engine, "2013-07-01", STOP)

    assert [webhook.post_alerts(engine, receiver.url) for _ in range(3)] == [1, 0, 0]
    assert receiver.days == ["2013-07-01"]


def test_without_a_receiver_alerts_wait_for_one(engine: sa.Engine, receiver: Receiver) -> None:
    store_alerts(engine, "2013-07-01", STOP)

    assert webhook.post_alerts(engine, None) == 0
    assert webhook.post_alerts(engine, receiver.url) == 1


def test_alerts_missed_while_the_receiver_was_down_arrive_in_order(engine: sa.Engine, away: Receiver) -> None:
    store_alerts(engine, "2013-07-01", STOP)
    missed = webhook.post_alerts(engine, away.url)
    store_alerts(engine, "2013-07-02", SUMMER)
    store_alerts(engine, "2013-07-03", WORSE)

    with away.open():
        delivered = webhook.post_alerts(engine, away.url)

    assert (missed, delivered) == (0, 2)
    assert away.days == ["2013-07-01", "2013-07-03"]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_rejected_post_is_retried_before_any_newer_one(status: int, engine: sa.Engine, receiver: Receiver) -> None:
    receiver.refused = [status]
    for day in ("2013-07-01", "2013-07-02"):
        store_alerts(engine, day, STOP)

    delivered = [webhook.post_alerts(engine, receiver.url) for _ in range(3)]

    assert delivered == [0, 2, 0]
    assert receiver.days == ["2013-07-01", "2013-07-02"]


def test_a_receiver_that_closes_the_connection_counts_as_down(engine: sa.Engine, away: Receiver) -> None:
    """It accepts the connection and closes it without a response."""
    store_alerts(engine, "2013-07-01", STOP)

    class Mute(HTTPServer):
        def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's signature
            self.shutdown_request(request)

    with Mute(("127.0.0.1", away.port), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        delivered = webhook.post_alerts(engine, away.url)
        thread.join()
    with away.open():
        later = webhook.post_alerts(engine, away.url)

    assert (delivered, later, away.days) == (0, 1, ["2013-07-01"])


SILENT = Alert("silent", Tier.STOP, 1.0, 0.0, "nobody asked")


@pytest.mark.parametrize(
    ("severe", "severity"),
    [([STOP], "page"), ([SILENT], "ticket"), ([SILENT, STOP], "page"), ([WORSE, SILENT], "ticket")],
)
def test_a_day_without_callers_wakes_nobody(severe: list[Alert], severity: str) -> None:
    assert webhook.payload("2013-07-01", severe)["severity"] == severity


@pytest.mark.parametrize(
    ("why", "ending"),
    [
        ("carrier UA: it costs 0.1", "Why: carrier UA: it costs 0.1; `make diagnose` has the details"),
        (None, "Why: run `make diagnose`"),
    ],
)
def test_an_alert_about_performance_has_the_cause_or_the_command_that_finds_it(why: str | None, ending: str) -> None:
    assert str(webhook.payload("2013-07-01", [WORSE], why)["text"]).endswith(ending)
    assert "diagnose" not in str(webhook.payload("2013-07-01", [STOP])["text"])
