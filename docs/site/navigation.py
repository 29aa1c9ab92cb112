"""The pages of the site, by section. The pages themselves say nothing of it, because they are also read on GitHub."""

from pathlib import Path

from sphinx.application import Sphinx

from pipelines.tools import adopt

FRONT, DECISIONS = "docs/README", "docs/decisions/README"
SECTIONS = {
    "Start": (
        "docs/getting-started", "docs/demo", "docs/troubleshooting", "docs/faq", "docs/glossary", "docs/rubric",
        "docs/comparison", "CONTRIBUTING",
    ),
    "Tour": ("docs/tour", "docs/episodes", "docs/notebook"),
    "Make it yours": ("docs/make-it-yours", "docs/models"),
    "How it works": (
        "docs/architecture", "docs/how-it-works", "docs/code", "docs/features", "docs/gate", "docs/service",
        "docs/monitoring", "docs/streaming", "docs/engines", "docs/governance", "SECURITY",
    ),
    "Results": (
        "docs/results", "reports/eda", "reports/model_card", "docs/what-the-model-is-worth",
        "docs/what-features-are-worth", "docs/what-models-are-worth", "docs/what-searching-is-worth",
        "docs/what-compression-costs", "docs/class_imbalance", "docs/replay", "docs/sabotage", "docs/attacks",
        "docs/benchmarks",
    ),
    "Operate": (
        "docs/commands", "docs/sizing", "infra/README", "infra/runbook", "infra/kubernetes/README",
        "infra/terraform/README", "CHANGELOG",
    ),
    "Reference": ("docs/cli", "docs/settings", "docs/params", "docs/http-api", "docs/python-api"),
    "Decisions": (DECISIONS,),
}  # fmt: skip
INCLUDED = (
    "docs/*.md", "docs/decisions/*.md", "infra/**.md", "reports/*.md",
    "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
)  # fmt: skip


def may_be_missing(root: Path, path: str) -> bool:
    """Whether `make adopt` has deleted or replaced this file: another problem has other files, and no pages yet."""
    replaced = (*adopt.REMOVED_PATHS, str(adopt.PROBLEM), str(adopt.TESTS))
    return (root / adopt.REFERENCE).is_dir() and any(Path(path).is_relative_to(each) for each in replaced)


def sections(root: Path) -> dict[str, list[str]]:
    """Without the pages that this problem does not have yet. Any other missing page makes the build fail."""
    return {
        caption: [page for page in pages if (root / f"{page}.md").exists() or not may_be_missing(root, f"{page}.md")]
        for caption, pages in SECTIONS.items()
    }


def add_table_of_contents(app: Sphinx, page: str, content: list[str]) -> None:
    """Of the front page, with all sections, and of the decision records."""
    if page == FRONT:
        content[0] += "".join(
            _toctree(f":caption: {caption}", *(f"/{each}" for each in pages))
            for caption, pages in sections(Path(app.srcdir)).items()
        )
    if page == DECISIONS:
        content[0] += _toctree(":glob:", "[0-9]*")


def _toctree(option: str, *entries: str) -> str:
    return "\n\n```{toctree}\n:hidden:\n" + "\n".join([option, "", *entries]) + "\n```\n"
