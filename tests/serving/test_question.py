"""Every text, the label and the comparisons follow the question in params.yaml."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import expect
from pydantic import ValidationError

from monitoring import performance
from ontime import card, database, explain, model, release, release_pointer
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.evaluation import Interval
from ontime.model_study import StudiedModel, Study
from ontime.params import Params
from ontime.release import Manifest, ReleaseRefused
from ontime.settings import Settings
from pipelines import explore, features
from pipelines.operations import packaging, promotion_gate
from pipelines.tools import compare_releases, performance_report
from serving.app import create_app
from tests import browser
from tests.service import running, wait_for
from tests.serving.test_serving import request_of
from tests.small_world import Small, published, store

# Not the features "scheduled within 15 minutes", which no parameter changes.
OLD_WORDS = re.compile(r"(?<!within )\b((15|fifteen|120)[ -]minutes?|(two|2)[ -]hours?)\b", re.IGNORECASE)
NOW = datetime(2013, 2, 18, 18, tzinfo=UTC)  # in the middle of the flights that are stored


@pytest.fixture
def other_settings(
    other_question: Small, other_weeks: pd.DataFrame, tables: Tables, tmp_path: Path
) -> tuple[Settings, pd.DataFrame]:
    """A production whose label is 30 minutes late, predicted three hours before."""
    settings = published(tmp_path, other_question, other_question)
    return settings, store(settings, other_weeks, tables, Question(30, 180))


@pytest.fixture
def flight(other_settings: tuple[Settings, pd.DataFrame], tables: Tables) -> pd.Series:
    """A flight whose label differs between the two rules."""
    flights = tables["flights"].set_index("entity_id", drop=False).loc[other_settings[1]["entity_id"]]
    return flights[flights["arr_delay_minutes"].between(16, 29)].iloc[0]


@pytest.fixture
def other_client(other_settings: tuple[Settings, pd.DataFrame]) -> Iterator[TestClient]:
    with TestClient(create_app(other_settings[0])) as opened:
        yield opened


def outdated_terms(text: str) -> list[str]:
    return [match[0] for match in OLD_WORDS.finditer(text)]


def test_the_openapi_document_and_the_model_state_the_question(other_client: TestClient) -> None:
    document, model = other_client.get("/openapi.json").text, other_client.get("/v1/model").json()

    assert "Late means 30 minutes or more" in document
    assert "available 3 hours before" in document
    assert outdated_terms(document) == []
    assert (model["label_at_least"], model["lead_minutes"]) == (30, 180)
    assert outdated_terms(json.dumps(model["features"])) == []
    assert "share 30 minutes late or more among departures" in json.dumps(model["features"])


def test_the_texts_of_the_problem_match_the_question(other_client: TestClient) -> None:
    problem = other_client.get("/v1/problem").json()

    assert (problem["label_at_least"], problem["lead_minutes"]) == (30, 180)
    assert (
        problem["words"]["question"] == "arriving 30 minutes late or more, asked 3 hours before the scheduled departure"
    )
    assert "by 30 minutes or more, from what was known 3 hours before" in problem["words"]["invitation"]
    assert outdated_terms(json.dumps(problem)) == []


def test_the_openapi_document_follows_the_release(other_settings: tuple[Settings, pd.DataFrame], small: Small) -> None:
    settings, _ = other_settings
    release.publish(settings.releases, small.contents, small.manifest("3"))
    with TestClient(create_app(settings)) as client:
        before = client.get("/openapi.json").json()["info"]["description"]
        release_pointer.set_live(settings.releases, "3")
        wait_for(lambda: client.get("/v1/model").json()["version"] == "3")

        after = client.get("/openapi.json").json()["info"]["description"]

    assert ("Late means 30 minutes" in before, "Late means 15 minutes" in after) == (True, True)


def test_the_reasons_match_the_question(
    other_client: TestClient, tables: Tables, other_settings: tuple[Settings, pd.DataFrame]
) -> None:
    flights = tables["flights"].set_index("entity_id", drop=False).loc[other_settings[1]["entity_id"]]

    texts = [
        reason["words"]
        for _, each in flights[::60].iterrows()
        for reason in other_client.post("/v1/predictions?explain=true", json=request_of(each)).json()["reasons"][
            "features"
        ]
    ]

    shares = [words for words in texts if "late or more" in words]
    assert shares
    assert all("30 minutes late or more" in words for words in shares)


def test_an_outcome_is_late_by_the_rule_of_the_release(other_client: TestClient, flight: pd.Series) -> None:
    outcome = other_client.get(f"/v1/outcomes/{flight['entity_id']}").json()

    delay = int(flight["arr_delay_minutes"])
    assert (outcome["label"], outcome["value"]) == (False, delay)
    assert outcome["words"] == f"Arrived {delay} minutes late. That counts as on time: late begins at 30 minutes."


@pytest.mark.slow
def test_the_page_states_the_question(other_settings: tuple[Settings, pd.DataFrame], flight: pd.Series) -> None:
    with running(other_settings[0]) as service, browser.running() as chromium:
        page = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}")
        page.goto(f"/?entity={flight['entity_id']}")
        expect(page.locator("#answer .claim")).to_be_visible()
        text = page.locator("body").inner_text().replace("\u00a0", " ")
        service.stop()

    assert "late, by 30 minutes or more, from what was known 3 hours before" in text
    assert "Late means 30 minutes or more" in text
    assert "That counts as on time: late begins at 30 minutes." in text
    delay = f"Arrived {int(flight['arr_delay_minutes'])} minutes late."
    assert outdated_terms(text.replace(delay, "")) == []


def test_the_static_page_contains_no_number_of_the_release() -> None:
    pages = [path for path in Path("serving/pages").iterdir() if path.suffix in (".html", ".js")]

    assert {path.name: outdated_terms(path.read_text()) for path in pages} == {path.name: [] for path in pages}
    assert len(pages) > 5


def test_the_reports_state_the_question(other_params: Params) -> None:
    months = pd.DataFrame({"rows": 1, "unlabelled": 0, "positive": 0.2}, index=["2013-02"])
    says = dict.fromkeys(("rate_by_month", "rate_by_hour", "rate_by_hour_and_weekday", "missing", "drift"), "Said")

    texts = [
        features.documentation(other_params.question),
        explore.eda_page(months, says, other_params.question),
        card.model_card(_report(other_params)),
    ]

    assert [outdated_terms(text) for text in texts] == [[], [], []]
    assert all("30 minutes" in text for text in texts)
    assert "arriving 30 minutes late or more, asked 3 hours before the scheduled departure" in texts[2]
    assert "share 30 minutes late or more" in texts[2]


def _report(params: Params) -> card.EvaluationReport:
    figures = {"auc": 0.7, "average_precision": 0.5, "brier": 0.1, "log_loss": 0.4, "ece": 0.01, "cost_per_1000": 400}
    row = {"dimension": "carrier", "slice": "UA", "entities": 2000, "positives": 400, "auc": 0.7, "log_loss": 0.4,
           "mean_probability": 0.2, "missed": [0.5, 0.4, 0.6], "false_alarms": [0.1, 0.0, 0.2]}  # fmt: skip
    return card.EvaluationReport(
        params=params,
        best="lightgbm",
        candidates={"lightgbm": {"valid": figures, "test": figures}},
        intervals={"lightgbm": {name: Interval(0.1, 0.9) for name in figures}},
        request_only=figures,
        study=Study(
            StudiedModel(params.dataset, "lightgbm", figures, figures),
            ablations={},
            importance={"departures_all_1h_late": (0.01, 0.001)},
            coverage=[
                {
                    "dimension": "test",
                    "slice": "all",
                    "entities": 2000,
                    "positive_covered": [0.9, 0.8, 1.0],
                    "negative_covered": [0.9, 0.8, 1.0],
                    "both": 0.5,
                }
            ]
            * 2,
        ),
        slices=[{**row, "auc_interval": None, "gated": True}],
        equalised=[],
        entities={"train": 1, "valid": 1, "test": 1},
        positive_share=0.2,
        days=7,
        reasons=explain.method_of("none"),
    )


def test_a_manifest_need_not_name_the_codes_but_says_what_is_asked(small: Small) -> None:
    fields = small.manifest("1").model_dump(mode="json", exclude={"names"})

    read = Manifest.model_validate_json(json.dumps(fields))

    assert (read.question, read.names) == (Question(15, 120), {})
    for name in ("label_at_least", "lead_minutes"):
        with pytest.raises(ValidationError, match=f"{name}\n  Field required"):
            Manifest.model_validate_json(json.dumps({each: fields[each] for each in fields if each != name}))


def test_a_release_with_another_question_is_no_challenger(settings: Settings, other_question: Small) -> None:
    release.publish(settings.releases, other_question.contents, other_question.manifest("3"))
    before = (settings.releases / release_pointer.POINTER).read_bytes()

    with pytest.raises(ReleaseRefused, match=r"release 3 predicts arriving 30 minutes .*same outcomes"):
        release_pointer.set_challenger(settings.releases, "3", 0.1)

    assert (settings.releases / release_pointer.POINTER).read_bytes() == before


def test_a_challenger_is_removed_when_a_release_with_another_question_goes_live(
    settings: Settings, other_question: Small
) -> None:
    release.publish(settings.releases, other_question.contents, other_question.manifest("3"))
    release_pointer.set_challenger(settings.releases, "2", 0.1)

    release_pointer.set_live(settings.releases, "3")

    pointer = release_pointer.read_pointer(settings.releases)
    assert pointer is not None
    assert (pointer.version, pointer.challenger) == ("3", None)


@pytest.mark.slow
def test_the_gate_takes_the_baseline_where_the_champion_was_asked_something_else(
    settings: Settings, other_weeks: pd.DataFrame, other_params: Params
) -> None:
    labelled = other_weeks[other_weeks["label"].notna()].assign(label=lambda rows: rows["label"].astype(bool))
    categories = model.categories_of(labelled)
    matrix, late = model.matrix_of(labelled, categories), labelled["label"].to_numpy()
    fitted = model.fit("lightgbm", matrix, late, other_params.train.changed("lightgbm", n_estimators=30))
    probabilities = pd.DataFrame(
        {"lightgbm": model.predict(fitted, matrix), "rate_table": np.full(len(late), late.mean())}
    )
    training = {"best": "lightgbm", "categories": categories, "base_rate": float(late.mean())}
    nobody = np.array([], "<u8")
    best = packaging.BestModel(
        "lightgbm", fitted, b"", training, labelled.reset_index(drop=True), probabilities, "none", nobody
    )

    engine = database.connect(settings.database_url)
    # It is evaluated on its training data, where it is not calibrated.
    lenient = {"gate": other_params.gate.model_copy(update={"first_calibration": 0.1})}
    verdict, against = promotion_gate.run_gate(best, settings.releases, engine, other_params.model_copy(update=lenient))

    assert (verdict.promote, against) == (True, "baseline rate_table")
    assert "release 1 predicts arriving 15 minutes late or more, asked 2 hours before" in verdict.reason
    assert verdict.reason.endswith("so the comparison is with the baseline rate_table")


def test_compare_performance_and_the_page_know_the_same_outcomes(
    settings: Settings, stored: pd.DataFrame, tables: Tables, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the feed's clock has not reached all of them: they are stored, so they are known."""
    monkeypatch.setattr("pipelines.operations.feed_clock.now", lambda *_: NOW)
    flights = tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"]][::40]
    release_pointer.set_challenger(settings.releases, "2")
    engine = database.connect(settings.database_url)
    with TestClient(create_app(settings)) as client:
        for _, each in flights.iterrows():
            client.post("/v1/predictions", json=request_of(each)).raise_for_status()
        wait_for(lambda: database.count_shadows(engine, "") == len(flights))
        shown = [client.get(f"/v1/outcomes/{each}").json() for each in flights["entity_id"]]
    pointer = release_pointer.read_pointer(settings.releases)
    assert pointer is not None

    report = performance_report.measure_performance(settings, params)
    pairs = performance.paired_predictions(engine, *(release.verify(settings.releases / each) for each in ("1", "2")))  # type: ignore[arg-type]  # two of them
    compared = compare_releases.compare_pairs(pairs, pointer)

    on_the_page = [each["label"] for each in shown if "label" in each]
    assert report is not None
    assert report.whole.scores is not None
    assert report.whole.labelled == len(pairs) == len(on_the_page) > 0
    assert report.whole.positive_rate == round(float(pairs["label"].mean()), 4) == round(float(np.mean(on_the_page)), 4)
    assert compared.champion_log_loss == pytest.approx(report.whole.scores["log_loss"], abs=1e-4)
    assert any(datetime.fromisoformat(each["known_at"]) > NOW for each in shown if "label" in each)


def test_features_of_another_moment_are_not_used(
    settings: Settings, stored: pd.DataFrame, tables: Tables, other_question: Small
) -> None:
    """Such as after a rollback: a vector of two hours before would be skew for a model of three hours before."""
    release.publish(settings.releases, other_question.contents, other_question.manifest("3"))
    release_pointer.set_live(settings.releases, "3")
    flight = tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"].iloc[0]]

    with TestClient(create_app(settings)) as client:
        prediction = client.post("/v1/predictions", json=request_of(flight)).json()

    assert (prediction["features"], prediction["flags"]) == ("request", ["request_only"])
