"""Faults in a running production: the monitor's result for the day, and the policy's decision."""

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
from ontime import database, database_tables, online_store, release, release_pointer, schema
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem import features as problem_features
from ontime.problem.window import Columns, FlightWindow
from pipelines.operations import arrivals, materialise, stream_lateness
from tests.sabotage import matrix
from tests.sabotage.conftest import Evening, Reported
from tests.sabotage.matrix import alert, sabotage
from tests.sabotage.world import FIRST, FRIDAY, SATURDAY, SUNDAY, DayResult, Model, World

LATER = midnight(date(2013, 7, 1))
OUTCOMES = database_tables.outcomes.c
Vector = NDArray[np.float32]


def monitor_again(production: World) -> DayResult:
    """Monitor five days again, after a change of their data."""
    production.delete_monitoring(SATURDAY - timedelta(days=4))
    for days in (4, 3, 2, 1):
        production.monitor_day(SATURDAY - timedelta(days=days))
    return production.monitor_day(SATURDAY)


def flip(production: World, every: int) -> None:
    """Invert the outcome of every n-th flight, as a caller could who sends no delay in minutes."""
    flights = [row["entity_id"] for row in production.outcomes()[::every]]
    opposite = {"label": sa.not_(OUTCOMES.label), "value": None}
    production.execute(sa.update(database_tables.outcomes).where(OUTCOMES.entity_id.in_(flights)).values(opposite))


# Labels.


@sabotage("late labels", "no outcome since Tuesday", alert("unlabelled_share"))
def test_outcomes_that_stay_away_stop_everything(production_on_saturday: World, reported: Reported) -> None:
    since = midnight(SATURDAY - timedelta(days=5))
    late = sa.update(database_tables.outcomes).where(OUTCOMES.known_at > since).values(known_at=LATER)
    production_on_saturday.execute(late)
    result = monitor_again(production_on_saturday)

    assert result.decision.action is Action.STOP
    reported(result.report("unlabelled_share"))


@sabotage("flipped labels", "the outcomes of every fourth flight", alert("loss_excess"))
def test_many_flipped_outcomes_raise_the_loss(production_on_saturday: World, reported: Reported) -> None:
    flip(production_on_saturday, 4)

    reported(monitor_again(production_on_saturday).report("loss_excess"))


@sabotage("flipped labels", "the outcomes of every tenth flight", alert("auc_shortfall"))
def test_some_flipped_outcomes_lower_the_auc(production_on_saturday: World, reported: Reported) -> None:
    flip(production_on_saturday, 10)

    reported(monitor_again(production_on_saturday).report("auc_shortfall"))


@sabotage(
    "flipped labels",
    "the outcome of every five hundredth flight",
    instead="nothing in the scores: one in five hundred at random is within the noise of a fortnight. The contract "
    "compares the feed's delays, which retraining uses, with the clock times",
)
def test_few_flipped_outcomes_are_not_seen(production_on_saturday: World, reported: Reported) -> None:
    flip(production_on_saturday, 500)
    result = monitor_again(production_on_saturday)

    assert not result.alerts
    reported(result.verdict)


@sabotage("changed label definition", "late from 1 minute instead of 15", alert("rate_gap"))
def test_another_rule_of_lateness_opens_a_gap(
    production_on_saturday: World, timetable: pd.DataFrame, reported: Reported
) -> None:
    entity_ids = [row["entity_id"] for row in production_on_saturday.outcomes()]
    production_on_saturday.execute(sa.delete(database_tables.outcomes))
    # From a caller who sends no delay in minutes.
    outcomes = materialise.outcomes_of(timetable.loc[entity_ids], at_least=1)
    database.store_outcomes(production_on_saturday.engine, [{**each, "value": None} for each in outcomes])

    reported(monitor_again(production_on_saturday).report("rate_gap"))


@sabotage("flipped labels", "flipped labels that the policy would retrain on immediately", matrix.HELD_BACK)
def test_a_retraining_waits_for_enough_new_labels(production_on_saturday: World, reported: Reported) -> None:
    params = production_on_saturday.params
    few = {"policy": params.policy.model_copy(update={"min_labels": 5000})}

    flip(production_on_saturday, 4)
    result = monitor_again(production_on_saturday)
    production_on_saturday.params = params.model_copy(update=few)

    assert result.decision.action is Action.NOTHING
    assert monitor_again(production_on_saturday).decision.action is Action.RETRAIN
    reported(result.decision.reason.rsplit("; but ", 1)[1])


# The feed, and what is materialised from it.


@sabotage("stale features", "materialisation stopped: no timetable and no features for a day", alert("silent"))
def test_a_day_without_materialisation_stops_everything(production: World, reported: Reported) -> None:
    production.ask(SATURDAY, SATURDAY)
    result = production.monitor_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("silent"))


@sabotage(
    "stale features", "the store has lost the features of a day, but not the timetable", alert("request_only_share")
)
def test_flights_without_features_stop_everything(production: World, reported: Reported) -> None:
    production.materialise(SATURDAY)
    moments = database_tables.features.c.moment
    production.execute(sa.delete(database_tables.features).where(moments >= midnight(SATURDAY)))
    production.ask(SATURDAY, SATURDAY)
    result = production.monitor_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("request_only_share"))


@sabotage("stale features", "the feed of departures, arrivals and weather has stopped", alert("stale_feed_share"))
def test_a_feed_that_stands_still_stops_everything(production: World, reported: Reported) -> None:
    production.tables = standing_still(production.tables, midnight(SATURDAY) - timedelta(hours=6))
    result = production.run_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("stale_feed_share"))


def standing_still(tables: Tables, since: datetime) -> Tables:
    """The tables without any report since that moment, except for the timetable."""
    flights = tables["flights"].copy()
    flights.loc[flights["departed_at"] > since, ["departed_at", "dep_delay_minutes", "dep_hhmm"]] = None
    arrived = flights["arrived_at"] <= since
    flights.loc[~arrived, ["arrived_at", "arr_delay_minutes", "arr_hhmm", "air_minutes"]] = None
    return {**tables, "flights": flights, "weather": tables["weather"][tables["weather"]["known_at"] <= since]}


@sabotage("missing hour of weather", "all hours of a day, at all three airports", alert("stale_feed_share"))
def test_a_day_without_weather_stops_everything(production: World, reported: Reported) -> None:
    weather = production.tables["weather"]
    production.tables = {**production.tables, "weather": weather[weather["hour"] < midnight(SATURDAY)]}
    result = production.run_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("stale_feed_share"))


@sabotage(
    "changed unit",
    "a day's wind in metres per second",
    instead="a unit in the feed itself: wind has no second measurement to compare with, as temperature has in dew "
    "point and humidity. Retraining stops once the feed has a month of it",
)
def test_wind_in_metres_per_second_is_not_seen(production: World, reported: Reported) -> None:
    weather, winds = production.tables["weather"].copy(), ["wind_speed_mph", "wind_gust_mph"]
    weather.loc[weather["hour"] >= midnight(SATURDAY), winds] *= 0.447

    production.tables = {**production.tables, "weather": weather}
    result = production.run_day(SATURDAY)

    assert not result.alerts
    reported(result.verdict)


@sabotage("renamed category", "UA coded U2, with U2 accepted by hand", alert("unseen_share"))
def test_an_airline_that_the_model_never_saw_is_counted(production: World, reported: Reported) -> None:
    production.tables = renamed(production.tables, "UA", "U2", accepted=True)
    seldom = production.params.monitor.model_copy(
        update={"drift_every_days": 7919}
        # Drift takes seconds, and is not needed.
    )
    production.params = production.params.model_copy(update={"monitor": seldom})
    production.run_day(SATURDAY)
    result = production.run_day(SUNDAY)

    reported(result.report("unseen_share"))


@sabotage("renamed category", "a small airline's code, in both tables", matrix.FLAGS)
def test_a_small_airline_by_another_code_is_flagged_in_each_answer(production: World, reported: Reported) -> None:
    production.tables = renamed(production.tables, "HA", "H2")
    production.materialise(SATURDAY)

    answers = production.ask(SATURDAY, SATURDAY)
    result = production.monitor_day(SATURDAY)

    flags = {flag for answer in answers if answer["entity_id"].startswith("H2") for flag in answer["flags"]}
    others = {flag for answer in answers if answer["entity_id"].startswith("UA") for flag in answer["flags"]}
    assert not result.alerts
    assert "unknown_category:carrier" in flags - others
    reported(f"flags of each prediction: {', '.join(sorted(flags))}; monitor: {result.verdict}")


def renamed(tables: Tables, old: str, new: str, *, accepted: bool = False) -> Tables:
    """From Saturday on, one airline has another code, which is in the table of airlines."""
    flights = tables["flights"].copy()
    rows = (flights["carrier"] == old) & (flights["scheduled_departure"] >= midnight(SATURDAY) + timedelta(hours=2))
    flights.loc[rows, "carrier"] = new
    flights.loc[rows, "entity_id"] = new + flights.loc[rows, "entity_id"].str[2:]
    added = pd.DataFrame({"carrier": [new], "name": ["The same"]})
    airlines = pd.concat([tables["airlines"], added], ignore_index=True)
    by_hand = airlines.assign(accepted=airlines["carrier"] == new) if accepted else airlines
    return {**tables, "flights": flights, "airlines": by_hand}


# Features online that are not those of the training.


@sabotage("online feature skew", "stored temperatures in Celsius", alert("skewed_share"))
def test_stored_features_in_another_unit_stop_everything(production: World, reported: Reported) -> None:
    skew(production, celsius)
    result = production.run_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("skewed_share"))


@sabotage("online feature skew", "stored vectors shifted by one column", alert("skewed_share"))
def test_stored_features_in_the_wrong_places_stop_everything(production: World, reported: Reported) -> None:
    skew(production, lambda vector: np.roll(vector, 1))
    result = production.run_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("skewed_share"))


def skew(production: World, change: Callable[[Vector], Vector]) -> None:
    """Change the stored vectors of Friday's last hours."""
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


@sabotage("online feature skew", "features as of 30 minutes before departure, not of the model's lead", matrix.LEAD)
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
    feature_sources = {answer["features"] for answer in production.ask(FRIDAY, FRIDAY)}

    with monkeypatch.context() as other_code:
        other_code.setattr(online_store, "FEATURE_SET", "another set")
        production.materialise(SATURDAY)
    answers = [each for each in production.ask(SATURDAY, SATURDAY) if "20130608T1" in each["entity_id"]]

    assert feature_sources == {"online"}
    assert {answer["features"] for answer in answers} == {"request"}
    assert all("request_only" in answer["flags"] for answer in answers)
    reported("flags of each prediction: request_only")


def in_hours(window: FlightWindow) -> Columns:
    """The feature's code, changed after the training."""
    rotated = ROTATION(window)
    return rotated | {"aircraft_departure_delay": rotated["aircraft_departure_delay"] / 60}


ROTATION = problem_features._rotation


@sabotage("online feature skew", "code that computes a delay in hours from now on", alert("skewed_share"))
def test_changed_code_behind_a_feature_is_seen_on_its_first_day(
    production: World, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    monkeypatch.setattr(problem_features, "_rotation", in_hours)

    reported(production.run_day(SATURDAY).report("skewed_share"))


@sabotage(
    "online feature skew",
    "... from the second day on, when stored and rebuilt features come from the same changed code",
    instead="a digest of the feature code in the manifest: after a change, retraining comes before the code is used",
)
def test_changed_code_behind_a_feature_is_not_seen_later(
    production: World, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    monkeypatch.setattr(problem_features, "_rotation", in_hours)
    moments = database_tables.features.c.moment
    production.execute(sa.delete(database_tables.features).where(moments >= midnight(SATURDAY) - timedelta(hours=12)))
    production.materialise(FRIDAY)
    assert database.last_decision(production.engine, "skew") is not None

    result = production.run_day(SATURDAY)

    assert not result.alerts
    reported(result.verdict)


# Events that come after the predictions.


@sabotage("late events", "the weather of six hours, after the predictions that it was known for", alert("late_share"))
def test_events_that_come_too_late_stop_everything(production: World, params: Params, reported: Reported) -> None:
    since, until = (midnight(SATURDAY) + timedelta(hours=hours) for hours in (10, 16))
    tables, hours = production.tables, production.tables["weather"]["hour"]
    production.tables = {**tables, "weather": tables["weather"][(hours < since) | (hours >= until)]}
    production.run_day(SATURDAY)
    production.tables = tables

    champion = release.load(production.settings.releases, "1")
    complete = production.feed(since - arrivals.lookback(params), midnight(SUNDAY) + timedelta(days=1))
    end = midnight(SUNDAY)
    stream_lateness.record(production.engine, complete, 18, since, end, champion, params)
    production.delete_monitoring(SATURDAY)
    result = production.monitor_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("late_share"))


# Monitoring itself.


@sabotage("empty monitoring window", "no prediction in the whole window of performance", alert("silent"))
def test_an_empty_window_is_not_calm(production: World, reported: Reported) -> None:
    in_window = database_tables.entities.c.event_at >= midnight(FIRST + timedelta(days=1))
    entities = sa.select(database_tables.entities.c.entity_id).where(in_window)
    production.execute(
        sa.delete(database_tables.predictions).where(database_tables.predictions.c.entity_id.in_(entities))
    )
    result = production.monitor_day(SATURDAY)

    assert result.decision.action is Action.STOP
    reported(result.report("silent"))


@sabotage("empty monitoring window", "a comparison with no flights on one side", matrix.NOTHING)
def test_drift_of_nothing_is_a_failure(winter: Model, reported: Reported) -> None:
    flights = winter.best.entities.assign(probability=winter.best.predictions["lightgbm"].to_numpy())
    few = flights.iloc[:: len(flights) // 500]
    drift.build_reports(few, few, 0.25, "healthy", ["temp_f"])

    with pytest.raises(drift.NothingToMonitor) as refused:
        drift.build_reports(few, few[:0], 0.25, "empty", ["temp_f"])

    reported(refused.value)


@sabotage("monitored on training days", "a champion that was trained until Saturday", matrix.UNSEEN_DAYS)
def test_flights_that_the_champion_was_trained_on_tell_nothing(
    production_on_saturday: World, saturday: Evening, winter: Model, reported: Reported
) -> None:
    assert saturday.result.figures["auc_shortfall"] is not None

    winter.publish(production_on_saturday.settings.releases, "2", trained_until=SUNDAY)
    production_on_saturday.execute(sa.update(database_tables.predictions).values(model_version="2"))
    release_pointer.set_live(production_on_saturday.settings.releases, "2")
    production_on_saturday.delete_monitoring(FIRST)
    result = production_on_saturday.monitor_day(SATURDAY)

    assert result.figures["auc_shortfall"] is None
    reported(result.verdict)


@sabotage(
    "logged predictions changed", "logged probabilities are half of those in the responses", alert("prediction_psi")
)
def test_answers_that_are_distributed_otherwise_are_seen(
    production_on_sunday: World, sunday: Evening, reported: Reported
) -> None:
    assert sunday.result.figures["prediction_psi"] is not None

    probability = database_tables.predictions.c.probability
    production_on_sunday.execute(sa.update(database_tables.predictions).values(probability=probability / 2))
    production_on_sunday.delete_monitoring(SUNDAY)

    reported(production_on_sunday.monitor_day(SUNDAY).report("prediction_psi"))


@sabotage(
    "harmless seasonal drift",
    "a model of winter in June: its temperatures are rare in training, and its predictions are right",
    harmless=True,
    instead="features change with the seasons; what counts is whether the predictions are still right",
)
def test_a_season_is_reported_and_changes_nothing(sunday: Evening, reported: Reported) -> None:
    result = sunday.result

    assert result.figures["psi temp_f"] > 3  # type: ignore[operator]  # measured on Sundays
    assert {name: raised.tier for name, raised in result.alerts.items()} == {"feature_psi": Tier.REPORT}
    assert result.decision.action is Action.NOTHING
    reported(f"{result.report('feature_psi')}: {result.decision.reason}")


@sabotage("covariate drift", "every temperature 30 F higher", alert("feature_psi"))
def test_drift_is_found_and_none_without_it(winter: Model, production: World, reported: Reported) -> None:
    flights = winter.best.entities.assign(probability=winter.best.predictions["lightgbm"].to_numpy())
    half, limit = flights[::2], production.params.monitor.alerts["feature_psi"].above
    unchanged = drift.build_reports(half, flights[1::2], 0.25, "healthy", ["temp_f"]).values()["features"]["temp_f"]
    assert unchanged < limit

    warmer = flights[1::2].assign(temp_f=lambda t: t["temp_f"] + 30)
    figures = drift.build_reports(half, warmer, 0.25, "warmer", ["temp_f"]).values()["features"]["temp_f"]

    assert figures > limit
    reported(f"feature_psi above {limit:g} (tier {production.params.monitor.alerts['feature_psi'].tier})")


# A worse model that got past the gate.


@sabotage("worse model that passed the gate", "a challenger trained on inverted labels", matrix.SHADOW)
def test_a_worse_challenger_is_withdrawn(production: World, inverted: Model, winter: Model, reported: Reported) -> None:
    began = SATURDAY - timedelta(days=production.params.policy.shadow_days)
    inverted.publish(production.settings.releases, "2")
    winter.publish(production.settings.releases, "3")
    production.challenge("3", began)
    assert production.decide_on_challenger(FRIDAY).action is Action.PROMOTE

    production.challenge("2", began)
    decision = production.decide_on_challenger(FRIDAY)

    assert decision.action is Action.WITHDRAW
    reported(decision.reason.split(": ")[0])


@sabotage("worse model that passed the gate", "... and past the shadow: it serves traffic", matrix.WATCH)
def test_a_worse_champion_is_rolled_back(production: World, inverted: Model, winter: Model, reported: Reported) -> None:
    began = SATURDAY - timedelta(days=3)
    inverted.publish(production.settings.releases, "2")
    winter.publish(production.settings.releases, "3")
    production.promote("3", began)
    assert production.decide_on_challenger(FRIDAY).action is Action.NOTHING
    release_pointer.revert(production.settings.releases)

    production.promote("2", began)
    decision = production.decide_on_challenger(FRIDAY)

    assert decision.action is Action.ROLL_BACK
    reported(decision.reason.split(": ")[0])
