"""Evidently's reports on flights that nobody flew: what moved is found, what is unknown is said to be."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evidently.ui.workspace import Workspace
from sklearn.metrics import log_loss, precision_score, recall_score, roc_auc_score

from monitoring import drift
from monitoring.drift import DRIFTED, NothingToMonitor, Reports
from ontime import schema
from tests import browser, synthetic

AT = datetime(2013, 11, 8, 6, tzinfo=UTC)
THRESHOLD = 0.25
FEW = ("temp_f", "visib_miles", "wind_gust_mph")  # a figure takes its time, so most tests draw few
REFERENCE = synthetic.flights(900, 1)
CURRENT = synthetic.flights(700, 2)
SURER = CURRENT["probability"] * 0.6
FEW_REFERENCE, FEW_CURRENT = synthetic.flights(500, 3, FEW), synthetic.flights(400, 4, FEW)


@pytest.fixture(scope="module")
def reports() -> Reports:
    """Of all features: it is warmer now, another airline flies, a third of the gusts is missing, the model is surer."""
    changed = CURRENT.assign(
        temp_f=CURRENT["temp_f"] + 15,
        carrier=CURRENT["carrier"].where(CURRENT["carrier"] != "AA", "ZZ"),
        wind_gust_mph=CURRENT["wind_gust_mph"].where(np.arange(len(CURRENT)) % 3 > 0),
        probability=SURER,
    )
    return drift.run(REFERENCE, changed, THRESHOLD, "a week")


@pytest.fixture(scope="module")
def few() -> Reports:
    """Of few features, and nobody knows yet how the flights ended."""
    return drift.run(FEW_REFERENCE, synthetic.with_outcomes(FEW_CURRENT, []), THRESHOLD, "a day")


@pytest.fixture(scope="module")
def odd() -> Reports:
    """The reference has one gust only and no outcome; now one temperature only, and a single visibility."""
    reference = synthetic.with_outcomes(FEW_REFERENCE, []).assign(wind_gust_mph=7.0)
    first = np.arange(len(FEW_CURRENT)) == 0
    current = FEW_CURRENT.assign(temp_f=50.0, visib_miles=FEW_CURRENT["visib_miles"].where(first))
    return drift.run(reference, current, THRESHOLD, "a day")


def test_the_columns_that_moved_have_drifted_and_no_other(reports: Reports) -> None:
    found = reports.figures()["features"]

    assert {column for column, index in found.items() if index >= DRIFTED} == {"temp_f", "carrier"}


def test_every_feature_has_an_index_in_a_sensible_range(reports: Reports) -> None:
    found = reports.figures()["features"]

    assert set(found) == set(schema.FEATURE_NAMES)
    assert all(0 <= index < 10 for index in found.values())


def test_the_share_of_drifted_columns_is_two_of_all(reports: Reports) -> None:
    assert reports.figures()["share_drifted"] == pytest.approx(2 / len(schema.FEATURE_NAMES))


def test_predictions_that_moved_have_drifted_and_others_have_not(reports: Reports, few: Reports) -> None:
    assert few.figures()["prediction"] < 0.1
    assert reports.figures()["prediction"] > DRIFTED


def test_nulls_that_appear_show_as_missing_where_the_index_is_blind(reports: Reports) -> None:
    figures = reports.figures()

    assert figures["features"]["wind_gust_mph"] < 0.1
    assert figures["missing"] == {"wind_gust_mph": {"reference": 0, "current": pytest.approx(1 / 3, abs=0.01)}}


def test_the_missing_share_is_one_of_cells(reports: Reports) -> None:
    cells = len(schema.FEATURE_NAMES) + 1

    assert reports.figures()["missing_share"] == pytest.approx(1 / 3 / cells, abs=0.001)


def test_the_scores_are_those_of_scikit_learn_at_the_threshold(reports: Reports) -> None:
    late, told = CURRENT["label"].astype(int), SURER
    alert = (told >= THRESHOLD).astype(int)

    assert reports.figures()["classification"] == {
        "precision": pytest.approx(precision_score(late, alert)),
        "recall": pytest.approx(recall_score(late, alert)),
        "roc_auc": pytest.approx(roc_auc_score(late, told)),
        "log_loss": pytest.approx(log_loss(late, told)),
    }
    assert reports.figures()["unscored"] is None


def test_the_figures_are_plain_json(reports: Reports) -> None:
    figures = reports.figures()

    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_where_no_outcome_is_known_nothing_is_said_of_the_alerts(few: Reports) -> None:
    figures = few.figures()

    assert figures["classification"] is None
    assert figures["unscored"] == "no outcome of the 400 entities is known yet"
    assert figures["rows"] == {"reference": 500, "current": 400, "labelled": 0}


def test_where_all_outcomes_are_one_nothing_is_said_of_the_alerts() -> None:
    on_time = synthetic.with_outcomes(FEW_CURRENT, [False] * 30)

    figures = drift.run(FEW_REFERENCE, on_time, THRESHOLD, "a day").figures()

    assert figures["classification"] is None
    assert figures["unscored"] == "all 30 known outcomes are on time"


def test_a_reference_without_outcomes_does_not_keep_the_alerts_from_being_judged(odd: Reports) -> None:
    assert 0 < odd.figures()["classification"]["recall"] <= 1


def test_a_column_without_a_value_has_no_index_and_is_named(few: Reports) -> None:
    figures = few.figures()

    assert set(figures["features"]) == {*schema.CATEGORICAL, *FEW}
    assert set(figures["empty"]["current"]) == {*schema.FEATURE_NAMES} - {*schema.CATEGORICAL, *FEW}


def test_constant_and_nearly_empty_columns_have_an_index(odd: Reports) -> None:
    found = odd.figures()["features"]

    assert all(DRIFTED < found[column] < np.inf for column in FEW)


@pytest.mark.parametrize(
    ("reference", "current", "named"),
    [
        (FEW_REFERENCE, FEW_CURRENT.iloc[:0], "current holds no entities"),
        (FEW_REFERENCE.iloc[:0], FEW_CURRENT, "reference holds no entities"),
        (FEW_REFERENCE, FEW_CURRENT.assign(probability=np.nan), "current.probability holds no value"),
        (FEW_REFERENCE, FEW_CURRENT.assign(**dict.fromkeys(schema.FEATURE_NAMES)), "no feature has a value in both"),
    ],
)
def test_nothing_to_monitor_is_a_failure(reference: pd.DataFrame, current: pd.DataFrame, named: str) -> None:
    with pytest.raises(NothingToMonitor, match=rf"^{named}.*: a failure, not calm"):
        drift.run(reference, current, THRESHOLD, "a day")


def runs(workspace: Path, project: str) -> list[tuple[str, list[str], datetime]]:
    """Name, tags and moment of what Evidently itself finds in its one project of that name."""
    opened = Workspace(str(workspace))
    (found,) = opened.search_project(project)
    read = [opened.get_run(found.id, run) for run in opened.list_runs(found.id)]
    return sorted((run.name, run.tags, run.timestamp) for run in read)


def test_evidently_finds_each_report_with_its_moment_and_its_tags(reports: Reports, tmp_path: Path) -> None:
    reports.save(tmp_path, "ontime", AT, "7")

    assert runs(tmp_path, "ontime") == [
        ("a week: classification", ["classification", "version 7"], AT),
        ("a week: data drift", ["data_drift", "version 7"], AT),
        ("a week: data quality", ["data_quality", "version 7"], AT),
        ("a week: prediction drift", ["prediction_drift", "version 7"], AT),
    ]


def test_saved_twice_a_report_is_there_once(few: Reports, tmp_path: Path) -> None:
    for _ in range(2):
        few.save(tmp_path, "ontime", AT, "7")

    assert len(runs(tmp_path, "ontime")) == 3


def test_another_version_or_moment_is_another_run(few: Reports, tmp_path: Path) -> None:
    for at, version in ((AT, "7"), (AT, "8"), (AT.replace(day=9), "7")):
        few.save(tmp_path, "ontime", at, version)

    assert len(runs(tmp_path, "ontime")) == 9


def test_a_project_that_somebody_else_made_is_found_by_its_name(few: Reports, tmp_path: Path) -> None:
    theirs = Workspace(str(tmp_path)).create_project("ontime")

    few.save(tmp_path, "ontime", AT, "7")

    assert len(Workspace(str(tmp_path)).list_runs(theirs.id)) == 3


def test_a_page_is_drawn_and_asks_the_network_for_nothing(few: Reports, tmp_path: Path) -> None:
    few.html(tmp_path)

    with browser.running() as chromium:
        page, asked = chromium.new_page(), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "prediction_drift.html").as_uri())
        page.get_by_text("Drift in column 'probability'").first.wait_for()

    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_page_of_an_earlier_run_does_not_pass_for_this_one(few: Reports, tmp_path: Path) -> None:
    (tmp_path / "classification.html").write_text("last week's")

    few.html(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data_drift.html",
        "data_quality.html",
        "prediction_drift.html",
    ]
