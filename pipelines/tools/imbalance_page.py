"""Renders docs/class_imbalance.md from the numbers in reports/imbalance.json."""

from pathlib import Path
from typing import Any

from ontime import findings, rendering
from ontime.declaration import Question
from ontime.problem import PROBLEM

PAGE = Path("docs/class_imbalance.md")
TEMPLATE = Path(__file__).parent / "templates/class_imbalance.md.jinja"
PLAIN = "no weights"
PRIOR_CORRECTED = ", prior-corrected"


def class_imbalance_document(report: dict[str, Any]) -> str:
    """The text of docs/class_imbalance.md."""
    first = report["labels"][0]
    plain, *others = first["treatments"]
    return rendering.render(
        TEMPLATE,
        **report,
        question=Question(first["label_at_least"], report["lead_minutes"]),
        unit=PROBLEM.label.unit,
        plain=plain,
        weighted=[row for row in others if not row["name"].endswith(PRIOR_CORRECTED)],
        prior_corrected=[row for row in others if row["name"].endswith(PRIOR_CORRECTED)],
        auc_apart=max(abs(row["auc"] - plain["auc"]) for row in others),
        percent=findings.percent,
    )
