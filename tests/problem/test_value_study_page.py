"""The committed page of the study of value has the numbers of its report, and those are of the committed model."""

from pipelines.layout import REPORTS, read_json
from pipelines.tools import study_pages
from tests import ROOT


def test_its_tables_are_those_of_the_report() -> None:
    report = read_json(ROOT / study_pages.VALUE.json)
    page = (ROOT / study_pages.VALUE.path).read_text()

    assert study_pages.VALUE.with_results(page, report) == page


def test_its_model_is_the_committed_one() -> None:
    report, metrics = read_json(ROOT / study_pages.VALUE.json), read_json(ROOT / REPORTS / "metrics.json")

    assert report["algorithm"] == metrics["best"]
    committed = metrics["candidates"][metrics["best"]]["test"]["cost_per_1000"]
    assert round(report["declared_cost"], 1) == committed
