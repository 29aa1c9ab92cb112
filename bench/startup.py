"""`make bench-startup`: how long commands take to start: the command line, and a service until it is ready.

Writes reports/bench_startup.json with medians of wall and CPU seconds. The rounds alternate between the commands, so
that a slower minute of the machine slows all of them. Needs `make train`.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ontime.settings import PREFIX
from pipelines.layout import REPORTS, write_json
from pipelines.operations import local_server

ROUNDS = 7
REPORT = REPORTS / "bench_startup.json"
READY_SECONDS = 60
COMMANDS: Mapping[str, Sequence[str]] = {
    "python -c pass": ("-c", "pass"),
    "ontime --help": ("-m", "cli", "--help"),
    "ontime doctor": ("-m", "cli", "doctor"),
    "ontime train, nothing changed": ("-m", "cli", "train"),
}
SERVERS: Mapping[str, Sequence[str]] = {
    "python -m serving, until ready": ("-m", "serving"),
    "ontime serve, until ready": ("-m", "cli", "serve"),
}


def run_to_the_end(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)  # noqa: S603  our own commands
    return time.perf_counter() - started


def run_until_ready(arguments: Sequence[str], folder: Path) -> float:
    port = local_server.free_port()
    variables = {"PORT": port, "DATABASE_URL": f"sqlite:///{folder}/startup.db", "SPOOL": folder / "spool"}
    environment = os.environ | {f"{PREFIX}{name}": str(value) for name, value in variables.items()}
    started = time.perf_counter()
    with local_server.run_server(
        [sys.executable, *arguments], port, name=" ".join(arguments), ready="/health/ready",
        ready_seconds=READY_SECONDS, log=folder / "startup.log", env=environment,
    ):  # fmt: skip
        return time.perf_counter() - started


def with_cpu(run: Callable[[], float]) -> tuple[float, float]:
    """The wall seconds that `run` returns, and the CPU seconds of its processes until they ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs: dict[str, Callable[[], float]] = {
            **{each: partial(run_to_the_end, words) for each, words in COMMANDS.items()},
            **{each: partial(run_until_ready, words, folder) for each, words in SERVERS.items()},
        }
        measured: dict[str, list[tuple[float, float]]] = {each: [] for each in runs}
        for _ in tqdm(range(ROUNDS), desc="bench-startup", disable=None):
            for each, run in runs.items():
                measured[each].append(with_cpu(run))
    table = {
        each: {"seconds": round(statistics.median(walls), 2), "cpu_seconds": round(statistics.median(cpus), 2)}
        for each, (walls, cpus) in ((each, zip(*rounds, strict=True)) for each, rounds in measured.items())
    }
    write_json(REPORT, {"cores": os.cpu_count(), "rounds": ROUNDS, "commands": table})
    print(f"{'command':<34}{'seconds':>9}{'CPU s':>8}")
    for each, figures in table.items():
        print(f"{each:<34}{figures['seconds']:>9}{figures['cpu_seconds']:>8}")


if __name__ == "__main__":
    main()
