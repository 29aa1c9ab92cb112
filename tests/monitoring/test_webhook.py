"""Alerts that bother somebody reach a real receiver, once each and in order, also when it was away."""

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
WORSE = Alert("auc_shortfall", Tier.RETRAIN, 0.06, 0.04, "told apart worse")
SUMMER = Alert("feature_psi", Tier.REPORT, 3.2, 0.25, "seasons move")


class Receiver:
    """What was posted, and the status that it answers with; `refused` statuses come first, each once."""

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
                """Nothing on the tests' own output."""

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
    """A receiver that nobody has started."""
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


def tell(engine: sa.Engine, day: str, *raised: Alert) -> None:
    """A day's row of the monitor, as pipelines/operations/monitor.py writes it."""
    evidence = {"day": day, "reason": "for a test", "figures": {}, "alerts": [vars(alert) for alert in raised]}
    database.record_decision(engine, "monitor", "alert" if raised else "calm", evidence)


@pytest.mark.parametrize(
    ("raised", "severity"),
    [
        ((STOP,), "page"),
        ((STOP, WORSE, SUMMER), "page"),
        ((WORSE,), "ticket"),
        ((WORSE, SUMMER), "ticket"),
    ],
)
def test_the_most_serious_alert_says_who_is_bothered(
    raised: tuple[Alert, ...], severity: str, engine: sa.Engine, receiver: Receiver
) -> None:
    tell(engine, "2013-07-01", *raised)

    webhook.deliver(engine, receiver.url)

    (posted,) = receiver.taken
    loud = [alert for alert in raised if alert is not SUMMER]
    assert posted["severity"] == severity
    assert posted["alerts"] == [vars(alert) for alert in loud]
    assert posted["text"].startswith(f"ontime, 2013-07-01: {loud[0].told}: {loud[0].reason}")
    assert "feature_psi" not in posted["text"]


@pytest.mark.parametrize("raised", [(), (SUMMER,)])
def test_calm_and_seasonal_drift_bother_nobody(
    raised: tuple[Alert, ...], engine: sa.Engine, receiver: Receiver
) -> None:
    tell(engine, "2013-07-01", *raised)

    assert webhook.deliver(engine, receiver.url) == 0
    assert receiver.taken == []


def test_an_alert_is_delivered_once(engine: sa.Engine, receiver: Receiver) -> None:
    tell(engine, "2013-07-01", STOP)

    assert [webhook.deliver(engine, receiver.url) for _ in range(3)] == [1, 0, 0]
    assert receiver.days == ["2013-07-01"]


def test_without_a_receiver_alerts_wait_for_one(engine: sa.Engine, receiver: Receiver) -> None:
    tell(engine, "2013-07-01", STOP)

    assert webhook.deliver(engine, None) == 0
    assert webhook.deliver(engine, receiver.url) == 1


def test_what_a_receiver_missed_while_it_was_away_comes_in_order(engine: sa.Engine, away: Receiver) -> None:
    tell(engine, "2013-07-01", STOP)
    missed = webhook.deliver(engine, away.url)
    tell(engine, "2013-07-02", SUMMER)
    tell(engine, "2013-07-03", WORSE)

    with away.open():
        delivered = webhook.deliver(engine, away.url)

    assert (missed, delivered) == (0, 2)
    assert away.days == ["2013-07-01", "2013-07-03"]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_what_a_receiver_refuses_is_tried_again_before_anything_newer(
    status: int, engine: sa.Engine, receiver: Receiver
) -> None:
    receiver.refused = [status]
    for day in ("2013-07-01", "2013-07-02"):
        tell(engine, day, STOP)

    delivered = [webhook.deliver(engine, receiver.url) for _ in range(3)]

    assert delivered == [0, 2, 0]
    assert receiver.days == ["2013-07-01", "2013-07-02"]


def test_a_receiver_that_breaks_off_is_away(engine: sa.Engine, away: Receiver) -> None:
    """It accepts the connection and closes it without a word."""
    tell(engine, "2013-07-01", STOP)

    class Mute(HTTPServer):
        def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's signature
            self.shutdown_request(request)

    with Mute(("127.0.0.1", away.port), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        delivered = webhook.deliver(engine, away.url)
        thread.join()
    with away.open():
        later = webhook.deliver(engine, away.url)

    assert (delivered, later, away.days) == (0, 1, ["2013-07-01"])


@pytest.mark.parametrize(
    ("why", "ending"),
    [
        ("carrier UA: it costs 0.1", "Why: carrier UA: it costs 0.1; `make diagnose` has the rest"),
        (None, "Why: `make diagnose`"),
    ],
)
def test_an_alert_about_performance_says_why_or_which_command_does(why: str | None, ending: str) -> None:
    assert str(webhook.message("2013-07-01", [WORSE], why)["text"]).endswith(ending)
    assert "diagnose" not in str(webhook.message("2013-07-01", [STOP])["text"])
