"""Faults in what a model is fitted on and judged by."""

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ontime import database, evaluation, gate, leaks, model, release, release_pointer, split
from ontime.batches import Batches
from ontime.datasets import Tables
from ontime.gate import GateBroken, Rival, Verdict
from ontime.params import PARAMS_FILE, ParamsBroken, load_params
from pipelines import evaluate, labelled, train
from pipelines.layout import FEATURES, write_table
from pipelines.operations import promotion_gate
from tests import PARAMS_YAML
from tests.sabotage.conftest import Reported
from tests.sabotage.matrix import ALONE, AUC, DOMINANT, GATE, ITSELF, LEAK, PARAMETERS, PERIODS, SEEN, sabotage
from tests.sabotage.world import Model

DAYS = {"train_from": "2013-02-04", "valid_from": "2013-02-15", "test_from": "2013-02-18", "test_until": "2013-02-25"}
CANDIDATES = {"candidates": ["rate_table", "lightgbm"]}


@pytest.fixture(scope="session")
def trained(weeks: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage `train` has run on three weeks, and no guard of `evaluate` objects."""
    content = yaml.safe_load(PARAMS_YAML.read_text())
    content["split"].update(DAYS)
    content["train"].update(CANDIDATES)
    content["train"]["lightgbm"].update(n_estimators=8)
    with pytest.MonkeyPatch.context() as inside:
        inside.chdir(tmp_path_factory.mktemp("trained"))
        PARAMS_FILE.write_text(yaml.safe_dump(content))
        write_table(weeks, FEATURES / "2013-02.parquet")
        train.main()
        params = load_params()
        test = evaluate.read_test(params)
        predictions = evaluate.predict_all(test, params)
        for name, probability in predictions.items():
            auc = evaluation.scores(test.label, probability, params.cost)["auc"]
            evaluation.refuse_leak(name, auc, params.evaluate.leak_auc)
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
    delay = tables["flights"].set_index("entity_id")["dep_delay_minutes"].loc[weeks["entity_id"]]
    return pd.Series(delay.to_numpy(), index=weeks.index)


@pytest.mark.usefixtures("workspace")
@sabotage("target leak", "the arrival delay in place of a feature", LEAK)
def test_a_feature_that_is_the_label_stops_the_training(weeks: pd.DataFrame, reported: Reported) -> None:
    planted(weeks, plane_age_years=weeks["value"])
    with pytest.raises(leaks.LeakFound) as refused:
        train.main()

    reported(str(refused.value).split(", ")[0])


@pytest.mark.usefixtures("workspace")
@sabotage("target leak", "two features, harmless alone, whose sum is the arrival delay", LEAK)
def test_features_that_add_up_to_the_label_stop_the_training(weeks: pd.DataFrame, reported: Reported) -> None:
    noise = pd.Series(np.random.default_rng(1).normal(0, 200, len(weeks)), index=weeks.index)
    planted(weeks, plane_age_years=noise)
    alone = labelled.read_period(split.periods(load_params().split)["train"])
    leaks.refuse(alone, alone[["label", "value"]], load_params().leaks)
    planted(weeks, plane_age_years=noise, plane_seats=weeks["value"] - noise)
    with pytest.raises(leaks.LeakFound) as refused:
        train.main()

    reported(str(refused.value).split(", ")[0])


@pytest.mark.usefixtures("workspace")
@sabotage("future leak", "the actual departure delay, known two hours too late, among the features", ALONE)
def test_a_feature_that_alone_tells_too_much_stops_the_training(
    weeks: pd.DataFrame, departure_delay: pd.Series, reported: Reported
) -> None:
    planted(weeks, aircraft_departure_delay=departure_delay)
    with pytest.raises(leaks.LeakFound) as refused:
        train.main()

    reported(str(refused.value).split(". ")[0])


@pytest.mark.usefixtures("workspace")
@sabotage("future leak", "the actual departure delay, with noise, so that it alone does not reveal too much", DOMINANT)
def test_a_feature_that_dominates_the_model_stops_the_training(
    weeks: pd.DataFrame, departure_delay: pd.Series, reported: Reported
) -> None:
    blur = pd.Series(np.random.default_rng(1).normal(0, 40, len(weeks)), index=weeks.index)
    planted(weeks, aircraft_departure_delay=departure_delay + blur)
    with pytest.raises(leaks.LeakFound) as refused:
        train.main()

    reported(str(refused.value).split(". ")[0])


@pytest.mark.usefixtures("workspace")
@sabotage("future leak", "the actual departure delay, accepted by its name in params.yaml", AUC)
def test_a_feature_from_the_future_that_was_accepted_stops_the_evaluation(
    weeks: pd.DataFrame, departure_delay: pd.Series, reported: Reported
) -> None:
    planted(weeks, aircraft_departure_delay=departure_delay)
    params = yaml.safe_load(PARAMS_FILE.read_text())
    params["leaks"]["accepted"] = ["aircraft_departure_delay"]
    PARAMS_FILE.write_text(yaml.safe_dump(params))
    train.main()
    with pytest.raises(evaluation.LeakSuspected) as refused:
        evaluate.main()

    reported(str(refused.value).split(". ")[0])


@pytest.mark.usefixtures("workspace")
@sabotage(
    "future leak",
    "the late share of each flight number over the year, from a file that the feature code reads directly",
    instead="features computed only from declared tables, which the point-in-time check covers",
)
def test_a_mean_of_the_label_from_a_file_of_its_own_is_too_mild_to_be_seen(
    weeks: pd.DataFrame, tables: Tables, reported: Reported
) -> None:
    flights = tables["flights"][tables["flights"]["arr_delay_minutes"].notna()]
    number = flights["carrier"] + flights["flight_number"].astype(str)
    share = (flights["arr_delay_minutes"] >= 15).groupby(number).mean()
    planted(weeks, plane_age_years=weeks["entity_id"].str.split("-").str[0].map(share))

    train.main()

    params = load_params()
    test = evaluate.read_test(params)
    probability = evaluate.predict_all(test, params)["lightgbm"]
    auc = evaluation.scores(test.label, probability, params.cost)["auc"]
    evaluation.refuse_leak("lightgbm", auc, params.evaluate.leak_auc)
    period = labelled.read_period(split.periods(params.split)["train"])
    alone = leaks.single_feature_aucs(period[["plane_age_years"]], period["label"].to_numpy(bool))["plane_age_years"]
    reported(f"it alone has AUC {alone:.2f}, below leaks.feature_auc {params.leaks.feature_auc:g}")


@sabotage("random split", "training and validation drawn at random from the same days", PERIODS)
def test_a_random_split_stops_the_training(weeks: pd.DataFrame, workspace: Path, reported: Reported) -> None:
    params = load_params()
    periods = split.periods(params.split)
    both = split.labelled(split.within(weeks, split.Period(periods["train"].start, periods["valid"].until)))
    in_training = np.random.default_rng(1).random(len(both)) < 0.8
    categories = model.categories_of(both)
    drawn, others = (
        labelled.LabelledRows.of(iter([rows]), Batches.of(model.matrix_of(rows, categories)))
        for rows in (both[in_training], both[~in_training])
    )

    with pytest.raises(split.SplitBroken) as refused:
        train.fit_candidates(drawn, others, categories, params, workspace / "models")

    reported(refused.value)


@pytest.mark.usefixtures("workspace")
@sabotage("random split", "test flights drawn from the days of the training", PERIODS)
def test_a_test_set_out_of_the_training_days_stops_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    params = load_params()
    whole = split.Period(params.split.train_from, params.split.test_until)
    read = labelled.read_period

    monkeypatch.setattr(evaluate, "read_period", lambda *_: read(whole).sample(frac=0.2, random_state=1))
    with pytest.raises(split.SplitBroken) as refused:
        evaluate.read_test(params)

    reported(refused.value)


@pytest.mark.usefixtures("workspace")
@sabotage("random split", "periods that overlap, in params.yaml", PARAMETERS)
def test_periods_that_overlap_are_refused(reported: Reported) -> None:
    content = yaml.safe_load(PARAMS_FILE.read_text())
    load_params()

    PARAMS_FILE.write_text(yaml.safe_dump({**content, "split": {**content["split"], "test_from": "2013-02-10"}}))
    with pytest.raises(ParamsBroken) as refused:
        load_params()

    reported(str(refused.value).splitlines()[1].split(" (got ")[0])


def judged(trained: Model, releases: Path) -> Verdict:
    engine = database.connect(f"sqlite:///{releases.parent}/judged.db")
    return promotion_gate.run_gate(trained.best, releases, engine, trained.params)[0]


@sabotage("challenger equal to champion", "the champion's own model, judged as a challenger", GATE)
def test_the_champion_itself_is_kept_out(winter: Model, releases: Path, tmp_path: Path, reported: Reported) -> None:
    against_the_base_rate = judged(winter, tmp_path / "no releases")

    verdict = judged(winter, releases)

    assert against_the_base_rate.promote
    assert not verdict.promote
    reported(verdict.reason)


@sabotage("challenger equal to champion", "the live release as its own challenger", ITSELF)
def test_a_release_cannot_challenge_itself(other: Model, releases: Path, reported: Reported) -> None:
    other.publish(releases, "2")
    release_pointer.set_challenger(releases, "2")

    with pytest.raises(release.ReleaseRefused) as refused:
        release_pointer.set_challenger(releases, "1")

    reported(refused.value)


@sabotage("challenger worse on one slice", "a challenger that is better overall and wrong about one airline", GATE)
def test_a_challenger_that_fails_one_airline_is_kept_out(winter: Model, reported: Reported) -> None:
    flights, predictions = winter.best.entities, winter.best.predictions
    baseline = Rival("the base rate", np.full(len(flights), winter.best.training["base_rate"]))
    better = predictions["lightgbm"].to_numpy()
    params = winter.params
    wrong = np.where(flights["carrier"] == "US", 0.5, better)
    judge, rate = (params.gate, params.evaluate), winter.best.training["base_rate"]

    assert gate.decide(flights, better, baseline, *judge, base_rate=rate).promote
    verdict = gate.decide(flights, wrong, baseline, *judge, base_rate=rate)

    assert verdict.difference < 0
    assert not verdict.promote
    reported(verdict.reason.rsplit(": ", 1)[0])


@sabotage("champion trained on the test days", "a release that was trained until a week into the test period", SEEN)
def test_a_champion_that_has_seen_the_test_days_is_no_measure(
    winter: Model, other: Model, releases: Path, reported: Reported
) -> None:
    judged(other, releases)

    winter.publish(releases, "2", trained_until=date(2013, 3, 9))
    release_pointer.set_live(releases, "2")
    with pytest.raises(GateBroken) as refused:
        judged(other, releases)

    reported(refused.value)
