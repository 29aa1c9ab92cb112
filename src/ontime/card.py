"""The model card, written from the evaluation's own numbers: none is typed by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from ontime import rendering, schema, slices
from ontime.conformal import CONFIDENCE
from ontime.evaluation import MIN_DAYS, Interval
from ontime.explain import Method
from ontime.params import Params
from ontime.problem import PROBLEM

Importance = Sequence[tuple[str, float, float]]
TEMPLATE = Path(__file__).parent / "templates/model_card.md.jinja"


@dataclass(frozen=True)
class Report:
    """All that one evaluation found out."""

    params: Params
    champion: str
    candidates: dict[str, dict[str, dict[str, float]]]  # name -> "valid" and "test" -> figure -> value
    intervals: dict[str, Mapping[str, Interval]]  # of the test figures, by days
    variants: dict[str, dict[str, float]]  # the champion with less to know
    slices: list[dict[str, Any]]
    equalised: list[dict[str, Any]]  # by fairness.equalised; empty where `evaluate.full_card` is false
    coverage: list[dict[str, Any]]  # of conformal sets; empty there too
    entities: dict[str, int]  # labelled, by period
    positive_share: float  # of the test period
    days: int
    reasons: Method  # of the champion's answers

    def as_json(self, importance: Importance) -> dict[str, Any]:
        """reports/evaluation.json: what the card shows beyond reports/metrics.json."""
        return {
            "entities": self.entities,
            "positive_share": self.positive_share,
            "days": self.days,
            "intervals": {
                name: {figure: list(interval) for figure, interval in figures.items()}
                for name, figures in self.intervals.items()
            },
            "variants": self.variants,
            "slices": self.slices,
            "equalised": self.equalised,
            "coverage": self.coverage,
            "importance": {name: round(mean, 5) for name, mean, _ in importance},
        }


def model_card(report: Report, importance: Importance) -> str:
    """The card, in Markdown; without pictures and importance where `evaluate.full_card` is false."""
    judged = [row for row in report.slices if row["gated"]]
    return rendering.render(
        TEMPLATE,
        report=report,
        importance=importance,
        judged=judged,
        furthest_off=max(judged, key=_off, default=None),
        entropy=_entropy(report.positive_share),
        ablations={name: _ablation(name) for name in PROBLEM.ablations},
        features=schema.BY_NAME,
        online=schema.ONLINE,
        min_days=MIN_DAYS,
        confidence=CONFIDENCE,
        conformal_group=slices.GROUP,
    )


def _off(row: Mapping[str, Any]) -> float:
    """How far the probabilities of a slice are from the share that is positive, on average."""
    return abs(float(row["mean_probability"] - row["positives"] / row["entities"]))


def _entropy(rate: float) -> float:
    """The log-loss of always saying the rate itself."""
    return -(rate * log(rate) + (1 - rate) * log(1 - rate))


def _ablation(name: str) -> dict[str, Any]:
    """Its words, and how many features it leaves out."""
    declared = PROBLEM.ablations[name]
    return {
        "words": declared.words,
        "features": sum(len(schema.FAMILIES[family]) for family in declared.families),
    }
