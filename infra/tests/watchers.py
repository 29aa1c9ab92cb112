"""The real Prometheus and Alertmanager with the committed files, except for addresses and waiting times."""

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import yaml

from infra.tests import rules
from infra.tests.tools import INFRA
from pipelines.operations import local_server
from pipelines.operations.local_server import free_port
from tests.service import Service, wait_for

HURRY = "1s"
SECRETS = "/run/secrets"


def program(name: str) -> str:
    """The path of a program of Debian's packages. Raises FileNotFoundError with the command that installs it."""
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(
            f"{name} is missing: apt-get install prometheus prometheus-alertmanager prometheus-node-exporter"
        )
    return path


def hurried_rules(folder: Path) -> Path:
    """The committed rules, with a waiting time of one second."""
    groups = rules.groups(*rules.IN_STACK)
    for group in groups:
        group.pop("interval", None)
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = HURRY
    return _written(folder / "rules.yaml", {"groups": groups})


def prometheus_config(folder: Path, service: int, stream: int, prometheus: int, alertmanager: int, node: int) -> Path:
    """The committed configuration, for programs on these local ports. The key is in folder/metrics_key."""
    config = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": HURRY, "evaluation_interval": HURRY}
    config["rule_files"] = [str(hurried_rules(folder))]
    config["alerting"]["alertmanagers"] = [_at(alertmanager)]
    ontime, streaming, itself, alerting, machine = config["scrape_configs"]
    for each, port_there in ((ontime, service), (streaming, stream)):
        del each["dns_sd_configs"]  # needs Docker's name server
        each.update(_at(port_there))
    itself.update(_at(prometheus))
    alerting.update(_at(alertmanager))
    machine.update(_at(node))
    key = ontime["authorization"]["credentials_file"]
    ontime["authorization"]["credentials_file"] = key.replace(SECRETS, str(folder))
    return _written(folder / "prometheus.yml", config)


def _at(port: int) -> dict[str, Any]:
    return {"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}


def alertmanager_config(folder: Path, receiver: str) -> Path:
    """The committed configuration, with the contents of the secret files, and without waiting times.

    Alertmanager reads a webhook's address from a file since 0.26; Debian 12 has 0.25.
    """
    config = yaml.safe_load((INFRA / "alertmanager" / "alertmanager.yml").read_text())
    for each in config["receivers"]:
        for webhook in each["webhook_configs"]:
            webhook["url"] = webhook.pop("url_file").replace(SECRETS, receiver)
    for route in (config["route"], *config["route"]["routes"]):
        route.update({name: HURRY for name in ("group_wait", "group_interval") if name in route})
    return _written(folder / "alertmanager.yml", config)


def _written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class Prometheus:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The current result of the expression. Raises ValueError with Prometheus' error for an invalid one."""
        return list(self._get("query", query=expr)["result"])

    def series(self) -> dict[str, dict[str, set[str]]]:
        """All series: metric, label, values."""
        metrics: dict[str, dict[str, set[str]]] = {}
        for labels in self._get("series", **{"match[]": '{__name__=~".+"}'}):
            metric = metrics.setdefault(labels.pop("__name__"), {})
            for label, value in labels.items():
                metric.setdefault(label, set()).add(value)
        return metrics

    def _get(self, what: str, **parameters: str) -> Any:
        return _json(f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(parameters)}")["data"]


class Alertmanager:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self.port, self._url = port, f"http://127.0.0.1:{port}/api/v2/alerts"

    def post(self, *labels: dict[str, str]) -> None:
        _json(self._url, [{"labels": each} for each in labels])

    def inhibited(self) -> set[str]:
        """The names of the alerts that are inhibited by another one."""
        return {each["labels"]["alertname"] for each in _json(self._url) if each["status"]["inhibitedBy"]}


def _json(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  our own program
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310  see above
            content = answer.read()
    except HTTPError as refused:
        raise ValueError(refused.read().decode()) from None
    return json.loads(content) if content else None


class Receiver(ThreadingHTTPServer):
    """Receives what Alertmanager posts, like a pager."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []  # the path, which is the receiver's, and an alert
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def alerts(self, path: str, name: str, status: str) -> list[dict[str, Any]]:
        """The alerts of that name and status (`firing` or `resolved`) that were posted to the path."""
        return [
            alert
            for posted_path, alert in self.received
            if posted_path == path and alert["labels"]["alertname"] == name and alert["status"] == status
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received += [(self.path, alert) for alert in message["alerts"]]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """No output: the tests read `received`."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        yield receiver
        receiver.shutdown()


@contextmanager
def alertmanager_telling(receiver: str, folder: Path) -> Iterator[Alertmanager]:
    port = free_port()
    options = [
        f"--config.file={alertmanager_config(folder, receiver)}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",  # it is alone
    ]
    with _started("prometheus-alertmanager", options, port, folder):
        yield Alertmanager(port)


@contextmanager
def node_exporter(folder: Path) -> Iterator[int]:
    """The port of the node exporter, with the options that it has in compose.yaml."""
    port = free_port()
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text())
    options = [*compose["services"]["node"]["command"], f"--web.listen-address=127.0.0.1:{port}"]
    with _started("prometheus-node-exporter", options, port, folder, ready="/metrics"):
        yield port


@contextmanager
def prometheus_watching(service: int, stream: int, alertmanager: int, node: int, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the service, the stream, Alertmanager and the node exporter on these ports."""
    port = free_port()
    options = [
        f"--config.file={prometheus_config(folder, service, stream, port, alertmanager, node)}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--rules.alert.resend-delay={HURRY}",  # an alert that fires before Alertmanager is discovered is not sent
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _started("prometheus", options, port, folder):
        yield Prometheus(port)


def _started(
    name: str, options: Sequence[str], port: int, folder: Path, ready: str = "/-/ready"
) -> AbstractContextManager[object]:
    """A program that is ready when the path responds; stopped afterwards."""
    log, command = folder / f"{name}.log", [program(name), *options]
    return local_server.run_server(command, port, name=name, ready=ready, ready_seconds=30, log=log)


class Stack(NamedTuple):
    """A service and its monitoring."""

    service: Service
    headers: dict[str, str]  # a key with the scope predict
    prometheus: Prometheus
    alertmanager: Alertmanager
    receiver: Receiver

    def ask(self, flights: list[dict[str, Any]]) -> int:
        """The status of the response."""
        return self.service.ask("POST", "/v1/predictions", flights, **self.headers)[0]

    def wait_for(self, expr: str) -> None:
        """Waits until the expression has a result."""
        wait_for(lambda: bool(self.prometheus.query(expr)))
