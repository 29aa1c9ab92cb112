"""The batcher: requests that arrive while a batch is in progress form the next one.

The requests of a batch share one look-up, one run of the model and, above all, one commit, so the batch size adapts
to the load. A response is sent after the commit of its batch. Scoring runs on the event loop: in a thread it would
spend more time waiting for the interpreter lock than scoring.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime.declaration import EntityRequest
from serving import metrics, scoring
from serving.model_store import ModelStore
from serving.prediction_log import PredictionLog
from serving.scoring import MicroBatch
from serving.shadow import ShadowScorer

MAX_BATCH_ENTITIES = 1000  # of a batch, and of a request
MAX_WAITING_ENTITIES = 20_000  # with more, clients would time out


class Overloaded(Exception):
    """More entities are waiting than can be scored in time."""


@dataclass(frozen=True)
class PendingRequest:
    """The entities of one request, and the future that receives their predictions."""

    entities: Sequence[EntityRequest]
    explain: bool
    arrived_at: float  # on the clock of time.perf_counter
    predictions: "asyncio.Future[list[dict[str, Any]]]"


class Batcher:
    def __init__(self, model_store: ModelStore, prediction_log: PredictionLog) -> None:
        self._models, self._log = model_store, prediction_log
        self._pending: list[PendingRequest] = []
        self._waiting_entities = 0
        self._has_pending = asyncio.Event()
        self._database_thread = ThreadPoolExecutor(1, "database")
        self._shadow = ShadowScorer(prediction_log)

    def start(self) -> None:
        self._shadow.start()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Return after every waiting request has its response, and its predictions are committed."""
        while self._waiting_entities:
            await asyncio.sleep(0.01)
        self._task.cancel()
        self._database_thread.shutdown()
        await asyncio.to_thread(self._shadow.stop)

    async def predict(
        self, entities: Sequence[EntityRequest], explain: bool, arrived_at: float
    ) -> list[dict[str, Any]]:
        """The predictions, in the order of the entities, each stored. Raises Overloaded and PredictionNotStored."""
        if self._waiting_entities + len(entities) > MAX_WAITING_ENTITIES:
            raise Overloaded
        self._waiting_entities += len(entities)
        try:
            # 4. The request waits for the next batch.
            request = PendingRequest(entities, explain, arrived_at, asyncio.get_running_loop().create_future())
            self._pending.append(request)
            self._has_pending.set()
            return await request.predictions
        finally:
            self._waiting_entities -= len(entities)

    async def _run(self) -> None:
        while True:
            await self._has_pending.wait()
            requests = self._next_requests()
            try:
                outcome: list[list[dict[str, Any]]] | Exception = await self._process(requests)
            except Exception as error:  # it goes to the requests of this batch; the batcher continues
                outcome = error
            _deliver(requests, outcome)

    def _next_requests(self) -> list[PendingRequest]:
        """All pending requests, up to a full batch."""
        requests: list[PendingRequest] = []
        entity_count = 0
        for request in self._pending:
            entity_count += len(request.entities)
            if requests and entity_count > MAX_BATCH_ENTITIES:
                break
            requests.append(request)
        del self._pending[: len(requests)]
        if not self._pending:
            self._has_pending.clear()
        return requests

    async def _process(self, requests: Sequence[PendingRequest]) -> list[list[dict[str, Any]]]:
        loop = asyncio.get_running_loop()
        started_at, live = perf_counter(), self._models.live
        entities = [entity for request in requests for entity in request.entities]
        ids = [entity.entity_id for entity in entities]
        question = live.champion.manifest.question
        # 5. Look up the features of the batch in the online store.
        rows = await loop.run_in_executor(self._database_thread, self._log.look_up_features, question, ids)
        batch = MicroBatch(entities, ids, [rows.get(entity_id) for entity_id in ids])
        looked_up_at = perf_counter()
        # 6. Score the batch.
        matrix, probabilities, releases = scoring.score(batch, live)
        # 7. Build the predictions, with flags and, where requested, reasons.
        predictions = scoring.predictions_of(batch, matrix, probabilities, releases)
        if self._log.database_error is not None:
            for prediction in predictions:
                prediction["flags"].append("store_unavailable")
        for place in _places_to_explain(requests):
            predictions[place]["reasons"] = scoring.reasons_of(entities[place], matrix[place], releases[place])
        scored_at = perf_counter()
        # 8. Commit the batch to the prediction log.
        arrivals = [request.arrived_at for request in requests for _ in request.entities]
        log_rows = scoring.log_rows(predictions, matrix, arrivals)
        await loop.run_in_executor(self._database_thread, self._log.store, log_rows)
        _measure((started_at, looked_up_at, scored_at, perf_counter()), predictions, batch, matrix)
        if live.challenger is not None:
            self._shadow.submit(batch, live, predictions)
        remaining = iter(predictions)
        return [[next(remaining) for _ in request.entities] for request in requests]


def _deliver(requests: Sequence[PendingRequest], outcome: list[list[dict[str, Any]]] | Exception) -> None:
    """9. Each request receives its predictions, or the error of the batch."""
    for place, request in enumerate(requests):
        if request.predictions.done():  # the client has disconnected, or the request has timed out
            continue
        if isinstance(outcome, Exception):
            request.predictions.set_exception(outcome)
        else:
            request.predictions.set_result(outcome[place])


def _places_to_explain(requests: Sequence[PendingRequest]) -> list[int]:
    """The places, in the batch, of the entities whose reasons were requested."""
    flags = [request.explain for request in requests for _ in request.entities]
    return [place for place, explain in enumerate(flags) if explain]


def _measure(
    moments: Sequence[float], predictions: Sequence[dict[str, Any]], batch: MicroBatch, matrix: NDArray[np.float32]
) -> None:
    """`moments`: the start of look-up, scoring and commit, and the end of the commit."""
    for stage, (start, end) in zip(("lookup", "score", "commit"), pairwise(moments), strict=True):
        metrics.STAGE_SECONDS.labels(stage).observe(end - start)
    metrics.BATCH_ENTITIES.observe(len(predictions))
    now = datetime.now(UTC).timestamp()
    counts = Counter((prediction["model_version"], prediction["alert"]) for prediction in predictions)
    for (version, alert), count in counts.items():
        metrics.PREDICTIONS.labels(version, str(alert).lower()).inc(count)
        histogram = metrics.PROBABILITY.labels(version)
        for prediction in predictions:
            if (prediction["model_version"], prediction["alert"]) == (version, alert):
                histogram.observe(prediction["probability"])
    for share in np.isnan(matrix).mean(axis=1).tolist():
        metrics.MISSING_FEATURES.observe(share)
    metrics.WITHOUT_FEATURES.inc(batch.stored.count(None))
    for stored in filter(None, batch.stored):
        metrics.FEATURE_AGE.observe(max(0.0, now - stored.moment.timestamp()))
