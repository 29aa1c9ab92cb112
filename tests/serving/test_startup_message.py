"""What `make serve` prints: on a terminal the pages, and a request that works; in a log one line."""

import json
import os
import pty
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontime.settings import Settings
from pipelines.operations.local_server import free_port, responds, wait_until_ready
from serving import keys
from serving.startup_message import first_steps, page_url
from tests import ROOT
from tests.service import COMMAND, Service, environment, running

ON_LOOPBACK = "without API keys, so on loopback only"


class OnTerminal(Service):
    """The service, with a terminal as its output."""

    def __init__(self, settings: Settings, **changed: str) -> None:
        self.port = free_port()
        self._terminal, output = pty.openpty()
        variables = environment(settings, ONTIME_PORT=str(self.port), **changed)
        self.process = subprocess.Popen(COMMAND, cwd=ROOT, env=variables, stdout=output, stderr=output)
        os.close(output)
        wait_until_ready(self.process, "the service", lambda: responds(self.port, "/health/live"), 30, self.output)

    def output(self) -> str:
        return os.read(self._terminal, 65_536).decode().replace("\r\n", "\n")

    def stop(self) -> None:
        super().stop()
        os.close(self._terminal)


@pytest.fixture
def on_terminal(settings: Settings) -> Iterator[OnTerminal]:
    service = OnTerminal(settings)
    yield service
    service.stop()


def steps(message: str) -> dict[str, str]:
    """The first steps in a message, by name."""
    return dict(re.findall(r"^  (\w+) +(.+)$", message, re.MULTILINE))


@pytest.mark.slow
def test_on_a_terminal_it_names_pages_that_exist_and_a_request_that_works(on_terminal: OnTerminal) -> None:
    message = on_terminal.output()
    root = f"http://127.0.0.1:{on_terminal.port}"
    shown = steps(message)
    curl, _, address, _, body = shlex.split(shown["example"])

    assert message.startswith(f"serve: release 1 on {root}; {ON_LOOPBACK}\n")
    assert [on_terminal.ask("GET", shown[name].removeprefix(root))[0] for name in ("page", "operations", "API")] == [
        200, 200, 200,
    ]  # fmt: skip
    assert (curl, shown["stop"]) == ("curl", "Ctrl-C")
    assert on_terminal.post(address.removeprefix(root), json.loads(body))["model_version"] == "1"


@pytest.mark.slow
def test_with_quiet_a_terminal_gets_one_line(settings: Settings) -> None:
    service = OnTerminal(settings, TQDM_DISABLE="1")
    message = service.output()
    service.stop()

    assert message.splitlines()[0].endswith(ON_LOOPBACK)
    assert steps(message) == {}


@pytest.mark.slow
def test_a_log_gets_one_line_and_then_json(settings: Settings) -> None:
    with running(settings) as service:
        service.stop()
        first, *others = service.output().splitlines()

    assert first == f"serve: release 1 on http://127.0.0.1:{service.port}; {ON_LOOPBACK}"
    assert others
    assert all(json.loads(line) for line in others)


@pytest.mark.slow
def test_with_keys_the_example_has_one(settings: Settings) -> None:
    path = settings.releases.parent / "keys.json"
    key = keys.add(path, "desk", ["predict"])
    with running(settings, ONTIME_API_KEYS=str(path)) as service:
        shown = steps(first_steps(f"http://127.0.0.1:{service.port}/", keys=True))
        words = shlex.split(shown["example"].replace("KEY", key))
        name, _, value = words[words.index("-H") + 1].partition(": ")
        status, _ = service.ask("POST", "/v1/predictions", json.loads(words[-1]), **{name: value})
        service.stop()

    assert status == 200
    assert shown["KEY"] == "printed by `make key NAME=desk SCOPES=predict`"


@pytest.mark.parametrize(
    ("host", "opened"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("localhost", "http://localhost:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("0.0.0.0", "http://127.0.0.1:8000/"),  # noqa: S104  all interfaces, which no browser can open
        ("::", "http://127.0.0.1:8000/"),
    ],
)
def test_the_page_has_an_address_that_a_browser_opens(host: str, opened: str) -> None:
    assert page_url(Settings(host=host, port=8000, api_keys=Path("keys.json"))) == opened
