"""Simulated days and models with known errors, for measuring the gate and the monitor.

Every labelled entity of the year keeps the live release's log-odds. A simulation draws days at random, and draws each
label from the entity's probability and a random effect of its day. A simulated model has these log-odds plus noise: by
entity, by day (all entities of a day are off by the same amount), or both.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import model, release_pointer, slices, split
from ontime.evaluation import Labels
from ontime.params import Params, load_params
from ontime.settings import load_settings
from pipelines.layout import FEATURES, months_in, read_months

Floats = NDArray[np.floating[Any]]

DAY_EFFECT = 0.45  # standard deviation in log-odds; daily shares of positive rows vary as in the test period
ROUNDS = 1000  # of the percentile bootstrap


class Noise(NamedTuple):
    """Standard deviations in log-odds, and the weight of the previous day's noise in a day's."""

    by_entity: float
    by_day: float
    previous_day: float = 0.0

    @property
    def total(self) -> float:
        """The standard deviation of both together.

        >>> Noise(by_entity=0.3, by_day=0.4).total
        0.5
        """
        return float(np.hypot(self.by_entity, self.by_day))

    def times(self, factor: float) -> "Noise":
        return self._replace(by_entity=self.by_entity * factor, by_day=self.by_day * factor)


@dataclass(frozen=True)
class Population:
    """Every labelled entity of the year with the live release's log-odds, ordered by day."""

    logits: Floats
    starts: NDArray[np.int64]  # where each day begins, and where the last one ends
    dimensions: pd.DataFrame
    params: Params

    @property
    def degraded_slice(self) -> tuple[str, str]:
        """The slice that simulations make worse, as dimension and name: the largest one of the finest dimension."""
        dimension = max(self.dimensions, key=lambda each: self.dimensions[each].nunique())
        return str(dimension), str(self.dimensions[dimension].value_counts().idxmax())


class Sample(NamedTuple):
    """The entities of some days, drawn with replacement."""

    logits: Floats
    label: Labels
    day: NDArray[np.int64]  # 0 for the first day that was drawn
    positions: NDArray[np.int64]  # of the entities in the population

    @property
    def days(self) -> NDArray[np.datetime64]:
        return self.day.astype("datetime64[D]")


def load_population() -> Population:
    """Raises NoRelease if `make train` has not run."""
    params, live = load_params(), release_pointer.load_live(load_settings().releases)
    entities = split.labelled(read_months(FEATURES, months_in(FEATURES))).sort_values("day", ignore_index=True)
    probability = live.model.predict(model.matrix_of(entities, live.manifest.categories)).astype(np.float64)
    starts = np.append(np.unique(entities["day"], return_index=True)[1], len(entities))
    dimensions = slices.of_entities(entities).drop(columns="month").astype("category")
    return Population(np.log(probability / (1 - probability)).astype(np.float32), starts, dimensions, params)


def sample_days(population: Population, days: int, rng: np.random.Generator) -> Sample:
    chosen = rng.integers(0, len(population.starts) - 1, days)
    index = np.concatenate([np.arange(population.starts[day], population.starts[day + 1]) for day in chosen])
    day = np.repeat(np.arange(days), population.starts[chosen + 1] - population.starts[chosen])
    logits = population.logits[index]
    label = rng.random(len(index), dtype=np.float32) < sigmoid(logits + np.float32(DAY_EFFECT) * normal(rng, days)[day])
    return Sample(logits, label, day, index)


def noisy_logits(sample: Sample, noise: Noise, rng: np.random.Generator) -> Floats:
    """The log-odds of a model that is off by this noise."""
    fresh = normal(rng, sample.day[-1] + 2)
    by_day = (fresh[1:] + noise.previous_day * fresh[:-1]) / np.hypot(1, noise.previous_day)
    moved = sample.logits + (noise.by_day * by_day).astype(np.float32)[sample.day]
    return moved + np.float32(noise.by_entity) * normal(rng, len(moved)) if noise.by_entity else moved


def normal(rng: np.random.Generator, size: int) -> Floats:
    """In single precision, which is several times as fast and as good for a simulation."""
    return rng.standard_normal(size, dtype=np.float32)


def sigmoid(logits: Floats) -> Floats:
    probabilities: Floats = 1 / (1 + np.exp(-logits))
    return probabilities


def losses_of_logits(label: Labels, logits: Floats) -> Floats:
    """`evaluation.losses` of the probabilities with these log-odds."""
    return np.log1p(np.exp(logits)) - label * logits


def expected_noisy_loss(population: Population, deviation: float) -> float:
    """The expected log-loss, over the whole year, of log-odds with noise of this standard deviation."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()
    logits = population.logits[::50]
    rate = sum(weight * sigmoid(logits + DAY_EFFECT * node) for node, weight in zip(nodes, weights, strict=True))
    loss = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        probability = sigmoid(logits + deviation * node)
        loss += weight * float(-(rate * np.log(probability) + (1 - rate) * np.log(1 - probability)).mean())
    return loss


def worse_by(population: Population, noise: Noise, difference: float) -> Noise:
    """The same kind of noise, scaled up until the expected log-loss is higher by `difference`."""
    factors = np.geomspace(1, 12, 20)
    losses = [expected_noisy_loss(population, noise.total * factor) for factor in factors]
    return noise.times(float(np.interp(losses[0] + difference, losses, factors)))


def bootstrap_interval(difference: Floats, day: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float]:
    """The interval that the gate used before: percentiles of the mean over days drawn with replacement."""
    sums, counts = np.bincount(day, difference), np.bincount(day)
    weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=ROUNDS)
    low, high = np.quantile((weights @ sums) / (weights @ counts), [0.025, 0.975])
    return float(low), float(high)
