"""The load on the service while something happens, and what became of its requests."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from infra.rehearsal.kubectl import ClusterFailed, Kubectl
from infra.rehearsal.load import Attempt

OK = 200


class Counts(NamedTuple):
    requests: int
    answered: int  # 200
    refused: int  # another status
    without_response: int
    p99_ms: float | None  # of the answered ones


@contextmanager
def under_load(client: Kubectl, pod: str, plan: Mapping[str, Any]) -> Iterator[list[Attempt]]:
    """Sends requests from a pod while the block runs, and adds them to the list afterwards. Raises ClusterFailed."""
    attempts: list[Attempt] = []
    with client.started("exec", "--stdin", pod, "--", "python", "-m", "infra.rehearsal.load") as process:
        try:
            print(json.dumps(plan), file=process.stdin, flush=True)
            yield attempts
            output, _ = process.communicate()  # ends the input, and so the load
        except BrokenPipeError:
            raise ClusterFailed(f"the load in pod {pod} ended before its plan was sent; its message is above") from None
        finally:
            process.kill()  # if the block raised; otherwise it has ended
    if process.returncode != 0:
        raise ClusterFailed(f"the load in pod {pod} ended with status {process.returncode}; its message is above")
    attempts += parsed_attempts(output)


def parsed_attempts(output: str) -> list[Attempt]:
    return [Attempt(*json.loads(line)) for line in output.splitlines()]


def counts_of(attempts: Sequence[Attempt]) -> Counts:
    answered = sorted(each.seconds for each in attempts if each.status == OK)
    silent = sum(each.status is None for each in attempts)
    p99_ms = round(answered[math.ceil(len(answered) * 0.99) - 1] * 1000, 1) if answered else None
    return Counts(len(attempts), len(answered), len(attempts) - len(answered) - silent, silent, p99_ms)


def prediction_ids(attempts: Sequence[Attempt]) -> list[str]:
    """Of the answered requests. Raises ClusterFailed if an answer has no id: then it cannot be found in the table."""
    ids = [each.prediction_id for each in attempts if each.status == OK]
    if None in ids:
        raise ClusterFailed("the service answered 200 without a prediction_id: is the address that of another server?")
    return [each for each in ids if each is not None]


def seconds_until_only(version: str, attempts: Sequence[Attempt], since: float) -> float:
    """From `since` until the last request that another release answered. Raises ClusterFailed if `version` has none."""
    if not any(each.model_version == version for each in attempts):
        raise ClusterFailed(f"release {version} answered no request: does the mirror follow the store?")
    others = [each.sent_at + each.seconds for each in attempts if each.model_version not in (version, None)]
    return max(0.0, max(others, default=since) - since)
