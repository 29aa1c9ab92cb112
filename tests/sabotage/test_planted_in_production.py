"""Faults in a running production: what the monitor sees of them in the evening, and what the policy makes of that."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from monitoring import drift
from monitoring.alerts import Tier
from monitoring.policy import Action
from ontime import database, database_tables, online_store, release_pointer, schema
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem import features as problem_features
from pipelines.operations import materialise
from tests.sabotage import matrix
from tests.sabotage.conftest import Evening, Reported
from tests.sabotage.matrix import alert, sabotage
from tests.sabotage.world import FIRST, FRIDAY, SATURDAY, SUNDAY, Model, Seen, World

LATER = midnight(date(2013, 7, 1))
OUTCOMES = database_tables.outcomes.c
Vector = NDArray[np.float32]


def again(production: World) -> Seen:
    """Five days looked at from the beginning, after something changed in what is known of them."""
    production.forget(SATURDAY - timedelta(days=4))
    for days in (4, 3, 2, 1):
        production.look(SATURDAY - timedelta(days=days))
    return production.look(SATURDAY)


def flip(production: World, every: int) -> None:
    """The outcome of every n-th flight is the opposite, as a caller says who sends no delay in minutes."""
    flights = [row["entity_id"] for row in production.outcomes()[::every]]
    opposite = {"label": sa.not_(OUTCOMES.label), "value": None}
    production.execute(sa.update(database_tables.outcomes).where(OUTCOMES.entity_id.in_(flights)).values(opposite))


# Labels.


@sabotage("labels late", "no outcome since Tuesday", alert("unlabelled_share"))
def test_outcomes_that_stay_away_stop_everything(production_on_saturday: World, reported: Reported) -> None:
    since = midnight(SATURDAY - timedelta(days=5))
    production_on_saturday.execute(
        sa.update(database_tables.outcomes).where(OUTCOMES.known_at > since).values(known_at=LATER)
    )
    seen = again(production_on_saturday)

    assert seen.decision.action is Action.STOP
    reported(seen.report("unlabelled_share"))


@sabotage("labels flipped", "the outcome of every fourth flight", alert("loss_excess"))
def test_many_flipped_outcomes_raise_the_loss(production_on_saturday: World, reported: Reported) -> None:
    flip(production_on_saturday, 4)

    reported(again(production_on_saturday).report("loss_excess"))


@sabotage("labels flipped", "the outcome of every tenth flight", alert("auc_shortfall"))
def test_some_flipped_outcomes_lower_the_auc(production_on_saturday: World, reported: Reported) -> None:
    flip(production_on_saturday, 10)

    reported(again(production_on_saturday).report("auc_shortfall"))


@sabotage(
    "labels flipped",
    "the outcome of every five hundredth flight",
    instead="nothing in the scores: one in five hundred at random is within a fortnight's noise. The feed's own "
    "delays, from which retraining learns, are held against the clocks by the contract",
)
def test_few_flipped_outcomes_are_not_seen(production_on_saturday: World, reported: Reported) -> None:
    flip(production_on_saturday, 500)
    seen = again(production_on_saturday)

    assert not seen.alerts
    reported(seen.verdict)


@sabotage("labels by another rule", "late from the first minute on, instead of the fifteenth", alert("rate_gap"))
def test_another_rule_of_lateness_opens_a_gap(
    production_on_saturday: World, timetable: pd.DataFrame, reported: Reported
) -> None:
    known = [row["entity_id"] for row in production_on_saturday.outcomes()]
    production_on_saturday.execute(sa.delete(database_tables.outcomes))
    told = materialise.outcomes_of(timetable.loc[known], at_least=1)  # by a caller who sends no delay in minutes
    database.store_outcomes(production_on_saturday.engine, [{**each, "value": None} for each in told])

    reported(again(production_on_saturday).report("rate_gap"))


@sabotage("labels flipped", "... and the policy would retrain on them at once", matrix.HELD_BACK)
def test_a_retraining_waits_for_enough_new_labels(production_on_saturday: World, reported: Reported) -> None:
    params = production_on_saturday.params
    few = {"policy": params.policy.model_copy(update={"min_labels": 5000})}

    flip(production_on_saturday, 4)
    held = again(production_on_saturday)
    production_on_saturday.params = params.model_copy(update=few)

    assert held.decision.action is Action.NOTHING
    assert again(production_on_saturday).decision.action is Action.RETRAIN
    reported(held.decision.reason.rsplit("; but ", 1)[1])


# The feed, and what is materialised from it.


@sabotage("stale features", "materialisation stands still: no timetable, no features, for a day", alert("silent"))
def test_a_day_without_materialisation_stops_everything(production: World, reported: Reported) -> None:
    production.ask(SATURDAY, SATURDAY)
    seen = production.look(SATURDAY)

    assert seen.decision.action is Action.STOP
    reported(seen.report("silent"))


@sabotage("stale features", "the store has lost the day's features, not its timetable", alert("request_only_share"))
def test_flights_without_features_stop_everything(production: World, reported: Reported) -> None:
    production.materialise(SATURDAY)
    moments = database_tables.features.c.moment
    production.execute(sa.delete(database_tables.features).where(moments >= midnight(SATURDAY)))
    production.ask(SATURDAY, SATURDAY)
    seen = production.look(SATURDAY)

    assert seen.decision.action is Action.STOP
    reported(seen.report("request_only_share"))


@sabotage("stale features", "the feed of departures, arrivals and weather stands still", alert("stale_feed_share"))
def test_a_feed_that_stands_still_stops_everything(production: World, reported: Reported) -> None:
    production.tables = standing_still(production.tables, midnight(SATURDAY) - timedelta(hours=6))
    seen = production.live(SATURDAY)

    assert seen.decision.action is Action.STOP
    reported(seen.report("stale_feed_share"))


def standing_still(tables: Tables, since: datetime) -> Tables:
    """What would be known had nothing been heard since then; the timetable goes on."""
    flights = tables["flights"].copy()
    flights.loc[flights["departed_at"] > since, ["departed_at", "dep_delay_minutes", "dep_hhmm"]] = None
    told = flights["arrived_at"] <= since
    flights.loc[~told, ["arrived_at", "arr_delay_minutes", "arr_hhmm", "air_minutes"]] = None
    return {**tables, "flights": flights, "weather": tables["weather"][tables["weather"]["known_at"] <= since]}


@sabotage("missing hour of weather", "all hours of a day, at all three airports", alert("stale_feed_share"))
def test_a_day_without_weather_stops_everything(production: World, reported: Reported) -> None:
    weather = production.tables["weather"]
    production.tables = {**production.tables, "weather": weather[weather["hour"] < midnight(SATURDAY)]}
    seen = production.live(SATURDAY)

    assert seen.decision.action is Action.STOP
    reported(seen.report("stale_feed_share"))


@sabotage(
    "changed unit",
    "wind in metres per second",
    instead="the feed's own unit, where it tells one: wind has no second reading to be held against, as temperature "
    "has in dew point and humidity",
)
def test_wind_in_metres_per_second_is_not_seen(production: World, reported: Reported) -> None:
    weather, winds = production.tables["weather"].copy(), ["wind_speed_mph", "wind_gust_mph"]
    weather.loc[weather["hour"] >= midnight(SATURDAY), winds] *= 0.447

    production.tables = {**production.tables, "weather": weather}
    seen = production.live(SATURDAY)

    assert not seen.alerts
    reported(seen.verdict)


@sabotage("renamed category", "UA coded U2, and somebody has accepted U2", alert("unseen_share"))
def test_an_airline_that_the_model_never_saw_is_counted(production: World, reported: Reported) -> None:
    production.tables = renamed(production.tables, "UA", "U2", accepted=True)
    seldom = production.params.monitor.model_copy(update={"drift_every_days": 7919})  # takes seconds, and is not asked
    production.params = production.params.model_copy(update={"monitor": seldom})
    production.live(SATURDAY)
    seen = production.live(SUNDAY)

    reported(seen.report("unseen_share"))


@sabotage("renamed category", "a small airline's code, in both tables", matrix.FLAGS)
def test_a_small_airline_by_another_code_is_flagged_in_each_answer(production: World, reported: Reported) -> None:
    production.tables = renamed(production.tables, "HA", "H2")
    production.materialise(SATURDAY)

    answers = production.ask(SATURDAY, SATURDAY)
    seen = production.look(SATURDAY)

    flags = {flag for answer in answers if answer["entity_id"].startswith("H2") for flag in answer["flags"]}
    others = {flag for answer in answers if answer["entity_id"].startswith("UA") for flag in answer["flags"]}
    assert not seen.alerts
    assert "unknown_category:carrier" in flags - others
    reported(f"each answer says {', '.join(sorted(flags))}; the monitor says {seen.verdict}")


def renamed(tables: Tables, old: str, new: str, *, accepted: bool = False) -> Tables:
    """From Saturday on one airline flies under another code, which the airlines know."""
    flights = tables["flights"].copy()
    chosen = (flights["carrier"] == old) & (flights["scheduled_departure"] >= midnight(SATURDAY) + timedelta(hours=2))
    flights.loc[chosen, "carrier"] = new
    flights.loc[chosen, "entity_id"] = new + flights.loc[chosen, "entity_id"].str[2:]
    added = pd.DataFrame({"carrier": [new], "name": ["The same"]})
    airlines = pd.concat([tables["airlines"], added], ignore_index=True)
    by_hand = airlines.assign(accepted=airlines["carrier"] == new) if accepted else airlines
    return {**tables, "flights": flights, "airlines": by_hand}


# Features online that are not those of the training.


@sabotage("online feature skew", "stored temperatures in Celsius", alert("skewed_share"))
def test_stored_features_in_another_unit_stop_everything(production: World, reported: Reported) -> None:
    skew(production, celsius)
    seen = production.live(SATURDAY)

    assert seen.decision.action is Action.STOP
    reported(seen.report("skewed_share"))


@sabotage("online feature skew", "stored vectors shifted by one column", alert("skewed_share"))
def test_stored_features_in_the_wrong_places_stop_everything(production: World, reported: Reported) -> None:
    skew(production, lambda vector: np.roll(vector, 1))
    seen = production.live(SATURDAY)

    assert seen.decision.action is Action.STOP
    reported(seen.report("skewed_share"))


def skew(production: World, change: Callable[[Vector], Vector]) -> None:
    """Another hand has been at the rows of Friday's last hours."""
    table = database_tables.features
    with production.engine.begin() as connection:
        rows = connection.execute(sa.select(table).where(table.c.moment >= midnight(SATURDAY) - timedelta(hours=5)))
        for row in rows.all():
            vector = change(np.frombuffer(row.vector, "<f4").copy()).astype("<f4").tobytes()
            connection.execute(sa.update(table).where(table.c.entity_id == row.entity_id).values(vector=vector))


def celsius(vector: Vector) -> Vector:
    place = schema.ONLINE.index("temp_f")
    vector[place] = (vector[place] - 32) / 1.8
    return vector


@sabotage(
    "online feature skew", "features of another moment than the model was trained on: 30 minutes ahead", matrix.LEAD
)
def test_another_lead_than_in_training_is_not_materialised(
    production: World, params: Params, reported: Reported
) -> None:
    sooner = params.model_copy(update={"features": params.features.model_copy(update={"lead_minutes": 30})})
    production.materialise(SATURDAY)

    with pytest.raises(materialise.QuestionDiffers) as refused:
        production.materialise(SUNDAY, sooner)

    reported(refused.value)


@sabotage("online feature skew", "vectors stored by code with another set of features", matrix.FEATURE_SET)
def test_vectors_of_another_feature_set_are_not_taken_for_ours(
    production: World, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    known = {answer["features"] for answer in production.ask(FRIDAY, FRIDAY)}

    with monkeypatch.context() as other_code:
        other_code.setattr(online_store, "FEATURE_SET", "another set")
        production.materialise(SATURDAY)
    answers = [each for each in production.ask(SATURDAY, SATURDAY) if "20130608T1" in each["entity_id"]]

    assert known == {"online"}
    assert {answer["features"] for answer in answers} == {"request"}
    assert all("request_only" in answer["flags"] for answer in answers)
    reported("each answer says request_only")


def in_hours(window: problem_features._Window) -> problem_features.Columns:
    """Other code behind a feature than in training."""
    told = ROTATION(window)
    return told | {"aircraft_departure_delay": told["aircraft_departure_delay"] / 60}


ROTATION = problem_features._rotation


@sabotage("online feature skew", "code that tells a delay in hours from now on", alert("skewed_share"))
def test_changed_code_behind_a_feature_is_seen_on_its_first_day(
    production: World, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    monkeypatch.setattr(problem_features, "_rotation", in_hours)

    reported(production.live(SATURDAY).report("skewed_share"))


@sabotage(
    "online feature skew",
    "... and from the second day on, when what is stored and what is built anew come from the same changed code",
    instead="a digest of the code that computes features, in the manifest: who changes it retrains before it is used",
)
def test_changed_code_behind_a_feature_is_not_seen_later(
    production: World, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    monkeypatch.setattr(problem_features, "_rotation", in_hours)
    moments = database_tables.features.c.moment
    production.execute(sa.delete(database_tables.features).where(moments >= midnight(SATURDAY) - timedelta(hours=12)))
    production.materialise(FRIDAY)
    assert database.last_decision(production.engine, "skew") is not None

    seen = production.live(SATURDAY)

    assert not seen.alerts
    reported(seen.verdict)


# Monitoring itself.


@sabotage("empty monitoring window", "no prediction in the database at all", alert("silent"))
def test_an_empty_window_is_not_calm(production: World, reported: Reported) -> None:
    production.execute(sa.delete(database_tables.predictions))
    seen = production.look(SATURDAY)

    assert seen.decision.action is Action.STOP
    reported(seen.report("silent"))


@sabotage("empty monitoring window", "a comparison with no flights on one side", matrix.NOTHING)
def test_drift_of_nothing_is_a_failure(winter: Model, reported: Reported) -> None:
    flights = winter.winner.entities.assign(probability=winter.winner.predictions["lightgbm"].to_numpy())
    few = flights.iloc[:: len(flights) // 500]
    drift.build_reports(few, few, 0.25, "healthy", ["temp_f"])

    with pytest.raises(drift.NothingToMonitor) as refused:
        drift.build_reports(few, few[:0], 0.25, "empty", ["temp_f"])

    reported(refused.value)


@sabotage("monitored on training days", "a champion that was trained until Saturday", matrix.UNSEEN_DAYS)
def test_flights_that_the_champion_was_trained_on_tell_nothing(
    production_on_saturday: World, saturday: Evening, winter: Model, reported: Reported
) -> None:
    assert saturday.seen.figures["auc_shortfall"] is not None

    winter.publish(production_on_saturday.settings.releases, "2", trained_until=SUNDAY)
    production_on_saturday.execute(sa.update(database_tables.predictions).values(model_version="2"))
    release_pointer.set_live(production_on_saturday.settings.releases, "2")
    production_on_saturday.forget(FIRST)
    seen = production_on_saturday.look(SATURDAY)

    assert seen.figures["auc_shortfall"] is None
    reported(seen.verdict)


@sabotage(
    "answers changed on their way", "logged probabilities are half of those that were told", alert("prediction_psi")
)
def test_answers_that_are_distributed_otherwise_are_seen(
    production_on_sunday: World, sunday: Evening, reported: Reported
) -> None:
    assert sunday.seen.figures["prediction_psi"] is not None

    told = database_tables.predictions.c.probability
    production_on_sunday.execute(sa.update(database_tables.predictions).values(probability=told / 2))
    production_on_sunday.forget(SUNDAY)

    reported(production_on_sunday.look(SUNDAY).report("prediction_psi"))


@sabotage(
    "drifted but harmless season",
    "a model of winter in June: every temperature is one that it has hardly seen, and it is right",
    harmless=True,
    instead="features move with the seasons; what counts is whether the answers are still right",
)
def test_a_season_is_reported_and_changes_nothing(sunday: Evening, reported: Reported) -> None:
    seen = sunday.seen

    assert seen.figures["psi temp_f"] > 3  # type: ignore[operator]  # on a Sunday it is told
    assert {name: raised.tier for name, raised in seen.alerts.items()} == {"feature_psi": Tier.REPORT}
    assert seen.decision.action is Action.NOTHING
    reported(f"{seen.report('feature_psi')}: {seen.decision.reason}")


@sabotage("covariate drift", "every temperature 30 F higher", alert("feature_psi"))
def test_drift_is_found_and_calm_is_calm(winter: Model, production: World, reported: Reported) -> None:
    flights = winter.winner.entities.assign(probability=winter.winner.predictions["lightgbm"].to_numpy())
    half, limit = flights[::2], production.params.monitor.alerts["feature_psi"].above
    calm = drift.build_reports(half, flights[1::2], 0.25, "healthy", ["temp_f"]).values()["features"]["temp_f"]
    assert calm < limit

    warmer = flights[1::2].assign(temp_f=lambda t: t["temp_f"] + 30)
    found = drift.build_reports(half, warmer, 0.25, "warmer", ["temp_f"]).values()["features"]["temp_f"]

    assert found > limit
    reported(f"feature_psi above {limit:g} (tier {production.params.monitor.alerts['feature_psi'].tier})")


# A worse model that got past the gate.


@sabotage("worse model past the gate", "a challenger that took late for on time when it learned", matrix.SHADOW)
def test_a_worse_challenger_is_withdrawn(production: World, inverted: Model, winter: Model, reported: Reported) -> None:
    began = SATURDAY - timedelta(days=production.params.policy.shadow_days)
    inverted.publish(production.settings.releases, "2")
    winter.publish(production.settings.releases, "3")
    production.challenge("3", began)
    assert production.judge_trial(FRIDAY).action is Action.PROMOTE

    production.challenge("2", began)
    decision = production.judge_trial(FRIDAY)

    assert decision.action is Action.WITHDRAW
    reported(decision.reason.split(": ")[0])


@sabotage("worse model past the gate", "... and past the shadow: it answers", matrix.WATCH)
def test_a_worse_champion_is_rolled_back(production: World, inverted: Model, winter: Model, reported: Reported) -> None:
    began = SATURDAY - timedelta(days=3)
    inverted.publish(production.settings.releases, "2")
    winter.publish(production.settings.releases, "3")
    production.crown("3", began)
    assert production.judge_trial(FRIDAY).action is Action.NOTHING
    release_pointer.revert(production.settings.releases)

    production.crown("2", began)
    decision = production.judge_trial(FRIDAY)

    assert decision.action is Action.ROLL_BACK
    reported(decision.reason.split(": ")[0])
