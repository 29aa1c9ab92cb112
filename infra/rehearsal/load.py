"""Sends requests at a constant rate from a pod, whatever the responses take: python -m infra.rehearsal.load

The first line of the input is the plan, as JSON: url, key, rate (requests per second), requests (the bodies, sent one
after another). It sends until the input ends, and then prints one line for each request: an Attempt as JSON.

Every request has a connection of its own, so the cluster chooses a pod for each. Needs only the standard library.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TIMEOUT_SECONDS = 10
CONNECTIONS = 512


class Attempt(NamedTuple):
    """A request, and the response if there was one: then it has a status."""

    sent_at: float  # Unix time
    seconds: float
    status: int | None
    prediction_id: str | None
    model_version: str | None
    error: str | None


def attempt(plan: Mapping[str, Any], body: Mapping[str, Any]) -> Attempt:
    headers = {"Authorization": f"Bearer {plan['key']}", "Content-Type": "application/json"}
    request = Request(plan["url"], json.dumps(body).encode(), headers, method="POST")  # noqa: S310  a service of the cluster
    sent_at, began = time.time(), time.perf_counter()
    status, content, message = None, {}, None
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  a service of the cluster
            status, content = response.status, json.loads(response.read())
    except HTTPError as refused:
        status, message = refused.code, refused.read().decode(errors="replace")[:200]
    except (OSError, ValueError) as error:  # no connection, no response in time, or half of one
        status, message = None, repr(error)[:200]
    seconds = time.perf_counter() - began
    return Attempt(sent_at, seconds, status, content.get("prediction_id"), content.get("model_version"), message)


def send_until(over: threading.Event, plan: Mapping[str, Any]) -> list[Attempt]:
    """All attempts, in the order in which they were sent."""
    futures: list[Future[Attempt]] = []
    bodies, began = plan["requests"], time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        while not over.wait(max(0.0, began + len(futures) / plan["rate"] - time.monotonic())):
            futures.append(pool.submit(attempt, plan, bodies[len(futures) % len(bodies)]))
    return [each.result() for each in futures]


def main() -> None:
    plan, over, attempts = json.loads(sys.stdin.readline()), threading.Event(), list[Attempt]()
    sender = threading.Thread(target=lambda: attempts.extend(send_until(over, plan)))
    sender.start()
    sys.stdin.read()
    over.set()
    sender.join()
    for each in attempts:
        print(json.dumps(each))


if __name__ == "__main__":
    main()
