"""Pages and documents from templates: what a page shows is text, and no name may be without a value."""

from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from monitoring.performance import Performance
from ontime import rendering
from ontime.declaration import Question
from ontime.evaluation import Interval
from ontime.schema import WORDS
from pipelines.tools import performance_report

SCRIPT = "<script>alert('on time')</script>"
MEANT = "&lt;script&gt;alert(&#39;on time&#39;)&lt;/script&gt;"


def rendered(folder: Path, file: str, text: str, **values: object) -> str:
    (folder / file).write_text(text)
    return rendering.render(folder / file, **values)


def test_a_page_shows_a_script_and_does_not_run_it(tmp_path: Path) -> None:
    assert rendered(tmp_path, "page.html.jinja", "<b>{{ name }}</b>", name=SCRIPT) == f"<b>{MEANT}</b>"


def test_what_a_page_takes_from_another_template_is_escaped_as_well(tmp_path: Path) -> None:
    (tmp_path / "parts.html.jinja").write_text("{% macro bold(text) %}<b>{{ text }}</b>{% endmacro %}")
    page = '{% from "parts.html.jinja" import bold %}{{ bold(name) }}'

    assert rendered(tmp_path, "page.html.jinja", page, name=SCRIPT) == f"<b>{MEANT}</b>"


def test_the_report_of_production_shows_the_name_of_a_group_as_it_is() -> None:
    group = Performance(100, 90, 0.2, 0.2)
    report = performance_report.PerformanceReport(group, {}, {"carrier": {SCRIPT: group}}, 0, 0, Question(15, 120))

    page = performance_report._page(report)

    assert MEANT in page
    assert "<script" not in page


def test_the_report_of_production_shows_a_score_with_its_interval_where_there_is_one() -> None:
    scores = {
        "log_loss": 0.45,
        "auc": 0.765,
        "average_precision": 0.5,
        "brier": 0.15,
        "ece": 0.01,
        "cost_per_1000": 470,
    }
    day = Performance(100, 90, 0.2, 0.2, scores)
    group = replace(day, intervals={"auc": Interval(0.7, 0.8)})
    report = performance_report.PerformanceReport(
        group, {"2013-01-01": day}, {"carrier": {"UA": group}}, 0, 0, Question(15, 120)
    )

    page = performance_report._page(report)

    assert '<td class="number">0.765 (0.700 to 0.800)</td><td class="number">0.500</td>' in page
    assert '<td class="number">0.4500</td><td class="number">0.765</td>' in page
    assert "Without interval" not in page


def test_a_document_keeps_every_character(tmp_path: Path) -> None:
    assert rendered(tmp_path, "card.md.jinja", "{{ name }} & more\n", name=SCRIPT) == f"{SCRIPT} & more\n"


@pytest.mark.parametrize("file", ["page.html.jinja", "card.md.jinja"])
@pytest.mark.parametrize("text", ["{{ missing }}", "{{ row.missing }}", "{% if missing %}yes{% endif %}"])
def test_a_name_without_a_value_is_refused(tmp_path: Path, file: str, text: str) -> None:
    with pytest.raises(UndefinedError, match="missing"):
        rendered(tmp_path, file, text, row={})


def test_numbers_are_formatted_and_the_words_of_the_problem_are_known(tmp_path: Path) -> None:
    text = '{{ share | fmt(".1%") }} of {{ count | fmt(",") }} {{ words.entities }}'

    assert rendered(tmp_path, "card.md.jinja", text, share=0.125, count=1234) == f"12.5% of 1,234 {WORDS.entities}"
