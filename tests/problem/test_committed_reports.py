"""Committed pages of long runs match their numbers."""

from pipelines.layout import read_json
from pipelines.tools import imbalance, imbalance_page
from tests import ROOT


def test_the_page_is_what_the_numbers_say() -> None:
    report = read_json(ROOT / imbalance.JSON)

    assert (ROOT / imbalance_page.PAGE).read_text() == imbalance_page.class_imbalance_document(report)
