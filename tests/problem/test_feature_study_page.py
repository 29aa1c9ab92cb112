"""The committed page of the study of features has the numbers of its report."""

from pipelines.layout import read_json
from pipelines.tools import study_pages
from tests import ROOT


def test_the_tables_are_what_the_numbers_say() -> None:
    report = read_json(ROOT / study_pages.FEATURES.json)
    page = (ROOT / study_pages.FEATURES.path).read_text()

    assert study_pages.FEATURES.with_results(page, report) == page
