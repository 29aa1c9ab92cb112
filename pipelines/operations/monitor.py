"""The daily monitor: metrics, alerts, the policy's decision, and the actions that follow at once.

    python -m pipelines.operations.monitor    the last whole day by the feed's clock, and any missed days before it

Each step of a day writes a row in `decisions` and runs once: after an interruption the next run continues, and a day
that is complete is not repeated. Retraining takes longer, so it is another process: pipelines/operations/retrain.py.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Literal

import pandas as pd
import sqlalchemy as sa

from monitoring import alerts, daily_metrics, diagnosis, diagnosis_text, performance, samples, webhook
from monitoring.alerts import Alert, Tier
from monitoring.daily_metrics import DayContext
from monitoring.policy import Action, DayState, Decision, Trial, choose_action
from ontime import database, environment, local_time, locks, release, release_pointer
from ontime.local_time import midnight
from ontime.params import Params, load_params
from ontime.release import Manifest
from ontime.release_pointer import Pointer
from ontime.settings import Settings, load_settings
from pipelines.operations import apply_policy, feed_clock, retrain
from pipelines.operations.promotion_checks import kept_out

FIGURES, QUALITY = "figures", "quality"


def run(settings: Settings, params: Params, day: date) -> Decision:
    """Look at one day, which is over. Raises NoRelease where nothing answers, so that there is nothing to monitor."""
    with locks.wait_and_hold(settings.releases / ".monitor.lock", "monitor"):
        return _run_in_turn(settings, params, day)


def _run_in_turn(settings: Settings, params: Params, day: date) -> Decision:
    engine = database.connect(settings.database_url)
    context = DayContext(settings, params, engine, day, midnight(day + timedelta(days=1)))
    pointer = release_pointer.require_pointer(settings.releases)
    figures = _once(context, "monitor", lambda: _judge(context, pointer))
    raised = alerts.from_json(figures["alerts"])
    webhook.post_alerts(engine, settings.webhook)
    evidence = _once(context, "policy", lambda: _decide(context, pointer, raised))
    decision = Decision(Action(evidence["action"]), evidence["reason"])
    apply_policy.carry_out(settings, engine, decision.action, evidence.get("version"), day, context.now)
    return decision


def _once(context: DayContext, kind: str, make: Callable[[], tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """The evidence of this day's row, which is made if it is not there."""
    row = database.last_decision(context.engine, kind, day=str(context.day))
    if row is not None:
        return row.evidence
    verdict, evidence = make()
    database.record_decision(context.engine, kind, verdict, {"day": str(context.day), **evidence}, context.now)
    return evidence


def _day_of(evidence: Mapping[str, Any]) -> str:
    return str(evidence["day"])


def due(engine: sa.Engine, yesterday: date) -> list[date]:
    """The days until yesterday that nobody has looked at since the last one: an outage of the monitor hides none."""
    looked = [date.fromisoformat(_day_of(row.evidence)) for row in database.decisions_of(engine, "monitor")]
    last = looked[-1] if looked else yesterday
    # No day lies between where this is the first one, or where the feed has begun its dataset again.
    between = [last + timedelta(days=count) for count in range(1, (yesterday - last).days + 1)]
    return [day for day in between if day not in looked] or [yesterday]


def _judge(context: DayContext, pointer: Pointer) -> tuple[str, dict[str, Any]]:
    champion = release.verify(context.settings.releases / pointer.version)
    window = daily_metrics.read_window(context, champion)
    figures = daily_metrics.read_metrics(context, champion, window)
    past = [row.evidence for row in database.decisions_of(context.engine, "monitor")]
    # By their day: one that was missed may be looked at after those that came later.
    before = [each[FIGURES] for each in sorted(past, key=_day_of) if _day_of(each) < str(context.day)]
    raised = alerts.firing([*before, figures], context.params.monitor.alerts)
    verdict = "alert" if raised else "calm" if figures["auc_shortfall"] is not None else "no labels"
    reason = "; ".join(alert.summary for alert in raised) or verdict
    if window.other_question_share:
        reason += (
            f"; {window.other_question_share:.0%} of the answers do not count: their release predicts something else "
            f"than release {pointer.version}, so other outcomes are right for it"
        )
    evidence: dict[str, Any] = {"reason": reason, FIGURES: figures, "alerts": [vars(alert) for alert in raised]}
    why = _why(context, champion, raised, max(past, key=_day_of, default={}))
    evidence |= {"why": why} if why else {}
    return verdict, {**evidence, QUALITY: daily_metrics.window_quality(context, window.performance)}


def _why(context: DayContext, champion: Manifest, raised: tuple[Alert, ...], before: Mapping[str, Any]) -> str | None:
    """What a diagnosis of the window says first, on the day on which such an alert is new; later, what it said then."""
    names = {alert.name for alert in raised if alert.tier is Tier.RETRAIN and alert.name in alerts.PERFORMANCE_ALERTS}
    names_before = {alert["name"] for alert in before.get("alerts", [])}
    if not names:
        return None
    if names <= names_before and "why" in before:
        return str(before["why"])
    model = release.load(context.settings.releases, champion.version).model
    rows = daily_metrics.predictions_since(context, daily_metrics.window_start(context), champion, vectors=True)
    then = samples.from_reference(samples.read_reference(context.settings, champion), champion.categories)
    now, params = samples.from_predictions(rows, champion), context.params
    try:
        diagnosed = diagnosis.diagnose(model, then, now, params.cost, params.train.seed)
    except diagnosis.TooFewDays as few:
        return str(few)
    return diagnosis_text.headline(diagnosed)


def _decide(context: DayContext, pointer: Pointer, raised: tuple[Alert, ...]) -> tuple[str, dict[str, Any]]:
    observed = observe(context, pointer, raised)
    decision = choose_action(observed, context.params.policy)
    version = observed.trial.version if observed.trial else None
    evidence = {"action": decision.action, "reason": decision.reason, "version": version, "champion": pointer.version}
    return decision.action, evidence


def observe(context: DayContext, pointer: Pointer, raised: tuple[Alert, ...]) -> DayState:
    """What the policy must know, read from the decisions, the pointer and the outcomes."""
    manifest = release.verify(context.settings.releases / pointer.version)
    return DayState(
        day=context.day,
        alerts=raised,
        new_labels=database.count_outcomes(context.engine, midnight(manifest.trained_until), context.now),
        retrainings=tuple(
            date.fromisoformat(row.evidence["day"]) for row in database.decisions_of(context.engine, "retraining")
        ),
        champion_since=_champion_since(context, pointer),
        too_early=retrain.too_early(context.params, context.day),
        trial=_trial(context, pointer),
    )


def _champion_since(context: DayContext, pointer: Pointer) -> date:
    moved = [
        row.decided_at
        for kind in ("promotion", "rollback")
        for row in database.decisions_of(context.engine, kind)
        if row.evidence["version"] == pointer.version
    ]
    return local_time.day_of(max(moved)) if moved else context.day


def _trial(context: DayContext, pointer: Pointer) -> Trial | None:
    """The comparison that is under way, on entities since it began."""
    if pointer.challenger is None:
        return None
    version = pointer.challenger.version
    predecessor = bool(pointer.history) and pointer.history[-1] == version
    began = database.last_decision(
        context.engine, "promotion" if predecessor else "challenge", version=pointer.version if predecessor else version
    )
    since = local_time.day_of(began.decided_at) if began else context.day
    role: Literal["predecessor", "candidate"] = "predecessor" if predecessor else "candidate"
    days = (context.day - since).days + 1
    champion = release.verify(context.settings.releases / pointer.version)
    try:
        challenger = release.verify(context.settings.releases / version)
        entities = performance.paired_predictions(context.engine, champion, challenger, context.now)
    except release.ReleaseRefused as refused:  # tampered with, or it predicts something else
        return Trial(role, version, days, entities=0, low=None, high=None, broken=str(refused))
    entities = entities[entities["day"] >= pd.Timestamp(since)]
    difference = performance.loss_difference(entities)
    return Trial(
        role=role,
        version=version,
        days=days,
        entities=len(entities),
        low=round(difference.low, 4) if difference else None,
        high=round(difference.high, 4) if difference else None,
        kept_out=None if predecessor else kept_out(context.engine, version),
    )


def main() -> None:
    settings, params = load_settings(), load_params()
    try:
        engine = database.connect(settings.database_url)
        for day in due(engine, feed_clock.yesterday(settings, params)):
            decision = run(settings, params, day)
            print(f"monitor: {day}: {decision.action}: {decision.reason}")
    except (release.ReleaseRefused, locks.Busy) as refused:
        sys.exit(f"monitor: {refused}")


if __name__ == "__main__":
    environment.enforce()
    main()
