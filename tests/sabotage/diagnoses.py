"""`make bench-diagnose`: whether the first cause is the planted one, and the diagnosis of fortnights without a fault.

Faults are planted into the small production of tests/sabotage/world.py: its model of winter, its reference of March,
its flights from 26 May to 8 June 2013; and, as a check on a model and days that no limit was chosen by, into the first
fortnight that the released model was not trained on. Fortnights without a fault are those of 2013, as the released
model answers those that it was not trained on, and as a model retrained every 28 days would have.
Writes reports/bench_diagnose.json.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from monitoring import alerts, diagnosis, performance, samples, table_metrics
from monitoring.decomposition import LabelledSample
from monitoring.diagnosis import Diagnosis
from ontime import environment, model, release, release_pointer, slices, split
from ontime.params import Params, load_params
from ontime.release import Model
from ontime.settings import load_settings
from pipelines.layout import FEATURES, REPORTS, VALIDATED, read_months, write_json
from pipelines.operations import packaging
from tests import PARAMS_YAML
from tests.sabotage import world
from tests.sabotage.causes import FAULTS, Answered, Fault

NOW = date(2013, 5, 26), date(2013, 6, 9)
SEED = 1
FORTNIGHT, AGAIN = timedelta(days=14), timedelta(days=28)
FIRST_MONTHS, HELD_OUT, VALID = date(2013, 3, 25), timedelta(days=21), timedelta(days=3)


class Subject(NamedTuple):
    """A model's file, the codes of its categories, and the flights that it was evaluated on."""

    onnx: bytes
    categories: Mapping[str, tuple[str, ...]]
    reference: pd.DataFrame

    def diagnose(self, now: Answered, params: Params) -> Diagnosis:
        then = samples.from_reference(self.reference, self.categories)
        return diagnosis.diagnose(Model(self.onnx), then, _period(now), params.cost, params.train.seed)

    def answered(self, flights: pd.DataFrame) -> Answered:
        return Answered(flights, model.matrix_of(flights, self.categories), flights["label"].to_numpy(bool))


def _period(now: Answered) -> LabelledSample:
    dimensions = slices.of_entities(now.flights).drop(columns="month")
    return LabelledSample(now.matrix, now.label, now.flights["day"].to_numpy(), dimensions)


def planted(subject: Subject, healthy: Answered, fault: Fault, params: Params) -> dict[str, Any]:
    """One fault, and its diagnosis."""
    result = subject.diagnose(fault.plant(healthy, np.random.default_rng(SEED)), params)
    first = result.causes[0]
    return {
        "planted": fault.planted,
        "cause": fault.cause,
        "log_loss": round(result.changes["log_loss"].after, 4),
        "first": first.name,
        "costs": [round(value, 4) for value in first.cost],
        "stands_out": first.stands_out,
        "right": first.name == fault.cause,
        "kind": next((cause.kind for cause in result.causes if cause.name == fault.cause), "slice"),
    }


def between(flights: pd.DataFrame, start: date, until: date) -> pd.DataFrame:
    in_period = (flights["day"] >= pd.Timestamp(start)) & (flights["day"] < pd.Timestamp(until))
    return flights[in_period].reset_index(drop=True)


def trained(
    flights: pd.DataFrame, timetable: pd.DataFrame, params: Params, *days: date, every: int, trees: int
) -> Subject:
    """A model trained on [days 0, days 1), evaluated on [days 2, days 3)."""
    own = {"train_from": days[0], "valid_from": days[1], "test_from": days[2], "test_until": days[3]}
    dated = params.model_copy(update={"split": params.split.model_copy(update=own)})
    train = between(flights, *days[:2]).iloc[::every].reset_index(drop=True)
    test = between(flights, *days[2:])
    fitted = world.fit(train, test, timetable, dated, trees)
    return Subject(
        fitted.best.onnx, fitted.best.training["categories"], packaging.spaced_rows(test, 5000).reset_index()
    )


def retrained(flights: pd.DataFrame, timetable: pd.DataFrame, params: Params) -> Iterator[tuple[date, Subject]]:
    """Each fortnight with the newest model, trained on all days before its validation and evaluation."""
    day, trees = FIRST_MONTHS, params.train.of("lightgbm").model_dump()["n_estimators"]
    while day + FORTNIGHT <= params.split.test_until:
        test = day - HELD_OUT
        days = params.split.train_from, test - VALID, test, day
        subject = trained(flights, timetable, params, *days, every=1, trees=trees)
        yield day, subject
        if day + AGAIN <= params.split.test_until:
            yield day + FORTNIGHT, subject
        day += AGAIN


def released(params: Params) -> Iterator[tuple[date, Subject]]:
    """Each fortnight that the released model was not trained on."""
    releases = load_settings().releases
    live = release_pointer.load_live(releases).manifest
    folder = releases / live.version
    subject = Subject(
        (folder / release.MODEL).read_bytes(), live.categories, pd.read_parquet(folder / release.REFERENCE)
    )
    day = live.trained_until
    while day + FORTNIGHT <= params.split.test_until:
        yield day, subject
        day += FORTNIGHT


def quiet_fortnight(name: str, day: date, subject: Subject, flights: pd.DataFrame, params: Params) -> dict[str, Any]:
    """A fortnight without a planted fault: the causes that stand out, and the alerts that would fire."""
    result = subject.diagnose(subject.answered(between(flights, day, day + FORTNIGHT)), params)
    first = result.causes[0]
    return {
        "model": name,
        "from": str(day),
        "log_loss": [round(value, 4) for value in result.changes["log_loss"].total],
        "alerts": _alerts(subject, between(flights, day, day + FORTNIGHT), params),
        "first": first.name,
        "costs": [round(value, 4) for value in first.cost],
        "stands_out": [cause.name for cause in result.notable],
    }


def _alerts(subject: Subject, flights: pd.DataFrame, params: Params) -> list[str]:
    """The figures of performance that are over their limit at the end of the fortnight."""
    native = Model(subject.onnx)
    probabilities = native.predict(model.matrix_of(flights, subject.categories)).astype(np.float64)
    rows = flights.assign(probability=probabilities, alert=probabilities >= params.cost.alert_threshold)
    figures = table_metrics.performance_metrics(performance.summarise(rows, params))
    return [name for name in alerts.PERFORMANCE_ALERTS if (figures[name] or 0) > params.monitor.alerts[name].above]


def every_fault(subject: Subject, days: tuple[date, date], flights: pd.DataFrame, params: Params) -> dict[str, Any]:
    """Each fault in these days, and the counts for the documentation."""
    healthy = subject.answered(between(flights, *days))
    before = round(subject.diagnose(healthy, params).changes["log_loss"].after, 4)
    rows = Parallel(n_jobs=2)(delayed(planted)(subject, healthy, fault, params) for fault in FAULTS)
    worse = [row for row in rows if row["log_loss"] - before >= diagnosis.NOTABLE_LOG_LOSS]
    others = [row for row in rows if row["log_loss"] - before < diagnosis.NOTABLE_LOG_LOSS]
    return {
        "days": [str(day) for day in days],
        "healthy_log_loss": before,
        "worse": len(worse),
        "right": sum(row["right"] for row in worse),
        "by_kind": {
            kind: [sum(row["right"] for row in worse if row["kind"] == kind), sum(row["kind"] == kind for row in worse)]
            for kind in ("family", "slice", "base rate")
        },
        "right_and_stands_out": sum(row["right"] and row["stands_out"] for row in worse),
        "wrong_and_stands_out": sum(not row["right"] and row["stands_out"] for row in worse),
        "not_worse": len(others),
        "not_worse_stands_out": sum(row["stands_out"] for row in others),
        "not_worse_stands_out_right": sum(row["stands_out"] and row["right"] for row in others),
        "faults": rows,
    }


def without_fault(fortnights: list[dict[str, Any]]) -> dict[str, Any]:
    quiet = [each for each in fortnights if not each["alerts"]]
    return {
        "fortnights": len(fortnights),
        "without_alert": len(quiet),
        "without_alert_stands_out": sum(bool(each["stands_out"]) for each in quiet),
        "with_alert_stands_out": sum(bool(each["stands_out"]) for each in fortnights if each["alerts"]),
        "each": fortnights,
    }


def main() -> None:
    params = load_params(PARAMS_YAML)
    flights = split.labelled(read_months(FEATURES))
    timetable = read_months(VALIDATED / "flights").set_index("entity_id", drop=False)
    winter = trained(flights, timetable, params, *world.WINTER.values(), every=world.EVERY, trees=world.TREES)
    live = list(released(params))
    every = [("retrained", *each) for each in retrained(flights, timetable, params)]
    every += [("released", *each) for each in live]
    day, subject = live[0]
    results = {
        "sabotage_world": every_fault(winter, NOW, flights, params),
        "released_model": every_fault(subject, (day, day + FORTNIGHT), flights, params),
        "without_fault": without_fault(
            [quiet_fortnight(name, day, each, flights, params) for name, day, each in every]
        ),
    }
    write_json(REPORTS / "bench_diagnose.json", results)
    for name in ("sabotage_world", "released_model"):
        print(f"bench-diagnose: {name}: {results[name]['right']} of {results[name]['worse']} faults named first")
    print(f"bench-diagnose: {REPORTS / 'bench_diagnose.json'}")


if __name__ == "__main__":
    environment.enforce()
    main()
