"""Callers that are silent or send too much, a reader of the log that stalls, and keys that are created at once."""

import fcntl
import resource
import shlex
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from threading import Thread

from ontime.settings import Settings
from serving import keys
from tests import ROOT
from tests.e2e.faults.report import Figures
from tests.e2e.faults.world import Attack, ids_of, longest_wait_ms, losses
from tests.service import MORNING, Load, Service, environment, running, wait_for
from tests.serving.test_connection import PIECE, START, memory_mb

SILENT_CONNECTIONS = 1006
OPEN_FILES = 1024  # the usual limit of a process
LOAD_SECONDS = 5
STALLED_ANSWERS = 12_000  # more lines than the service keeps for a reader
HEADER_BYTES = 150_000_000
PIPE_BYTES = 4096
KEYS = 6


def stall_log_reader(settings: Settings) -> Figures:
    with running(settings) as service:
        assert service.process.stdout is not None
        reader = Thread(target=service.process.stdout.read)
        reader.start()
        with Load(service.port, MORNING) as read:
            time.sleep(LOAD_SECONDS)
        service.stop()
        reader.join()
    with running(settings) as service:
        assert service.process.stdout is not None
        fcntl.fcntl(service.process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        started_at = time.monotonic()
        with Load(service.port, MORNING) as load:
            wait_for(lambda: len(load.answers) >= STALLED_ANSWERS or bool(load.failures), 300)
        stalled_seconds = time.monotonic() - started_at
        dropped = service.metric("ontime_log_lines_dropped_total")
        service.stop()
    return {
        "answers per second with a reader": round(len(read.answers) / LOAD_SECONDS),
        "with one that has stalled": round(len(load.answers) / stalled_seconds),
        "failed": len(load.failures),
        "lines of the log dropped": round(dropped),
        **losses(settings, ids_of(load)),
    }


def open_silent_connections(settings: Settings) -> Figures:
    """Half of them send nothing, and half an unfinished head."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # of this process, which opens the other ends
    limited = f"ulimit -n {OPEN_FILES}; exec {shlex.quote(sys.executable)} -m serving"
    service = Service(settings, command=["bash", "-c", limited]).wait_until_ready()
    try:
        with ExitStack() as silent:
            for number in range(SILENT_CONNECTIONS):
                caller = silent.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
                caller.sendall(b"GET / HTTP/1.1\r\nHost:" if number % 2 else b"")
            with Load(service.port, MORNING) as load:
                time.sleep(LOAD_SECONDS)
    finally:
        service.kill()
    return {
        "connections": SILENT_CONNECTIONS,
        "descriptors of the service": OPEN_FILES,
        "answers to good callers per second": round(len(load.answers) / LOAD_SECONDS),
        "failed": len(load.failures),
        "longest wait of a good caller in ms": longest_wait_ms(load),
    }


def send_large_headers(settings: Settings) -> Figures:
    with running(settings) as service:
        with Load(service.port, MORNING, callers=1) as before:
            time.sleep(LOAD_SECONDS)
        before_mb = memory_mb(service)
        sent = 0
        with Load(service.port, MORNING, callers=1) as load:
            with socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller, suppress(ConnectionError):
                caller.sendall(START + b"X-A: ")
                while sent < HEADER_BYTES:
                    caller.sendall(PIECE)
                    sent += len(PIECE)
            time.sleep(1)
        after_mb = memory_mb(service)
    return {
        "MB that the service accepted before it closed the connection": round(sent / 1e6),
        "peak memory in MB before": round(before_mb),
        "after": round(after_mb),
        "longest wait of another caller in ms before": longest_wait_ms(before),
        "meanwhile": longest_wait_ms(load),
        "failed": len(load.failures),
    }


def create_keys_at_once(settings: Settings) -> Figures:
    path = settings.releases.parent / "keys.json"
    env = environment(settings, ONTIME_API_KEYS=str(path))
    commands = [
        [sys.executable, "-m", "cli", "key", f"desk{number}", "predict"]  # what `make key` runs
        for number in range(KEYS)
    ]
    quiet = subprocess.DEVNULL
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=quiet)
        for command in commands
    ]
    printed = {process.communicate()[0].strip() for process in processes} - {""}
    stored = set(keys.read_keys(path).by_digest())
    return {
        "keys printed": len(printed),
        "of them in the file": len({keys.key_digest(each) for each in printed} & stored),
        "rights of the file": oct(path.stat().st_mode & 0o777).removeprefix("0o"),
    }


ATTACKS = [
    Attack("a reader of the log that has stalled", stall_log_reader),
    Attack("1,006 connections that send nothing, or half a head", open_silent_connections),
    Attack("a header of 150 MB without a key", send_large_headers),
    Attack("six times `make key` at once", create_keys_at_once),
]
