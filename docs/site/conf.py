"""Configuration of Sphinx for `make docs`: the Markdown files of this repository, where they are, as a site."""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]  # this folder's code, also where the environment is another folder's

from docs.site import docstrings, links, navigation  # noqa: E402

project = "ontime"
html_title = "ontime"
root_doc = navigation.FRONT
# The source folder is the root of the repository, so that a link between any two pages is the same here and on GitHub.
include_patterns = list(navigation.INCLUDED)
exclude_patterns = [".*", "data", "docs/site", "models", "releases", "var"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_heading_anchors = 4
# Nothing is written outside of this folder.
for tool in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
    os.environ[tool] = str(ROOT / "var/jupyter")
os.environ["JUPYTER_PATH"] = str(Path(__file__).parent / "jupyter")  # a kernel that prints errors only
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"
nb_ipywidgets_js: dict[str, str] = {}  # they would come from another host
default_role = "code"  # in docstrings
highlight_language = "none"
autodoc_member_order = "bysource"
maximum_signature_line_length = 80
# Where links to files that are not pages lead. GitHub's runners have these variables; without them, the links are text.
code_host = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ) if "GITHUB_SHA" in os.environ else ""
repository = f"{code_host}/blob/{os.environ['GITHUB_SHA']}" if code_host else ""

html_theme = "pydata_sphinx_theme"
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "index.html"}
html_sidebars = {"**": ["sections.html"]}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_center": [],
    "navbar_persistent": ["search-button"],
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": True,
    "collapse_navigation": True,
    **({"github_url": code_host} if code_host else {}),
}


def setup(app: Sphinx) -> None:
    app.add_config_value("repository", "", "env")
    app.add_transform(links.Pictures)
    app.add_transform(links.RepositoryLinks)
    app.connect("autodoc-process-docstring", docstrings.mark_indented_blocks)
    app.connect("source-read", navigation.add_table_of_contents)
