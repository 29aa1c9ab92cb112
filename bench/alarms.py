"""`make bench-alarms`: what the monitor and the policy do in a year in which nothing is wrong with the model.

*Performance.* The entities of the year keep the live release's probabilities, and their outcomes are drawn from those
probabilities: so the model is exactly right, and every alert is a false one. Either each entity is drawn for itself, or
the entities of a day share a mood as real days do (`bench.gate.MOOD`), with the same rate on average.
*Feed and drift.* The year's own entities, weather and cancellations, day by day and fortnight by fortnight. Drift is
measured against the three weeks that end a fortnight earlier, as if a release of middle age answered.
Every day is judged by the monitor's own figures, by the alert rules and by the policy of params.yaml; a retraining
changes nothing but the policy's memory of it. Metrics of what fails in the code (quarantined batches, skew, nothing
asked, nothing materialised) are zero where nothing fails, and are not simulated.
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

from bench.gate import MOOD, World, sigmoid, year
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
REFERENCE_DAYS = 21  # which a retraining holds out
MOODS = {"each entity for itself": 0.0, "days with a mood": MOOD}
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


def of_performance(world: World, label: Labels, probability: Floats) -> Iterator[Metrics]:
    """The figures of each day that has a whole window behind it."""
    params, starts = world.params, world.starts
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


def answered() -> tuple[pd.DataFrame, Release]:
    """Every entity of the year with the live release's prediction, as `performance.predictions_with_outcomes`."""
    live = release_pointer.load_live(load_settings().releases)
    entities = read_months(FEATURES, months_in(FEATURES)).sort_values("day", ignore_index=True)
    matrix = model.matrix_of(entities, live.manifest.categories)
    vectors = [row.tobytes() for row in matrix.astype("<f4")]
    told = live.model.predict(matrix).astype(np.float64)
    return entities[["day", "label", *schema.CATEGORICAL]].assign(
        features="online", vector=vectors, probability=told
    ), live


def of_the_feed(params: Params) -> Iterator[Metrics]:
    """The figures of each day but those of performance; of drift, on every `drift_every_days`-th."""
    from monitoring import drift  # it takes seconds to import, and the workers need none of it

    monitor = params.monitor
    rows, live = answered()
    decoded, reference = (
        table_metrics.decoded(rows, live.manifest.categories),
        samples.read_reference(load_settings(), live.manifest),
    )
    days = sorted(rows["day"].unique())
    of_day = {day: group.index for day, group in rows.groupby("day")}
    for place in tqdm(range(monitor.settle_days, len(days)), "feed and drift", unit="day", disable=None):
        today = rows.loc[of_day[days[place]]]
        found = table_metrics.prediction_metrics(today, reference, today)
        settled = rows.loc[of_day[days[place - monitor.settle_days]]]
        found |= {"unlabelled_share": table_metrics.unlabelled_share(settled)} | table_metrics.drift_metrics(None)
        since = place - monitor.drift_every_days + 1
        if place % monitor.drift_every_days == 0 and since >= monitor.drift_every_days + REFERENCE_DAYS:
            began = since - monitor.drift_every_days
            before = _between(decoded, of_day, days[began - REFERENCE_DAYS : began])
            now = _between(decoded, of_day, days[since : place + 1])
            reports = drift.build_reports(
                before, now, live.manifest.threshold, str(days[place]), monitor.drift_features
            )
            found |= table_metrics.drift_metrics(reports.values())
        yield found


def _between(decoded: pd.DataFrame, of_day: Mapping[Any, pd.Index], days: Sequence[Any]) -> pd.DataFrame:
    return decoded.loc[of_day[days[0]][0] : of_day[days[-1]][-1]]


def live(world: World, mood: float, seed: int) -> Year:
    rng, params = np.random.default_rng(seed), world.params
    label, probability = outcomes(world, mood, rng), sigmoid(world.logits).astype(np.float64)
    return judged(of_performance(world, label, probability), params)


def judged(told: Iterator[Metrics], params: Params) -> Year:
    """A year of days with these figures."""
    seen: list[Metrics] = []
    alert_days, episodes, retrainings = Counter[str](), Counter[str](), Counter[str]()
    retrained, before, pages = [FIRST], set[str](), 0
    for count, each in enumerate(told):
        seen.append(each)
        day = FIRST + timedelta(days=count)
        raised = alerts.firing(seen, params.monitor.alerts)
        names = {alert.name for alert in raised}
        alert_days.update(names)
        episodes.update(names - before)
        before = names
        decision = choose_action(observed(day, raised, retrained, params), params.policy)
        pages += decision.action is Action.STOP
        if decision.action is Action.RETRAIN:
            retrained.append(day)
            asking = [alert.name for alert in raised if alert.tier is Tier.RETRAIN]
            retrainings[asking[0] if asking else "refresh_days"] += 1
    return Year(alert_days, episodes, pages, retrainings)


def observed(day: date, raised: tuple[Alert, ...], retrained: list[date], params: Params) -> DayState:
    """A day on which labels are plenty and nobody is on trial."""
    return DayState(
        day=day,
        alerts=raised,
        new_labels=params.policy.min_labels,
        retrainings=tuple(retrained[1:]),
        champion_since=retrained[-1],
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
    params = load_params()
    found["the year's own feed and drift"] = per_year([judged(of_the_feed(params), params)])
    write_json(REPORTS / "bench_alarms.json", {"years": YEARS, **found})
    for name, each in found.items():
        print(f"bench-alarms: {name}: in a calm year {each}")


if __name__ == "__main__":
    environment.enforce()
    main()
