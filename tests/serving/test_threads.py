"""A thread or task that fails goes on, and one that hangs is reported."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from time import perf_counter, sleep
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ontime.settings import Settings
from serving import operations, threads
from serving.app import QUERY_THREADS, create_app
from serving.batcher import Batcher
from serving.operations_responses import Operations
from serving.prediction_log import PredictionLog
from serving.shadow import ShadowScorer
from serving.threads import Heartbeat, Supervised
from tests.service import MORNING, wait_for
from tests.serving.test_batcher import Scored, entities


def failures(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    prefix = f'ontime_thread_failures_total{{thread="{name}"}} '
    return sum(float(line.removeprefix(prefix)) for line in lines if line.startswith(prefix))


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(1), MemoryError()])
def test_a_thread_that_fails_is_restarted(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "RESTART_SECONDS", 0)
    errors, went_on = [error], Event()

    def run() -> None:
        if errors:
            raise errors.pop()
        went_on.set()

    thread = Supervised("tested", run)
    thread.start()

    assert went_on.wait(10)
    assert threads.notes() == ("the tested failed and was restarted (the log has the reason)",)
    thread.join(10)
    assert threads.notes() == ()


def test_a_thread_that_hangs_is_reported() -> None:
    heartbeat = Heartbeat("tested", stuck_seconds=0)
    heartbeat.watch()

    with heartbeat.busy():
        wait_for(lambda: threads.notes() == ("the tested has been at the same step for 0 seconds",))

    assert threads.notes() == ()
    heartbeat.unwatch()


def test_calls_run_one_after_another_and_their_errors_reach_the_caller() -> None:
    order: list[str] = []

    def slow() -> str:
        sleep(0.05)
        order.append("slow")
        return "slow"

    def failing() -> None:
        order.append("failing")
        raise SystemExit(1)

    async def ask() -> list[Any]:
        thread = threads.CallThread("tested")
        cancelled = thread.submit(slow)
        cancelled.cancel()
        results = await asyncio.gather(*map(thread.submit, (slow, failing, slow)), return_exceptions=True)
        unread = thread.submit(slow)
        thread.stop()
        await asyncio.sleep(0)
        return [cancelled.cancelled(), *results, unread.result()]

    cancelled, first, error, last, unread = asyncio.run(ask())

    assert (cancelled, first, last, unread) == (True, "slow", "slow", "slow")
    assert isinstance(error, SystemExit)
    assert order == ["slow", "slow", "failing", "slow", "slow"]


def test_a_failing_database_watcher_is_counted_and_shown_and_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = PredictionLog.read_monitoring, iter(range(1000))

    def breaks_at_its_second_call(log: PredictionLog) -> None:
        if next(calls) == 1:
            raise AssertionError("unexpected")
        read(log)

    monkeypatch.setattr(PredictionLog, "read_monitoring", breaks_at_its_second_call)
    with TestClient(create_app(settings)) as client:
        before = failures(client, "database watcher")
        wait_for(lambda: failures(client, "database watcher") == before + 1)
        notes = client.get("/health/ready").json()["notes"]
        wait_for(lambda: next(calls) > 5)

    assert "the database watcher failed and was restarted (the log has the reason)" in notes


def test_a_shadow_scorer_that_fails_scores_the_next_batch(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []

    def fails_first(_: ShadowScorer, *batch: object) -> None:
        batches.append(batch)
        if len(batches) == 1:
            raise AssertionError("unexpected")

    monkeypatch.setattr(ShadowScorer, "_score", fails_first)
    monkeypatch.setattr(threads, "RESTART_SECONDS", 0)
    scorer = ShadowScorer(Scored(settings).log)
    scorer.start()
    for _ in range(2):
        scorer.submit(None, None, [])  # type: ignore[arg-type]  # the fake takes anything

    scorer.stop()

    assert len(batches) == 2


def test_a_batcher_whose_task_ends_takes_the_next_requests(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Scored(settings)
    run, starts = Batcher._run, iter([True])

    async def ends_first(self: Batcher) -> None:
        if next(starts, False):
            raise AssertionError("unexpected")
        await run(self)

    monkeypatch.setattr(Batcher, "_run", ends_first)

    async def test() -> int:
        world.batcher.start()
        predictions = await world.batcher.predict(entities(1), False, perf_counter())
        notes = threads.notes()
        await world.batcher.stop()
        assert notes == ("the batcher failed and was restarted (the log has the reason)",)
        return len(predictions)

    assert asyncio.run(test()) == 1


def test_health_is_reported_while_every_query_thread_is_busy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview, entered, go_on = operations.overview, Semaphore(0), Event()

    def waits(*arguments: Any) -> Operations:
        entered.release()
        go_on.wait(60)
        return overview(*arguments)

    monkeypatch.setattr(operations, "overview", waits)
    with TestClient(create_app(settings)) as client, ThreadPoolExecutor(QUERY_THREADS + 2) as callers:
        queries = [callers.submit(client.get, "/v1/ops") for _ in range(QUERY_THREADS)]
        try:
            for _ in queries:
                entered.acquire(timeout=20)
            health = [callers.submit(client.get, f"/health/{path}") for path in ("live", "ready")]
            statuses = [each.result(timeout=20).status_code for each in health]
        finally:
            go_on.set()

    assert statuses == [200, 200]
    assert {each.result().status_code for each in queries} == {200}


def test_a_healthy_service_has_no_notes_about_threads(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        client.post("/v1/predictions", json=MORNING)

        assert client.get("/health/ready").json()["notes"] == []
