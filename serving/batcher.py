"""The batcher: requests that arrive while a batch is in progress form the next one.

The requests of a batch share one look-up, one run of the model and, above all, one commit, so the batch size adapts
to the load. A response is sent after the commit of its batch. Scoring runs on the event loop: in a thread it would
spend more time waiting for the interpreter lock than scoring. Between the parts of a long list it scores the small
requests that have arrived meanwhile, so they never wait for the whole list.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime.declaration import EntityRequest
from ontime.live_releases import LiveReleases
from ontime.prediction_reasons import reasons_of
from serving import metrics, scoring, threads
from serving.admission import Overloaded
from serving.model_store import ModelStore
from serving.parsing import RequestRejected
from serving.prediction_log import PredictionLog
from serving.responses import ErrorDetail
from serving.scoring import MicroBatch
from serving.shadow import ShadowScorer

# Of a list, between which small requests are scored: about 3 ms. SQLite keeps a statement for each number of rows, so
# larger parts would fill memory.
PART_ENTITIES = 100
SMALL_ENTITIES = 20
MAX_WAITING_ENTITIES = 20_000  # with more, clients would time out

CLIENT_LEFT = 499  # nginx's status for it, which only the access log shows
LEFT = ErrorDetail(place="client", reason="closed the connection before its response")

Predictions = list[dict[str, Any]]
Interval = tuple[float, float]  # on the clock of time.perf_counter
OnBatch = Callable[[Sequence[tuple[str, float, float]], int], None]  # names and intervals, and the number of entities


@dataclass(frozen=True)
class PendingRequest:
    """The entities of one request, and the future that receives their predictions."""

    entities: Sequence[EntityRequest]
    explain: bool
    arrived_at: float  # on the clock of time.perf_counter
    has_left: Callable[[], bool]  # whether the client has closed its connection
    predictions: asyncio.Future[Predictions]
    on_batch: OnBatch | None  # receives the steps of its batch, for a trace

    def is_awaited(self) -> bool:
        """False if nobody would receive the predictions: the request has timed out, or its client has left."""
        return not self.predictions.done() and not self.has_left()


@dataclass(frozen=True)
class ScoredPart:
    """Some entities of a batch with their predictions, not yet stored; `moments`: start, look-up, and end."""

    batch: MicroBatch
    matrix: NDArray[np.float32]
    predictions: Predictions
    moments: tuple[float, float, float]

    @property
    def steps(self) -> list[tuple[str, float, float]]:
        started_at, looked_up_at, scored_at = self.moments
        return [("look-up", started_at, looked_up_at), ("model", looked_up_at, scored_at)]


class Batcher:
    def __init__(self, model_store: ModelStore, prediction_log: PredictionLog) -> None:
        self._models, self._log = model_store, prediction_log
        self._small: deque[PendingRequest] = deque()
        self._lists: deque[PendingRequest] = deque()
        self._waiting_entities = 0
        self._has_pending = asyncio.Event()
        self._database_thread = threads.CallThread("database")
        self._shadow = ShadowScorer(prediction_log)
        self._heartbeat, self._is_stopping = threads.Heartbeat("batcher"), False

    def start(self) -> None:
        self._shadow.start()
        self._heartbeat.watch()
        self._start_task()

    def _start_task(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._restart)

    def _restart(self, task: asyncio.Task[None]) -> None:
        """Without the task, every request would time out. The requests of the batch that it had taken still do."""
        if not self._is_stopping:
            self._heartbeat.failed(None if task.cancelled() else task.exception())
            self._start_task()

    async def stop(self) -> None:
        """Return after every waiting request has its response, and its predictions are committed."""
        while self._waiting_entities:
            await asyncio.sleep(0.01)
        self._is_stopping = True
        self._heartbeat.unwatch()
        self._task.cancel()
        self._database_thread.stop()
        await asyncio.to_thread(self._shadow.stop)

    async def predict(
        self,
        entities: Sequence[EntityRequest],
        explain: bool,
        arrived_at: float,
        has_left: Callable[[], bool] = lambda: False,
        on_batch: OnBatch | None = None,
    ) -> Predictions:
        """The predictions, in the order of the entities, each stored. Raises Overloaded and PredictionNotStored."""
        if self._waiting_entities + len(entities) > MAX_WAITING_ENTITIES:
            raise Overloaded
        self._waiting_entities += len(entities)
        try:
            # 4. The request waits for the next batch.
            future = asyncio.get_running_loop().create_future()
            request = PendingRequest(entities, explain, arrived_at, has_left, future, on_batch)
            (self._small if len(entities) <= SMALL_ENTITIES else self._lists).append(request)
            self._has_pending.set()
            return await request.predictions
        finally:
            self._waiting_entities -= len(entities)

    async def _run(self) -> None:
        while True:
            await self._has_pending.wait()
            with self._heartbeat.busy():
                await self._answer(_take(self._small))
                await self._answer(_take(self._lists))
            if not self._small and not self._lists:
                self._has_pending.clear()

    async def _answer(self, requests: Sequence[PendingRequest]) -> None:
        """Pass each request its predictions, or the error of the batch."""
        if not requests:
            return
        try:
            outcome: list[Predictions] | Exception = await self._process(requests)
        except Exception as error:  # it goes to the requests of this batch; the batcher continues
            outcome = error
        _deliver(requests, outcome)

    async def _answer_small_before(self, requests: Sequence[PendingRequest]) -> None:
        """Let small requests overtake a list. Not other small ones, which later ones would overtake without end."""
        if len(requests[0].entities) > SMALL_ENTITIES:
            await self._answer(_take(self._small))

    async def _process(self, requests: Sequence[PendingRequest]) -> list[Predictions]:
        live = self._models.live
        entities = [entity for request in requests for entity in request.entities]
        places_to_explain = _places_to_explain(requests)
        parts: list[ScoredPart] = []
        for start in range(0, len(entities), PART_ENTITIES):
            if start:
                await self._answer_small_before(requests)
            explained = [place - start for place in places_to_explain if start <= place < start + PART_ENTITIES]
            parts.append(await self._score(entities[start : start + PART_ENTITIES], explained, live))
            if not any(request.is_awaited() for request in requests):
                raise RequestRejected(CLIENT_LEFT, LEFT)  # so that nothing is stored that nobody receives
        # 8. Commit the batch to the prediction log.
        arrivals = [request.arrived_at for request in requests for _ in request.entities]
        predictions = [prediction for part in parts for prediction in part.predictions]
        matrix = np.concatenate([part.matrix for part in parts])
        log_rows = scoring.log_rows(predictions, matrix, arrivals)
        commits: list[Interval] = []
        for start in range(0, len(log_rows), PART_ENTITIES):
            if start:
                await self._answer_small_before(requests)
            committing_at, rows = perf_counter(), log_rows[start : start + PART_ENTITIES]
            await self._database_thread.submit(partial(self._log.store, rows))
            commits.append((committing_at, perf_counter()))
        _pass_steps(requests, parts, commits)
        metrics.count_batch(
            [part.moments for part in parts],
            sum(end - start for start, end in commits),
            [stored for part in parts for stored in part.batch.stored],
            predictions,
            matrix,
        )
        if live.challenger is not None:
            for part in parts:
                self._shadow.submit(part.batch, live, part.predictions)
        remaining = iter(predictions)
        return [[next(remaining) for _ in request.entities] for request in requests]

    async def _score(
        self, entities: Sequence[EntityRequest], explained: Sequence[int], live: LiveReleases
    ) -> ScoredPart:
        """`explained`: the places of the entities whose reasons were requested."""
        started_at, ids = perf_counter(), [entity.entity_id for entity in entities]
        # 5. Look up the features of the batch in the online store.
        look_up = partial(self._log.look_up_features, live.champion.manifest.question, ids)
        rows = look_up() if self._log.answers_at_once else await self._database_thread.submit(look_up)
        batch = MicroBatch(entities, ids, [rows.get(entity_id) for entity_id in ids])
        looked_up_at = perf_counter()
        # 6. Score the batch.
        matrix, probabilities, releases = scoring.score(batch, live)
        # 7. Build the predictions, with flags and, where requested, reasons.
        predictions = scoring.predictions_of(batch, matrix, probabilities, releases)
        if self._log.database_error is not None:
            for prediction in predictions:
                prediction["flags"].append("store_unavailable")
        for place in explained:
            predictions[place]["reasons"] = reasons_of(entities[place], matrix[place], releases[place])
        return ScoredPart(batch, matrix, predictions, (started_at, looked_up_at, perf_counter()))


def _take(pending: deque[PendingRequest]) -> list[PendingRequest]:
    """The next requests, about one part together, without those that nobody waits for any more."""
    requests: list[PendingRequest] = []
    entity_count = 0
    while pending and entity_count < PART_ENTITIES:
        request = pending.popleft()
        if request.is_awaited():
            requests.append(request)
            entity_count += len(request.entities)
        elif not request.predictions.done():
            request.predictions.set_exception(RequestRejected(CLIENT_LEFT, LEFT))
    return requests


def _deliver(requests: Sequence[PendingRequest], outcome: list[Predictions] | Exception) -> None:
    """9. Each request receives its predictions, or the error of the batch."""
    for place, request in enumerate(requests):
        if request.predictions.done():  # the client has disconnected, or the request has timed out
            continue
        if isinstance(outcome, Exception):
            request.predictions.set_exception(outcome)
        else:
            request.predictions.set_result(outcome[place])


def _pass_steps(requests: Sequence[PendingRequest], parts: Sequence[ScoredPart], commits: Sequence[Interval]) -> None:
    traced = [request.on_batch for request in requests if request.on_batch is not None]
    if not traced:
        return
    steps = [step for part in parts for step in part.steps] + [("commit", *each) for each in commits]
    for on_batch in traced:
        on_batch(steps, sum(len(request.entities) for request in requests))


def _places_to_explain(requests: Sequence[PendingRequest]) -> list[int]:
    """The places, in the batch, of the entities whose reasons were requested."""
    flags = [request.explain for request in requests for _ in request.entities]
    return [place for place, explain in enumerate(flags) if explain]
