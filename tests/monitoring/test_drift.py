"""Evidently's reports on synthetic flights: they find the columns that drifted, and list what they cannot measure."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evidently.ui.workspace import Workspace
from sklearn.metrics import log_loss, precision_score, recall_score, roc_auc_score

from monitoring import drift
from monitoring.drift import PSI_LIMIT, NothingToMonitor, Reports
from ontime import schema
from tests import browser, synthetic

pytestmark = pytest.mark.slow

AT = datetime(2013, 11, 8, 6, tzinfo=UTC)
THRESHOLD = 0.25
FEW = ("temp_f", "visib_miles", "wind_gust_mph")
EMPTY = ("return_slack_scheduled", "return_slack_expected")
LOOKED_AT = (*schema.CATEGORICAL, *FEW, *EMPTY)  # Evidently takes a third of a second for each, so most tests have few
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
    return drift.build_reports(REFERENCE, changed, THRESHOLD, "a week")


@pytest.fixture(scope="module")
def few() -> Reports:
    """Of few features, without outcomes."""
    return drift.build_reports(FEW_REFERENCE, synthetic.with_outcomes(FEW_CURRENT, []), THRESHOLD, "a day", LOOKED_AT)


@pytest.fixture(scope="module")
def odd() -> Reports:
    """The reference has one gust only and no outcome; now one temperature only, and a single visibility."""
    reference = synthetic.with_outcomes(FEW_REFERENCE, []).assign(wind_gust_mph=7.0)
    first = np.arange(len(FEW_CURRENT)) == 0
    current = FEW_CURRENT.assign(temp_f=50.0, visib_miles=FEW_CURRENT["visib_miles"].where(first))
    return drift.build_reports(reference, current, THRESHOLD, "a day", LOOKED_AT)


def test_the_columns_that_moved_have_drifted_and_no_other(reports: Reports) -> None:
    psi = reports.values()["features"]

    assert {column for column, index in psi.items() if index >= PSI_LIMIT} == {"temp_f", "carrier"}


def test_every_feature_has_an_index_in_a_sensible_range(reports: Reports) -> None:
    psi = reports.values()["features"]

    assert set(psi) == set(schema.FEATURE_NAMES)
    assert all(0 <= index < 10 for index in psi.values())


def test_the_share_of_drifted_columns_is_two_of_all(reports: Reports) -> None:
    assert reports.values()["share_drifted"] == pytest.approx(2 / len(schema.FEATURE_NAMES))


def test_predictions_that_moved_have_drifted_and_others_have_not(reports: Reports, few: Reports) -> None:
    assert few.values()["prediction"] < 0.1
    assert reports.values()["prediction"] > PSI_LIMIT


def test_nulls_that_appear_show_as_missing_where_the_index_is_blind(reports: Reports) -> None:
    values = reports.values()

    assert values["features"]["wind_gust_mph"] < 0.1
    assert values["missing"] == {"wind_gust_mph": {"reference": 0, "current": pytest.approx(1 / 3, abs=0.01)}}


def test_the_missing_share_is_one_of_cells(reports: Reports) -> None:
    cells = len(schema.FEATURE_NAMES) + 1

    assert reports.values()["missing_share"] == pytest.approx(1 / 3 / cells, abs=0.001)


def test_the_scores_are_those_of_scikit_learn_at_the_threshold(reports: Reports) -> None:
    late, probability = CURRENT["label"].astype(int), SURER
    alert = (probability >= THRESHOLD).astype(int)

    assert reports.values()["classification"] == {
        "precision": pytest.approx(precision_score(late, alert)),
        "recall": pytest.approx(recall_score(late, alert)),
        "roc_auc": pytest.approx(roc_auc_score(late, probability)),
        "log_loss": pytest.approx(log_loss(late, probability)),
    }
    assert reports.values()["unscored"] is None


def test_the_figures_are_plain_json(reports: Reports) -> None:
    values = reports.values()

    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_without_outcomes_the_alerts_are_not_scored(few: Reports) -> None:
    values = few.values()

    assert values["classification"] is None
    assert values["unscored"] == "no outcome of the 400 entities is known yet"
    assert values["rows"] == {"reference": 500, "current": 400, "labelled": 0}


def test_if_all_outcomes_are_equal_the_alerts_are_not_scored() -> None:
    on_time = synthetic.with_outcomes(FEW_CURRENT, [False] * 30)

    values = drift.build_reports(FEW_REFERENCE, on_time, THRESHOLD, "a day", LOOKED_AT).values()

    assert values["classification"] is None
    assert values["unscored"] == "all 30 known outcomes are on time"


def test_the_alerts_are_scored_also_if_the_reference_has_no_outcomes(odd: Reports) -> None:
    assert 0 < odd.values()["classification"]["recall"] <= 1


def test_a_column_without_a_value_has_no_index_and_is_named(few: Reports) -> None:
    values = few.values()

    assert set(values["features"]) == {*schema.CATEGORICAL, *FEW}
    assert set(values["empty"]["current"]) == {*EMPTY}


def test_constant_and_nearly_empty_columns_have_an_index(odd: Reports) -> None:
    psi = odd.values()["features"]

    assert all(PSI_LIMIT < psi[column] < np.inf for column in FEW)


@pytest.mark.parametrize(
    ("reference", "current", "named"),
    [
        (FEW_REFERENCE, FEW_CURRENT.iloc[:0], "current has no entities"),
        (FEW_REFERENCE.iloc[:0], FEW_CURRENT, "reference has no entities"),
        (FEW_REFERENCE, FEW_CURRENT.assign(probability=np.nan), "current.probability has no value"),
        (FEW_REFERENCE, FEW_CURRENT.assign(**dict.fromkeys(schema.FEATURE_NAMES)), "no feature has a value in both"),
    ],
)
def test_missing_data_are_an_error(reference: pd.DataFrame, current: pd.DataFrame, named: str) -> None:
    with pytest.raises(NothingToMonitor, match=rf"^{named}.*, so drift cannot be measured"):
        drift.build_reports(reference, current, THRESHOLD, "a day")


def runs(workspace: Path, project: str) -> list[tuple[str, list[str], datetime]]:
    """Name, tags and moment of what Evidently itself finds in its one project of that name."""
    opened = Workspace(str(workspace))
    (stored,) = opened.search_project(project)
    read = [opened.get_run(stored.id, run) for run in opened.list_runs(stored.id)]
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


def test_an_existing_project_is_found_by_its_name(few: Reports, tmp_path: Path) -> None:
    theirs = Workspace(str(tmp_path)).create_project("ontime")

    few.save(tmp_path, "ontime", AT, "7")

    assert len(Workspace(str(tmp_path)).list_runs(theirs.id)) == 3


def test_a_page_loads_nothing_from_the_network(few: Reports, tmp_path: Path) -> None:
    few.html(tmp_path)

    with browser.running() as chromium:
        page, urls = chromium.new_page(), list[str]()
        page.on("request", lambda request: urls.append(request.url))
        page.goto((tmp_path / "prediction_drift.html").as_uri())
        page.get_by_text("Drift in column 'probability'").first.wait_for()

    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_page_of_an_earlier_run_is_deleted(few: Reports, tmp_path: Path) -> None:
    (tmp_path / "classification.html").write_text("last week's")

    few.html(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data_drift.html",
        "data_quality.html",
        "prediction_drift.html",
    ]
