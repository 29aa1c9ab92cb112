"""The container engine, through its command line."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# The strictest options: a test adds what its image needs beyond them.
TIGHT = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")


def docker(*words: str) -> str:
    """The output of `docker ...`. Raises AssertionError with the output if it fails."""
    completed = subprocess.run(["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert completed.returncode == 0, f"docker {' '.join(words)}: {completed.stdout}"
    return completed.stdout.strip()


def image(name: str) -> dict[str, Any]:
    """The engine's metadata of an image."""
    details: dict[str, Any] = json.loads(docker("image", "inspect", name))[0]
    return details


def inspect(container: str) -> dict[str, Any]:
    details: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return details


@contextmanager
def running(name: str, options: Sequence[str] = (), command: Sequence[str] = ()) -> Iterator[str]:
    """A container of that image, by its id; removed afterwards with its anonymous volumes."""
    container = docker("run", "--detach", *TIGHT, *options, name, *command)
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


@contextmanager
def volume() -> Iterator[str]:
    name = docker("volume", "create")
    try:
        yield name
    finally:
        docker("volume", "rm", name)


def port_of(container: str, inside: int) -> int:
    """The port on the loopback interface that is mapped to it."""
    return int(docker("port", container, str(inside)).splitlines()[0].rpartition(":")[2])
