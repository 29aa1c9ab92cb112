"""`make bench-gate`: error rates and power of the gate, the shadow and the watch after a promotion, by simulation.

2,000 simulations a row. Each draws days of the year and compares two models with noise on the log-odds
(bench/gate_simulation.py). Equally good models have noise of the same size; a worse one has as much more as raises its
expected log-loss by the difference of the row.
Writes reports/bench_gate.json, reports/bench_gate.png and docs/gate.md.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from bench.gate_simulation import (
    Floats,
    Noise,
    Population,
    bootstrap_interval,
    load_population,
    losses_of_logits,
    noisy_logits,
    sample_days,
    sigmoid,
    worse_by,
)
from ontime import environment, evaluation, figures, files, gate, model, operation_plots, rendering, split
from ontime.params import Params
from pipelines.layout import FEATURES, REPORTS, months_in, read_months, write_json

TEMPLATE = Path(__file__).with_name("gate.md.jinja")

SIMULATIONS = 2000
DAYS = (14, 21, 42, 61)
TRIAL_DAYS = (3, 5, 7)
DIFFERENCES = (0.002, 0.005, 0.01)
HARMS = (0.01, 0.02, 0.05)
SHIFTS = (0.03, 0.05, 0.08)  # of the mean probability
# By entity, by day, and the weight of the previous day: 0.21 gives neighbouring days a correlation of 0.2.
NOISE = {
    "by entity": (0.3, 0.0),
    "by day": (0.0, 0.15),
    "both": (0.3, 0.15),
    "both, neighbours alike": (0.3, 0.15, 0.21),
}
PAIRS = (("02", "03"), ("03", "04"), ("03", "06"), ("06", "07"))  # last months of training of two real models


# Each of these functions runs one simulation and returns its outcomes; the tables show their means.


def simulate_interval(
    population: Population, rng: np.random.Generator, days: int, champion: Noise, challenger: Noise, true: float = 0.0
) -> dict[str, bool]:
    sample = sample_days(population, days, rng)
    before, after = (
        losses_of_logits(sample.label, noisy_logits(sample, noise, rng)) for noise in (champion, challenger)
    )
    estimate = evaluation.mean_interval(after - before, sample.days)
    assert estimate is not None  # noqa: S101  there are at least three days
    margin = population.params.gate.margin_log_loss
    low, high = bootstrap_interval(after - before, sample.day, rng)
    return {
        "promoted": estimate.high < 0,
        "non_inferior": estimate.high < margin,
        "covered": estimate.low <= true <= estimate.high,
        "withdrawn": estimate.low > margin,
        "promoted_bootstrap": high < 0,
        "covered_bootstrap": low <= true <= high,
    }


def simulate_slices(
    population: Population, rng: np.random.Generator, days: int, noise: Noise, worse: Noise
) -> dict[str, bool]:
    """The challenger is as good as the champion except in one slice, where it has the noise `worse`."""
    sample = sample_days(population, days, rng)
    before, after = (noisy_logits(sample, noise, rng) for _ in range(2))
    dimensions, (dimension, name) = population.dimensions.iloc[sample.positions], population.degraded_slice
    after = np.where((dimensions[dimension] == name).to_numpy(), noisy_logits(sample, worse, rng), after)
    difference = losses_of_logits(sample.label, after) - losses_of_logits(sample.label, before)
    estimates = gate.slice_differences(dimensions, sample.label, sample.days, difference, population.params.evaluate)
    worse_slices = gate.worse_slices(estimates, population.params.gate)
    return {
        "any": bool(worse_slices),
        "right": any(each.startswith(f"{dimension} {name}") for each in worse_slices),
        # The earlier rule: a mean above the margin is worse, on however few days.
        "any_by_means": any(each.value > population.params.gate.margin_slice_log_loss for each in estimates.values()),
    }


def simulate_calibration(
    population: Population, rng: np.random.Generator, days: int, noise: Noise, shift: float
) -> dict[str, bool]:
    """The challenger's probabilities are all too high by `shift`."""
    sample = sample_days(population, days, rng)
    before, after = (sigmoid(noisy_logits(sample, noise, rng)).astype(np.float64) for _ in range(2))
    measured = gate.calibration_of(sample.label, sample.days, np.clip(after + shift, 0, 1), before)
    return {"rejected": any(gate.miscalibrated(measured, population.params.gate))}


SIMULATED: Mapping[str, Callable[..., dict[str, bool]]] = {
    "interval": simulate_interval, "slices": simulate_slices, "calibration": simulate_calibration,
}  # fmt: skip
_populations: list[Population] = []  # of a worker process


def _begin() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    _populations.append(load_population())


def simulate(kind: str, seed: int, simulations: int, arguments: Mapping[str, Any]) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame([SIMULATED[kind](_populations[0], rng, **arguments) for _ in range(simulations)])


class Row(NamedTuple):
    """One row of a table: `table` and `about` name it, `arguments` go to the simulation of that `kind`."""

    table: str
    kind: str
    about: dict[str, Any]
    arguments: dict[str, Any]


def table_rows(population: Population) -> Iterator[Row]:
    both = Noise(*NOISE["both"])
    for name, size in NOISE.items():
        noise = Noise(*size)
        yield from _rows("equal", "interval", DAYS, {"noise": name}, champion=noise, challenger=noise)
    for difference in DIFFERENCES:
        more, about = worse_by(population, both, difference), {"difference": difference}
        yield from _rows("better", "interval", DAYS, about, champion=more, challenger=both, true=-difference)
        yield from _rows("worse", "interval", DAYS, about, champion=both, challenger=more, true=difference)
    for harm in (0.0, *HARMS):
        more, about = worse_by(population, both, harm), {"harm": harm}
        yield from _rows("trial", "interval", TRIAL_DAYS, about, champion=both, challenger=more, true=harm)
        yield from _rows("slices", "slices", DAYS, about, noise=both, worse=more)
    for shift in (0.0, *SHIFTS):
        yield from _rows("calibration", "calibration", DAYS, {"shift": shift}, noise=both, shift=shift)


def _rows(table: str, kind: str, days: Sequence[int], about: Mapping[str, Any], **arguments: Any) -> Iterator[Row]:
    for each in days:
        yield Row(table, kind, {**about, "days": each}, {**arguments, "days": each})


def run(simulations: int) -> dict[str, Any]:
    population = load_population()
    rows = list(table_rows(population))
    tables: dict[str, list[dict[str, Any]]] = {}
    with ProcessPoolExecutor(os.cpu_count(), initializer=_begin) as pool:
        futures = [pool.submit(simulate, row.kind, seed, simulations, row.arguments) for seed, row in enumerate(rows)]
        progress = tqdm(zip(rows, futures, strict=True), "bench-gate", len(rows), unit="row", disable=None)
        for row, outcomes in progress:
            shares = outcomes.result().mean()
            tables.setdefault(row.table, []).append(
                {**row.about, **{str(name): round(float(share), 4) for name, share in shares.items()}}
            )
    return {
        "simulations": simulations,
        "entities": len(population.logits),
        "slice": " ".join(population.degraded_slice),
        **tables,
        "seasons": seasons(population.params),
    }


def seasons(params: Params) -> list[dict[str, Any]]:
    """Pairs of real models on the months after both: is their difference correlated from day to day, and does the
    interval of three weeks cover the mean of all months?
    """
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
    """For every three consecutive weeks, whether their interval covers the mean of all days."""
    unique = np.unique(days)
    for first, last in zip(unique, unique[20:], strict=False):
        chosen = (days >= first) & (days <= last)
        estimate = evaluation.mean_interval(difference[chosen], days[chosen])
        yield estimate is not None and estimate.low <= difference.mean() <= estimate.high


def gate_page(results: Mapping[str, Any]) -> str:
    """docs/gate.md."""
    return rendering.render(TEMPLATE, results=results)


def main() -> None:
    results = run(SIMULATIONS)
    write_json(REPORTS / "bench_gate.json", results)
    figures.save(operation_plots.gate_power(results["better"], results["equal"]), REPORTS / "bench_gate.png")
    files.write_text(Path("docs/gate.md"), gate_page(results))
    print("bench-gate: reports/bench_gate.json, reports/bench_gate.png, docs/gate.md")


if __name__ == "__main__":
    environment.enforce()
    main()
