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
from pipelines.operations.materialise import step
from pipelines.operations.monitor import due
from pipelines.operations.monitor import run as look_at
from pipelines.operations.retrain import asked_for
from pipelines.operations.retrain import run as retrain_for

MINUTE, HOUR = 60, 3600
ASKED = "ontime.retrain.asked"  # prefect.yaml waits for it
MODEL = {"prefect.resource.id": "ontime.model"}


@flow(retries=2, retry_delay_seconds=30, timeout_seconds=10 * MINUTE)
def materialise(now: AwareDatetime | None = None) -> str:
    """Store what has come: features of the entities whose moment has come, labels. `now` is on the feed's clock."""
    settings, params = load_settings(), load_params()
    moment = now or feed_clock.now(settings, params)
    stored = step(settings, params, moment)
    return _told(f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC on the feed's clock: {stored}")


@flow(retries=3, retry_delay_seconds=10 * MINUTE, timeout_seconds=HOUR / 2)
def monitor(day: date | None = None) -> str:
    """Look at `day`, or all since the last look: alert, decide, and act; a retraining is asked for by an event."""
    settings, params = load_settings(), load_params()
    engine = database.connect(settings.database_url)
    said = []
    for over in [day] if day else due(engine, feed_clock.yesterday(settings, params)):
        decision = look_at(settings, params, over)
        said.append(f"{over}: {decision.action}: {decision.reason}")
        if decision.action is Action.RETRAIN:
            ask_for_retraining(over, decision)
            said.append("Where no server listens, the weekly flow `retrain` takes this up, or `make retrain` at once")
    return _told("\n".join(said))


@flow(retries=1, retry_delay_seconds=15 * MINUTE, timeout_seconds=3 * HOUR)
def retrain(day: date | None = None) -> str:
    """Do the retraining that the policy has asked for, if it has. `day` retrains whatever the policy thinks."""
    settings, params = load_settings(), load_params()
    # The event only rings: who asked, and whether it is done already, is in `decisions`, which no lost event changes.
    due_day = day or asked_for(database.connect(settings.database_url))
    if due_day is None:
        return _told("nobody has asked for it (`make retrain NOW=1` does it all the same)")
    return _told(f"{due_day}: {retrain_for(settings, params, due_day)}")


def ask_for_retraining(day: date, decision: Decision) -> None:
    """Tell Prefect's server, if there is one, that the policy wants a retraining."""
    emit_event(ASKED, resource=MODEL, payload={"day": str(day), "reason": decision.reason})


def _told(said: str) -> str:
    """What the run says, also to whoever looks at it in Prefect's pages."""
    get_run_logger().info(said)
    return said


FLOWS: dict[str, Flow[..., str]] = {each.name: each for each in (materialise, monitor, retrain)}


def main() -> None:
    match sys.argv[1:]:
        case [name, *when] if name in FLOWS and len(when) <= 1:
            print(f"{name}: {FLOWS[name](*when)}")
        case other:
            sys.exit(f"flows: {' '.join(other)!r} is none of: {', '.join(f'{name} [WHEN]' for name in FLOWS)}")


if __name__ == "__main__":
    environment.enforce()
    main()
