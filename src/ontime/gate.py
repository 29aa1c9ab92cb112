"""May the challenger replace the champion? All are scored on the same entities, which none of them was trained on.

`decide` asks, in this order: is it better (or, for a refresh, no worse), also than the best release so far; does any
slice get worse; are its probabilities as well calibrated; is it too good to be true. `make bench-gate` measures how
often each question is answered wrongly.
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
    """The comparison itself would be worthless; the message says why."""


class Rival(NamedTuple):
    """What a challenger is compared with: a release, or a baseline where there is none."""

    name: str
    probabilities: Floats


@dataclass(frozen=True)
class Verdict:
    """Differences are challenger less champion in log-loss: below zero is better."""

    promote: bool
    reason: str
    difference: float
    low: float
    high: float
    entities: int
    days: int
    worse_slices: Sequence[str]
    calibration: Mapping[str, float]
    best: str | None = None  # the best release so far, where that is another one than the champion
    best_high: float | None = None  # upper end of the interval of the difference from it

    def evidence(self) -> dict[str, Any]:
        return asdict(self)


def refuse_seen_days(name: str, trained_until: date, judged_from: date) -> None:
    """Raise GateBroken for a model whose training period reaches into the days that it is to be judged by."""
    if trained_until > judged_from:
        raise GateBroken(f"{name} was trained until {trained_until}, so it has seen {WORDS.entities} of {judged_from}")


def refuse_seen_entities(name: str, trained_on: NDArray[np.uint64], judged: pd.Series) -> None:
    """Raise GateBroken for a model that was fitted on any of the entities that it is to be judged by.

    By the entities' keys (`split.row_keys`), whatever their day column says.
    """
    seen = np.isin(split.row_keys(judged), trained_on)
    if seen.any():
        raise GateBroken(
            f"{name} was trained on {seen.sum():,} of the {len(judged):,} {WORDS.entities} that judge it, such as "
            f"{judged.to_numpy()[seen][0]}: look at the `day` column, which divides training from test"
        )


def decide(
    entities: pd.DataFrame,
    challenger: Floats,
    champion: Rival,
    gate: Gate,
    evaluate: Evaluate,
    *,
    refresh: bool = False,
    best: Rival | None = None,
    base_rate: float | None = None,
) -> Verdict:
    """The verdict. `entities` has `label`, `day` and the features that slices need. Raises GateBroken for one day.

    With `refresh` the challenger need not be better, only not worse than the margin: the policy wants a newer model.
    `best` is the best release so far, which a refresh must not fall behind either, so that many small steps down do
    not add up. With `base_rate`, the share of positive rows in training, the challenger is the first model of all: it
    must show some skill and honest probabilities too, because nothing that it replaces has shown them.
    """
    label, days = entities["label"].to_numpy(bool), entities["day"].to_numpy()
    losses = evaluation.losses(label, challenger) - evaluation.losses(label, champion.probabilities)
    difference = _mean(losses, days)
    behind = evaluation.paired_difference(label, challenger, best.probabilities, days) if refresh and best else None
    worse = worse_slices(slice_differences(slices.of_entities(entities), label, days, losses, evaluate), gate)
    calibration = calibration_of(label, days, challenger, champion.probabilities)
    limit = gate.margin_log_loss if refresh else 0.0
    objections = [
        *_not_better(difference, limit),
        *_behind(best, behind, gate),
        *([f"slices get worse: {'; '.join(worse)}"] if worse else []),
        *(miscalibrated(calibration, gate) if base_rate is None else ()),
        *_too_good(label, challenger, [champion, *([best] if best else [])], gate, base_rate),
        *_first_of_all(label, days, challenger, calibration, gate, base_rate),
    ]
    low, high = difference.interval
    return Verdict(
        promote=not objections,
        reason="; ".join(objections) or _passed(high, limit),
        difference=round(difference.value, 4),
        low=low,
        high=high,
        entities=len(entities),
        days=difference.days,
        worse_slices=worse,
        calibration=calibration.evidence(),
        best=best.name if behind and best else None,
        best_high=behind.interval.high if behind else None,
    )


def _mean(values: Floats, days: NDArray[np.datetime64]) -> Estimate:
    found = evaluation.mean_interval(values, days)
    if found is None:
        raise GateBroken(f"all {len(values):,} {WORDS.entities} are of one day: an interval by days needs two at least")
    return found


def _passed(high: float, limit: float) -> str:
    return f"the interval of the log-loss difference ends at {high:+.4f}, below {limit:+.4f}"


def _not_better(difference: Estimate, limit: float) -> Iterator[str]:
    if not difference.high < limit:
        yield f"the interval of the log-loss difference reaches {difference.high:+.4f}, not below {limit:+.4f}"


def _behind(best: Rival | None, behind: Estimate | None, gate: Gate) -> Iterator[str]:
    if best and behind and not behind.high < gate.margin_log_loss:
        yield (
            f"compared with {best.name}, the best so far, the interval reaches {behind.high:+.4f}, "
            f"not below {gate.margin_log_loss:+.4f}"
        )


def slice_differences(
    cuts: pd.DataFrame, label: Labels, days: NDArray[np.datetime64], difference: Floats, evaluate: Evaluate
) -> dict[str, Estimate]:
    """The mean difference, with its interval by days, of each slice that is large enough to decide anything by."""
    found: dict[str, Estimate] = {}
    for cut in cuts:
        judged = pd.Series(label).groupby(cuts[cut].to_numpy()).agg(["size", "sum"])
        found |= {
            f"{cut} {name}": estimate
            for name, estimate in evaluation.mean_intervals(difference, cuts[cut], days).items()
            if slices.gated(int(judged["size"][name]), int(judged["sum"][name]), evaluate)
        }
    return found


def worse_slices(found: dict[str, Estimate], gate: Gate) -> list[str]:
    """The slices in which the challenger's log-loss is higher by more than the margin, and surely higher at all.

    "Surely" holds for all slices together: Holm (1979) keeps the chance to find any in a model that is no worse below
    `gate.slice_alarm`, however many slices there are.
    """
    surely = holm({name: _chance(estimate) for name, estimate in found.items()}, gate.slice_alarm)
    return [
        f"{name}: {estimate.value:+.4f}"
        for name, estimate in found.items()
        if name in surely and estimate.value > gate.margin_slice_log_loss
    ]


def _chance(estimate: Estimate) -> float:
    """How likely a mean at least so far above zero is where the true one is zero: a t test by days, one-sided."""
    if estimate.error == 0:
        return 0.0 if estimate.value > 0 else 1.0
    return float(stdtr(estimate.days - 1, -estimate.value / estimate.error))


def holm(chances: dict[str, float], level: float) -> set[str]:
    """The names whose hypothesis Holm's step-down procedure rejects at that level.

    >>> sorted(holm({"a": 0.01, "b": 0.03, "c": 0.02, "d": 0.9}, 0.05))
    ['a']
    >>> sorted(holm({"a": 0.01, "b": 0.03, "c": 0.015, "d": 0.001}, 0.05))
    ['a', 'b', 'c', 'd']
    """
    rejected: set[str] = set()
    for name, chance in sorted(chances.items(), key=lambda each: each[1]):
        if chance > level / (len(chances) - len(rejected)):
            break
        rejected.add(name)
    return rejected


class Calibration(NamedTuple):
    """How far probabilities are from what happens: the mean gap (above zero: too high) and the ECE, of both models.

    `worse_mean` and `worse_ece` say by how much the challenger is further off than the champion, with intervals.
    """

    mean_gap: Estimate
    champion_mean_gap: float
    ece: float
    champion_ece: float
    worse_mean: Estimate
    worse_ece: Estimate

    def evidence(self) -> dict[str, float]:
        told = {"mean_gap": self.mean_gap.value, "mean_gap_low": self.mean_gap.low, "mean_gap_high": self.mean_gap.high}
        told |= {name: getattr(self, name) for name in ("champion_mean_gap", "ece", "champion_ece")}
        for name in ("worse_mean", "worse_ece"):
            found: Estimate = getattr(self, name)
            told |= {f"{name}_low": found.low, f"{name}_high": found.high}
        return {name: round(value, 4) for name, value in told.items()}


def calibration_of(label: Labels, days: NDArray[np.datetime64], challenger: Floats, champion: Floats) -> Calibration:
    """Raises GateBroken for entities of one day."""
    # Differences of two errors on the same outcomes: what the days' weather adds to one it adds to the other.
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
    """What makes the challenger's probabilities less honest than the champion's: beyond the margin, and surely at all.

    A baseline is no measure for this: it says so little that its few probabilities are always right on average.
    """
    if _surely_worse(calibration.worse_mean, gate):
        yield (
            f"its mean probability is off by {calibration.mean_gap.value:+.3f}, the champion's by "
            f"{calibration.champion_mean_gap:+.3f}: {_further_off(calibration.worse_mean, gate)}"
        )
    if _surely_worse(calibration.worse_ece, gate):
        yield (
            f"its calibration error (ECE) is {calibration.ece:.3f}, the champion's {calibration.champion_ece:.3f}: "
            f"{_further_off(calibration.worse_ece, gate)}"
        )


def _surely_worse(found: Estimate, gate: Gate) -> bool:
    return found.value > gate.margin_calibration and found.low > 0


def _further_off(found: Estimate, gate: Gate) -> str:
    return (
        f"worse by {found.value:.3f} ({found.low:+.3f} to {found.high:+.3f}), more than gate.margin_calibration "
        f"{gate.margin_calibration:g}"
    )


def _too_good(
    label: Labels, challenger: Floats, rivals: Sequence[Rival], gate: Gate, base_rate: float | None
) -> Iterator[str]:
    """A jump that no honest retraining makes is a leak until somebody has looked. A baseline says nothing of it."""
    if base_rate is not None:
        return
    areas = {rival.name: float(roc_auc_score(label, rival.probabilities)) for rival in rivals}
    name, known = max(areas.items(), key=lambda each: each[1])
    area = float(roc_auc_score(label, challenger))
    if area - known > gate.margin_auc:
        yield (
            f"too good to be true: AUC {area:.3f} where {name} has {known:.3f} on the same {WORDS.entities}, more than "
            f"gate.margin_auc {gate.margin_auc:g} above it. Look for a feature that knows what happened later; "
            "if there is none, promote it by hand"
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
    ignorant = evaluation.losses(label, np.full(len(label), base_rate))
    short = evaluation.mean_interval(evaluation.losses(label, challenger) - (1 - gate.first_skill) * ignorant, days)
    if short is not None and not short.high < 0:
        skill = 1 - evaluation.losses(label, challenger).mean() / ignorant.mean()
        yield (
            f"its log-loss is {skill:.1%} below that of the base rate alone, which is not surely more than "
            f"gate.first_skill {gate.first_skill:.0%}"
        )
    off = max(abs(calibration.mean_gap.value), calibration.ece)
    if off > gate.first_calibration:
        yield f"its probabilities are off by {off:.3f}, more than gate.first_calibration {gate.first_calibration:g}"
