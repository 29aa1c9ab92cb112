"""Writes the model card from the results of the evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

from ontime import rendering, schema, slices
from ontime.conformal import CONFIDENCE
from ontime.evaluation import MIN_DAYS, Interval
from ontime.explain import Method
from ontime.model_study import StudiedModel, Study
from ontime.params import Params
from ontime.problem import PROBLEM

TEMPLATE = Path(__file__).parent / "templates/model_card.md.jinja"


@dataclass(frozen=True)
class EvaluationReport:
    """The results of one evaluation."""

    params: Params
    best: str  # the algorithm with the lowest log-loss on the validation period
    candidates: dict[str, dict[str, dict[str, float]]]  # name -> "valid" and "test" -> figure -> value
    intervals: dict[str, Mapping[str, Interval]]  # of the test figures, by days
    request_only: dict[str, float]  # the best one with the request alone
    study: Study | None  # of this model or an earlier one; None if there is none, or `evaluate.full_card` is false
    slices: list[dict[str, Any]]
    equalised: list[dict[str, Any]]  # by fairness.equalised; empty where `evaluate.full_card` is false
    entities: dict[str, int]  # labelled, by period
    positive_share: float  # of the test period
    days: int
    reasons: Method  # how the best model's reasons are computed
    log_loss_by_seed: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of candidates that are close
    kinds_of_days: list[dict[str, Any]] = field(default_factory=list)  # as slices, which do not gate, with their `days`

    @property
    def is_studied(self) -> bool:
        """Whether the study is of this very model."""
        own = StudiedModel(self.params.dataset, self.best, **self.candidates[self.best])
        return self.study is not None and self.study.of == own

    def as_json(self) -> dict[str, Any]:
        """The contents of reports/evaluation.json: what the card shows beyond reports/metrics.json."""
        return {
            "entities": self.entities,
            "positive_share": self.positive_share,
            "days": self.days,
            "intervals": {
                name: {figure: list(interval) for figure, interval in figures.items()}
                for name, figures in self.intervals.items()
            },
            "log_loss_by_seed": self.log_loss_by_seed,
            "request_only": self.request_only,
            "slices": self.slices,
            "equalised": self.equalised,
            "kinds_of_days": self.kinds_of_days,
        }


def model_card(report: EvaluationReport) -> str:
    """The card in Markdown; without plots if `evaluate.full_card` is false."""
    judged = [row for row in report.slices if row["gated"]]
    return rendering.render(
        TEMPLATE,
        report=report,
        judged=judged,
        furthest_off=max(judged, key=_calibration_gap, default=None),
        entropy=_entropy(report.positive_share),
        ablations={name: _ablation(name) for name in PROBLEM.ablations},
        features=schema.BY_NAME,
        online=schema.ONLINE,
        min_days=MIN_DAYS,
        confidence=CONFIDENCE,
        conformal_group=slices.GROUP,
    )


def _calibration_gap(row: Mapping[str, Any]) -> float:
    """The distance of a slice's mean probability from its share of positive rows."""
    return abs(float(row["mean_probability"] - row["positives"] / row["entities"]))


def _entropy(rate: float) -> float:
    """The log-loss of predicting the base rate for every entity."""
    return -(rate * log(rate) + (1 - rate) * log(1 - rate))


def _ablation(name: str) -> dict[str, Any]:
    """The text of an ablation, and the number of features that it removes."""
    ablation = PROBLEM.ablations[name]
    return {
        "words": ablation.words,
        "features": sum(len(schema.FAMILIES[family]) for family in ablation.families),
    }
