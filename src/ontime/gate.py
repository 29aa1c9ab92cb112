"""Decides whether the challenger may replace the champion.

Both are scored on the same entities, which neither was trained on. `decide` checks, in this order, that the challenger
is better (or, for a retrained candidate, non-inferior, also to the best release so far); that no slice gets worse; that
its probabilities are as well calibrated; and that it is not too good to be true. `make bench-gate` measures the error
rate of each check.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr
from sklearn.metrics import roc_auc_score

from ontime import evaluation, slices, split
from ontime.evaluation import Estimate, Floats, Labels
from ontime.params import Evaluate, Gate
from ontime.refusal import Refusal
from ontime.schema import WORDS


class GateBroken(Refusal):
    """The models cannot be compared on these entities."""


class Rival(NamedTuple):
    """What a challenger is compared with: a release, or a baseline if there is no release."""

    name: str
    probabilities: Floats


@dataclass(frozen=True)
class Verdict:
    """The gate's decision. Differences are of log-loss, challenger minus champion: below zero is better."""

    promote: bool
    reason: str
    difference: float
    low: float
    high: float
    entities: int
    days: int
    worse_slices: Sequence[str]
    calibration: Mapping[str, float]
    best: str | None = None  # the best release so far, if it is not the champion
    best_high: float | None = None  # upper end of the interval of the difference from it

    def evidence(self) -> dict[str, Any]:
        return asdict(self)


def refuse_seen_days(name: str, trained_until: date, judged_from: date) -> None:
    """Raise GateBroken if the model's training period overlaps the days on which it is judged."""
    if trained_until > judged_from:
        raise GateBroken(f"{name} was trained until {trained_until}, so it has seen {WORDS.entities} of {judged_from}")


def refuse_seen_entities(name: str, trained_on: NDArray[np.uint64], judged: pd.Series) -> None:
    """Raise GateBroken if the model was fitted on any of the entities on which it is judged.

    Compares the entities' keys (`split.row_keys`), independently of the `day` column.
    """
    seen = np.isin(split.row_keys(judged), trained_on)
    if seen.any():
        raise GateBroken(
            f"{name} was trained on {seen.sum():,} of the {len(judged):,} {WORDS.entities} it is judged on, such as "
            f"{judged.to_numpy()[seen][0]}: check the `day` column, which separates training from test"
        )


def decide(
    entities: pd.DataFrame,
    challenger: Floats,
    champion: Rival,
    gate: Gate,
    evaluate: Evaluate,
    *,
    non_inferiority: bool = False,
    best: Rival | None = None,
    base_rate: float | None = None,
) -> Verdict:
    """The verdict. `entities` has `label`, `day` and the features of the slices. Raises GateBroken for a single day.

    With `non_inferiority`, the challenger need not be better, only not worse by more than the margin. The same margin
    applies to `best`, the best release so far, so that small losses do not add up over many retrainings. `base_rate`,
    the share of positive rows in training, is given for the first model only: it must also show skill and calibrated
    probabilities, because there is no predecessor that has shown them.
    """
    label, days = entities["label"].to_numpy(bool), entities["day"].to_numpy()
    losses = evaluation.losses(label, challenger)
    champion_losses = evaluation.losses(label, champion.probabilities)
    comparison = _compare(losses, champion_losses, days)
    behind = _compare(losses, evaluation.losses(label, best.probabilities), days) if non_inferiority and best else None
    worse = worse_slices(
        slice_differences(slices.of_entities(entities), label, days, losses - champion_losses, evaluate), gate
    )
    calibration = calibration_of(label, days, challenger, champion.probabilities)
    limit = gate.margin_log_loss if non_inferiority else 0.0
    objections = [
        *_not_better(comparison, limit),
        *_behind(best, behind, gate),
        *([f"slices get worse: {'; '.join(worse)}"] if worse else []),
        *(miscalibrated(calibration, gate) if base_rate is None else ()),
        *_too_good(label, challenger, [champion, *([best] if best else [])], gate, base_rate),
        *_first_of_all(label, days, challenger, calibration, gate, base_rate),
    ]
    difference = comparison.difference
    low, high = difference.interval
    return Verdict(
        promote=not objections,
        reason="; ".join(objections) or f"{comparison}, wholly below {limit:g}",
        difference=round(difference.value, 4),
        low=low,
        high=high,
        entities=len(entities),
        days=difference.days,
        worse_slices=worse,
        calibration=calibration.evidence(),
        best=best.name if behind and best else None,
        best_high=behind.difference.interval.high if behind else None,
    )


def _mean(values: Floats, days: NDArray[np.datetime64]) -> Estimate:
    estimate = evaluation.mean_interval(values, days)
    if estimate is None:
        raise GateBroken(f"all {len(values):,} {WORDS.entities} are of one day: an interval by days needs at least two")
    return estimate


class LossComparison(NamedTuple):
    """The log-loss of a challenger and of its rival on the same entities, and the difference, with its interval.

    >>> str(LossComparison(0.3617, 0.3690, Estimate(-0.0073, 0.0018, -0.0110, -0.0041, days=61)))
    'log-loss 0.3617 minus 0.3690 = -0.0073 (95 % interval -0.0110 to -0.0041)'
    """

    challenger: float
    rival: float
    difference: Estimate

    def __str__(self) -> str:
        value, low, high = (f"{each:+z.4f}" for each in (self.difference.value, *self.difference.interval))
        return f"log-loss {self.challenger:.4f} minus {self.rival:.4f} = {value} (95 % interval {low} to {high})"


def _compare(challenger_losses: Floats, rival_losses: Floats, days: NDArray[np.datetime64]) -> LossComparison:
    difference = _mean(challenger_losses - rival_losses, days)
    return LossComparison(float(challenger_losses.mean()), float(rival_losses.mean()), difference)


def _not_better(comparison: LossComparison, limit: float) -> Iterator[str]:
    if not comparison.difference.high < limit:
        yield f"{comparison}, not wholly below {limit:g}"


def _behind(best: Rival | None, behind: LossComparison | None, gate: Gate) -> Iterator[str]:
    if best and behind and not behind.difference.high < gate.margin_log_loss:
        yield f"compared with {best.name}, the best so far: {behind}, not wholly below {gate.margin_log_loss:g}"


def slice_differences(
    dimensions: pd.DataFrame, label: Labels, days: NDArray[np.datetime64], difference: Floats, evaluate: Evaluate
) -> dict[str, Estimate]:
    """The mean difference, with its interval by days, of each slice that is large enough to gate."""
    estimates: dict[str, Estimate] = {}
    for dimension in dimensions:
        judged = pd.Series(label).groupby(dimensions[dimension].to_numpy()).agg(["size", "sum"])
        estimates |= {
            f"{dimension} {name}": estimate
            for name, estimate in evaluation.mean_intervals(difference, dimensions[dimension], days).items()
            if slices.gated(int(judged["size"][name]), int(judged["sum"][name]), evaluate)
        }
    return estimates


def worse_slices(estimates: dict[str, Estimate], gate: Gate) -> list[str]:
    """The slices in which the challenger's log-loss is significantly higher, and by more than the margin.

    Holm's procedure (1979) corrects for the number of slices: the probability that a model that is not worse has any
    such slice stays below `gate.slice_alarm`.
    """
    significant = holm({name: _p_value(estimate) for name, estimate in estimates.items()}, gate.slice_alarm)
    return [
        f"{name}: {estimate.value:+.4f}"
        for name, estimate in estimates.items()
        if name in significant and estimate.value > gate.margin_slice_log_loss
    ]


def _p_value(estimate: Estimate) -> float:
    """One-sided t test by days: the probability of a mean at least this high if the true mean is zero."""
    if estimate.error == 0:
        return 0.0 if estimate.value > 0 else 1.0
    return float(stdtr(estimate.days - 1, -estimate.value / estimate.error))


def holm(p_values: dict[str, float], level: float) -> set[str]:
    """The names whose hypothesis Holm's step-down procedure rejects at this level.

    >>> sorted(holm({"a": 0.01, "b": 0.03, "c": 0.02, "d": 0.9}, 0.05))
    ['a']
    >>> sorted(holm({"a": 0.01, "b": 0.03, "c": 0.015, "d": 0.001}, 0.05))
    ['a', 'b', 'c', 'd']
    """
    rejected: set[str] = set()
    for name, p_value in sorted(p_values.items(), key=lambda each: each[1]):
        if p_value > level / (len(p_values) - len(rejected)):
            break
        rejected.add(name)
    return rejected


class Calibration(NamedTuple):
    """The calibration of both models: the mean gap (above zero: probabilities too high) and the ECE.

    `worse_mean` and `worse_ece` are the differences of these errors, challenger minus champion, with intervals.
    """

    mean_gap: Estimate
    champion_mean_gap: float
    ece: float
    champion_ece: float
    worse_mean: Estimate
    worse_ece: Estimate

    def evidence(self) -> dict[str, float]:
        gap = self.mean_gap
        evidence = {"mean_gap": gap.value, "mean_gap_low": gap.low, "mean_gap_high": gap.high}
        evidence |= {name: getattr(self, name) for name in ("champion_mean_gap", "ece", "champion_ece")}
        for name in ("worse_mean", "worse_ece"):
            estimate: Estimate = getattr(self, name)
            evidence |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        return {name: round(value, 4) for name, value in evidence.items()}


def calibration_of(label: Labels, days: NDArray[np.datetime64], challenger: Floats, champion: Floats) -> Calibration:
    """Raises GateBroken for entities of a single day."""
    # Paired differences on the same outcomes: the effect of a day is the same in both errors, and cancels.
    worse_mean, worse_ece = (
        _mean(
            evaluation.calibration_parts(label, challenger, bins) - evaluation.calibration_parts(label, champion, bins),
            days,
        )
        for bins in (1, evaluation.CALIBRATION_BINS)
    )
    return Calibration(
        mean_gap=_mean(challenger - label, days),
        champion_mean_gap=float(champion.mean() - label.mean()),
        ece=evaluation.expected_calibration_error(label, challenger),
        champion_ece=evaluation.expected_calibration_error(label, champion),
        worse_mean=worse_mean,
        worse_ece=worse_ece,
    )


def miscalibrated(calibration: Calibration, gate: Gate) -> Iterator[str]:
    """The calibration errors in which the challenger is significantly worse than the champion, and beyond the margin.

    Skipped if the champion is a baseline: its few, cautious probabilities are always calibrated on average.
    """
    if _significantly_worse(calibration.worse_mean, gate):
        yield (
            f"its mean probability is off by {calibration.mean_gap.value:+.3f}, the champion's by "
            f"{calibration.champion_mean_gap:+.3f}: {_further_off(calibration.worse_mean, gate)}"
        )
    if _significantly_worse(calibration.worse_ece, gate):
        yield (
            f"its calibration error (ECE) is {calibration.ece:.3f}, the champion's {calibration.champion_ece:.3f}: "
            f"{_further_off(calibration.worse_ece, gate)}"
        )


def _significantly_worse(estimate: Estimate, gate: Gate) -> bool:
    return estimate.value > gate.margin_calibration and estimate.low > 0


def _further_off(estimate: Estimate, gate: Gate) -> str:
    return (
        f"worse by {estimate.value:.3f} ({estimate.low:+.3f} to {estimate.high:+.3f}), "
        f"more than gate.margin_calibration {gate.margin_calibration:g}"
    )


def _too_good(
    label: Labels, challenger: Floats, rivals: Sequence[Rival], gate: Gate, base_rate: float | None
) -> Iterator[str]:
    """A jump larger than retraining explains may be a leak, and needs a person's review. Not against a baseline."""
    if base_rate is not None:
        return
    aucs = {rival.name: float(roc_auc_score(label, rival.probabilities)) for rival in rivals}
    name, highest = max(aucs.items(), key=lambda each: each[1])
    auc = float(roc_auc_score(label, challenger))
    if auc - highest > gate.margin_auc:
        yield (
            f"too good to be true: AUC {auc:.3f} where {name} has {highest:.3f} on the same {WORDS.entities}, "
            f"more than gate.margin_auc {gate.margin_auc:g} above it. Look for a feature that uses information "
            "from after the prediction moment; if there is none, promote it by hand"
        )


def _first_of_all(
    label: Labels,
    days: NDArray[np.datetime64],
    challenger: Floats,
    calibration: Calibration,
    gate: Gate,
    base_rate: float | None,
) -> Iterator[str]:
    if base_rate is None:
        return
    baseline = evaluation.losses(label, np.full(len(label), base_rate))
    shortfall = evaluation.mean_interval(evaluation.losses(label, challenger) - (1 - gate.first_skill) * baseline, days)
    if shortfall is not None and not shortfall.high < 0:
        skill = 1 - evaluation.losses(label, challenger).mean() / baseline.mean()
        yield (
            f"its log-loss is {skill:.1%} below that of the base rate alone, not significantly more than "
            f"gate.first_skill {gate.first_skill:.0%}"
        )
    error = max(abs(calibration.mean_gap.value), calibration.ece)
    if error > gate.first_calibration and error > (chance := evaluation.chance_calibration_error(challenger)):
        yield (
            f"its probabilities are off by {error:.3f}, more than gate.first_calibration {gate.first_calibration:g}, "
            f"and more than chance explains with {len(label):,} {WORDS.entities} ({chance:.3f})"
        )
