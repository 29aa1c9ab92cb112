"""Faults in what a model is fitted on and judged by."""

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ontime import database, evaluation, features, gate, leaks, release, split
from ontime.gate import GateBroken, Rival, Verdict
from ontime.params import PARAMS_FILE, Params, ParamsBroken, load_params
from ontime.sources import Tables
from pipelines import evaluate, judgement, train
from pipelines.layout import FEATURES, write_table
from tests.sabotage.conftest import Reported
from tests.sabotage.matrix import AUC, GATE, ITSELF, LEAK, PARAMETERS, PERIODS, POINT_IN_TIME, SEEN, sabotage
from tests.sabotage.world import Model
from tests.unit import test_features

DAYS = {"train_from": "2013-02-04", "valid_from": "2013-02-15", "test_from": "2013-02-18", "test_until": "2013-02-25"}
CANDIDATES = {"candidates": ["rate_table", "lightgbm"]}


@pytest.fixture(scope="session")
def trained(weeks: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage `train` has run on three weeks, and no guard of `evaluate` objects."""
    params = yaml.safe_load(PARAMS_FILE.read_text())
    params["split"].update(DAYS)
    params["train"].update(CANDIDATES)
    params["train"]["lightgbm"].update(n_estimators=8)
    with pytest.MonkeyPatch.context() as inside:
        inside.chdir(tmp_path_factory.mktemp("trained"))
        PARAMS_FILE.write_text(yaml.safe_dump(params))
        write_table(weeks, FEATURES / "2013-02.parquet")
        train.main()
        test, said = evaluate.open_test(load_params()), load_params()
        told = evaluate.predict_all(test, said)
        for name, probability in told.items():
            auc = evaluation.scores(test.late, probability, said.cost)["auc"]
            evaluation.refuse_leak(name, auc, said.evaluate.leak_auc)
        return Path.cwd()


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which the stages run."""
    shutil.copytree(trained, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path / "workspace"


def planted(weeks: pd.DataFrame, **columns: pd.Series) -> None:
    """The features of the workspace, with other columns."""
    write_table(weeks.assign(**columns), FEATURES / "2013-02.parquet")


@pytest.fixture
def departure_delay(weeks: pd.DataFrame, tables: Tables) -> pd.Series:
    delay = tables.flights.set_index("flight_id")["dep_delay_minutes"].loc[weeks["flight_id"]]
    return pd.Series(delay.to_numpy(), index=weeks.index)


@pytest.mark.usefixtures("workspace")
@sabotage("target leak", "the arrival delay in the place of a feature", LEAK)
def test_a_feature_that_is_the_label_stops_the_training(weeks: pd.DataFrame, reported: Reported) -> None:
    planted(weeks, plane_age_years=weeks["arr_delay_minutes"])
    with pytest.raises(leaks.LeakFound) as refused:
        train.main()

    reported(str(refused.value).split(", ")[0])


@pytest.mark.usefixtures("workspace")
@sabotage("target leak", "two features, harmless alone, whose sum is the arrival delay", LEAK)
def test_features_that_add_up_to_the_label_stop_the_training(weeks: pd.DataFrame, reported: Reported) -> None:
    noise = pd.Series(np.random.default_rng(1).normal(0, 200, len(weeks)), index=weeks.index)
    planted(weeks, plane_age_years=noise)
    alone = train.read_period(split.periods(load_params().split)["train"])
    leaks.refuse(alone, alone[["late", "arr_delay_minutes"]])
    planted(weeks, plane_age_years=noise, plane_seats=weeks["arr_delay_minutes"] - noise)
    with pytest.raises(leaks.LeakFound) as refused:
        train.main()

    reported(str(refused.value).split(", ")[0])


@pytest.mark.usefixtures("workspace")
@sabotage("future leak", "the actual departure delay, known two hours too late, among the features", AUC)
def test_a_feature_from_the_future_stops_the_evaluation(
    weeks: pd.DataFrame, departure_delay: pd.Series, reported: Reported
) -> None:
    planted(weeks, aircraft_departure_delay=departure_delay)
    train.main()  # it explains less of the arrival delay than leaks.py refuses
    with pytest.raises(evaluation.LeakSuspected) as refused:
        evaluate.main()

    reported(str(refused.value).split(". ")[0])


@sabotage("future leak", "code that looks at what left until the departure itself", POINT_IN_TIME)
def test_code_that_reads_the_future_fails_the_point_in_time_test(
    tables: Tables, params: Params, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    honest = features._operations
    looks = test_features.test_moving_every_event_after_the_moment_changes_no_feature
    looks("2013-02-08 12:00", tables, params)

    def ahead(window: features._Window, late_minutes: int) -> features.Columns:
        return honest(replace(window, moment=window.moment + params.features.lead_minutes), late_minutes)

    monkeypatch.setattr(features, "_operations", ahead)
    with pytest.raises(AssertionError) as failed:
        looks("2013-02-08 12:00", tables, params)

    reported(f"{looks.__name__}: {failed.value}")


@sabotage("random split", "training and validation drawn at random from the same days", PERIODS)
def test_a_random_split_stops_the_training(weeks: pd.DataFrame, workspace: Path, reported: Reported) -> None:
    params = load_params()
    periods = split.periods(params.split)
    known = split.labelled(split.within(weeks, split.Period(periods["train"].start, periods["valid"].until)))
    drawn = np.random.default_rng(1).random(len(known)) < 0.8

    with pytest.raises(split.SplitBroken) as refused:
        train.fit_candidates(known[drawn], known[~drawn], params, workspace / "models")

    reported(refused.value)


@pytest.mark.usefixtures("workspace")
@sabotage("random split", "test flights drawn from the days of the training", PERIODS)
def test_a_test_set_out_of_the_training_days_stops_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    params = load_params()
    whole = split.Period(params.split.train_from, params.split.test_until)
    read = train.read_period

    monkeypatch.setattr(evaluate, "read_period", lambda _: read(whole).sample(frac=0.2, random_state=1))
    with pytest.raises(split.SplitBroken) as refused:
        evaluate.open_test(params)

    reported(refused.value)


@pytest.mark.usefixtures("workspace")
@sabotage("random split", "periods that overlap, in params.yaml", PARAMETERS)
def test_periods_that_overlap_are_refused(reported: Reported) -> None:
    said = yaml.safe_load(PARAMS_FILE.read_text())
    load_params()

    PARAMS_FILE.write_text(yaml.safe_dump({**said, "split": {**said["split"], "test_from": "2013-02-10"}}))
    with pytest.raises(ParamsBroken) as refused:
        load_params()

    reported(str(refused.value).splitlines()[1].split(" (got ")[0])


def judged(winner: Model, releases: Path) -> Verdict:
    engine = database.connect(f"sqlite:///{releases.parent}/judged.db")
    return judgement.judge(winner.winner, releases, engine, winner.params)[0]


@sabotage("challenger equal to champion", "the champion's own model, judged as a challenger", GATE)
def test_the_champion_itself_is_kept_out(winter: Model, releases: Path, tmp_path: Path, reported: Reported) -> None:
    against_the_usual_rate = judged(winter, tmp_path / "no releases")

    verdict = judged(winter, releases)

    assert against_the_usual_rate.promote
    assert not verdict.promote
    reported(verdict.reason)


@sabotage("challenger equal to champion", "the release that answers, put in its own shadow", ITSELF)
def test_a_release_cannot_challenge_itself(other: Model, releases: Path, reported: Reported) -> None:
    other.publish(releases, "2")
    release.challenge(releases, "2")

    with pytest.raises(release.ReleaseRefused) as refused:
        release.challenge(releases, "1")

    reported(refused.value)


@sabotage("challenger worse for some", "a challenger that is better on the whole and wrong about one airline", GATE)
def test_a_challenger_that_fails_one_airline_is_kept_out(winter: Model, reported: Reported) -> None:
    flights, told = winter.winner.flights, winter.winner.predictions
    usual = Rival("the base rate", np.full(len(flights), winter.winner.training["usual_rate"]))
    better = told["lightgbm"].to_numpy()
    params = winter.params
    wrong = np.where(flights["carrier"] == "US", 0.5, better)
    judge, rate = (params.gate, params.evaluate), winter.winner.training["usual_rate"]

    assert gate.decide(flights, better, usual, *judge, base_rate=rate).promote
    verdict = gate.decide(flights, wrong, usual, *judge, base_rate=rate)

    assert verdict.difference < 0
    assert not verdict.promote
    reported(verdict.reason.rsplit(": ", 1)[0])


@sabotage("champion trained on the test days", "a release that was trained until a week into the test period", SEEN)
def test_a_champion_that_has_seen_the_test_days_is_no_measure(
    winter: Model, other: Model, releases: Path, reported: Reported
) -> None:
    judged(other, releases)

    winter.publish(releases, "2", trained_until=date(2013, 3, 9))
    release.point(releases, "2")
    with pytest.raises(GateBroken) as refused:
        judged(other, releases)

    reported(refused.value)
