"""Why a request took long: the steps of the service's trace that overlap it. For `make bench-soak`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

UNKNOWN = "unknown"
EXPLAINED_SHARE = 0.5  # of a request's time that steps must cover to be its cause
FOR_EVERY_ROUTE = ("event loop", "garbage collection")
STEPS_OF_ROUTES = {
    "/v1/predictions": ("commit of predictions", "look-up of features"),
    "/v1/outcomes": ("commit of outcomes",),
    "/v1/ops": ("query of /v1/ops",),
    "/metrics": ("query of /metrics",),
    "/v1/entities": ("query of a search",),
    "/v1/entities/{entity_id}": ("query of an entity",),
}


class Step(NamedTuple):
    """A line of bench/traced_service.py."""

    step: str
    began: float  # Unix time
    ended: float
    cpu_s: float
    queue_s: float  # waited for a CPU
    disk_s: float  # of the machine: some process waited for the disk
    checkpoint: bool
    where: str

    @property
    def cause(self) -> str:
        """The step, and what most of its time was."""
        seconds = self.ended - self.began
        waits_for_lock = seconds - self.cpu_s - self.queue_s
        if self.queue_s >= max(self.cpu_s, waits_for_lock):
            return f"{self.step}: waits for a CPU"
        if self.cpu_s >= waits_for_lock:
            return f"{self.step}: computes"
        if self.disk_s >= waits_for_lock / 2:
            return f"{self.step}: waits for the disk{', checkpoint of the WAL' if self.checkpoint else ''}"
        return f"{self.step}: waits for a lock"


class SlowRequest(NamedTuple):
    route: str
    began: float  # Unix time
    ended: float

    @property
    def ms(self) -> float:
        return 1000 * (self.ended - self.began)


def read_trace(path: Path) -> list[Step]:
    return [Step(**orjson.loads(line)) for line in path.read_bytes().splitlines()]


def cause_of(request: SlowRequest, steps: Iterable[Step]) -> str:
    """The cause with the longest overlap, if the steps together cover EXPLAINED_SHARE of the request.

    Steps that the request itself waits for come first: another thread's step is its cause only if those explain less.

    >>> search = Step("query of a search", 0, 10, cpu_s=9, queue_s=0, disk_s=0, checkpoint=False, where="")
    >>> commit = search._replace(step="commit of predictions", began=2, ended=8, cpu_s=0, disk_s=5)
    >>> cause_of(SlowRequest("/v1/predictions", 1, 9), [search, commit])
    'commit of predictions: waits for the disk'
    >>> cause_of(SlowRequest("/v1/predictions", 1, 30), [search, commit])
    'unknown'
    """
    overlapping = [each for each in steps if each.began < request.ended and each.ended > request.began]
    own_names = (*FOR_EVERY_ROUTE, *STEPS_OF_ROUTES.get(request.route, ()))
    own = [each for each in overlapping if each.step.startswith(own_names)]
    for considered in (own, overlapping):
        spans = sorted((max(each.began, request.began), min(each.ended, request.ended)) for each in considered)
        if _covered(spans) >= EXPLAINED_SHARE * (request.ended - request.began):
            return _longest_cause(request, considered)
    return UNKNOWN


def _longest_cause(request: SlowRequest, steps: Iterable[Step]) -> str:
    seconds: dict[str, float] = defaultdict(float)
    for each in steps:
        seconds[each.cause] += min(each.ended, request.ended) - max(each.began, request.began)
    return max(seconds, key=seconds.__getitem__)


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The seconds that sorted spans cover together."""
    covered, end = 0.0, float("-inf")
    for start, stop in spans:
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def slow_summary(requests: Sequence[SlowRequest], steps: Sequence[Step], longest: int) -> dict[str, Any]:
    """How many requests each cause delayed, and the longest of them."""
    causes = {each: cause_of(each, steps) for each in requests}
    slowest = sorted(requests, key=lambda each: -each.ms)[:longest]
    return {
        "count": len(requests),
        "unknown": sum(cause == UNKNOWN for cause in causes.values()),
        "by_cause": dict(Counter(causes[each] for each in requests).most_common()),
        "longest": [{"route": each.route, "ms": round(each.ms), "cause": causes[each]} for each in slowest],
    }
