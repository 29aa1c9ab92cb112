"""The daily monitor: metrics, alerts, the policy's decision, and the actions that follow at once.

    ontime monitor    the last whole day by the feed's clock, and any missed days before it

Each step of a day writes a row in `decisions` and runs once: after an interruption the next run continues, and a day
that is complete is not repeated. Retraining takes longer, so it is another process: pipelines/operations/retrain.py.
"""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Literal

import pandas as pd
import sqlalchemy as sa

from monitoring import alerts, daily_metrics, diagnosis, diagnosis_text, performance, samples, webhook
from monitoring.alerts import Alert, Tier
from monitoring.daily_metrics import DayContext
from monitoring.policy import Action, DayState, Decision, Trial, choose_action
from ontime import database, local_time, locks, release, release_pointer
from ontime.local_time import midnight
from ontime.params import Params, load_params
from ontime.release import Manifest
from ontime.release_pointer import Pointer
from ontime.settings import Settings, load_settings
from pipelines.operations import apply_policy, feed_clock, retrain, transition_log
from pipelines.operations.promotion_checks import gate_rejection

FIGURES, QUALITY = "figures", "quality"


def run(settings: Settings, params: Params, day: date) -> Decision:
    """Monitor one day, which must be over. Raises NoRelease if no release is live."""
    with locks.wait_and_hold(settings.releases / ".monitor.lock", "monitor"):
        return _run_in_turn(settings, params, day)


def _run_in_turn(settings: Settings, params: Params, day: date) -> Decision:
    engine = database.connect(settings.database_url)
    context = DayContext(settings, params, engine, day, _decided_at(day))
    pointer = release_pointer.require_pointer(settings.releases)
    figures = _once(context, "monitor", lambda: _measure(context, pointer))
    raised = alerts.from_json(figures["alerts"])
    webhook.post_alerts(engine, settings.webhook)
    evidence = _once(context, "policy", lambda: _decide(context, pointer, raised))
    decision = Decision(Action(evidence["action"]), evidence["reason"])
    apply_policy.carry_out(settings, engine, decision.action, evidence.get("version"), day, context.now)
    return decision


def _once(context: DayContext, kind: str, make: Callable[[], tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """The evidence of this day's row in `decisions`, which is computed and written if there is none."""
    row = database.last_decision(context.engine, kind, context.now, day=str(context.day))
    if row is not None:
        return row.evidence
    verdict, evidence = make()
    actor = f"{kind} ({context.settings.actor})"
    database.record_decision(context.engine, kind, verdict, {"day": str(context.day), **evidence}, context.now, actor)
    return evidence


def _day_of(evidence: Mapping[str, Any]) -> str:
    return str(evidence["day"])


def days_to_monitor(engine: sa.Engine, yesterday: date) -> list[date]:
    """The days since the last monitored one, until yesterday, so that an outage of the monitor skips no day."""
    latest = database.last_decision(engine, "monitor")
    last = date.fromisoformat(_day_of(latest.evidence)) if latest else yesterday
    # Empty for the first day of all, and when the feed's clock has returned to the start of its dataset.
    between = [last + timedelta(days=count) for count in range(1, (yesterday - last).days + 1)]
    later = database.decisions_of(engine, "monitor", since=_decided_at(last)) if between else ()
    monitored = {date.fromisoformat(_day_of(row.evidence)) for row in later}
    return [day for day in between if day not in monitored] or [yesterday]


def _decided_at(day: date) -> datetime:
    """The time of the decisions of a day: its end."""
    return midnight(day + timedelta(days=1))


def _measure(context: DayContext, pointer: Pointer) -> tuple[str, dict[str, Any]]:
    champion = release.verify(context.settings.releases / pointer.version)
    window = daily_metrics.read_window(context, champion)
    figures = daily_metrics.read_metrics(context, champion, window)
    # In the order of the days, which `decided_at` has: a missed day may be monitored after later ones.
    rows = database.decisions_before(context.engine, "monitor", context.now, _days_of_alerts(context.params))
    earlier = [row.evidence for row in rows]
    raised = alerts.firing([*(each[FIGURES] for each in earlier), figures], context.params.monitor.alerts)
    verdict = "alert" if raised else "ok" if figures["auc_shortfall"] is not None else "no labels"
    reason = "; ".join(alert.summary for alert in raised) or verdict
    if window.other_question_share:
        reason += (
            f"; {window.other_question_share:.0%} of the predictions are excluded: the release that made them predicts "
            f"a different label from release {pointer.version}"
        )
    evidence: dict[str, Any] = {"reason": reason, FIGURES: figures, "alerts": [vars(alert) for alert in raised]}
    why = _diagnosis(context, champion, raised, earlier[-1] if earlier else {})
    evidence |= {"why": why} if why else {}
    return verdict, {**evidence, QUALITY: daily_metrics.window_quality(context, window.performance)}


def _days_of_alerts(params: Params) -> int:
    """The number of earlier days that alerts depend on; some metrics only have a value every `drift_every_days`."""
    return max((rule.of for rule in params.monitor.alerts.values()), default=1) * params.monitor.drift_every_days


def _diagnosis(
    context: DayContext, champion: Manifest, raised: tuple[Alert, ...], previous: Mapping[str, Any]
) -> str | None:
    """The headline of a diagnosis, computed when a performance alert starts, and reused while it lasts."""
    names = {alert.name for alert in raised if alert.tier is Tier.RETRAIN and alert.name in alerts.PERFORMANCE_ALERTS}
    previous_names = {alert["name"] for alert in previous.get("alerts", [])}
    if not names:
        return None
    if names <= previous_names and "why" in previous:
        return str(previous["why"])
    model = release.load(context.settings.releases, champion.version).model
    rows = daily_metrics.predictions_since(context, daily_metrics.window_start(context), champion, vectors=True)
    reference = samples.from_reference(samples.read_reference(context.settings, champion), champion.categories)
    current, params = samples.from_predictions(rows, champion), context.params
    try:
        result = diagnosis.diagnose(model, reference, current, params.cost, params.train.seed)
    except diagnosis.TooFewDays as error:
        return str(error)
    return diagnosis_text.headline(result)


def _decide(context: DayContext, pointer: Pointer, raised: tuple[Alert, ...]) -> tuple[str, dict[str, Any]]:
    observed = observe(context, pointer, raised)
    decision = choose_action(observed, context.params.policy)
    version = observed.trial.version if observed.trial else None
    evidence = {"action": decision.action, "reason": decision.reason, "version": version, "champion": pointer.version}
    return decision.action, evidence


def observe(context: DayContext, pointer: Pointer, raised: tuple[Alert, ...]) -> DayState:
    """The input of the policy, read from the decisions, the pointer and the outcomes."""
    manifest = release.verify(context.settings.releases / pointer.version)
    return DayState(
        day=context.day,
        alerts=raised,
        new_labels=database.count_outcomes(
            context.engine, midnight(manifest.trained_until), context.now, context.params.policy.min_labels
        ),
        retrainings=tuple(
            date.fromisoformat(row.evidence["day"]) for row in database.decisions_of(context.engine, "retraining")
        ),
        champion_since=_champion_since(context, pointer),
        too_early=retrain.too_early(context.params, context.day),
        trial=_trial(context, pointer),
    )


def _champion_since(context: DayContext, pointer: Pointer) -> date:
    moves = [
        _day_of_decision(context, row)
        for kind in ("promotion", "rollback")
        for row in database.decisions_of(context.engine, kind)
        if row.evidence["version"] == pointer.version
    ]
    return max(moves, default=context.day)


def _day_of_decision(context: DayContext, row: sa.Row[Any]) -> date:
    return local_time.day_of(feed_clock.time_of(row, context.settings, context.params))


def _trial(context: DayContext, pointer: Pointer) -> Trial | None:
    """The comparison of champion and challenger on the entities since it started; None without a challenger."""
    if pointer.challenger is None:
        return None
    version, predecessor = pointer.challenger.version, transition_log.is_watched_by_predecessor(pointer)
    start = transition_log.trial_start(context.engine, pointer)
    since = _day_of_decision(context, start) if start else context.day
    role: Literal["predecessor", "candidate"] = "predecessor" if predecessor else "candidate"
    days = (context.day - since).days + 1
    champion = release.verify(context.settings.releases / pointer.version)
    try:
        challenger = release.verify(context.settings.releases / version)
        entities = performance.paired_predictions(context.engine, champion, challenger, context.now)
    except release.ReleaseRefused as error:  # tampered with, or it predicts a different label
        return Trial(role, version, days, entities=0, low=None, high=None, broken=str(error))
    entities = entities[entities["day"] >= pd.Timestamp(since)]
    difference = performance.loss_difference(entities)
    return Trial(
        role=role,
        version=version,
        days=days,
        entities=len(entities),
        low=round(difference.low, 4) if difference else None,
        high=round(difference.high, 4) if difference else None,
        kept_out=None if predecessor else gate_rejection(context.engine, version),
    )


def main(*, as_json: bool = False) -> None:
    """Print a line for each day; as JSON an object, with its day, action and reason."""
    settings, params = load_settings(), load_params()
    try:
        engine = database.connect(settings.database_url)
        for day in days_to_monitor(engine, feed_clock.yesterday(settings, params)):
            decision = run(settings, params, day)
            line = {"day": str(day), "action": decision.action, "reason": decision.reason}
            print(json.dumps(line) if as_json else f"monitor: {day}: {decision.action}: {decision.reason}", flush=True)
    except (release.ReleaseRefused, locks.Busy) as refused:
        sys.exit(f"monitor: {refused}")
