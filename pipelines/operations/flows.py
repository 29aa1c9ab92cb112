"""The Prefect flows: schedules, retries and events. The only file that imports Prefect.

    python -m pipelines.operations.flows materialise                              one run, without a server
    python -m pipelines.operations.flows materialise 2013-02-20T17:00:00+00:00    ... as of that time
    python -m pipelines.operations.flows monitor 2013-02-19                       ... for that day

prefect.yaml has the schedules, the trigger and the limits. A flow makes one call, the one that `python -m` makes, and
contains no steps. Every call is idempotent, so a flow can be retried, killed or run twice.
"""

import sys
from datetime import UTC, date

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
from pipelines.operations.monitor import run as look_at
from pipelines.operations.retrain import requested_day
from pipelines.operations.retrain import run as retrain_for

MINUTE_SECONDS, HOUR_SECONDS = 60, 3600
RETRAINING_REQUESTED = "ontime.retrain.asked"  # prefect.yaml waits for it
MODEL = {"prefect.resource.id": "ontime.model"}


@flow(retries=2, retry_delay_seconds=30, timeout_seconds=10 * MINUTE_SECONDS)
def materialise(now: AwareDatetime | None = None) -> str:
    """Store what has come: features of the entities whose moment has come, labels. `now` is on the feed's clock."""
    settings, params = load_settings(), load_params()
    moment = now or feed_clock.now(settings, params)
    stored = run(settings, params, moment)
    return _logged(f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC on the feed's clock: {stored}")


@flow(retries=3, retry_delay_seconds=10 * MINUTE_SECONDS, timeout_seconds=HOUR_SECONDS / 2)
def monitor(day: date | None = None) -> str:
    """Look at `day`, or all since the last look: alert, decide, and act; a retraining is asked for by an event."""
    settings, params = load_settings(), load_params()
    engine = database.connect(settings.database_url)
    lines = []
    for each_day in [day] if day else days_to_monitor(engine, feed_clock.yesterday(settings, params)):
        decision = look_at(settings, params, each_day)
        lines.append(f"{each_day}: {decision.action}: {decision.reason}")
        if decision.action is Action.RETRAIN:
            request_retraining(each_day, decision)
            lines.append("Where no server listens, the weekly flow `retrain` takes this up, or `make retrain` at once")
    return _logged("\n".join(lines))


@flow(retries=1, retry_delay_seconds=15 * MINUTE_SECONDS, timeout_seconds=3 * HOUR_SECONDS)
def retrain(day: date | None = None) -> str:
    """Do the retraining that the policy has asked for, if it has. `day` retrains whatever the policy thinks."""
    settings, params = load_settings(), load_params()
    # The event only rings: who asked, and whether it is done already, is in `decisions`, which no lost event changes.
    due_day = day or requested_day(database.connect(settings.database_url))
    if due_day is None:
        return _logged("nobody has asked for it (`make retrain NOW=1` does it all the same)")
    return _logged(f"{due_day}: {retrain_for(settings, params, due_day)}")


def request_retraining(day: date, decision: Decision) -> None:
    """Tell Prefect's server, if there is one, that the policy wants a retraining."""
    emit_event(RETRAINING_REQUESTED, resource=MODEL, payload={"day": str(day), "reason": decision.reason})


def _logged(message: str) -> str:
    """What the run says, also to whoever looks at it in Prefect's pages."""
    get_run_logger().info(message)
    return message


FLOWS: dict[str, Flow[..., str]] = {each.name: each for each in (materialise, monitor, retrain)}


def main() -> None:
    match sys.argv[1:]:
        case [name, *when] if name in FLOWS and len(when) <= 1:
            print(f"{name}: {FLOWS[name](*when)}")
        case other:
            sys.exit(f"flows: {' '.join(other)!r} is none of: {', '.join(f'{name} [WHEN]' for name in FLOWS)}")


if __name__ == "__main__":
    environment.settle()
    main()
