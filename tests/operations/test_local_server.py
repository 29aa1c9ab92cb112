"""A server is used once it is ready and leaves no process behind; a failure carries its last lines."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.operations import local_server, processes
from pipelines.operations.processes import ProcessFailed
from tests.service import wait_for


def server(port: int) -> list[str]:
    return [sys.executable, "-m", "http.server", str(port), "--bind", local_server.HOST]


def lives(group: int) -> bool:
    """Whether a process of the group is running; zombies do not count."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return any(int(pgid) == group and not state.startswith("Z") for pgid, state in rows)


def test_a_server_is_ready_in_the_block_and_stopped_after_it(tmp_path: Path) -> None:
    port = local_server.free_port()

    with local_server.run_server(
        server(port), port, name="the files", ready="/", ready_seconds=60, log=tmp_path / "log"
    ) as process:
        inside = local_server.responds(port), local_server.responds(port, "/missing")

    assert inside == (True, False)
    assert process.returncode is not None
    assert not local_server.responds(port)


def test_a_free_port_is_given_to_nobody_else_but_a_server_can_listen_on_it() -> None:
    port = local_server.free_port()

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((local_server.HOST, port))
    with socket.create_server((local_server.HOST, port)), socket.create_connection((local_server.HOST, port)) as client:
        assert client.getpeername() == (local_server.HOST, port)


def test_a_server_that_exits_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    port, fails = local_server.free_port(), [sys.executable, "-c", "raise SystemExit('no disk')"]

    with (
        pytest.raises(ProcessFailed, match="the files ended with 1:\nno disk"),
        local_server.run_server(fails, port, name="the files", ready="/", ready_seconds=60, log=tmp_path / "log"),
    ):
        pytest.fail("it never was ready")


def test_a_server_that_does_not_become_ready_is_stopped(tmp_path: Path) -> None:
    port, waits = local_server.free_port(), [sys.executable, "-c", "import time; time.sleep(600)"]

    with (
        pytest.raises(ProcessFailed, match="the files was not ready in"),
        local_server.run_server(waits, port, name="the files", ready="/", ready_seconds=0.1, log=tmp_path / "log"),
    ):
        pytest.fail("it never was ready")


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; (trap '' TERM; sleep 600) & echo started; wait"
    log = tmp_path / "folder" / "log"
    process = local_server.start(["bash", "-c", stubborn], log, {})
    local_server.wait_until_ready(process, "bash", lambda: "started" in log.read_text(), 60, log.read_text)

    local_server.stop([process], seconds=0.1)

    wait_for(lambda: not lives(process.pid))


def test_the_output_of_a_command_is_complete_and_its_failure_has_the_last_lines() -> None:
    with processes.piped(["cat"]) as echoes:
        assert processes.output_of(echoes, "cat", "a\nb\n") == "a\nb\n"

    lines = "\n".join(map(str, range(100)))
    with processes.piped(["bash", "-c", "cat; exit 3"]) as fails, pytest.raises(ProcessFailed) as failed:
        processes.output_of(fails, "bash", lines)
    assert str(failed.value).splitlines() == ["bash ended with 3:", *map(str, range(85, 100))]
    assert failed.value.output == lines
