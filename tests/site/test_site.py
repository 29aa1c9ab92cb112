"""`make docs` builds every page strictly, and the site loads nothing from another host."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests import ROOT, browser

pytestmark = pytest.mark.slow

SPHINX = ROOT / "var/docs-venv/bin/python"
# An address in an attribute or a stylesheet that makes a browser load something. A link to click on is not one.
LOADED = re.compile(
    r"<(?:audio|embed|iframe|img|input|link|object|script|source|track|video)\b[^>]*?"
    r"\b(?:data|href|poster|src|srcset)\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|(?:\burl\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)"
)


def build(folder: Path, source: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    options = ["--fresh-env", "--quiet", "--fail-on-warning", "--keep-going", "-c", str(source / "docs/site")]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    return subprocess.run(
        [str(SPHINX), "-m", "sphinx", *options, "-d", str(folder / "cache"), str(source), str(folder / "site")],
        env={**inherited, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def page(folder: Path, text: str) -> Path:
    """A folder whose only page has this text."""
    (folder / "source/docs").mkdir(parents=True)
    (folder / "source/docs/site").symlink_to(ROOT / "docs/site")
    (folder / "source/docs/README.md").write_text(f"# Front\n\n{text}\n")
    return folder / "source"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert SPHINX.exists(), "run make docs, which installs Sphinx"
    folder = tmp_path_factory.mktemp("built")
    completed = build(folder)
    assert completed.returncode == 0, completed.stdout
    return folder / "site"


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://cdn.example/x.js"></script>',
        "<link rel=stylesheet href=//cdn.example/x.css>",
        "@import 'https://cdn.example/x.css';",
        "src: url(https://cdn.example/x.woff2)",
    ],
)
def test_an_asset_of_another_host_is_seen(text: str) -> None:
    assert LOADED.search(text)


def test_nothing_comes_from_another_host(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".css", ".html", ".svg")]
    foreign = {
        str(path.relative_to(site)): match.group(1) or match.group(2)
        for path in files
        for match in LOADED.finditer(path.read_text())
    }

    assert len(files) > 100
    assert foreign == {}


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = page(tmp_path, "[a](nowhere.md) [b](#no-heading) [c](site/no_such.py)")

    completed = build(tmp_path, source)

    assert completed.returncode == 1
    assert {"nowhere.md", "no-heading", "site/no_such.py"} <= set(re.findall(r"'#?([\w./-]+)'", completed.stdout))


def test_a_link_to_code_leads_to_github_in_a_site_that_github_built_and_is_text_elsewhere(tmp_path: Path) -> None:
    source = page(tmp_path, "[the links](site/links.py)")
    github = {"GITHUB_SERVER_URL": "https://code.example", "GITHUB_REPOSITORY": "o/r", "GITHUB_SHA": "5f2c"}

    for folder, variables in (("there", github), ("here", {})):
        build(tmp_path / folder, source, **variables)

    there, here = ((tmp_path / folder / "site/docs/README.html").read_text() for folder in ("there", "here"))
    assert 'href="https://code.example/o/r/blob/5f2c/docs/site/links.py"' in there
    assert 'href="https://code.example/o/r"' in there
    assert "the links" in here
    assert "code.example" not in here
    assert "links.py" not in here


@pytest.fixture(scope="module")
def opened(site: Path) -> Iterator[Page]:
    with browser.running() as chromium:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        page.on("request", lambda request: requested.append(request.url))
        requested: list[str] = []
        page.goto(f"file://{site}/index.html")
        page.wait_for_url("**/docs/README.html")
        yield page
        assert [url for url in requested if not url.startswith(("file://", "data:"))] == []


def test_it_is_as_wide_as_a_phone(opened: Page) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") == 390


def test_a_word_is_found(opened: Page, site: Path) -> None:
    opened.goto(f"file://{site}/search.html?q=conformal")

    opened.locator("#search-results li a").first.wait_for()


@pytest.mark.parametrize(("theme", "other"), [("light", "dark"), ("dark", "light")])
def test_it_follows_the_colours_of_the_reader(opened: Page, site: Path, theme: Any, other: str) -> None:
    opened.emulate_media(color_scheme=theme)
    opened.goto(f"file://{site}/docs/architecture.html")

    assert opened.evaluate("document.documentElement.dataset.theme") == theme
    assert opened.locator(f"img[src$='architecture-{theme}.svg']").is_visible()
    assert not opened.locator(f"img[src$='architecture-{other}.svg']").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["README", "architecture", "getting-started", "settings", "decisions/README"])
def test_a_page_has_no_fault_of_accessibility(opened: Page, site: Path, theme: Any, name: str) -> None:
    opened.emulate_media(color_scheme=theme)
    opened.goto(f"file://{site}/docs/{name}.html")

    assert browser.accessibility_faults(opened) == []


def test_the_notebook_shows_what_it_computed(site: Path) -> None:
    if not (ROOT / "docs/notebook.md").exists():
        assert (ROOT / "tests/reference").is_dir(), "only another problem, which was adopted, has no notebook"
        return
    shown = (site / "docs/notebook.html").read_text()

    assert shown.count('class="cell_output') >= 6
    assert re.search(r'<img alt="Bars of the share[^>]*src="[^"]+\.png"', shown)
    assert "the contributions add up to" in shown
    assert str(ROOT) not in shown
