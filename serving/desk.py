"""Where requests meet: what arrived while a batch was on its way is looked up, scored and committed together.

So the cost of a look-up, a run of the model and above all of a commit is shared by all that wait, and the
number of entities in a batch grows by itself with the load. An answer leaves after its commit. Scoring happens
on the event loop: another thread would spend more time on waiting for the interpreter than on the scoring.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from queue import Full, Queue
from threading import Thread
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import online
from ontime.database import Stored
from ontime.declaration import EntityRequest
from ontime.release import Release
from serving import metrics, scoring
from serving.keeping import Keeper
from serving.live import Live, Serving

MOST_TOGETHER = 1000  # entities of a batch, and of a request
MOST_WAITING = 20_000  # entities; more would wait longer than their callers do
MOST_SHADOWS = 100  # batches


class Overloaded(Exception):
    """More entities wait than can be answered in time."""


@dataclass(frozen=True)
class Job:
    """One request's entities, and where its answer goes."""

    entities: Sequence[EntityRequest]
    explain: bool
    arrived: float  # on the clock of time.perf_counter
    answer: "asyncio.Future[list[dict[str, Any]]]"


@dataclass(frozen=True)
class Batch:
    entities: Sequence[EntityRequest]
    ids: Sequence[str]
    found: Sequence[Stored | None]


class Desk:
    def __init__(self, live: Live, keeper: Keeper) -> None:
        self._live, self._keeper = live, keeper
        self._jobs: list[Job] = []
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._database = ThreadPoolExecutor(1, "database")
        self._shadows: Queue[tuple[Batch, Serving, list[dict[str, Any]]] | None] = Queue(MOST_SHADOWS)
        self._shadow_thread = Thread(target=self._shadow, name="shadow", daemon=True)

    def start(self) -> None:
        self._shadow_thread.start()
        self._working = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Ends when all that waits is answered and committed."""
        while self._waiting:
            await asyncio.sleep(0.01)
        self._working.cancel()
        self._database.shutdown()
        self._shadows.put(None)
        await asyncio.to_thread(self._shadow_thread.join)

    async def ask(self, entities: Sequence[EntityRequest], explain: bool, arrived: float) -> list[dict[str, Any]]:
        """The answers, in the entities' order, each on disk. Raises Overloaded and CannotKeep."""
        if self._waiting + len(entities) > MOST_WAITING:
            raise Overloaded
        self._waiting += len(entities)
        try:
            job = Job(entities, explain, arrived, asyncio.get_running_loop().create_future())
            self._jobs.append(job)
            self._arrived.set()
            return await job.answer
        finally:
            self._waiting -= len(entities)

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            jobs = self._next_jobs()
            try:
                told: list[list[dict[str, Any]]] | Exception = await self._answer_together(jobs)
            except Exception as error:  # whatever it is belongs to these callers; the desk goes on
                told = error
            _deliver(jobs, told)

    def _next_jobs(self) -> list[Job]:
        """All that waits, up to a full batch."""
        jobs: list[Job] = []
        entities = 0
        for job in self._jobs:
            entities += len(job.entities)
            if jobs and entities > MOST_TOGETHER:
                break
            jobs.append(job)
        del self._jobs[: len(jobs)]
        if not self._jobs:
            self._arrived.clear()
        return jobs

    async def _answer_together(self, jobs: Sequence[Job]) -> list[list[dict[str, Any]]]:
        loop = asyncio.get_running_loop()
        began, serving = perf_counter(), self._live.serving
        entities = [entity for job in jobs for entity in job.entities]
        ids = [entity.entity_id for entity in entities]
        question = serving.champion.manifest.question
        stored = await loop.run_in_executor(self._database, self._keeper.look_up, question, ids)
        batch = Batch(entities, ids, [stored.get(each) for each in ids])
        looked_up = perf_counter()
        matrix, probabilities, answering = _score(batch, serving)
        answers = scoring.answers_of(entities, ids, batch.found, matrix, probabilities, answering)
        if self._keeper.away is not None:
            for answer in answers:
                answer["flags"].append("store_unavailable")
        for place in _to_explain(jobs):
            answers[place]["reasons"] = scoring.reasons_of(entities[place], matrix[place], answering[place])
        scored = perf_counter()
        arrivals = [job.arrived for job in jobs for _ in job.entities]
        await loop.run_in_executor(self._database, self._keeper.keep, scoring.rows_of(answers, matrix, arrivals))
        _measure((began, looked_up, scored, perf_counter()), answers, batch, matrix)
        if serving.challenger is not None:
            self._put_in_shadow(batch, serving, answers)
        each = iter(answers)
        return [[next(each) for _ in job.entities] for job in jobs]

    def _put_in_shadow(self, batch: Batch, serving: Serving, answers: list[dict[str, Any]]) -> None:
        try:
            self._shadows.put_nowait((batch, serving, answers))
        except Full:
            metrics.SHADOWS_LOST.inc(len(answers))

    def _shadow(self) -> None:
        """Let the model that did not answer say what it would have, when the answers are gone."""
        while (waiting := self._shadows.get()) is not None:
            batch, serving, answers = waiting
            assert serving.challenger is not None  # noqa: S101  only such batches are put here
            for other in (serving.champion, serving.challenger):
                version = other.manifest.version
                places = [place for place, answer in enumerate(answers) if answer["model_version"] != version]
                if not places:
                    continue
                _, probabilities = _run(batch, places, other)
                rows = [
                    {
                        "prediction_id": answers[place]["prediction_id"],
                        "model_version": version,
                        "probability": probability,
                    }
                    for place, probability in zip(places, probabilities.tolist(), strict=True)
                ]
                if self._keeper.keep_shadows(rows):
                    metrics.SHADOWS.labels(version).inc(len(rows))
                else:
                    metrics.SHADOWS_LOST.inc(len(rows))


def _deliver(jobs: Sequence[Job], told: list[list[dict[str, Any]]] | Exception) -> None:
    for place, job in enumerate(jobs):
        if job.answer.done():  # its caller has gone
            continue
        if isinstance(told, Exception):
            job.answer.set_exception(told)
        else:
            job.answer.set_result(told[place])


def _run(batch: Batch, places: Sequence[int], release: Release) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The model's input and its probabilities, for the entities at those places."""
    stored = [online.NOTHING_KNOWN if (row := batch.found[place]) is None else row.online for place in places]
    matrix = online.matrix_of([batch.entities[place] for place in places], stored, release)
    return matrix, release.model.predict(matrix)


def _score(batch: Batch, serving: Serving) -> tuple[NDArray[np.float32], NDArray[np.float32], Sequence[Release]]:
    """Input, probability and release of each entity: the champion's, but for the challenger's share."""
    everything = range(len(batch.entities))
    challenged = [place for place in everything if serving.answers_by_challenger(batch.ids[place])]
    matrix, probabilities = _run(batch, everything, serving.champion)
    answering = [serving.champion] * len(everything)
    if challenged and serving.challenger is not None:
        probabilities = probabilities.copy()
        matrix[challenged], probabilities[challenged] = _run(batch, challenged, serving.challenger)
        for place in challenged:
            answering[place] = serving.challenger
    return matrix, probabilities, answering


def _to_explain(jobs: Sequence[Job]) -> list[int]:
    """The places, in the batch, of the entities whose reasons were asked for."""
    asked = [job.explain for job in jobs for _ in job.entities]
    return [place for place, explain in enumerate(asked) if explain]


def _measure(
    moments: Sequence[float], answers: Sequence[dict[str, Any]], batch: Batch, matrix: NDArray[np.float32]
) -> None:
    """`moments`: when the look-up, the scoring and the commit began, and when the commit ended."""
    for stage, (began, ended) in zip(("lookup", "score", "commit"), pairwise(moments), strict=True):
        metrics.STAGE_SECONDS.labels(stage).observe(ended - began)
    metrics.BATCH_ENTITIES.observe(len(answers))
    now = datetime.now(UTC).timestamp()
    for (version, alert), count in Counter((answer["model_version"], answer["alert"]) for answer in answers).items():
        metrics.PREDICTIONS.labels(version, str(alert).lower()).inc(count)
        told = metrics.PROBABILITY.labels(version)
        for answer in answers:
            if (answer["model_version"], answer["alert"]) == (version, alert):
                told.observe(answer["probability"])
    for share in np.isnan(matrix).mean(axis=1).tolist():
        metrics.MISSING_FEATURES.observe(share)
    metrics.WITHOUT_FEATURES.inc(batch.found.count(None))
    for stored in filter(None, batch.found):
        metrics.FEATURE_AGE.observe(max(0.0, now - stored.moment.timestamp()))
