"""docs/class_imbalance.md, from the numbers in reports/imbalance.json."""

from pathlib import Path
from typing import Any

from ontime import findings
from ontime.declaration import Question
from ontime.markdown import table
from ontime.problem import PROBLEM
from ontime.schema import WORDS

PAGE = Path("docs/class_imbalance.md")
PLAIN = "no weights"
E = WORDS.entities
DIVIDED = ", odds divided back"


def page(report: dict[str, Any]) -> str:
    """docs/class_imbalance.md, from reports/imbalance.json."""
    first = report["labels"][0]
    others = [row for row in first["treatments"] if row["name"] != PLAIN]
    plain = first["treatments"][0]
    weighted, corrected = ([row for row in others if row["name"].endswith(DIVIDED) == back] for back in (False, True))
    apart = max(abs(row["auc"] - plain["auc"]) for row in others)
    return f"""# Class imbalance

Made by `make imbalance`, which fits {report["champion"]} again with each treatment of the training period's rows, and scores it on the
{first["entities"]:,} {E} of the test period. Intervals are 95 %, by days. Numbers: [imbalance.json](../reports/imbalance.json).

Of the {E} trained on, {findings.percent(first["trained_positive_share"])} are {WORDS.positive}. {WORDS.definition.format(**Question(first["label_at_least"], report["lead_minutes"]).terms)} A weight on them, or fewer of the others, multiplies the odds that
a model learns by a known factor. That moves every probability and the threshold at which an alert pays, and tells nothing new about any {WORDS.entity}:

- **Ranking.** The AUC without weights is {plain["auc"]:.4f}; with any treatment it differs from that by at most {apart:.4f}.
- **Probabilities.** Without weights they are off by {plain["ece"]:.3f} on average (ECE), with weights or undersampling by {_span(weighted, "ece", 3)},
  and with the odds divided back by {_span(corrected, "ece", 3)}.
- **Cost.** Alerting from {report["alert_threshold"]:g} costs {plain["cost_per_1000"]:.0f} for 1000 {E} without weights, {_span(weighted, "cost_per_1000", 0)} with them: their threshold lies elsewhere.
  Each at its own threshold, chosen on the validation period, costs {_span(others, "cost_at_own_threshold", 0)}.

![Reliability with and without weights](../reports/imbalance/reliability.png)

{"".join(_label_section(label, report) for label in report["labels"])}## How to read it

*Difference* is from "{PLAIN}" on the same {E}, for the cost from "{PLAIN}" at {report["alert_threshold"]:g}: below zero, the treatment is better. *Own threshold* is the one of 0.01, 0.02 ... 0.99
that costs least on the validation period. Balanced weights have the ratio of LightGBM's `is_unbalance` and scikit-learn's `class_weight="balanced"`. The odds are divided back by
p / (p + factor x (1 - p)): Elkan (2001), theorem 2; King & Zeng (2001); Saerens, Latinne & Decaestecker (2002).

For every label, features that count labels count those from {first["label_at_least"]:g} on, as the `features` stage has built them.
What follows for this project is in [decision 28](decisions/28-class-weights.md).
"""


def _span(rows: list[dict[str, Any]], figure: str, digits: int) -> str:
    low, high = (f"{pick(row[figure] for row in rows):.{digits}f}" for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def _label_section(label: dict[str, Any], report: dict[str, Any]) -> str:
    header = ("treatment", "AUC", "AP", "ECE", "log-loss", "difference",
              f"cost per 1000, from {report['alert_threshold']:g}", "own threshold", "cost there", "difference")  # fmt: skip
    rows = [
        (row["name"], _with_interval(row, "auc", 3), f"{row['average_precision']:.3f}", f"{row['ece']:.3f}",
         f"{row['log_loss']:.4f}", _less_plain(row, "log_loss", 4),
         f"{row['cost_per_1000']:.0f}", f"{row['own_threshold']:.2f}", f"{row['cost_at_own_threshold']:.0f}", _less_plain(row, "cost_at_own_threshold", 0))
        for row in label["treatments"]
    ]  # fmt: skip
    return f"""## {label["label_at_least"]:g} {PROBLEM.label.unit} or more

{findings.percent(label["trained_positive_share"])} of the {E} trained on are {WORDS.positive} by that, and {findings.percent(label["positive_share"])} of the test period's.

{table(header, rows)}

"""


def _with_interval(row: dict[str, Any], figure: str, digits: int) -> str:
    interval = row["intervals"].get(figure)
    ends = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
    return f"{row[figure]:.{digits}f}{ends}"


def _less_plain(row: dict[str, Any], figure: str, digits: int) -> str:
    if row["name"] == PLAIN and figure != "cost_at_own_threshold":
        return ""
    if row["less_plain"][figure] is None:
        return "no interval"
    value, low, high = row["less_plain"][figure]
    return f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
