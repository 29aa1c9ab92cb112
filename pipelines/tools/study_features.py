"""`ontime study features`: what each family of features and each idea is worth -> reports/study_features.json.

The best algorithm of the last training is fitted on the training period with different sets of features, each with
several seeds, and judged on the validation period; the test period is not read. All rows are held in memory.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ontime import feature_worth, ideas, locks, model, schema, split, study_plots
from ontime.feature_worth import SEEDS
from ontime.params import Params, ParamsBroken, load_params
from ontime.progress import progress_bar
from ontime.refusal import Refusal
from ontime.schema import WORDS
from pipelines.labelled import LabelledRows
from pipelines.layout import read_training
from pipelines.operations import train_and_promote
from pipelines.tools import study_pages
from pipelines.tools.study_rows import ColumnSet, StudyRows, matrix_with, read_study_rows, with_copies

Probabilities = NDArray[np.float64]  # of shape (seeds, entities)

ALL: ColumnSet = frozenset(schema.FEATURE_NAMES)
REQUEST: ColumnSet = frozenset(schema.REQUEST)


class FeatureComparison(NamedTuple):
    """Two sets of columns: one has what is measured, the other lacks it."""

    kind: Literal["out", "in", "idea", "idea_in"]
    name: str
    words: str
    having: ColumnSet
    lacking: ColumnSet

    @property
    def changed(self) -> ColumnSet:
        """The set that is not a reference: all features without a family, or a reference with something added."""
        return self.lacking if self.kind == "out" else self.having


def family_comparisons() -> list[FeatureComparison]:
    """Each family left out of all features, and added to the request's alone.

    The request's own features have no row: a caller always sends them, so no model has to do without.
    """
    families = {name: online for name, names in schema.FAMILIES.items() if (online := frozenset(names) - REQUEST)}
    words = {name: WORDS.families.get(name, name) for name in families}
    return [
        *(FeatureComparison("out", name, words[name], ALL, ALL - names) for name, names in families.items()),
        *(FeatureComparison("in", name, words[name], REQUEST | names, REQUEST) for name, names in families.items()),
    ]


def idea_comparisons(declared: ideas.Ideas, idea_names: Sequence[str]) -> list[FeatureComparison]:
    """Each idea added to all features; one that is computed from the request also to the request's alone."""
    compared = []
    for name, idea in declared.items():
        columns = frozenset(column for column in idea_names if column.partition(".")[0] == name)
        compared.append(FeatureComparison("idea", name, idea.words, ALL | columns, ALL))
        if isinstance(idea, ideas.RequestIdea) and ALL != REQUEST:
            compared.append(FeatureComparison("idea_in", name, idea.words, REQUEST | columns, REQUEST))
    return compared


def fit_sets(
    sets: Sequence[ColumnSet], train: StudyRows, judged: StudyRows, algorithm: str, params: Params
) -> dict[ColumnSet, Probabilities]:
    """The probabilities of the judged rows by each set of columns and each seed."""
    probabilities: dict[ColumnSet, list[model.Probabilities]] = {columns: [] for columns in sets}
    with progress_bar(total=SEEDS * len(sets), desc=f"study: fits {algorithm}", unit="fits") as bar:
        for seed in range(params.train.seed, params.train.seed + SEEDS):
            seeded = params.train.model_copy(update={"seed": seed})
            rows, label = with_copies(train, seeded)
            for columns in sets:
                fitted = model.fit(algorithm, matrix_with(rows, columns), label, seeded)
                probabilities[columns].append(model.predict(fitted, matrix_with(judged, columns)))
                bar.update()
    return {columns: np.stack(each) for columns, each in probabilities.items()}


def measure_features(params: Params) -> dict[str, Any]:
    """The content of reports/study_features.json. Raises Refusal if there is nothing to measure, or an idea leaks."""
    declared = ideas.declared_ideas()
    if not declared and not schema.ONLINE:
        raise Refusal("all features are the request's, and there is no idea in problem/ideas.py: nothing to measure")
    return feature_report(declared, family_comparisons(), params)


def feature_report(declared: ideas.Ideas, families: Sequence[FeatureComparison], params: Params) -> dict[str, Any]:
    """The scores of the sets that these ideas and families compare, and their rows. Raises FutureLeak."""
    training, periods = read_training(), split.periods(params.split)
    train, valid = (
        read_study_rows(periods[each], training["categories"], declared, params) for each in ("train", "valid")
    )
    compared = [*families, *idea_comparisons(declared, train.idea_names)]
    sets = list(dict.fromkeys(columns for each in compared for columns in (each.lacking, each.having)))
    probabilities = fit_sets(sets, train, valid, training["best"], params)
    entities = valid.entities
    scores = {each: feature_worth.mean_scores(entities.label, probabilities[each], params.cost) for each in sets}
    return {
        "dataset": params.dataset,
        "algorithm": training["best"],
        "seeds": SEEDS,
        "least_difference": round(feature_worth.least_difference(SEEDS), 5),
        "trained_on": len(train.entities.label),
        "judged_on": len(entities.label),
        "positive_share": round(float(entities.label.mean()), 4),
        "alert_threshold": params.cost.alert_threshold,
        **{
            name: {"features": len(columns), **_rounded(scores[columns])}
            for name, columns in (("all", ALL), ("request", REQUEST))
            if columns in scores
        },
        "rows": [_row(each, entities, probabilities, scores) for each in compared],
    }


def _row(
    compared: FeatureComparison,
    entities: LabelledRows,
    probabilities: Mapping[ColumnSet, Probabilities],
    scores: Mapping[ColumnSet, Mapping[str, float]],
) -> dict[str, Any]:
    having, lacking = compared.having, compared.lacking
    worth = feature_worth.worth(entities.label, probabilities[having], probabilities[lacking], entities.day)
    fewer = {
        name: scores[lacking][name] - scores[having][name] for name in ("false_alarms_per_1000", "missed_per_1000")
    }
    return {
        "kind": compared.kind,
        "name": compared.name,
        "words": compared.words,
        "features": len(having - lacking),
        **_rounded(scores[compared.changed]),
        "worth": _rounded({name: each for name, each in worth._asdict().items() if name != "verdict"}),
        "fewer": _rounded(fewer),
        "verdict": str(worth.verdict),
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2 if name.endswith("_1000") else 5) for name, value in values.items()}


def main() -> None:
    try:
        params = load_params()
        with locks.hold(locks.WORKSPACE, "make study-features"):
            train_and_promote.run_stages("train")  # so that features and algorithm are those of params.yaml
            report = measure_features(params)
            study_pages.FEATURES.write(
                report, {study_pages.FEATURES.picture: study_plots.worth_of_features(report["rows"])}
            )
    except (locks.Busy, train_and_promote.NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"study features: {refused}")
