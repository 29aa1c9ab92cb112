"""The committed page of the study of searches has the numbers of its report, on the committed parameters."""

from ontime.params import load_params
from pipelines.layout import read_json
from pipelines.tools import study_search_page
from tests import ROOT


def test_its_tables_are_those_of_the_report() -> None:
    report = read_json(ROOT / study_search_page.JSON)
    page = (ROOT / study_search_page.PAGE).read_text()

    assert study_search_page.with_searches(page, report) == page


def test_it_compares_with_the_committed_parameters() -> None:
    report, params = read_json(ROOT / study_search_page.JSON), load_params(ROOT / "params.yaml")

    assert report["current"]["parameters"] == params.train.of("lightgbm").model_dump()
    assert {len(search["trials"]) for search in report["searches"]} == {params.tune.trials}
    assert report["folds"] == params.tune.folds
