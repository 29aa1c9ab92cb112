"""Why the predictions of one period are worse than those of another: the change decomposed, and its causes ranked.

Every cause has a cost in log-loss, so that causes of all kinds can be ranked together. A family of features costs the
difference between the log-loss that its part of the predictions should save and what it does save. The base rate, a
slice, or all predictions alike cost what a recalibration fitted on other days would save. Decision 27 has the
alternatives and the limits.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from monitoring import decomposition, recalibration
from monitoring.decomposition import Change, Difference, LabelledSample, Predictions
from monitoring.family_shapley import FAMILIES, FamilyShapley, replace_family
from ontime import evaluation, slices
from ontime.evaluation import Estimate
from ontime.params import Cost
from ontime.release import Model

PAIRS = 3000  # of entities; more would hardly narrow an interval, because the number of days limits it
MIN_SLICE_ENTITIES = 200  # a smaller slice has too few positive rows on every second day
NOTABLE_LOG_LOSS = 0.01  # the smallest cost of a notable cause
WIDENING = 1.4  # from a 95 % to a 99 % interval over a fortnight, because some 35 causes are tested
SILENT_RATIO = 1 / 3  # a family that moves predictions less than this share of before is silent
SLOPE_SHARE = 0.2  # if the slope saves more than this share, the base rate alone does not explain the loss
MIN_DAYS = 2 * evaluation.MIN_DAYS  # each half needs an interval
NO_ENTITIES = Estimate(0.0, 0.0, 0.0, 0.0, 0)

Shortfalls = Mapping[str, Estimate]


class TooFewDays(ValueError):
    """A sample has too few days for intervals by days."""


@dataclass(frozen=True)
class Cause:
    """A possible cause, and the log-loss that it costs more than before."""

    kind: Literal["base rate", "family", "slice", "concept drift"]
    name: str  # of a family, or of a slice: "weather", "hour before 09:00"
    cost: Difference
    silent: bool = False  # its features hardly change the predictions any more, rather than mislead them

    @property
    def stands_out(self) -> bool:
        value, low, _ = self.cost
        return value >= NOTABLE_LOG_LOSS and value > WIDENING * (value - low)


@dataclass(frozen=True)
class SliceChange:
    dimension: str
    name: str
    entities: int
    positive_rate: float
    predicted: float
    log_loss: float
    expected: float  # the log-loss that calibrated probabilities would have
    before: float | None  # the log-loss before; None without any entity of this slice


@dataclass(frozen=True)
class Diagnosis:
    """Each pair has the value for the earlier sample and for the later one."""

    entities: tuple[int, int]
    positive_rate: tuple[float, float]
    predicted: tuple[float, float]
    changes: Mapping[str, Change]  # of the log-loss, and of the cost per 1,000 entities
    causes: tuple[Cause, ...]  # the most costly first
    slices: tuple[SliceChange, ...]

    @property
    def notable(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self.causes if cause.stands_out)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"stands_out": [cause.name for cause in self.notable]}


def diagnose(model: Model, before: LabelledSample, after: LabelledSample, cost: Cost, seed: int) -> Diagnosis:
    """Why this model's predictions are worse in one sample than in an earlier one. Raises TooFewDays."""
    for name, sample in (("before", before), ("now", after)):
        if (days := len(np.unique(sample.days))) < MIN_DAYS:
            raise TooFewDays(
                f"{name}: the release has predictions with known outcomes for entities of {days} days, and a diagnosis "
                f"needs {MIN_DAYS}; run `make materialise` to load the outcomes that have arrived"
            )
    predictions = Predictions.of(model, before), Predictions.of(model, after)
    shapley = FamilyShapley(model, before.matrix, after.matrix, PAIRS, seed)
    shortfalls = (
        _shortfalls(predictions[0], FamilyShapley(model, before.matrix, before.matrix, PAIRS, seed)),
        _shortfalls(predictions[1], shapley),
    )
    scores = {"log_loss": decomposition.log_loss, "cost_per_1000": decomposition.cost_score(cost)}
    causes = [
        *_base_rate_and_concept_drift(*predictions),
        *_slice_causes(*predictions),
        *_family_causes(model, *predictions, shortfalls, seed),
    ]
    return Diagnosis(
        entities=(len(before.label), len(after.label)),
        positive_rate=(float(before.label.mean()), float(after.label.mean())),
        predicted=(float(predictions[0].probability.mean()), float(predictions[1].probability.mean())),
        changes={name: decomposition.decompose(*predictions, shapley, score) for name, score in scores.items()},
        causes=tuple(sorted(causes, key=lambda cause: -cause.cost.value)),
        slices=tuple(_slice_changes(*predictions)),
    )


def _saved(predictions: Predictions, design: NDArray[np.float64]) -> Estimate:
    """The log-loss that a recalibration saves."""
    label, days = predictions.sample.label, predictions.sample.days
    recalibrated = recalibration.cross_fitted(predictions.log_odds, label, design, days)
    return predictions.mean(_loss(label, predictions.log_odds) - _loss(label, recalibrated))


def _loss(label: NDArray[np.bool_], log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.logaddexp(0, log_odds) - label * log_odds


def _base_rate_and_concept_drift(before: Predictions, after: Predictions) -> list[Cause]:
    intercepts = [_saved(each, recalibration.intercept_design(each.log_odds)) for each in (after, before)]
    slopes = [
        _saved(each, recalibration.slope_design(each.log_odds, np.ones(len(each.log_odds), bool)))
        for each in (after, before)
    ]
    causes = [Cause("base rate", "base rate", decomposition.difference(*intercepts))]
    if slopes[0].value - intercepts[0].value > SLOPE_SHARE * slopes[0].value > 0:
        causes.append(Cause("concept drift", "concept drift", decomposition.difference(*slopes)))
    return causes


def _slice_causes(before: Predictions, after: Predictions) -> list[Cause]:
    return [
        Cause(
            "slice",
            f"{dimension} {name}",
            decomposition.difference(saved, _saved_in_slice(before, str(dimension), name) or NO_ENTITIES),
        )
        for dimension, names in after.sample.dimensions.items()
        for name in sorted(set(names))
        if (saved := _saved_in_slice(after, str(dimension), name)) is not None
    ]


def _saved_in_slice(predictions: Predictions, dimension: str, name: str) -> Estimate | None:
    """The saving per entity of the sample if one slice is recalibrated; None if the slice is too small."""
    chosen = (predictions.sample.dimensions[dimension] == name).to_numpy(bool)
    if chosen.sum() < MIN_SLICE_ENTITIES:
        return None
    return _saved(predictions, recalibration.slope_design(predictions.log_odds, chosen))


def _family_causes(
    model: Model, before: Predictions, after: Predictions, shortfalls: tuple[Shortfalls, Shortfalls], seed: int
) -> list[Cause]:
    causes = []
    for family in FAMILIES:
        if _influence(family, model, after, seed) < SILENT_RATIO * _influence(family, model, before, seed):
            causes.append(Cause("family", family, _cost_of_silence(family, model, before, after, seed), silent=True))
        else:
            cost = decomposition.difference(shortfalls[1][family], shortfalls[0][family])
            causes.append(Cause("family", family, cost))
    return causes


def _shortfalls(predictions: Predictions, shapley: FamilyShapley) -> Shortfalls:
    """The log-loss that each family's part of the log-odds should save, minus what it does save.

    Both are linear in the outcome, so their difference is the prediction's error times that part. The error of
    calibrated probabilities is uncorrelated with every part, and the difference is zero.
    """
    parts = shapley.values(lambda probability: np.asarray(logit(decomposition.clip(probability))))
    errors = shapley.probability_after - predictions.sample.label[shapley.after]
    days = predictions.sample.days[shapley.after]
    shortfalls = {family: evaluation.mean_interval(errors * part, days) for family, part in parts.items()}
    return {family: estimate for family, estimate in shortfalls.items() if estimate is not None}


def _influence(family: str, model: Model, predictions: Predictions, seed: int) -> float:
    """How far the log-odds move when the entities of one sample exchange this family's values."""
    matrix = predictions.sample.matrix
    chosen = np.linspace(0, len(matrix) - 1, min(PAIRS, len(matrix))).astype(int)
    rows = matrix[chosen]
    exchanged = replace_family(rows, np.random.default_rng(seed).permutation(rows), family)
    log_odds = logit(decomposition.clip(model.predict(exchanged).astype(np.float64)))
    return float(np.abs(log_odds - predictions.log_odds[chosen]).mean())


def _cost_of_silence(family: str, model: Model, before: Predictions, after: Predictions, seed: int) -> Difference:
    """The loss that the entities before would add if they had this family's values of after."""
    sample = before.sample
    donors = np.random.default_rng(seed).integers(len(after.sample.matrix), size=len(sample.matrix))
    rows = replace_family(sample.matrix, after.sample.matrix[donors], family)
    mixed = Predictions.of(model, LabelledSample(rows, sample.label, sample.days, sample.dimensions))
    added = before.mean(_loss(sample.label, mixed.log_odds) - _loss(sample.label, before.log_odds))
    return Difference(added.value, added.low, added.high)


def _slice_changes(before: Predictions, after: Predictions) -> list[SliceChange]:
    losses = [_loss(each.sample.label, each.log_odds) for each in (before, after)]
    expected = decomposition.log_loss(after.probability).expected(after.probability)
    changes = []
    for dimension, names in after.sample.dimensions.items():
        for name in sorted(set(names), key=slices.order):
            chosen = (names == name).to_numpy(bool)
            chosen_before = (before.sample.dimensions[dimension] == name).to_numpy(bool)
            changes.append(
                SliceChange(
                    dimension=str(dimension),
                    name=name,
                    entities=int(chosen.sum()),
                    positive_rate=float(after.sample.label[chosen].mean()),
                    predicted=float(after.probability[chosen].mean()),
                    log_loss=float(losses[1][chosen].mean()),
                    expected=float(expected[chosen].mean()),
                    before=float(losses[0][chosen_before].mean()) if chosen_before.any() else None,
                )
            )
    return changes
