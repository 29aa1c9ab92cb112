"""`make bench-soak`: a million requests of every kind to one service; its memory, descriptors and slow requests.

Writes reports/bench_soak.json and bench_soak.png. The service is a real one: one worker, the live release, predictions
committed to disk before each response; only its slow steps are traced (bench/traced_service.py). Each request is
measured by the service's access log; a client on a connection of its own measures what the log cannot show, such as a
connection that nobody accepts. Needs wrk; Linux only.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import orjson
import psutil  # type: ignore[import-untyped]  # it ships no types
from tqdm import tqdm

from bench import entities, load, servers, soak_causes, soak_requests
from bench.soak_causes import SlowRequest
from ontime import figures, operation_plots
from pipelines.layout import REPORTS, write_json
from pipelines.operations.local_server import free_port

REQUESTS = 1_000_000
CONNECTIONS = 32
SAMPLE_SECONDS = 2
PROBE_SECONDS = 0.02
SLOW_MS = 200
LONGEST = 30  # slow requests in the report
POINTS = 100  # of the plot
VAR = Path("var")  # on disk: /tmp may be in memory, where durable writes cost nothing
SCRIPT = Path(__file__).with_suffix(".lua")


class AccessLog:
    """What the service's log says, read from a pipe while it runs."""

    def __init__(self, pipe: int) -> None:
        self.count = 0
        self.ms: dict[str, list[float]] = defaultdict(list)  # by route
        self.statuses: Counter[int] = Counter()
        self.slow: list[SlowRequest] = []
        self.other_lines: list[str] = []
        self._thread = Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _read(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb") as lines:
            for text in lines:
                line = orjson.loads(text) if text.startswith(b"{") else {}
                if line.get("message") == "request":
                    self._add(line)
                else:
                    self.other_lines.append(text.decode().strip())

    def _add(self, line: dict[str, Any]) -> None:
        self.count += 1
        self.statuses[line["status"]] += 1
        self.ms[f"{line['method']} {line['route']}"].append(line["ms"])
        if line["ms"] >= SLOW_MS:
            ended = _unix_time(line["at"])
            self.slow.append(SlowRequest(line["route"], ended - line["ms"] / 1000, ended))


def _unix_time(text: str) -> float:
    return float(np.datetime64(text.removesuffix("+00:00").removesuffix("Z"), "us").astype(np.int64)) / 1e6


class ProbeClient:
    """A client that sends one prediction at a time, and remembers the slow ones."""

    def __init__(self, port: int, body: str) -> None:
        self.slow: list[SlowRequest] = []
        self.count = 0
        self._port, self._body, self._over = port, body, Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> "ProbeClient":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.wait(PROBE_SECONDS):
            began = time.time()
            connection.request("POST", "/v1/predictions", self._body)
            connection.getresponse().read()
            self.count += 1
            request = SlowRequest("seen by a client", began, time.time())
            if request.ms >= SLOW_MS:
                self.slow.append(request)
        connection.close()


@contextmanager
def wrk_running(url: str, lines: Path) -> Iterator["subprocess.Popen[str]"]:
    """The load generator, which prints its results on SIGINT."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("bench: wrk is not installed; run apt-get install wrk, or brew install wrk")
    options = ["-t1", f"-c{CONNECTIONS}", "-d86400s", "--timeout", "30s", "-s", str(SCRIPT), url, "--", str(lines)]
    with subprocess.Popen([wrk, *options], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own command
        try:
            yield process
        finally:
            process.kill()


def sample(process: psutil.Process, port: int, folder: Path, requests: int) -> dict[str, float]:
    memory, metrics = process.memory_full_info(), _metrics(port)
    predictions = sum(
        float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith("ontime_predictions_total{")
    )
    return {
        "at": time.time(),
        "requests": requests,
        "rss_mb": memory.rss / 2**20,
        "pss_mb": memory.pss / 2**20,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "predictions": predictions,
        "metrics_bytes": len(metrics),
        "database_mb": (folder / "ontime.db").stat().st_size / 2**20,
        "wal_mb": (folder / "ontime.db-wal").stat().st_size / 2**20,
    }


def _metrics(port: int) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def run_soak(requests: int, folder: Path) -> dict[str, Any]:
    port, trace, lines = free_port(), folder / "trace.jsonl", folder / "requests.txt"
    launch = servers.launch_ontime(port, folder, workers=1)
    soak_requests.remove_features(folder / "ontime.db")
    soak_requests.write_requests(lines)
    command = [sys.executable, "-m", "bench.traced_service", str(trace), str(folder / "ontime.db")]
    reading, writing = os.pipe()
    log = AccessLog(reading)
    with load.running_server(command, launch.env, port, "/health/ready", stdout=writing) as server:
        os.close(writing)
        process = psutil.Process(server.pid)
        idle, samples = process.num_fds(), []
        body = entities.single(entities.evenly_spaced(1))[0]
        with (
            tqdm(total=requests, desc="requests", disable=None) as progress,
            ProbeClient(port, body) as probe,
            wrk_running(f"http://127.0.0.1:{port}", lines) as wrk,
        ):
            while log.count < requests and wrk.poll() is None:
                time.sleep(SAMPLE_SECONDS)
                samples.append(sample(process, port, folder, log.count))
                progress.update(log.count - progress.n)
            wrk.send_signal(signal.SIGINT)
            client = orjson.loads(wrk.communicate()[0].splitlines()[-1])
        time.sleep(2 * SAMPLE_SECONDS)  # closed connections are gone
        after = process.num_fds()
    log.join()
    return soak_report(samples, log, probe, client, trace) | {"descriptors_idle": {"start": idle, "end": after}}


def soak_report(
    samples: Sequence[dict[str, float]], log: AccessLog, probe: ProbeClient, client: dict[str, Any], trace: Path
) -> dict[str, Any]:
    steps = soak_causes.read_trace(trace)
    first, last = samples[0], samples[-1]
    seconds = last["at"] - first["at"]
    return {
        "requests": log.count,
        "seconds": round(seconds),
        "requests_per_second": round((last["requests"] - first["requests"]) / seconds),
        "predictions": int(last["predictions"]),
        "statuses": {str(status): count for status, count in sorted(log.statuses.items())},
        "failed_connections": client["broken"],
        "routes": {route: _latencies(ms) for route, ms in sorted(log.ms.items())},
        "drift": {name: _drift(samples, name) for name in ("rss_mb", "pss_mb", "descriptors", "threads")},
        "metrics_bytes": {"second_tenth": _median(samples, 1, "metrics_bytes"), "end": last["metrics_bytes"]},
        "wal_mb_most": round(max(each["wal_mb"] for each in samples), 1),
        "slow_requests": soak_causes.slow_summary(log.slow, steps, LONGEST),
        "slow_for_a_client": {"requests": probe.count, **soak_causes.slow_summary(probe.slow, steps, LONGEST)},
        "log_lines": log.other_lines[:20],
        "curve": _curve(samples),
    }


def _latencies(ms: Sequence[float]) -> dict[str, float]:
    p50, p99, most = np.percentile(ms, [50, 99, 100]).tolist()
    return {"requests": len(ms), "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "longest_ms": round(most, 1)}


def _drift(samples: Sequence[dict[str, float]], name: str) -> dict[str, float]:
    """The median of the second tenth of the requests, after the warm-up, and of the last."""
    early, late = _median(samples, 1, name), _median(samples, 9, name)
    return {"second_tenth": round(early, 1), "last_tenth": round(late, 1), "change": round(late / early - 1, 4)}


def _median(samples: Sequence[dict[str, float]], tenth: int, name: str) -> float:
    total = samples[-1]["requests"]
    return statistics.median(each[name] for each in samples if tenth <= 10 * each["requests"] / total <= tenth + 1)


def _curve(samples: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    places = np.unique(np.linspace(0, len(samples) - 1, POINTS).astype(int)).tolist()
    names = ("requests", "rss_mb", "descriptors", "threads")
    return [{name: round(samples[place][name], 1) for name in names} for place in places]


def main(requests: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=VAR.resolve(), ignore_cleanup_errors=True) as folder:
        report = run_soak(requests, Path(folder))
    write_json(REPORTS / "bench_soak.json", report)
    figures.save(operation_plots.soak(report["curve"]), REPORTS / "bench_soak.png")
    shown = ("requests", "seconds", "statuses", "drift", "descriptors_idle", "slow_requests", "slow_for_a_client")
    for name in shown:
        print(f"bench-soak: {name}: {report[name]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else REQUESTS)
