"""`make bench-alarms`: what the monitor and the policy do in a year in which nothing is wrong.

The flights of the year keep the live release's probabilities, and their outcomes are drawn from those probabilities:
so the model is exactly right, and every alert is a false one. Either each flight is drawn for itself, or the flights of
a day share a mood as real days do (`bench.gate.MOOD`), with the same rate on average. Every day is judged by the
monitor's own figures of performance over its window, by the alert rules and by the policy of params.yaml; a retraining
changes nothing but the policy's memory of it. Alerts about the feed and about drift are not simulated.
Writes reports/bench_alarms.json.
"""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from bench.gate import MOOD, World, sigmoid, year
from monitoring import alerts, performance
from monitoring.alerts import Alert, Figures, Tier
from monitoring.policy import Action, Observed, decide
from ontime import environment
from ontime.evaluation import Floats, Labels
from ontime.params import Params
from pipelines.layout import REPORTS, write_json
from pipelines.monitor import performance_figures

YEARS = 20  # simulated, of each kind
MOODS = {"each flight for itself": 0.0, "days with a mood": MOOD}
FIRST = date(2001, 1, 1)  # any will do


class Year(NamedTuple):
    """What happened in one simulated year."""

    alert_days: Counter[str]
    episodes: Counter[str]  # runs of days on which an alert stood
    pages: int  # days on which the policy stops and calls somebody
    retrainings: Counter[str]  # by alert, or because the last one is long ago


def outcomes(world: World, mood: float, rng: np.random.Generator) -> Labels:
    """Outcomes whose probabilities are the model's, whatever the days' moods."""
    day = np.repeat(np.arange(len(world.starts) - 1), np.diff(world.starts))
    # A mood pulls rates towards a half; steeper log-odds make up for it (the probit approximation of a logistic).
    steeper = 1 / np.sqrt(1 - np.pi * mood**2 / 8)
    rates = sigmoid(steeper * (world.logits + rng.normal(0, mood, len(world.starts))[day]))
    return rng.random(len(rates)) < rates


def figures(world: World, late: Labels, probability: Floats) -> Iterator[Figures]:
    """The figures of each day that has a whole window behind it."""
    params, starts = world.params, world.starts
    measured = float(roc_auc_score(late, probability))
    for last in range(params.monitor.window_days, len(starts)):
        window = slice(starts[last - params.monitor.window_days], starts[last])
        rows = pd.DataFrame(
            {
                "late": late[window],
                "probability_late": probability[window],
                "alert": probability[window] >= params.cost.alert_threshold,
                "day": 0,
            }
        )
        yield performance_figures(performance.measure(rows, params), measured)


def live(world: World, mood: float, seed: int) -> Year:
    rng, params = np.random.default_rng(seed), world.params
    late, probability = outcomes(world, mood, rng), sigmoid(world.logits).astype(np.float64)
    seen: list[Figures] = []
    alert_days, episodes, retrainings = Counter[str](), Counter[str](), Counter[str]()
    retrained, before, pages = [FIRST], set[str](), 0
    for count, each in enumerate(figures(world, late, probability)):
        seen.append(each)
        day = FIRST + timedelta(days=count)
        raised = alerts.raised(seen, params.monitor.alerts)
        names = {alert.name for alert in raised}
        alert_days.update(names)
        episodes.update(names - before)
        before = names
        decision = decide(observed(day, raised, retrained, params), params.policy)
        pages += decision.action is Action.STOP
        if decision.action is Action.RETRAIN:
            retrained.append(day)
            asking = [alert.name for alert in raised if alert.tier is Tier.RETRAIN]
            retrainings[asking[0] if asking else "refresh_days"] += 1
    return Year(alert_days, episodes, pages, retrainings)


def observed(day: date, raised: tuple[Alert, ...], retrained: list[date], params: Params) -> Observed:
    """A day on which labels are plenty and nobody is on trial."""
    return Observed(
        day=day,
        alerts=raised,
        new_labels=params.policy.min_labels,
        retrainings=tuple(retrained[1:]),
        in_charge_since=retrained[-1],
        too_early=None,
        trial=None,
    )


_worlds: list[World] = []  # of a worker process


def _begin() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    _worlds.append(year())


def _live(mood: float, seed: int) -> Year:
    return live(_worlds[0], mood, seed)


def per_year(years: list[Year]) -> dict[str, Any]:
    """Means over the simulated years."""

    def mean(counts: list[Counter[str]]) -> dict[str, float]:
        names = sorted({name for each in counts for name in each})
        return {name: round(sum(each[name] for each in counts) / len(counts), 2) for name in names}

    return {
        "alert_days": mean([each.alert_days for each in years]),
        "episodes": mean([each.episodes for each in years]),
        "pages": round(sum(each.pages for each in years) / len(years), 2),
        "retrainings": mean([each.retrainings for each in years]),
    }


def main() -> None:
    wanted = [(name, mood, seed) for name, mood in MOODS.items() for seed in range(YEARS)]
    with ProcessPoolExecutor(os.cpu_count(), initializer=_begin) as pool:
        started = [pool.submit(_live, mood, seed) for _, mood, seed in wanted]
        years = [each.result() for each in tqdm(started, "bench-alarms", unit="year", disable=None)]
    found = {
        name: per_year([lived for (kind, _, _), lived in zip(wanted, years, strict=True) if kind == name])
        for name in MOODS
    }
    write_json(REPORTS / "bench_alarms.json", {"years": YEARS, **found})
    for name, each in found.items():
        print(f"bench-alarms: {name}: in a calm year {each}")


if __name__ == "__main__":
    environment.settle()
    main()
