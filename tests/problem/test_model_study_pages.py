"""The committed pages of the studies of models have the numbers of their reports, which are of the committed model."""

import pytest

from pipelines.layout import REPORTS, read_json
from pipelines.tools import study_pages
from pipelines.tools.study_pages import StudyPage
from tests import ROOT


@pytest.fixture(params=["models", "compression"])
def study(request: pytest.FixtureRequest) -> StudyPage:
    return {"models": study_pages.MODELS, "compression": study_pages.COMPRESSION}[request.param]


def test_its_tables_are_those_of_the_report(study: StudyPage) -> None:
    text = (ROOT / study.path).read_text()

    assert study.with_results(text, read_json(ROOT / study.json)) == text


def test_its_best_candidate_is_the_committed_model(study: StudyPage) -> None:
    report, metrics = read_json(ROOT / study.json), read_json(ROOT / REPORTS / "metrics.json")

    assert report["best"] == metrics["best"]
    (row,) = (each for each in report["rows"] if each["name"] == report["best"])
    committed = metrics["candidates"][metrics["best"]]
    # The study has the mean of three seeds.
    assert row["valid"]["log_loss"] == pytest.approx(committed["valid"]["log_loss"], abs=0.0015)
    assert row["test"]["auc"] == pytest.approx(committed["test"]["auc"], abs=0.003)


def test_every_file_predicts_as_its_model_and_quantised_ones_nearly(study: StudyPage) -> None:
    quantised = ("int8", "float16")

    for row in read_json(ROOT / study.json)["rows"]:
        allowed = 0.05 if any(name in row["name"] for name in quantised) else 1e-5
        assert row["costs"]["parity"] <= allowed, row["name"]
