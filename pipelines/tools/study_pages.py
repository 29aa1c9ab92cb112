"""The pages of the studies: the numbers of reports/study_*.json, as tables between two marks of a page in docs/."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ontime import figures, files, rendering
from pipelines.layout import REPORTS, write_json
from pipelines.tools.marked_pages import END, with_section

TEMPLATES = Path(__file__).parent / "templates"
SEARCH_PARTS = 4  # of the trials, after each of which the searches are compared

Report = Mapping[str, Any]


@dataclass(frozen=True)
class StudyPage:
    """Where `ontime study NAME` writes, and what its template gets beside the report."""

    name: str
    title: str
    path: Path
    template: str
    values: Callable[[Report], Report] = lambda _: {}

    @property
    def json(self) -> Path:
        return REPORTS / f"study_{self.name}.json"

    @property
    def picture(self) -> Path:
        return self.json.with_suffix(".png")

    @property
    def begin(self) -> str:
        """The line before the tables."""
        return f"<!-- written by make study-{self.name} -->\n"

    def with_results(self, text: str, report: Report) -> str:
        """The page with the tables between its marks; a new page if `text` is empty. Raises Refusal without marks."""
        start = text or f"# {self.title}\n\n## Results\n\n{self.begin}{END}"
        return with_section(start, self.begin, self.tables(report), self.path)

    def tables(self, report: Report) -> str:
        return rendering.render(TEMPLATES / self.template, **report, **self.values(report))

    def printed(self, report: Report) -> str:
        """The tables for a terminal, without figures."""
        lines = self.tables(report).splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("![")).strip()

    def write(self, report: Report, pictures: Mapping[Path, figures.Picture]) -> None:
        """Write the report, its pictures and the page, and print which files these are."""
        write_json(self.json, report)
        for path, picture in pictures.items():
            figures.save(picture, path)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        files.write_text(self.path, self.with_results(text, report))
        print(f"study {self.name}: wrote {', '.join(map(str, (self.json, *pictures)))} and {self.path}")


def _rows_by_kind(report: Report) -> Report:
    """The rows of each kind, the largest worth first."""
    ordered = sorted(report["rows"], key=lambda row: -row["worth"]["value"])
    return {
        "kinds": {kind: [row for row in ordered if row["kind"] == kind] for kind in ("out", "in", "idea", "idea_in")}
    }


def _counts_of_trials(report: Report) -> Report:
    trials = max(len(search["trials"]) for search in report["searches"])
    return {"counts": sorted({math.ceil(trials * part / SEARCH_PARTS) for part in range(1, SEARCH_PARTS + 1)})}


FEATURES = StudyPage(
    "features",
    "What features are worth",
    Path("docs/what-features-are-worth.md"),
    "study_features.md.jinja",
    _rows_by_kind,
)
VALUE = StudyPage("value", "What the model is worth", Path("docs/what-the-model-is-worth.md"), "study_value.md.jinja")
MODELS = StudyPage("models", "What models are worth", Path("docs/what-models-are-worth.md"), "study_models.md.jinja")
COMPRESSION = StudyPage(
    "compression", "What compression costs", Path("docs/what-compression-costs.md"), "study_compression.md.jinja"
)
SEARCH = StudyPage(
    "search",
    "What searching for parameters is worth",
    Path("docs/what-searching-is-worth.md"),
    "study_search.md.jinja",
    _counts_of_trials,
)
