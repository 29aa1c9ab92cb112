"""`make bench-profile`: where the CPU time of a request goes, by stage of the service.

Calls the app in this process, without HTTP, wrk and uvicorn: one request at a time, 64 at once, and lists of 1000. A
stage is a function of the service, whose CPU time is that of its thread, without the stages that it calls. "rest" is
all else: middleware, route, batcher, event loop, serialising, and threads beside the requests. The clock of the stages
takes time itself, so the total is also measured without it. cProfile would add a microsecond or so to every call of
Python, and sees one thread only.

Writes reports/bench_profile.json.
"""

import asyncio
import inspect
import os
import pkgutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from starlette.types import ASGIApp, Message
from tqdm import tqdm

from bench import entities, servers
from bench.serving_goals import spread_in_words, spread_of
from pipelines.layout import REPORTS, write_json
from pipelines.operations.local_server import free_port
from serving.server import create_worker_app

# In the order of a request: see serving/routes.py.
STAGES = {
    "parse": "serving.parsing:parse_entities",
    "look up": "serving.prediction_log:PredictionLog.look_up_features",
    "build the model's input": "ontime.online:request_matrix",
    "run the model": "ontime.release:Model.predict",
    "build the predictions": "serving.scoring:predictions_of",
    "build the rows of the log": "serving.scoring:log_rows",
    "commit": "serving.prediction_log:PredictionLog.store",
    "observe metrics": "serving.metrics:count_batch",
    "access log": "serving.access_log:log_request",
}
REST = "rest"
ROUNDS = 5
ENTITIES = 200
LIST_ENTITIES = 1000
VAR = Path("var")  # on disk: a commit to memory costs nothing


class ProfiledLoad(NamedTuple):
    bodies: Sequence[bytes]
    at_once: int
    requests: int  # in a round
    entities: int = 1  # in a request


class StageClock:
    """Replaces the functions of the stages by ones that measure their CPU time."""

    def __init__(self) -> None:
        self._spent: list[tuple[str, int]] = []  # to which threads may append at any time
        self._thread = threading.local()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The clock measures within the block. Exits like `function_of`."""
        originals = {}
        for stage, address in STAGES.items():
            owner_address, _, name = address.replace(":", ".").rpartition(".")
            originals[stage] = (pkgutil.resolve_name(owner_address), name, function_of(stage))
        try:
            for stage, (owner, name, function) in originals.items():
                setattr(owner, name, self._timed(stage, function))
            yield
        finally:
            for owner, name, function in originals.values():
                setattr(owner, name, function)

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            outer, self._thread.nested_ns = getattr(self._thread, "nested_ns", 0), 0
            start = time.thread_time_ns()
            try:
                return function(*args, **options)
            finally:
                total = time.thread_time_ns() - start
                self._spent.append((stage, total - self._thread.nested_ns))
                self._thread.nested_ns = outer + total

        return call

    def take(self) -> dict[str, float]:
        """The CPU seconds of each stage since the last call. Exits if a stage was never called."""
        spent, self._spent = self._spent, []
        seconds: Counter[str] = Counter()
        for stage, nanoseconds in spent:
            seconds[stage] += nanoseconds
        if missing := [stage for stage in STAGES if stage not in seconds]:
            raise SystemExit(_refusal(missing[0], "was not called by that name"))
        return {stage: seconds[stage] / 1e9 for stage in STAGES}


def function_of(stage: str) -> Callable[..., Any]:
    """The function of a stage. Exits with its name if it does not exist."""
    try:
        function = pkgutil.resolve_name(STAGES[stage])
    except (ImportError, AttributeError):
        raise SystemExit(_refusal(stage, "does not exist")) from None
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        raise SystemExit(_refusal(stage, "is not a function that returns without waiting"))
    return function


def _refusal(stage: str, reason: str) -> str:
    return (
        f"bench-profile: {STAGES[stage]} {reason}; write the function that does {stage!r} into STAGES "
        "of bench/request_profile.py"
    )


async def send_request(app: ASGIApp, body: bytes) -> None:
    """One prediction request, as uvicorn passes it on. Exits unless the response is a success."""
    responses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        responses.append(message)

    headers = {"host": "127.0.0.1:8000", "content-type": "application/json", "content-length": str(len(body))}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": "POST",
        "path": "/v1/predictions", "raw_path": b"/v1/predictions", "query_string": b"", "root_path": "", "state": {},
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    await app(scope, receive, send)
    if responses[0]["status"] != 200:
        raise SystemExit(f"bench-profile: status {responses[0]['status']}: {responses[-1].get('body', b'')[:500]!r}")


async def cpu_seconds_of(app: ASGIApp, load: ProfiledLoad) -> float:
    """The CPU seconds of this process, all threads, for the requests of a round."""
    start = time.process_time()
    for first in range(0, load.requests, load.at_once):
        places = range(first, first + load.at_once)
        await asyncio.gather(*(send_request(app, load.bodies[place % len(load.bodies)]) for place in places))
    return time.process_time() - start


def profiled_loads() -> dict[str, ProfiledLoad]:
    single = [body.encode() for body in entities.single(entities.evenly_spaced(ENTITIES))]
    many = entities.evenly_spaced(4 * LIST_ENTITIES)
    in_lists = [body.encode() for body in entities.lists(many, LIST_ENTITIES, len(many))]
    return {
        "1 request": ProfiledLoad(single, at_once=1, requests=2_000),
        "64 requests at once": ProfiledLoad(single, at_once=64, requests=6_400),
        f"lists of {LIST_ENTITIES}, 1 at a time": ProfiledLoad(in_lists, 1, requests=20, entities=LIST_ENTITIES),
    }


class ProfiledRound(NamedTuple):
    """CPU microseconds an entity."""

    plain: float
    with_clock: float
    stages: Mapping[str, float]


@asynccontextmanager
async def running_app() -> AsyncIterator[ASGIApp]:
    """The app as one worker of `make bench-serve` runs it, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=VAR.resolve(), ignore_cleanup_errors=True) as folder:
        os.environ.update(servers.launch_ontime(free_port(), Path(folder), workers=1).env)
        app = create_worker_app()
        async with app.router.lifespan_context(app):
            yield app


async def profile_rounds() -> dict[str, list[ProfiledRound]]:
    """The rounds of each load. An app without the clock and one with it take turns."""
    loads, clock = profiled_loads(), StageClock()
    rounds: dict[str, list[ProfiledRound]] = {label: [] for label in loads}
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(running_app())
        with clock.running():  # already here, because the app may keep a function from its start
            timed = await stack.enter_async_context(running_app())
        for _ in tqdm(range(1 + ROUNDS), desc="bench-profile", disable=None):
            for label, load in loads.items():
                rounds[label].append(await profile_round(plain, timed, clock, load))
    return {label: each[1:] for label, each in rounds.items()}  # the first one warms up


async def profile_round(plain: ASGIApp, timed: ASGIApp, clock: StageClock, load: ProfiledLoad) -> ProfiledRound:
    without_clock = await cpu_seconds_of(plain, load)
    with clock.running():
        with_clock = await cpu_seconds_of(timed, load)
    scale = 1e6 / (load.requests * load.entities)
    stages = {stage: scale * seconds for stage, seconds in clock.take().items()}
    total = scale * with_clock
    return ProfiledRound(scale * without_clock, total, {**stages, REST: total - sum(stages.values())})


def profile_report(rounds: Mapping[str, Sequence[ProfiledRound]]) -> dict[str, Any]:
    """Medians over the rounds; the total without the clock also has the lowest and the highest."""
    loads = {}
    for label, each in rounds.items():
        total = statistics.median(one.with_clock for one in each)
        stages = {stage: statistics.median(one.stages[stage] for one in each) for stage in (*STAGES, REST)}
        loads[label] = {
            "cpu_us": spread_of([one.plain for one in each], 1),
            "cpu_us_with_clock": round(total, 1),
            "stages": {stage: {"us": round(us, 1), "share": round(us / total, 3)} for stage, us in stages.items()},
        }
    return {"cores": os.cpu_count(), "rounds": ROUNDS, "functions": STAGES, "loads": loads}


def profile_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row a stage, with microseconds and share under each load; then the totals with and without the clock."""
    loads = report["loads"].values()
    rows = [
        [stage, *(f"{each['stages'][stage]['us']:,.1f} ({each['stages'][stage]['share']:.0%})" for each in loads)]
        for stage in (*STAGES, REST)
    ]
    rows.append(["all, with the clock of the stages", *(f"{each['cpu_us_with_clock']:,.1f}" for each in loads)])
    rows.append(["all, without it", *(spread_in_words(each["cpu_us"], 1) for each in loads)])
    return rows


def print_profile(report: Mapping[str, Any]) -> None:
    print(f"\nCPU us an entity{'':<20}" + "".join(f"{label:>28}" for label in report["loads"]))
    for stage, *cells in profile_rows(report):
        print(f"{stage:<36}" + "".join(f"{cell:>28}" for cell in cells))


def main() -> None:
    # The threads of the service's log write to this file until the process ends, so it must stay open.
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        with redirect_stdout(nowhere):
            rounds = uvloop.run(profile_rounds())
        report = profile_report(rounds)
        write_json(REPORTS / "bench_profile.json", report)
        print_profile(report)


if __name__ == "__main__":
    main()
