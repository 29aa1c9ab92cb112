"""`make bench-alarms`: counts the false alerts of the monitor and the actions of the policy in a year without faults.

*Performance.* The entities of the year keep the live release's probabilities, and their outcomes are drawn from these
probabilities: the model is exactly right, and every alert is false. Outcomes are drawn either independently, or with a
random effect of the day as in real data (`DAY_EFFECT`), with the same rate on average.
*Feed and drift.* The year's real entities, tables and missing outcomes, day by day and fortnight by fortnight. Drift is
measured against the three weeks that end a fortnight earlier, as for a release that has been live for two weeks.
Every day goes through the monitor's metrics, the alert rules and the policy of params.yaml; a retraining changes only
the policy's record of retrainings. Metrics of faults in the code (quarantined batches, skew, no requests, nothing
materialised) are zero without such a fault, and are not simulated.
Writes reports/bench_alarms.json.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from bench.gate_simulation import DAY_EFFECT, Population, load_population, sigmoid
from monitoring import alerts, performance, samples, table_metrics
from monitoring.alerts import Alert, Metrics, Tier
from monitoring.policy import Action, DayState, choose_action
from ontime import environment, model, release_pointer, schema
from ontime.evaluation import Floats, Labels
from ontime.params import Params, load_params
from ontime.release import Release
from ontime.settings import load_settings
from pipelines.layout import FEATURES, REPORTS, months_in, read_months, write_json

YEARS = 20  # simulated, of each kind
REFERENCE_DAYS = 21  # the test period of a retraining
DAY_EFFECTS = {"independent entities": 0.0, "days with a random effect": DAY_EFFECT}  # by their names in the report
FIRST_DAY = date(2001, 1, 1)  # arbitrary


class Year(NamedTuple):
    """The alerts and actions of one simulated year."""

    alert_days: Counter[str]
    episodes: Counter[str]  # runs of consecutive days with an alert
    pages: int  # days on which the policy stops everything and pages somebody
    retrainings: Counter[str]  # by alert, or `refresh_days` for one that is due by the calendar


def draw_outcomes(population: Population, day_effect: float, rng: np.random.Generator) -> Labels:
    """Outcomes whose probabilities are the model's, whatever the standard deviation of the day effect."""
    day = np.repeat(np.arange(len(population.starts) - 1), np.diff(population.starts))
    # A day effect pulls rates towards a half; steeper log-odds compensate (the probit approximation of a logistic).
    steeper = 1 / np.sqrt(1 - np.pi * day_effect**2 / 8)
    rates = sigmoid(steeper * (population.logits + rng.normal(0, day_effect, len(population.starts))[day]))
    return rng.random(len(rates)) < rates


def daily_performance(population: Population, label: Labels, probability: Floats) -> Iterator[Metrics]:
    """The performance metrics of each day that ends a whole window."""
    params, starts = population.params, population.starts
    for last in range(params.monitor.window_days, len(starts)):
        window = slice(starts[last - params.monitor.window_days], starts[last])
        rows = pd.DataFrame(
            {
                "label": label[window],
                "probability": probability[window],
                "alert": probability[window] >= params.cost.alert_threshold,
                "day": 0,
            }
        )
        yield table_metrics.performance_metrics(performance.summarise(rows, params))


def score_year() -> tuple[pd.DataFrame, Release]:
    """The year scored by the live release, with the columns of `performance.predictions_with_outcomes`."""
    live = release_pointer.load_live(load_settings().releases)
    entities = read_months(FEATURES, months_in(FEATURES)).sort_values("day", ignore_index=True)
    matrix = model.matrix_of(entities, live.manifest.categories)
    vectors = [row.tobytes() for row in matrix.astype("<f4")]
    probabilities = live.model.predict(matrix).astype(np.float64)
    return entities[["day", "label", *schema.CATEGORICAL]].assign(
        features="online", vector=vectors, probability=probabilities
    ), live


def feed_metrics(params: Params) -> Iterator[Metrics]:
    """All metrics of each day except performance; drift on every `drift_every_days`-th day."""
    from monitoring import drift  # its import takes seconds, and the worker processes do not need it

    monitor = params.monitor
    rows, live = score_year()
    decoded, reference = (
        table_metrics.decoded(rows, live.manifest.categories),
        samples.read_reference(load_settings(), live.manifest),
    )
    days = sorted(rows["day"].unique())
    of_day = {day: group.index for day, group in rows.groupby("day")}
    for place in tqdm(range(monitor.settle_days, len(days)), "feed and drift", unit="day", disable=None):
        today = rows.loc[of_day[days[place]]]
        metrics = table_metrics.prediction_metrics(today, reference, today)
        settled = rows.loc[of_day[days[place - monitor.settle_days]]]
        metrics |= {"unlabelled_share": table_metrics.unlabelled_share(settled)} | table_metrics.drift_metrics(None)
        since = place - monitor.drift_every_days + 1
        if place % monitor.drift_every_days == 0 and since >= monitor.drift_every_days + REFERENCE_DAYS:
            began = since - monitor.drift_every_days
            before = _between(decoded, of_day, days[began - REFERENCE_DAYS : began])
            now = _between(decoded, of_day, days[since : place + 1])
            reports = drift.build_reports(
                before, now, live.manifest.threshold, str(days[place]), monitor.drift_features
            )
            metrics |= table_metrics.drift_metrics(reports.values())
        yield metrics


def _between(decoded: pd.DataFrame, of_day: Mapping[Any, pd.Index], days: Sequence[Any]) -> pd.DataFrame:
    return decoded.loc[of_day[days[0]][0] : of_day[days[-1]][-1]]


def simulate_year(population: Population, day_effect: float, seed: int) -> Year:
    rng, params = np.random.default_rng(seed), population.params
    label, probability = draw_outcomes(population, day_effect, rng), sigmoid(population.logits).astype(np.float64)
    return apply_policy(daily_performance(population, label, probability), params)


def apply_policy(daily_metrics: Iterator[Metrics], params: Params) -> Year:
    """The alerts and actions of a year with these metrics of each day."""
    history: list[Metrics] = []
    alert_days, episodes, retrainings = Counter[str](), Counter[str](), Counter[str]()
    retrained, before, pages = [FIRST_DAY], set[str](), 0
    for count, metrics in enumerate(daily_metrics):
        history.append(metrics)
        day = FIRST_DAY + timedelta(days=count)
        firing = alerts.firing(history, params.monitor.alerts)
        names = {alert.name for alert in firing}
        alert_days.update(names)
        episodes.update(names - before)
        before = names
        decision = choose_action(observed_state(day, firing, retrained, params), params.policy)
        pages += decision.action is Action.STOP
        if decision.action is Action.RETRAIN:
            retrained.append(day)
            triggers = [alert.name for alert in firing if alert.tier is Tier.RETRAIN]
            retrainings[triggers[0] if triggers else "refresh_days"] += 1
    return Year(alert_days, episodes, pages, retrainings)


def observed_state(day: date, firing: tuple[Alert, ...], retrained: list[date], params: Params) -> DayState:
    """A day with enough labels and no release on trial."""
    return DayState(
        day=day,
        alerts=firing,
        new_labels=params.policy.min_labels,
        retrainings=tuple(retrained[1:]),
        champion_since=retrained[-1],
        too_early=None,
        trial=None,
    )


_populations: list[Population] = []  # of a worker process


def _begin() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    _populations.append(load_population())


def _simulate_year(day_effect: float, seed: int) -> Year:
    return simulate_year(_populations[0], day_effect, seed)


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
    simulations = [(name, day_effect, seed) for name, day_effect in DAY_EFFECTS.items() for seed in range(YEARS)]
    with ProcessPoolExecutor(os.cpu_count(), initializer=_begin) as pool:
        futures = [pool.submit(_simulate_year, day_effect, seed) for _, day_effect, seed in simulations]
        years = [each.result() for each in tqdm(futures, "bench-alarms", unit="year", disable=None)]
    means = {
        name: per_year([year for (kind, _, _), year in zip(simulations, years, strict=True) if kind == name])
        for name in DAY_EFFECTS
    }
    params = load_params()
    means["the year's own feed and drift"] = per_year([apply_policy(feed_metrics(params), params)])
    write_json(REPORTS / "bench_alarms.json", {"years": YEARS, **means})
    for name, each in means.items():
        print(f"bench-alarms: {name}: in a year without faults {each}")


if __name__ == "__main__":
    environment.enforce()
    main()
