"""The Prefect flows: schedules, retries and events. The only file that imports Prefect.

    python -m pipelines.operations.flows materialise                              one run, without a server
    python -m pipelines.operations.flows materialise 2013-02-20T17:00:00+00:00    ... as of that time
    python -m pipelines.operations.flows monitor 2013-02-19                       ... for that day

prefect.yaml has the schedules, the trigger and the limits. A flow makes one call, the one that `python -m` makes, and
contains no steps. Every call is idempotent, so a flow can be retried, killed or run twice.
"""

import argparse
from datetime import UTC, date, datetime

from prefect import Flow, flow
from prefect.events import emit_event
from prefect.logging import get_run_logger
from pydantic import AwareDatetime

from monitoring.policy import Action, Decision
from ontime import database, environment
from ontime.params import load_params
from ontime.settings import load_settings
from pipelines.operations import feed_clock
from pipelines.operations.materialise import run
from pipelines.operations.monitor import days_to_monitor
from pipelines.operations.monitor import run as monitor_day
from pipelines.operations.prune import run as run_prune
from pipelines.operations.retrain import NOT_REQUESTED, requested_day
from pipelines.operations.retrain import run as run_retraining

MINUTE_SECONDS, HOUR_SECONDS = 60, 3600
RETRAINING_REQUESTED = "ontime.retrain.requested"  # the event that triggers a deployment of prefect.yaml
MODEL = {"prefect.resource.id": "ontime.model"}


@flow(retries=2, retry_delay_seconds=30, timeout_seconds=10 * MINUTE_SECONDS)
def materialise(now: AwareDatetime | None = None) -> str:
    """Store the features and labels that are due at `now`, on the feed's clock."""
    settings, params = load_settings(), load_params()
    moment = now or feed_clock.now(settings, params)
    stored = run(settings, params, moment)
    return _logged(f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC on the feed's clock: {stored}")


@flow(retries=3, retry_delay_seconds=10 * MINUTE_SECONDS, timeout_seconds=HOUR_SECONDS / 2)
def monitor(day: date | None = None) -> str:
    """Monitor `day`, or all days since the last run: alert, decide, act. An event requests a retraining."""
    settings, params = load_settings(), load_params()
    engine = database.connect(settings.database_url)
    lines = []
    for each_day in [day] if day else days_to_monitor(engine, feed_clock.yesterday(settings, params)):
        decision = monitor_day(settings, params, each_day)
        lines.append(f"{each_day}: {decision.action}: {decision.reason}")
        if decision.action is Action.RETRAIN:
            request_retraining(each_day, decision)
            lines.append("Without a Prefect server, run `make retrain`, or wait for the weekly flow `retrain`")
    return _logged("\n".join(lines))


@flow(retries=1, retry_delay_seconds=15 * MINUTE_SECONDS, timeout_seconds=3 * HOUR_SECONDS)
def retrain(day: date | None = None) -> str:
    """Run the retraining that is requested or unfinished, if any. With `day`, retrain without a request."""
    settings, params = load_settings(), load_params()
    # The event only starts the flow: request and completion are rows in `decisions`, so a lost event loses nothing.
    due_day = day or requested_day(database.connect(settings.database_url))
    if due_day is None:
        return _logged(NOT_REQUESTED)
    return _logged(f"{due_day}: {run_retraining(settings, params, due_day)}")


@flow(retries=1, retry_delay_seconds=10 * MINUTE_SECONDS, timeout_seconds=3 * HOUR_SECONDS)
def prune(now: AwareDatetime | None = None) -> str:
    """Delete the rows and files that are older than `retention` in params.yaml allows at `now`, on the feed's clock."""
    settings, params = load_settings(), load_params()
    deleted = run_prune(settings, params, now or feed_clock.now(settings, params), datetime.now(UTC))
    return _logged(f"deleted: {deleted}")


def request_retraining(day: date, decision: Decision) -> None:
    """Emit the event that requests a retraining; without a Prefect server it is lost, which does no harm."""
    emit_event(RETRAINING_REQUESTED, resource=MODEL, payload={"day": str(day), "reason": decision.reason})


def _logged(message: str) -> str:
    """The message, also written to the run's log in Prefect."""
    get_run_logger().info(message)
    return message


FLOWS: dict[str, Flow[..., str]] = {each.name: each for each in (materialise, monitor, retrain, prune)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="flows")
    parser.add_argument("flow", choices=FLOWS)
    parser.add_argument("when", nargs="*")
    arguments = parser.parse_args()
    print(f"{arguments.flow}: {FLOWS[arguments.flow](*arguments.when)}")


if __name__ == "__main__":
    environment.enforce()
    main()
