"""Processes that are killed with SIGKILL, and a pointer that moves, under load."""

import random
import statistics
import time
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types

from ontime import release_pointer
from ontime.settings import Settings
from tests import postgres
from tests.e2e.faults.report import Figures
from tests.e2e.faults.world import Attack, ids_of, losses, on_postgresql, statuses, wait_until_normal
from tests.service import MORNING, Load, Service, running, wait_for

KILLS = 12
POSTGRESQL_KILLS = 4
DRAINING_KILLS = 4
SUPERVISOR_KILLS = 3
MOVES = 10
WORKERS = "2"


def _kill_under_load(settings: Settings, kills: int, end: Callable[[Service], None]) -> Figures:
    moments, answered = random.Random(2013), set[str]()
    for _ in range(kills):
        with running(settings, ONTIME_WORKERS=WORKERS) as service, Load(service.port, MORNING) as load:
            time.sleep(moments.uniform(0.3, 1.0))
            end(service)
        answered |= ids_of(load)
    return {"kills": kills, **losses(settings, answered)}


def kill_on_sqlite(settings: Settings) -> Figures:
    return _kill_under_load(settings, KILLS, Service.kill)


def kill_on_postgresql(settings: Settings) -> Figures:
    with postgres.running() as server:
        return _kill_under_load(on_postgresql(settings, server), KILLS, Service.kill)


def kill_while_draining(settings: Settings) -> Figures:
    def end(service: Service) -> None:
        service.process.terminate()
        time.sleep(0.02)
        service.kill()

    return _kill_under_load(settings, DRAINING_KILLS, end)


def kill_postgresql(settings: Settings) -> Figures:
    with postgres.running() as server:
        on_server = on_postgresql(settings, server)
        with running(on_server) as service, Load(service.port, MORNING) as load:
            for _ in range(POSTGRESQL_KILLS):
                time.sleep(1)
                server.kill()
                time.sleep(1)
                server.start()
                wait_until_normal(service)
        return {"kills": POSTGRESQL_KILLS, **losses(on_server, ids_of(load)), "statuses": statuses(load)}


def kill_supervisor(settings: Settings) -> Figures:
    gone_seconds, restart_seconds = [], []
    for _ in range(SUPERVISOR_KILLS):
        with running(settings, ONTIME_WORKERS=WORKERS) as service, Load(service.port, MORNING):
            time.sleep(0.5)
            workers = psutil.Process(service.process.pid).children(recursive=True)
            killed_at = time.monotonic()
            service.process.kill()
            psutil.wait_procs(workers, timeout=60)
            gone_seconds.append(time.monotonic() - killed_at)
            service.process.wait()
        restarted_at = time.monotonic()
        again = Service(settings, ONTIME_PORT=str(service.port), ONTIME_WORKERS=WORKERS)
        try:
            again.wait_until_ready().post("/v1/predictions", MORNING)
            restart_seconds.append(time.monotonic() - restarted_at)
        finally:
            again.kill()
    return {
        "kills": SUPERVISOR_KILLS,
        "most seconds until its workers are gone": round(max(gone_seconds), 1),
        "most seconds until a restart on the same port answers": round(max(restart_seconds), 1),
    }


def move_pointer(settings: Settings) -> Figures:
    delays = []
    with running(settings, ONTIME_WORKERS=WORKERS) as service, Load(service.port, MORNING) as load:
        for move in range(MOVES):
            old, new = ("1", "2") if move % 2 == 0 else ("2", "1")
            begin, moved_ns = len(load.answers), time.time_ns()
            release_pointer.set_live(settings.releases, new)
            wait_for(lambda new=new: {each["model_version"] for each in load.answers[-200:]} == {new})  # type: ignore[misc]
            # The first half of a prediction's id is its time.
            by_old = [
                int(each["prediction_id"][:16], 16) for each in load.answers[begin:] if each["model_version"] == old
            ]
            delays.append(max(0.0, (max(by_old, default=moved_ns) - moved_ns) / 1e9))
    return {
        "moves": MOVES,
        "requests answered": len(load.answers),
        "failed": len(load.failures),
        "median seconds that the old release still served": round(statistics.median(delays), 2),
        "longest": round(max(delays), 2),
    }


ATTACKS = [
    Attack("kill -9 of the service under load, SQLite", kill_on_sqlite),
    Attack("kill -9 of the service under load, PostgreSQL", kill_on_postgresql),
    Attack("kill -9 of a service that is finishing its requests after SIGTERM", kill_while_draining),
    Attack("kill -9 of PostgreSQL under load", kill_postgresql),
    Attack("kill -9 of the supervisor of two workers", kill_supervisor),
    Attack("the pointer moves to another release under load", move_pointer),
]
