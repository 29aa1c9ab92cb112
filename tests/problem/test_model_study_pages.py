"""The committed pages of the studies of models have the numbers of their reports, which are of the committed model."""

from types import ModuleType
from typing import Any

import pytest

from pipelines.layout import REPORTS, read_json
from pipelines.tools import study_compression_page, study_models_page
from tests import ROOT

PAGES = {
    "models": (study_models_page, study_models_page.with_models),
    "compression": (study_compression_page, study_compression_page.with_compression),
}


@pytest.fixture(params=PAGES)
def study(request: pytest.FixtureRequest) -> tuple[ModuleType, Any]:
    return PAGES[request.param]


def test_its_tables_are_those_of_the_report(study: tuple[ModuleType, Any]) -> None:
    page, with_numbers = study
    text = (ROOT / page.PAGE).read_text()

    assert with_numbers(text, read_json(ROOT / page.JSON)) == text


def test_its_best_candidate_is_the_committed_model(study: tuple[ModuleType, Any]) -> None:
    report, metrics = read_json(ROOT / study[0].JSON), read_json(ROOT / REPORTS / "metrics.json")

    assert report["best"] == metrics["best"]
    (row,) = (each for each in report["rows"] if each["name"] == report["best"])
    committed = metrics["candidates"][metrics["best"]]
    # The study has the mean of three seeds.
    assert row["valid"]["log_loss"] == pytest.approx(committed["valid"]["log_loss"], abs=0.0015)
    assert row["test"]["auc"] == pytest.approx(committed["test"]["auc"], abs=0.003)


def test_every_file_predicts_as_its_model_and_quantised_ones_nearly(study: tuple[ModuleType, Any]) -> None:
    quantised = ("int8", "float16")

    for row in read_json(ROOT / study[0].JSON)["rows"]:
        allowed = 0.05 if any(name in row["name"] for name in quantised) else 1e-5
        assert row["costs"]["parity"] <= allowed, row["name"]
