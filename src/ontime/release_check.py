"""Loads and probes a release in a child process with limits: a model can need endless time or memory, or crash.

    python -m ontime.release_check releases 3 <sha256 of its manifest>

The child ends with status 0, or prints the reason and ends with REFUSED. It imports the library alone, so it starts in
a fraction of the service's time, and it runs at low priority.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ontime import online, release
from ontime.release import ReleaseRefused

TIMEOUT_SECONDS = 30
MEMORY_BYTES = 2 * 2**30  # of address space, beyond that of the libraries
REFUSED = 3  # exit status
POLL_SECONDS = 0.02
MAX_REASON_BYTES = 4096


def check_in_child(
    releases: Path,
    version: str,
    manifest_sha256: str,
    *,
    signed: bool = True,
    is_cancelled: Callable[[], bool] = lambda: False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Load and probe a release in a child process, which is killed at the deadline. Raises ReleaseRefused."""
    command = [sys.executable, "-m", "ontime.release_check", str(releases), version, manifest_sha256]
    process = subprocess.Popen(  # noqa: S603  our own module
        command if signed else [*command, "unsigned"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # warnings of ONNX Runtime, of any length
    )
    deadline = time.monotonic() + timeout_seconds
    with process:
        try:
            while process.poll() is None:
                if is_cancelled():
                    raise ReleaseRefused(f"release {version}: not checked, because this process stops")
                if time.monotonic() > deadline:
                    raise ReleaseRefused(f"release {version}: not loaded and probed within {timeout_seconds:g} s")
                time.sleep(POLL_SECONDS)
        finally:
            process.kill()
        if process.returncode == 0:
            return
        assert process.stdout is not None  # noqa: S101  it is a pipe
        reason = process.stdout.read(MAX_REASON_BYTES).decode(errors="replace").strip()
    raise ReleaseRefused(reason if process.returncode == REFUSED and reason else _ending(version, process.returncode))


def _ending(version: str, status: int) -> str:
    if status < 0:
        ended_with = f"{signal.Signals(-status).name}: it crashes, or needs more than its limits"
    else:
        ended_with = f"status {status}"
    return f"release {version}: the process that loads and probes it ended with {ended_with}"


def limit_this_process(timeout_seconds: int = TIMEOUT_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
    """Bound the time and memory of this process from now on, also if its parent ends."""
    signal.alarm(timeout_seconds + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (timeout_seconds, timeout_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = address_space_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.nice(10)
    with suppress(OSError):  # not on Linux
        # In a container that runs out of memory, the kernel ends this process and not the service.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")


@contextmanager
def limited_memory(memory_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    """Bound the memory that this process takes in addition within this block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = address_space_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def address_space_bytes() -> int:
    """The size of this process's address space; 0 if the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def main(releases: str, version: str, manifest_sha256: str, *options: str) -> None:
    limit_this_process()
    try:
        loaded = release.load(Path(releases), version, manifest_sha256, signed="unsigned" not in options)
        online.check_probes(loaded)
    except ReleaseRefused as refused:
        _refuse(str(refused))
    except MemoryError:
        _refuse(f"release {version}: needs over {MEMORY_BYTES / 2**30:g} GB of memory")


def _refuse(reason: str) -> None:
    print(reason[: MAX_REASON_BYTES // 4], flush=True)
    sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
