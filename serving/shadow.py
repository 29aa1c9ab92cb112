"""Shadow scoring: the other release scores the same entities in a background thread, after the commit."""

from queue import Full, Queue
from typing import Any

from ontime.live_releases import LiveReleases
from serving import metrics, scoring, threads
from serving.prediction_log import PredictionLog
from serving.scoring import MicroBatch

MAX_SHADOW_BATCHES = 1000  # each is at most a part of a list: see batcher.py


class ShadowScorer:
    """A thread with a queue. Batches that do not fit into the queue are counted and dropped."""

    def __init__(self, prediction_log: PredictionLog) -> None:
        self._log = prediction_log
        self._queue: Queue[tuple[MicroBatch, LiveReleases, list[dict[str, Any]]] | None] = Queue(MAX_SHADOW_BATCHES)
        self._thread = threads.Supervised("shadow", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return after the queue is empty."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, batch: MicroBatch, live: LiveReleases, predictions: list[dict[str, Any]]) -> None:
        try:
            self._queue.put_nowait((batch, live, predictions))
        except Full:
            metrics.SHADOWS_LOST.inc(len(predictions))

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            with self._thread.busy():
                self._score(*item)

    def _score(self, batch: MicroBatch, live: LiveReleases, predictions: list[dict[str, Any]]) -> None:
        assert live.challenger is not None  # noqa: S101  only such batches are submitted
        for release in (live.champion, live.challenger):
            version = release.manifest.version
            places = [place for place, each in enumerate(predictions) if each["model_version"] != version]
            if not places:
                continue
            _, probabilities = scoring.run_model(batch, places, release)
            rows = [
                {
                    "prediction_id": predictions[place]["prediction_id"],
                    "model_version": version,
                    "probability": probability,
                }
                for place, probability in zip(places, probabilities.tolist(), strict=True)
            ]
            if self._log.store_shadows(rows):
                metrics.SHADOWS.labels(version).inc(len(rows))
            else:
                metrics.SHADOWS_LOST.inc(len(rows))
