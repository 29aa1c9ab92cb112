"""Wall time, CPU time and memory of a command with all processes that it starts."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]  # it ships no types

LOOKS_PER_SECOND = 10
# The peak of a child is at least its parent's memory when it started, so each command has a small parent of its own.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(status)
"""


class ResourceUsage(NamedTuple):
    seconds: float
    peak_mb: float  # of all processes together
    cpu_seconds: float

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 1) for name, value in self._asdict().items()}


def run_measured(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> ResourceUsage:
    """Run a command in a project folder. Exits with the end of its output if it fails.

    Memory and CPU time are those of all its processes, looked at several times a second; a page that several share
    counts once. If the operating system's figure, of the processes that have been waited for, is larger, it counts.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), **(variables or {})}
    log = folder / "bench.log"
    start, cpu, peak = time.perf_counter(), dict[int, float](), 0.0
    with log.open("w") as output:
        launched = [sys.executable, "-c", LAUNCHER, *command]
        process = psutil.Popen(launched, cwd=folder, env=environment, stdout=PIPE, stderr=output, text=True)
        while process.poll() is None:
            peak = max(peak, _look(process, cpu))
            time.sleep(1 / LOOKS_PER_SECOND)
    if process.returncode:
        raise SystemExit(f"bench: {' '.join(command)} failed: {log.read_text()[-2000:]}")
    seconds = time.perf_counter() - start
    largest, cpu_seconds = map(float, process.stdout.read().split())
    scale = 1e6 if sys.platform == "darwin" else 1e3
    return ResourceUsage(seconds, max(peak / 1e6, largest / scale), max(cpu_seconds, sum(cpu.values())))


def _look(process: psutil.Process, cpu: dict[int, float]) -> float:
    """The memory of the processes now, in bytes; their CPU time so far goes into `cpu`."""
    memory = 0.0
    try:
        processes = [process, *process.children(recursive=True)]
    except psutil.Error:
        return memory
    for each in processes:
        try:
            cpu[each.pid] = sum(each.cpu_times()[:2])
            used = each.memory_full_info()
        except psutil.Error:  # it has ended meanwhile
            continue
        memory += getattr(used, "pss", 0) or used.uss
    return memory
