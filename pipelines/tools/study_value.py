"""`ontime study value`: what alerts cost without a model, and what each part of it saves -> reports/study_value.json.

Everything is measured on the test period: these are results, and nothing is chosen by them.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ontime import alert_value, evaluation, findings, locks, schema, split, study_plots
from ontime.alert_value import NO_ALERTS, ValueStep, break_even
from ontime.feature_worth import SEEDS
from ontime.model import BASELINE
from ontime.params import Params, ParamsBroken, load_params
from ontime.refusal import Refusal
from ontime.schema import WORDS
from pipelines.labelled import survey
from pipelines.layout import REPORTS, read_training
from pipelines.operations import train_and_promote
from pipelines.tools import study_pages
from pipelines.tools.study_features import ALL, REQUEST, fit_sets
from pipelines.tools.study_rows import ColumnSet, StudyRows, read_study_rows

RATIOS_PICTURE = REPORTS / "study_cost_ratios.png"
NEWEST = "newest months"
BLEND = "average"  # the candidate; measured where params.yaml has a section for it


def growing_sets() -> dict[str, ColumnSet]:
    """By family, the request's features and the family's, with those of all families before it in the catalogue."""
    sets, columns = dict[str, ColumnSet](), REQUEST
    for family, names in schema.FAMILIES.items():
        if not REQUEST.issuperset(names):
            sets[family] = columns = columns | frozenset(names)
    return sets


def value_steps(algorithm: str, train: StudyRows, test: StudyRows, params: Params) -> list[ValueStep]:
    """No alerts, the baseline, and the algorithm with the request's features and then one family more at each step."""
    sets = growing_sets()
    fitted = fit_sets([REQUEST, *sets.values()], train, test, algorithm, params)
    baseline = fit_sets([ALL], train, test, BASELINE, params)[ALL]
    return [
        ValueStep(NO_ALERTS, f"each {WORDS.entity} that {WORDS.is_positive} is missed", 0 * baseline),
        ValueStep(BASELINE, "rates of the past, without a model", baseline),
        ValueStep(algorithm, "a model of the request's features alone", fitted[REQUEST]),
        *(ValueStep(name, WORDS.families.get(name, name), fitted[columns]) for name, columns in sets.items()),
    ]


def refitted(algorithm: str, training: split.Period, params: Params) -> tuple[list[ValueStep], int]:
    """The algorithm with all features, fitted again on a longer period, then averaged; and the number of entities."""
    categories = survey(training).categories
    train, test = (
        read_study_rows(period, categories, {}, params) for period in (training, split.periods(params.split)["test"])
    )
    probabilities = fit_sets([ALL], train, test, algorithm, params)[ALL]
    steps = [ValueStep(NEWEST, "fitted again, with the validation period too", probabilities)]
    if BLEND in params.train.parameters:
        members = params.train.of(BLEND).model_dump()["of"]
        words = f"the mean of {findings.listed([each.replace('_', ' ') for each in members])}"
        steps.append(ValueStep(BLEND, words, fit_sets([ALL], train, test, BLEND, params)[ALL]))
    return steps, len(train.entities.label)


def measure_value(params: Params) -> dict[str, Any]:
    """The content of reports/study_value.json. Raises Refusal if there is nothing to compare with."""
    if BASELINE not in params.train.parameters:
        raise Refusal(
            f"params.yaml has no train.{BASELINE}, the baseline to compare with: add it, as docs/models.md says"
        )
    periods, training = split.periods(params.split), read_training()
    algorithm = training["best"]
    train, test = (read_study_rows(periods[each], training["categories"], {}, params) for each in ("train", "test"))
    steps = value_steps(algorithm, train, test, params)
    longer, refitted_on = refitted(algorithm, split.Period(periods["train"].start, periods["valid"].until), params)
    return {
        "dataset": params.dataset,
        "algorithm": algorithm,
        "steps_of_features": len(steps),
        "baseline": BASELINE,
        "seeds": SEEDS,
        "trained_on": len(train.entities.label),
        "refitted_on": refitted_on,
        "period": [str(day) for day in periods["test"]],
        **_results(test, steps, longer, params),
    }


def _results(
    test: StudyRows, steps: Sequence[ValueStep], longer: Sequence[ValueStep], params: Params
) -> Mapping[str, Any]:
    label, days, cost = test.entities.label, test.entities.day, params.cost
    nothing, baseline, *_, model = steps
    released = model.probabilities[0]  # of the seed of params.yaml, so that of the last training
    threshold, least = alert_value.cheapest_threshold(label, released, cost)
    return {
        "judged_on": len(label),
        "positives_per_1000": round(1000 * float(label.mean()), 2),
        "cost": cost.model_dump(),
        "break_even": round(break_even(cost), 4),
        "declared_cost": round(evaluation.cost_per_1000(label, released, cost), 2),
        "cheapest": {"threshold": threshold, "cost_per_1000": least},
        "steps": alert_value.step_rows(label, days, [*steps, *longer], cost),
        "model_saves": {each.name: alert_value.saving(label, days, each, model, cost) for each in (nothing, baseline)},
        "ratios": alert_value.ratio_rows(label, days, {BASELINE: baseline.probabilities[0], steps[2].name: released}),
    }


def main() -> None:
    try:
        params = load_params()
        with locks.hold(locks.WORKSPACE, "make study-value"):
            train_and_promote.run_stages("train")  # so that features and algorithm are those of params.yaml
            report = measure_value(params)
            steps, ratios = study_plots.value_of_steps(report), study_plots.costs_by_ratio(report)
            study_pages.VALUE.write(report, {study_pages.VALUE.picture: steps, RATIOS_PICTURE: ratios})
    except (locks.Busy, train_and_promote.NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"study value: {refused}")
