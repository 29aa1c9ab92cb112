"""The steps of `ontime demo`: each calls what production calls, and prints what is then on record."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from monitoring.policy import Action
from ontime import database, decision_chain, release_pointer
from ontime.local_time import midnight
from ontime.schema import WORDS
from pipelines.layout import read_json
from pipelines.operations import retrain, transitions
from pipelines.operations.transition_log import BY_HAND, PROMOTION, MoveCause
from pipelines.tools import demo_charts
from pipelines.tools.demo_fault import FACTOR
from pipelines.tools.demo_story import StepFailed, Story, monitor_line
from pipelines.tools.simulated_production import SimulatedProduction

HEALTHY_DAYS = 4
DAY = timedelta(days=1)
SPARE_DAYS = 3  # a decision may take so many days longer than it needs at least
FEW_TREES = 3
GOOD, BAD = "green", "red"


def train_first_release(story: Story) -> None:
    console, until = story.console, story.start - DAY
    console.step(f"Train a first release, on what is known by {until}")
    output = retrain.run(story.settings, story.params, until)
    if release_pointer.read_pointer(story.settings.releases) is None:
        raise StepFailed(f"the first release was not published: {output}")
    reports = _reports(story)
    scores = read_json(reports / "metrics.json")["candidates"]
    console.figure(
        "Log-loss on the last days, which no model was trained on: lower is better",
        demo_charts.bars({name: scores_of["test"]["log_loss"] for name, scores_of in scores.items()}),
    )
    gate = database.last_decision(story.engine, "gate")
    reason = gate.evidence["reason"] if gate is not None else output
    console.say(f"The gate lets it pass: {reason}. Release {story.pointer.version} is live.")
    console.look(str(reports / "model_card.md"))


def serve_traffic(story: Story, production: SimulatedProduction) -> None:
    console, url = story.console, _page(production)
    console.step(f"Serve it on {url}, and send four days of requests")
    last = story.play_days(production, HEALTHY_DAYS)
    scores = story.values_by_day("auc")
    predictions, seconds = sum(day.predictions for day in story.days), sum(day.seconds for day in story.days)
    console.figure("AUC in production, of all days so far", [f"{demo_charts.heights(scores)}  {scores[-1]}"])
    console.say(f"{predictions:,} predictions over HTTP took {seconds:.1f} seconds; outcomes arrive after the events.")
    console.say(monitor_line(last), GOOD)
    console.look(url, f"{url}ops")


def plant_fault(story: Story, production: SimulatedProduction) -> None:
    console, fault = story.console, story.fault
    console.step(f"Plant a fault: {fault.place} arrives {FACTOR} times too large")
    production.tables = fault.plant(story.tables)
    day = story.play_days(production, 1)
    row = database.last_decision(story.engine, "quarantine")
    if row is None:
        raise StepFailed(f"the contract accepted {fault.place}, {FACTOR} times too large")
    console.figure(f"{fault.place} on {fault.since}", [f"{fault.example:g}  ->  {FACTOR * fault.example:g}"])
    console.say(
        f"The contract of the data refuses the batch ({row.evidence['rules']}) and quarantines it. The service makes "
        f"{day.predictions:,} predictions without it."
    )
    console.look(f"{story.settings.quarantine}/{fault.since}-{fault.table}.txt")


def raise_alert(story: Story, production: SimulatedProduction) -> None:
    console, day = story.console, story.days[-1]
    console.step("The monitor raises an alert, and the policy stops all changes")
    if day.decision.action is not Action.STOP:
        raise StepFailed(f"the policy did not stop: {monitor_line(day)}")
    width = max(len(alert.name) for alert in day.alerts)
    console.figure(
        "Alerts, by day",
        [
            f"{alert.name:<{width}}  {demo_charts.heights(story.values_by_day(alert.name))}  "
            f"{alert.value:g} (limit {alert.above:g})"
            for alert in day.alerts
        ],
    )
    console.say(monitor_line(day), BAD)
    console.look(f"{_page(production)}ops")


def train_better_release(story: Story, production: SimulatedProduction) -> None:
    console = story.console
    console.step("Repair the feed, and retrain when the policy asks for it")
    production.tables = story.tables
    day = story.play_until(production, Action.RETRAIN, story.params.policy.refresh_days)
    console.say(monitor_line(day), GOOD)
    retrain.run(story.settings, story.params, day.day)
    story.trained_on = day.day
    gate = story.show_verdict()
    version = gate.evidence["version"]
    if gate.verdict == "promote" and story.pointer.challenger is not None:
        console.say(f"The gate lets release {version} pass. It is now the challenger.")
    else:
        story.missing = f"the gate rejected the candidate, release {version}: {gate.evidence['reason']}"
        console.say(f"The gate rejects release {version}, and release {story.pointer.version} stays live.")
    console.look(str(_reports(story) / "metrics.json"))


def shadow(story: Story, production: SimulatedProduction) -> None:
    console, before = story.console, story.pointer
    if before.challenger is None:  # the gate has rejected it
        return
    console.step(f"The challenger scores all {WORDS.entities} in the shadow, and serves none")
    day = story.play_until(production, Action.PROMOTE, story.params.policy.shadow_days + SPARE_DAYS)
    version = story.pointer.version
    story.show_comparison(before.version, version)
    console.say(monitor_line(day), GOOD)
    after = story.play_days(production, 1)
    console.say(
        f"Release {version} is live, with release {before.version} as its shadow: it made all {after.predictions:,} "
        "predictions of the next day."
    )
    console.look(_page(production), f"{_page(production)}ops")


def force_worse_release(story: Story, production: SimulatedProduction) -> None:
    console, live = story.console, story.pointer.version
    console.step(f"Plant a worse release: {FEW_TREES} trees by mistake, forced past the gate")
    changed = {
        # The data of the last candidate, so that DVC runs the last two stages only.
        **retrain.window_params(story.params, story.trained_on, midnight(story.trained_on + DAY)),
        "train.candidates": "[rate_table,lightgbm]",
        "train.lightgbm.n_estimators": str(FEW_TREES),
    }
    name = f"few-trees-{story.today}"
    retrain.train_candidate(story.settings, story.settings.workspace, name, changed, story.now)
    gate = story.show_verdict()
    version = gate.evidence["version"]
    if gate.verdict == "promote":
        raise StepFailed(f"the gate let release {version} pass, although it has {FEW_TREES} trees")
    cause = MoveCause(BY_HAND, "forced by hand", at=story.now)
    transitions.promote(story.settings, story.engine, version, cause, force=True)
    transitions.challenge(story.settings, story.engine, live, 0, cause._replace(reason="watches its successor"))
    record = database.last_decision(story.engine, PROMOTION, version=version)
    recorded = f"'{record.verdict}', by {record.actor}" if record is not None else "missing"
    console.say(
        f"The gate rejects it. It is promoted all the same, which is on record: {recorded}. Release {live} is now its "
        "shadow."
    )
    console.look(f"{_page(production)}ops")


def roll_back(story: Story, production: SimulatedProduction) -> None:
    console, before = story.console, story.pointer
    console.step(f"Release {before.version} serves, and its predecessor scores the same {WORDS.entities}")
    day = story.play_until(production, Action.ROLL_BACK, story.params.policy.watch_days)
    story.show_comparison(before.version, story.pointer.version)
    console.say(monitor_line(day), BAD)
    after = story.play_days(production, 1)
    console.say(f"Release {after.live} is live again, and made all {after.predictions:,} predictions of the next day.")
    console.look(_page(production), f"{_page(production)}ops")


STEPS: tuple[Callable[[Story, SimulatedProduction], None], ...] = (
    serve_traffic,
    plant_fault,
    raise_alert,
    train_better_release,
    shadow,
    force_worse_release,
    roll_back,
)


def end_demo(story: Story) -> None:
    """The releases by day, and the decisions. Raises StepFailed if their chain is broken, or a step did not happen."""
    rows = decision_chain.all_rows(story.engine)
    if broken := decision_chain.breaks(rows):
        raise StepFailed(f"the chain of decisions is broken: {broken[0]}")
    story.console.figure("The release that was live, by day", ["  ".join(day.live for day in story.days)])
    story.console.say(
        f"{sum(day.predictions for day in story.days):,} predictions, each stored; {len(rows)} decisions in an intact "
        f"chain of hashes; {len(story.days)} days in {story.console.seconds:.0f} seconds."
    )
    if story.missing:
        raise StepFailed(story.missing)


def _page(production: SimulatedProduction) -> str:
    return f"http://127.0.0.1:{production.service.port}/"


def _reports(story: Story) -> Path:
    return story.settings.workspace / "reports"
