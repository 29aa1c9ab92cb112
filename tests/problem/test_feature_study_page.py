"""The committed page of the study of features has the numbers of its report."""

from pipelines.layout import read_json
from pipelines.tools import study_features_page
from tests import ROOT


def test_the_tables_are_what_the_numbers_say() -> None:
    report = read_json(ROOT / study_features_page.JSON)
    page = (ROOT / study_features_page.PAGE).read_text()

    assert study_features_page.with_results(page, report) == page
