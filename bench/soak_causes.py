"""Why a request took long: the steps of the service's trace that overlap it. For `make bench-soak`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

UNKNOWN = "unknown"
EXPLAINED_SHARE = 0.5  # of a request's time that steps must cover to be its cause


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
    """The cause with the longest overlap, if all steps together cover EXPLAINED_SHARE of the request."""
    overlapping = [each for each in steps if each.began < request.ended and each.ended > request.began]
    spans = sorted((max(each.began, request.began), min(each.ended, request.ended)) for each in overlapping)
    if _covered(spans) < EXPLAINED_SHARE * (request.ended - request.began):
        return UNKNOWN
    by_cause: dict[str, float] = defaultdict(float)
    for each in overlapping:
        by_cause[each.cause] += min(each.ended, request.ended) - max(each.began, request.began)
    return max(by_cause, key=by_cause.__getitem__)


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
