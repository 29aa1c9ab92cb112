"""The committed page of the study of value has the numbers of its report, and those are of the committed model."""

from pipelines.layout import REPORTS, read_json
from pipelines.tools import study_value_page
from tests import ROOT


def test_its_tables_are_those_of_the_report() -> None:
    report = read_json(ROOT / study_value_page.JSON)
    page = (ROOT / study_value_page.PAGE).read_text()

    assert study_value_page.with_value(page, report) == page


def test_its_model_is_the_committed_one() -> None:
    report, metrics = read_json(ROOT / study_value_page.JSON), read_json(ROOT / REPORTS / "metrics.json")

    assert report["algorithm"] == metrics["best"]
    committed = metrics["candidates"][metrics["best"]]["test"]["cost_per_1000"]
    assert round(report["declared_cost"], 1) == committed
