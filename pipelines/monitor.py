"""The end of a day: figures, alerts, the policy's decision, and what follows from it at once.

    python -m pipelines.monitor                the last whole day on the feed's clock, and those missed before it

Each step of a day is a row in `decisions` and made once: what was interrupted goes on where it stopped, and a day
that was looked at is not looked at again. Retraining takes longer and is another process: pipelines/retrain.py.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple

import pandas as pd
import sqlalchemy as sa

from monitoring import alerts, diagnosis, diagnosis_words, indicators, performance, periods, webhook
from monitoring.alerts import Alert, Tier
from monitoring.performance import Performance
from monitoring.policy import Action, Decision, Observed, Trial, decide
from ontime import database, environment, locks, release
from ontime.params import Params, load_params
from ontime.release import Manifest, Pointer
from ontime.schema import ZONE
from ontime.settings import Settings, load_settings
from pipelines import act, clock, retrain
from pipelines.objection import kept_out

FIGURES, QUALITY = "figures", "quality"


class Watch(NamedTuple):
    """What a day's look at the service needs."""

    settings: Settings
    params: Params
    engine: sa.Engine
    day: date
    now: datetime  # the end of the day: nothing later is looked at


class Window(NamedTuple):
    """The answers that performance is measured on: to the champion's question, by models not trained on the entity."""

    rows: pd.DataFrame
    other_question_share: float | None  # of all answers; None where there are none
    performance: Performance


def midnight(day: date) -> datetime:
    """The beginning of a day on the problem's calendar, in UTC."""
    return datetime.combine(day, time(), ZONE).astimezone(UTC)


def run(settings: Settings, params: Params, day: date) -> Decision:
    """Look at one day, which is over. Raises NoRelease where nothing answers, so that there is nothing to watch."""
    with locks.in_turn(settings.releases / ".monitor.lock", "monitor"):
        return _run_in_turn(settings, params, day)


def _run_in_turn(settings: Settings, params: Params, day: date) -> Decision:
    engine = database.connect(settings.database_url.get_secret_value())
    watch = Watch(settings, params, engine, day, midnight(day + timedelta(days=1)))
    pointer = release.read_pointer(settings.releases)
    if pointer is None:
        raise release.NoRelease(f"{settings.releases / release.POINTER}: no release yet; run `make train`")
    looked_at = _once(watch, "monitor", lambda: _looked_at(watch, pointer))
    raised = alerts.restored(looked_at["alerts"])
    webhook.deliver(engine, settings.webhook)
    decided = _once(watch, "policy", lambda: _decided(watch, pointer, raised))
    decision = Decision(Action(decided["action"]), decided["reason"])
    act.carry_out(settings, engine, decision.action, decided.get("version"), day, watch.now)
    return decision


def _once(watch: Watch, kind: str, make: Callable[[], tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """The evidence of this day's row, which is made if it is not there."""
    found = database.last_decision(watch.engine, kind, day=str(watch.day))
    if found is not None:
        return found.evidence
    verdict, evidence = make()
    database.record_decision(watch.engine, kind, verdict, {"day": str(watch.day), **evidence}, watch.now)
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


def _looked_at(watch: Watch, pointer: Pointer) -> tuple[str, dict[str, Any]]:
    champion = release.verify(watch.settings.releases / pointer.version)
    window = window_of(watch, champion)
    measured = figures_of(watch, champion, window)
    looked = [row.evidence for row in database.decisions_of(watch.engine, "monitor")]
    # By their day: one that was missed may be looked at after those that came later.
    before = [each[FIGURES] for each in sorted(looked, key=_day_of) if _day_of(each) < str(watch.day)]
    raised = alerts.raised([*before, measured], watch.params.monitor.alerts)
    verdict = "alert" if raised else "calm" if measured["auc_shortfall"] is not None else "no labels"
    told = "; ".join(alert.told for alert in raised) or verdict
    if window.other_question_share:
        told += (
            f"; {window.other_question_share:.0%} of the answers do not count: their release predicts something else "
            f"than release {pointer.version}, so other outcomes are right for it"
        )
    evidence: dict[str, Any] = {"reason": told, FIGURES: measured, "alerts": [vars(alert) for alert in raised]}
    why = _why(watch, champion, raised, max(looked, key=_day_of, default={}))
    evidence |= {"why": why} if why else {}
    return verdict, {**evidence, QUALITY: quality_of(watch, window.performance)}


def _why(watch: Watch, champion: Manifest, raised: tuple[Alert, ...], before: Mapping[str, Any]) -> str | None:
    """What a diagnosis of the window says first, on the day on which such an alert is new; later, what it said then."""
    names = {alert.name for alert in raised if alert.tier is Tier.RETRAIN and alert.name in alerts.OF_PERFORMANCE}
    known = {alert["name"] for alert in before.get("alerts", [])}
    if not names:
        return None
    if names <= known and "why" in before:
        return str(before["why"])
    start, model = midnight(_first_day(watch)), release.load(watch.settings.releases, champion.version).model
    rows = performance.answers(watch.engine, start, watch.now, champion.label_at_least, watch.now, vectors=True)
    then = periods.of_reference(reference_of(watch.settings, champion), champion.categories)
    now, params = periods.of_answers(rows, champion), watch.params
    try:
        found = diagnosis.diagnose(model, then, now, params.cost, params.train.seed)
    except diagnosis.TooFewDays as few:
        return str(few)
    return diagnosis_words.headline(found)


def window_of(watch: Watch, champion: Manifest) -> Window:
    """The answers of the last days, up to and with this one."""
    every = performance.answers(
        watch.engine, midnight(_first_day(watch)), watch.now, champion.label_at_least, watch.now
    )
    manifests = {version: release.verify(watch.settings.releases / version) for version in set(every["model_version"])}
    rows = performance.of_question(
        every, champion.question, {version: manifest.question for version, manifest in manifests.items()}
    )
    other = round(1 - len(rows) / len(every), 4) if len(every) else None
    unseen = performance.unseen_by_their_model(
        rows, {version: manifest.trained_until for version, manifest in manifests.items()}
    )
    return Window(unseen, other, performance.measure(unseen, watch.params))


def _first_day(watch: Watch) -> date:
    return watch.day - timedelta(days=watch.params.monitor.window_days - 1)


def quality_of(watch: Watch, told: Performance) -> dict[str, Any]:
    """How good the answers of the window were, for the page /ops; None where no outcome is known."""
    scores = told.scores or {}
    return {
        "since": str(_first_day(watch)),
        "until": str(watch.day),
        "entities": told.entities,
        "labelled": told.labelled,
        "positive_rate": told.positive_rate,
        "predicted_rate": told.predicted_rate,
        **{name: scores.get(name) for name in ("auc", "ece", "cost_per_1000")},
    }


def figures_of(watch: Watch, champion: Manifest, window: Window) -> dict[str, float | None]:
    """Every figure that a rule in params.yaml may name; None where there is nothing to tell it from."""
    params, settings, rows = watch.params.monitor, watch.settings, window.rows
    at_least, now, reference = champion.label_at_least, watch.now, reference_of(settings, champion)
    today = performance.answers(watch.engine, midnight(watch.day), now, at_least, now, vectors=True)
    texts = database.texts_between(watch.engine, champion.question, midnight(watch.day), now)
    settled = rows[rows["day"] == pd.Timestamp(watch.day - timedelta(days=params.settle_days))]
    return {
        "quarantined_batches": float(len(_decided_today(watch, "quarantine"))),
        "skewed_share": max((row.evidence["share"] for row in _decided_today(watch, "skew")), default=0.0),
        "silent": float(today.empty),
        **indicators.of_answers(today, reference, indicators.categories_of(today, texts)),
        "unlabelled_share": indicators.unlabelled_share(settled),
        **indicators.of_performance(window.performance),
        **_drift_figures(watch, champion),
    }


def _decided_today(watch: Watch, kind: str) -> list[sa.Row[Any]]:
    """Such as the batches that were set aside during the day, whichever day they are of."""
    began = midnight(watch.day)
    found = database.decisions_of(watch.engine, kind, since=began)
    # The last materialisation of a day is at midnight: it is of the day that ends.
    return [row for row in found if began < row.decided_at <= watch.now]


def reference_of(settings: Settings, manifest: Manifest) -> pd.DataFrame:
    """The entities that a release was measured on, with its answers. Its digest was checked by `release.verify`."""
    return pd.read_parquet(settings.releases / manifest.version / release.REFERENCE)


def _drift_figures(watch: Watch, champion: Manifest) -> dict[str, float | None]:
    """Evidently's figures of the last days against the reference of the model that answered them; not every day."""
    params = watch.params.monitor
    if watch.day.toordinal() % params.drift_every_days:
        return indicators.of_drift(None)
    since = watch.day - timedelta(days=params.drift_every_days - 1)
    rows = performance.answers(
        watch.engine, midnight(since), watch.now, champion.label_at_least, watch.now, vectors=True
    )
    current = rows[rows["model_version"] == champion.version]
    if current.empty:  # the champion of today has answered nothing yet
        return indicators.of_drift(None)
    from monitoring import drift  # here, because Evidently takes seconds to import and is not asked every day

    reports = drift.run(
        reference_of(watch.settings, champion),
        indicators.decoded(current, champion.categories),
        champion.threshold,
        f"{since} to {watch.day}",
        params.drift_features,
    )
    reports.save(watch.settings.evidently, "ontime", watch.now, champion.version)
    return indicators.of_drift(reports.figures())


def _decided(watch: Watch, pointer: Pointer, raised: tuple[Alert, ...]) -> tuple[str, dict[str, Any]]:
    seen = observe(watch, pointer, raised)
    decision = decide(seen, watch.params.policy)
    version = seen.trial.version if seen.trial else None
    evidence = {"action": decision.action, "reason": decision.reason, "version": version, "champion": pointer.version}
    return decision.action, evidence


def observe(watch: Watch, pointer: Pointer, raised: tuple[Alert, ...]) -> Observed:
    """What the policy must know, read from the decisions, the pointer and the outcomes."""
    manifest = release.verify(watch.settings.releases / pointer.version)
    return Observed(
        day=watch.day,
        alerts=raised,
        new_labels=database.count_outcomes(watch.engine, midnight(manifest.trained_until), watch.now),
        retrainings=tuple(
            date.fromisoformat(row.evidence["day"]) for row in database.decisions_of(watch.engine, "retraining")
        ),
        in_charge_since=_in_charge_since(watch, pointer),
        too_early=retrain.too_early(watch.params, watch.day),
        trial=_trial(watch, pointer),
    )


def _in_charge_since(watch: Watch, pointer: Pointer) -> date:
    moved = [
        row.decided_at
        for kind in ("promotion", "rollback")
        for row in database.decisions_of(watch.engine, kind)
        if row.evidence["version"] == pointer.version
    ]
    return max(moved).astimezone(ZONE).date() if moved else watch.day


def _trial(watch: Watch, pointer: Pointer) -> Trial | None:
    """The comparison that is under way, on entities since it began."""
    if pointer.challenger is None:
        return None
    version = pointer.challenger.version
    predecessor = bool(pointer.history) and pointer.history[-1] == version
    began = database.last_decision(
        watch.engine, "promotion" if predecessor else "challenge", version=pointer.version if predecessor else version
    )
    since = began.decided_at.astimezone(ZONE).date() if began else watch.day
    role: Literal["predecessor", "candidate"] = "predecessor" if predecessor else "candidate"
    days = (watch.day - since).days + 1
    champion = release.verify(watch.settings.releases / pointer.version)
    try:
        challenger = release.verify(watch.settings.releases / version)
        entities = performance.paired(watch.engine, champion, challenger, watch.now)
    except release.ReleaseRefused as refused:  # tampered with, or it predicts something else
        return Trial(role, version, days, entities=0, low=None, high=None, broken=str(refused))
    entities = entities[entities["day"] >= pd.Timestamp(since)]
    difference = performance.paired_difference(entities)
    return Trial(
        role=role,
        version=version,
        days=days,
        entities=len(entities),
        low=round(difference.low, 4) if difference else None,
        high=round(difference.high, 4) if difference else None,
        kept_out=None if predecessor else kept_out(watch.engine, version),
    )


def main() -> None:
    settings, params = load_settings(), load_params()
    try:
        engine = database.connect(settings.database_url.get_secret_value())
        for day in due(engine, clock.yesterday(settings, params)):
            decision = run(settings, params, day)
            print(f"monitor: {day}: {decision.action}: {decision.reason}")
    except (release.ReleaseRefused, locks.Busy) as refused:
        sys.exit(f"monitor: {refused}")


if __name__ == "__main__":
    environment.settle()
    main()
