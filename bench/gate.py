"""`make bench-gate`: how often the gate, the shadow and the watch are wrong, and what they find, by simulation.

2,000 simulations a row. Each draws days of a year at random, gives every entity a label drawn from the live release's
probability and a mood of its day, and compares two models: its probabilities with noise on the log-odds, once for each.
Equal models have noise of the same size; a worse one has more of it, as much as makes its expected log-loss higher by
what the row says. Noise is by entity, by day (every entity of a day is off by the same), or both.
Writes reports/bench_gate.json, reports/bench_gate.png and docs/gate.md.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ontime import (
    environment,
    evaluation,
    figures,
    files,
    gate,
    model,
    operation_plots,
    release_pointer,
    rendering,
    slices,
    split,
)
from ontime.evaluation import Labels
from ontime.params import Params, load_params
from ontime.settings import load_settings
from pipelines.layout import FEATURES, REPORTS, months_in, read_months, write_json

Floats = NDArray[np.floating[Any]]
TEMPLATE = Path(__file__).with_name("gate.md.jinja")

SIMULATIONS = 2000
DAYS = (14, 21, 42, 61)
TRIAL_DAYS = (3, 5, 7)
DIFFERENCES = (0.002, 0.005, 0.01)
HARMS = (0.01, 0.02, 0.05)
SHIFTS = (0.03, 0.05, 0.08)  # of the mean probability
MOOD = 0.45  # of a day, in log-odds: gives the days of the test period their spread of positive rows
# By entity, by day, and how much of yesterday's is in today's: 0.21 gives neighbouring days a correlation of 0.2.
NOISE = {
    "by entity": (0.3, 0.0),
    "by day": (0.0, 0.15),
    "both": (0.3, 0.15),
    "both, neighbours alike": (0.3, 0.15, 0.21),
}
PAIRS = (("02", "03"), ("03", "04"), ("03", "06"), ("06", "07"))  # last months of training of two real models
ROUNDS = 1000  # of the percentile bootstrap that the gate had before


class Noise(NamedTuple):
    by_entity: float
    by_day: float
    of_yesterday: float = 0.0

    @property
    def spread(self) -> float:
        return float(np.hypot(self.by_entity, self.by_day))

    def times(self, factor: float) -> "Noise":
        return self._replace(by_entity=self.by_entity * factor, by_day=self.by_day * factor)


@dataclass(frozen=True)
class World:
    """Every labelled entity of the year with the live release's log-odds, ordered by day."""

    logits: Floats
    starts: NDArray[np.int64]  # where each day begins, and where the last one ends
    cuts: pd.DataFrame
    params: Params

    @property
    def slice_that_suffers(self) -> tuple[str, str]:
        """The one that gets worse where a slice does: the largest of the cut with the most slices."""
        cut = max(self.cuts, key=lambda each: self.cuts[each].nunique())
        return str(cut), str(self.cuts[cut].value_counts().idxmax())


class Drawn(NamedTuple):
    """The entities of some days, drawn with replacement."""

    logits: Floats
    label: Labels
    day: NDArray[np.int64]  # 0 for the first that was drawn
    places: NDArray[np.int64]  # of the entities in the world

    @property
    def days(self) -> NDArray[np.datetime64]:
        return self.day.astype("datetime64[D]")


def sigmoid(logits: Floats) -> Floats:
    probabilities: Floats = 1 / (1 + np.exp(-logits))
    return probabilities


def year() -> World:
    """Raises NoRelease where `make train` has not run."""
    params, live = load_params(), release_pointer.load_live(load_settings().releases)
    entities = split.labelled(read_months(FEATURES, months_in(FEATURES))).sort_values("day", ignore_index=True)
    probability = live.model.predict(model.matrix_of(entities, live.manifest.categories)).astype(np.float64)
    starts = np.append(np.unique(entities["day"], return_index=True)[1], len(entities))
    cuts = slices.of_entities(entities).drop(columns="month").astype("category")
    return World(np.log(probability / (1 - probability)).astype(np.float32), starts, cuts, params)


def draw(world: World, days: int, rng: np.random.Generator) -> Drawn:
    chosen = rng.integers(0, len(world.starts) - 1, days)
    index = np.concatenate([np.arange(world.starts[day], world.starts[day + 1]) for day in chosen])
    day = np.repeat(np.arange(days), world.starts[chosen + 1] - world.starts[chosen])
    logits = world.logits[index]
    label = rng.random(len(index), dtype=np.float32) < sigmoid(logits + np.float32(MOOD) * normal(rng, days)[day])
    return Drawn(logits, label, day, index)


def noisy(drawn: Drawn, noise: Noise, rng: np.random.Generator) -> Floats:
    """The log-odds of a model that is off by that much."""
    fresh = normal(rng, drawn.day[-1] + 2)
    by_day = (fresh[1:] + noise.of_yesterday * fresh[:-1]) / np.hypot(1, noise.of_yesterday)
    moved = drawn.logits + (noise.by_day * by_day).astype(np.float32)[drawn.day]
    return moved + np.float32(noise.by_entity) * normal(rng, len(moved)) if noise.by_entity else moved


def normal(rng: np.random.Generator, size: int) -> Floats:
    """In single precision, which is several times as fast and as good for a simulation."""
    return rng.standard_normal(size, dtype=np.float32)


def loss(label: Labels, logits: Floats) -> Floats:
    """`evaluation.losses` of the probabilities that these log-odds stand for."""
    return np.log1p(np.exp(logits)) - label * logits


def expected_loss(world: World, spread: float) -> float:
    """Of a model whose log-odds are off by noise of that standard deviation, over all entities of the year."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()
    logits = world.logits[::50]
    rate = sum(weight * sigmoid(logits + MOOD * node) for node, weight in zip(nodes, weights, strict=True))
    loss = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        probability = sigmoid(logits + spread * node)
        loss += weight * float(-(rate * np.log(probability) + (1 - rate) * np.log(1 - probability)).mean())
    return loss


def worse_by(world: World, noise: Noise, difference: float) -> Noise:
    """More noise of the same kind, so that the expected log-loss is higher by `difference`."""
    factors = np.geomspace(1, 12, 20)
    losses = [expected_loss(world, noise.spread * factor) for factor in factors]
    return noise.times(float(np.interp(losses[0] + difference, losses, factors)))


def bootstrap(difference: Floats, day: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float]:
    """The interval that the gate had before: percentiles of the mean over days drawn with replacement."""
    sums, counts = np.bincount(day, difference), np.bincount(day)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=ROUNDS)
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), [0.025, 0.975])
    return float(low), float(high)


# Each function runs one simulation and returns its outcomes; the tables show their means.


def interval(
    world: World, rng: np.random.Generator, days: int, champion: Noise, challenger: Noise, true: float = 0.0
) -> dict[str, bool]:
    drawn = draw(world, days, rng)
    before, after = (loss(drawn.label, noisy(drawn, noise, rng)) for noise in (champion, challenger))
    found = evaluation.mean_interval(after - before, drawn.days)
    assert found is not None  # noqa: S101  there are at least three days
    margin = world.params.gate.margin_log_loss
    low, high = bootstrap(after - before, drawn.day, rng)
    return {
        "promoted": found.high < 0,
        "refreshed": found.high < margin,
        "covered": found.low <= true <= found.high,
        "withdrawn": found.low > margin,
        "promoted_bootstrap": high < 0,
        "covered_bootstrap": low <= true <= high,
    }


def slices_of(world: World, rng: np.random.Generator, days: int, noise: Noise, worse: Noise) -> dict[str, bool]:
    """The challenger is as good as the champion but in one slice, where it has the noise `worse`."""
    drawn = draw(world, days, rng)
    before, after = (noisy(drawn, noise, rng) for _ in range(2))
    cuts, (cut, name) = world.cuts.iloc[drawn.places], world.slice_that_suffers
    after = np.where((cuts[cut] == name).to_numpy(), noisy(drawn, worse, rng), after)
    difference = loss(drawn.label, after) - loss(drawn.label, before)
    found = gate.slice_differences(cuts, drawn.label, drawn.days, difference, world.params.evaluate)
    worse_ones = gate.worse_slices(found, world.params.gate)
    return {
        "any": bool(worse_ones),
        "right": any(each.startswith(f"{cut} {name}") for each in worse_ones),
        # The rule of before: a mean above the margin is worse, however few days it rests on.
        "any_by_means": any(each.value > world.params.gate.margin_slice_log_loss for each in found.values()),
    }


def calibration(world: World, rng: np.random.Generator, days: int, noise: Noise, shift: float) -> dict[str, bool]:
    """The challenger's probabilities are all higher by `shift`."""
    drawn = draw(world, days, rng)
    before, after = (sigmoid(noisy(drawn, noise, rng)).astype(np.float64) for _ in range(2))
    measured = gate.calibration_of(drawn.label, drawn.days, np.clip(after + shift, 0, 1), before)
    return {"kept": any(gate.miscalibrated(measured, world.params.gate))}


SIMULATED: Mapping[str, Callable[..., dict[str, bool]]] = {
    "interval": interval, "slices": slices_of, "calibration": calibration,
}  # fmt: skip
_worlds: list[World] = []  # of a worker process


def _begin() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    _worlds.append(year())


def simulated(kind: str, seed: int, simulations: int, arguments: Mapping[str, Any]) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame([SIMULATED[kind](_worlds[0], rng, **arguments) for _ in range(simulations)])


class Row(NamedTuple):
    """One row of a table: `table` and `about` say which, `arguments` go to the simulation of that `kind`."""

    table: str
    kind: str
    about: dict[str, Any]
    arguments: dict[str, Any]


def rows(world: World) -> Iterator[Row]:
    both = Noise(*NOISE["both"])
    for name, size in NOISE.items():
        noise = Noise(*size)
        yield from _rows("equal", "interval", DAYS, {"noise": name}, champion=noise, challenger=noise)
    for difference in DIFFERENCES:
        more, about = worse_by(world, both, difference), {"difference": difference}
        yield from _rows("better", "interval", DAYS, about, champion=more, challenger=both, true=-difference)
        yield from _rows("worse", "interval", DAYS, about, champion=both, challenger=more, true=difference)
    for harm in (0.0, *HARMS):
        more, about = worse_by(world, both, harm), {"harm": harm}
        yield from _rows("trial", "interval", TRIAL_DAYS, about, champion=both, challenger=more, true=harm)
        yield from _rows("slices", "slices", DAYS, about, noise=both, worse=more)
    for shift in (0.0, *SHIFTS):
        yield from _rows("calibration", "calibration", DAYS, {"shift": shift}, noise=both, shift=shift)


def _rows(table: str, kind: str, days: Sequence[int], about: Mapping[str, Any], **arguments: Any) -> Iterator[Row]:
    for each in days:
        yield Row(table, kind, {**about, "days": each}, {**arguments, "days": each})


def run(simulations: int) -> dict[str, Any]:
    world = year()
    wanted = list(rows(world))
    tables: dict[str, list[dict[str, Any]]] = {}
    with ProcessPoolExecutor(os.cpu_count(), initializer=_begin) as pool:
        started = [
            pool.submit(simulated, row.kind, seed, simulations, row.arguments) for seed, row in enumerate(wanted)
        ]
        progress = tqdm(zip(wanted, started, strict=True), "bench-gate", len(wanted), unit="row", disable=None)
        for row, outcomes in progress:
            shares = outcomes.result().mean()
            tables.setdefault(row.table, []).append(
                {**row.about, **{str(name): round(float(share), 4) for name, share in shares.items()}}
            )
    return {
        "simulations": simulations,
        "entities": len(world.logits),
        "slice": " ".join(world.slice_that_suffers),
        **tables,
        "seasons": seasons(world.params),
    }


def seasons(params: Params) -> list[dict[str, Any]]:
    """Pairs of real models on the months after both: do neighbouring days differ alike, and weeks from months?"""
    entities = split.labelled(read_months(FEATURES, months_in(FEATURES)))
    month = entities["day"].dt.strftime("%m")
    return [_pair(entities, month, earlier, later, params) for earlier, later in PAIRS]


def _pair(entities: pd.DataFrame, month: pd.Series, earlier: str, later: str, params: Params) -> dict[str, Any]:
    judged, probabilities = entities[month > later], []
    for last in (earlier, later):
        train = entities[month <= last]
        categories = model.categories_of(train)
        fitted = model.fit("lightgbm", model.matrix_of(train, categories), train["label"].to_numpy(), params.train)
        probabilities.append(model.predict(fitted, model.matrix_of(judged, categories)))
    label, days = judged["label"].to_numpy(), judged["day"].to_numpy()
    difference = evaluation.losses(label, probabilities[1]) - evaluation.losses(label, probabilities[0])
    sums = pd.Series(difference - difference.mean()).groupby(days).sum().to_numpy()
    return {
        "trained_until": [earlier, later],
        "days": len(sums),
        "difference": round(float(difference.mean()), 4),
        "autocorrelation": [round(float(np.corrcoef(sums[lag:], sums[:-lag])[0, 1]), 3) for lag in (1, 2)],
        "three_weeks_hold_the_mean": round(float(np.mean(list(_three_weeks(difference, days)))), 3),
    }


def _three_weeks(difference: Floats, days: NDArray[np.datetime64]) -> Iterator[bool]:
    """Of every three consecutive weeks: does their interval hold the mean of all days?"""
    unique = np.unique(days)
    for first, last in zip(unique, unique[20:], strict=False):
        chosen = (days >= first) & (days <= last)
        found = evaluation.mean_interval(difference[chosen], days[chosen])
        yield found is not None and found.low <= difference.mean() <= found.high


def page(results: Mapping[str, Any]) -> str:
    """docs/gate.md."""
    return rendering.render(TEMPLATE, results=results)


def main() -> None:
    results = run(SIMULATIONS)
    write_json(REPORTS / "bench_gate.json", results)
    figures.save(operation_plots.gate_power(results["better"], results["equal"]), REPORTS / "bench_gate.png")
    files.write_text(Path("docs/gate.md"), page(results))
    print("bench-gate: reports/bench_gate.json, reports/bench_gate.png, docs/gate.md")


if __name__ == "__main__":
    environment.enforce()
    main()
