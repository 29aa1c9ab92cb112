"""`make bench-density`: does a density of the features see faults before the alerts on performance do?

Two densities of a day's numeric features, an isolation forest and a normal distribution of the normal scores, are
fitted as for a release that has been live for two weeks: on three weeks, which end two weeks earlier. A day's metric is
the mean anomaly score of its entities minus that of the reference. Its limit is the one that five days of the honest
year exceed, so the year itself sets it: no limit chosen in advance does better at as many false alarms.

The faults: each family of online features is taken from another entity of the day, is a day old, is halved, or has its
two most similar columns swapped. A fault concerns all entities of a day, here of every fourth. Beside them, on the days
that the live release was not trained on: what each fault costs in log-loss if it stays, and after how many days an
alert on performance fires that does not fire without it. Writes reports/bench_density.json.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import QuantileTransformer
from tqdm import tqdm

from monitoring import alerts, performance, table_metrics
from ontime import environment, evaluation, model, release_pointer, schema, split
from ontime.evaluation import Floats
from ontime.params import Params, load_params
from ontime.settings import load_settings
from pipelines.layout import FEATURES, REPORTS, months_in, read_months, write_json

REFERENCE_DAYS, GAP_DAYS = 21, 14
EVERY = 4  # a fault is planted into every fourth day
START_EVERY = 14  # days between the days on which a fault begins, for the alerts
FALSE_ALARMS = 5  # days of the year
REFERENCE_ROWS = 6000
SEED = 0
NUMBERS = [name for name in schema.FEATURE_NAMES if name not in schema.CATEGORICAL]
ONLINE = {
    family: columns
    for family, names in schema.FAMILIES.items()
    if len(columns := [name for name in names if name in schema.ONLINE and name in NUMBERS]) > 1
}
Fault = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]  # of a day and the day before it
Faults = Mapping[tuple[str, str], Fault]  # by family and name
HONEST = ("", "honest")


def densities() -> dict[str, Pipeline]:
    impute = partial(SimpleImputer, strategy="median", keep_empty_features=True)
    normal = QuantileTransformer(output_distribution="normal", n_quantiles=200)
    return {
        "isolation forest": make_pipeline(
            impute(), IsolationForest(n_estimators=200, max_samples=512, random_state=SEED)
        ),
        "normal distribution": make_pipeline(impute(), normal, GaussianMixture(1, reg_covar=0.01, random_state=SEED)),
    }


def of_another_entity(day: pd.DataFrame, _: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    order = np.random.default_rng(SEED).permutation(len(day))
    return day.assign(**{name: day[name].to_numpy()[order] for name in columns})


def a_day_old(day: pd.DataFrame, before: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """From the entity at the same place of the day before: days are in the order of their events."""
    place = np.arange(len(day)) * len(before) // len(day)
    return day.assign(**{name: before[name].to_numpy()[place] for name in columns})


def halved(day: pd.DataFrame, _: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return day.assign(**{name: day[name] / 2 for name in columns})


def swapped(day: pd.DataFrame, _: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    first, second = columns
    return day.assign(**{first: day[second], second: day[first]})


def most_similar(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The two columns with the highest rank correlation that are not the same in most rows."""
    similar = rows[columns].corr("spearman").abs()
    pairs = [
        (float(similar.loc[a, b]), a, b)  # type: ignore[arg-type]  # a number
        for place, a in enumerate(columns)
        for b in columns[place + 1 :]
        if (rows[a] == rows[b]).mean() < 0.5
    ]
    return list(max(pairs)[1:])


def planted_faults(rows: pd.DataFrame) -> Faults:
    kinds = {"from another entity": of_another_entity, "a day old": a_day_old, "halved": halved}
    families = {**ONLINE, "all families": [name for columns in ONLINE.values() for name in columns]}
    faults: dict[tuple[str, str], Fault] = {
        (family, name): partial(fault, columns=columns)
        for family, columns in families.items()
        for name, fault in kinds.items()
    }
    pairs = {family: most_similar(rows, columns) for family, columns in ONLINE.items()}
    return faults | {(family, f"{' and '.join(pair)} swapped"): partial(swapped, columns=pair)
                     for family, pair in pairs.items()}  # fmt: skip


def daily_scores(days: Sequence[pd.DataFrame], faults: Faults) -> pd.DataFrame:
    """One row for each density and day, honest or with a fault: the metric."""
    rows = []
    starts = range(REFERENCE_DAYS + GAP_DAYS, len(days), GAP_DAYS)
    for start in tqdm(starts, "densities", unit="fortnight", disable=None):
        reference = pd.concat(days[start - GAP_DAYS - REFERENCE_DAYS : start - GAP_DAYS])
        sample = reference[NUMBERS].sample(min(REFERENCE_ROWS, len(reference)), random_state=SEED).to_numpy()
        for name, density in densities().items():
            density.fit(sample)
            usual = density.score_samples(sample).mean()
            for place in range(start, min(start + GAP_DAYS, len(days))):
                planted = {HONEST: lambda day, _: day, **(faults if place % EVERY == 0 else {})}
                for fault, plant in planted.items():
                    faulty = plant(days[place], days[place - 1])[NUMBERS].to_numpy()
                    rows.append((name, *fault, usual - density.score_samples(faulty).mean()))
    return pd.DataFrame(rows, columns=["density", "family", "fault", "metric"])


def flagged_shares(scores: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    """For each fault, honest days included, and each density: the share of days above the limit."""
    shares: dict[tuple[str, str], dict[str, float]] = {}
    for density, rows in scores.groupby("density", sort=False):
        limit = rows.loc[rows["fault"] == HONEST[1], "metric"].nlargest(FALSE_ALARMS + 1).iloc[-1]
        for (family, fault), metric in rows.groupby(["family", "fault"], sort=False)["metric"]:
            shares.setdefault((str(family), str(fault)), {})[str(density)] = round(float((metric > limit).mean()), 3)
    return shares


def performance_alerts(rows: pd.DataFrame, probability: Floats, start: int, params: Params) -> list[set[str]]:
    """The alerts on performance of each day from number `start` on. `rows`: label and day."""
    number = rows["day"].factorize()[0]
    rows = rows.assign(probability=probability, alert=probability >= params.cost.alert_threshold)
    first = start - max(rule.of for rule in params.monitor.alerts.values())
    metrics, names = [], []
    for last in range(max(params.monitor.window_days - 1, first), number[-1] + 1):
        window = rows[(number > last - params.monitor.window_days) & (number <= last)]
        metrics.append(table_metrics.performance_metrics(performance.summarise(window, params)))
        names.append({alert.name for alert in alerts.firing(metrics, params.monitor.alerts)})
    return names[-(number[-1] + 1 - start) :]


def days_to_alert(honest: Sequence[set[str]], faulty: Sequence[set[str]]) -> float:
    """After how many days with a fault an alert fires that does not fire without it; infinite: never."""
    new = (count for count, (a, b) in enumerate(zip(honest, faulty, strict=True), 1) if b - a)
    return float(next(new, np.inf))


def performance_with_faults(days: Sequence[pd.DataFrame], faults: Faults, params: Params) -> Iterator[dict[str, Any]]:
    """For each fault: what it costs in log-loss, and after how many days an alert fires, the median over the starts."""
    live = release_pointer.load_live(load_settings().releases)
    unseen = [
        place for place, day in enumerate(days) if day["day"].iloc[0] >= pd.Timestamp(live.manifest.trained_until)
    ]
    labelled = {place: split.labelled(days[place]) for place in (unseen[0] - 1, *unseen)}

    def predict(plant: Fault) -> Floats:
        planted = pd.concat([plant(labelled[place], labelled[place - 1]) for place in unseen])
        return live.model.predict(model.matrix_of(planted, live.manifest.categories)).astype(np.float64)

    rows = pd.concat([labelled[place] for place in unseen], ignore_index=True)[["day", "label"]]
    label, honest = rows["label"].to_numpy(bool), predict(lambda day, _: day)
    number, window = rows["day"].factorize()[0], params.monitor.window_days
    starts = range(window, len(unseen) - window, START_EVERY)
    usual = {start: performance_alerts(rows, honest, start, params) for start in starts}
    for (family, name), plant in tqdm(faults.items(), "alerts", unit="fault", disable=None):
        faulty = predict(plant)
        waits = [
            days_to_alert(
                usual[start], performance_alerts(rows, np.where(number >= start, faulty, honest), start, params)
            )
            for start in starts
        ]
        yield {
            "family": family,
            "fault": name,
            "log_loss": round(float((evaluation.losses(label, faulty) - evaluation.losses(label, honest)).mean()), 4),
            "alert_after_days": int(wait) if (wait := median(waits)) < np.inf else None,
        }


def main() -> None:
    params = load_params()
    year = read_months(FEATURES, months_in(FEATURES)).sort_values("day", kind="stable", ignore_index=True)
    year = year.astype(dict.fromkeys(NUMBERS, np.float64))
    days = [day for _, day in year.groupby("day")]
    faults = planted_faults(year)
    flagged = flagged_shares(daily_scores(days, faults))
    results = [
        {**row, "flagged": flagged[row["family"], row["fault"]]}
        for row in performance_with_faults(days, faults, params)
    ]
    write_json(REPORTS / "bench_density.json", {"honest": flagged[HONEST], "faults": results})
    for row in results:
        seen = ", ".join(f"{name} {share:.0%}" for name, share in row["flagged"].items())
        alert = f"an alert after {row['alert_after_days']} days" if row["alert_after_days"] else "no alert"
        print(
            f"bench-density: {row['family']} {row['fault']}: days seen: {seen}; log-loss {row['log_loss']:+}; {alert}"
        )


if __name__ == "__main__":
    environment.enforce()
    main()
