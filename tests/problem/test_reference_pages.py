"""The committed reference of parameters and routes is what the code says of this problem."""

from docs.site import http_api_page, params_page
from ontime.settings import Settings
from serving.app import create_app
from tests import ROOT


def test_the_page_of_parameters_is_up_to_date() -> None:
    written = params_page.page((ROOT / "params.yaml").read_text())

    assert (ROOT / "docs/params.md").read_text() == written, "run make docs-reference"


def test_the_page_of_the_http_api_is_up_to_date(settings: Settings) -> None:
    written = http_api_page.page(create_app(settings).openapi())

    assert (ROOT / "docs/http-api.md").read_text() == written, "run make docs-reference"
