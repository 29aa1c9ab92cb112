"""The committed page of the study of searches has the numbers of its report, on the committed parameters."""

from ontime.params import load_params
from pipelines.layout import read_json
from pipelines.tools import study_pages
from tests import ROOT


def test_its_tables_are_those_of_the_report() -> None:
    report = read_json(ROOT / study_pages.SEARCH.json)
    page = (ROOT / study_pages.SEARCH.path).read_text()

    assert study_pages.SEARCH.with_results(page, report) == page


def test_it_compares_with_the_committed_parameters() -> None:
    report, params = read_json(ROOT / study_pages.SEARCH.json), load_params(ROOT / "params.yaml")

    assert report["current"]["parameters"] == params.train.of("lightgbm").model_dump()
    assert {len(search["trials"]) for search in report["searches"]} == {params.tune.trials}
    assert report["folds"] == params.tune.folds
