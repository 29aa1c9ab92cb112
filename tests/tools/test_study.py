"""The study: each figure is that of the model it names, and a file with other content is refused."""

import numpy as np
import pandas as pd
import pytest

from ontime import evaluation, model, schema
from ontime.batches import Batches
from ontime.model_study import Study
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.refusal import Refusal
from pipelines.labelled import LabelledRows
from pipelines.tools import study

pytestmark = pytest.mark.slow
FAMILY = next((ablation.families[0] for ablation in PROBLEM.ablations.values()), next(iter(schema.FAMILIES)))
INFORMATIVE = next(name for name in schema.FAMILIES[FAMILY] if name not in schema.CATEGORICAL)


def rows_of(matrix: model.Matrix, label: model.Labels) -> LabelledRows:
    """Rows without days and ids, which no study of the features needs."""
    return LabelledRows(Batches.of(matrix), label, np.empty(0, "datetime64[us]"), np.empty(0, np.uint64))


@pytest.fixture(scope="module")
def rows() -> LabelledRows:
    """Entities whose label depends on a single feature."""
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(4000, len(schema.FEATURE_NAMES))).astype(np.float32)
    matrix[:, [schema.FEATURE_NAMES.index(name) for name in schema.CATEGORICAL]] = 0
    odds = np.exp(3 * matrix[:, schema.FEATURE_NAMES.index(INFORMATIVE)])
    return rows_of(matrix, rng.random(len(matrix)) < odds / (1 + odds))


@pytest.fixture(scope="module")
def small(params: Params) -> Params:
    return params.model_copy(update={"train": params.train.changed("lightgbm", n_estimators=20)})


def test_the_feature_that_decides_is_the_most_important(rows: LabelledRows, small: Params) -> None:
    fitted = model.fit("lightgbm", rows.rows, rows.label, small.train)

    importance = study.feature_importance(fitted, rows, small)

    assert next(iter(importance)) == INFORMATIVE
    assert set(importance) == set(schema.FEATURE_NAMES)
    means = [mean for mean, _ in importance.values()]
    assert means == sorted(means, reverse=True)
    assert means[0] > 10 * abs(means[1])


def test_an_ablation_is_fitted_and_scored_without_its_features(rows: LabelledRows, small: Params) -> None:
    half = len(rows.label) // 2
    matrix = rows.rows.in_memory()
    earlier, later = (rows_of(matrix[part], rows.label[part]) for part in (slice(None, half), slice(half, None)))

    scores = study.ablated_scores("lightgbm", earlier, later, small)

    whole = model.predict(model.fit("lightgbm", earlier.rows, earlier.label, small.train), later.rows)
    assert evaluation.auc(later.label, whole) > 0.85
    assert set(scores) == set(PROBLEM.ablations)
    assert all(figures["auc"] < 0.6 for figures in scores.values())  # nothing but noise is left


def test_the_coverage_begins_with_the_control_and_all_rows(weeks: pd.DataFrame) -> None:
    labelled = weeks[weeks["label"].notna()].reset_index(drop=True)
    half = labelled["day"] < labelled["day"].median()
    probability = np.random.default_rng(5).random(len(labelled))

    coverage = study.set_coverage(labelled[half], probability[half], labelled[~half], probability[~half])

    assert [(row["dimension"], row["slice"]) for row in coverage[:2]] == [("control", "days between"), ("test", "all")]
    assert coverage[1]["entities"] == int((~half).sum())


@pytest.mark.parametrize("content", [{"of": {}}, {"importance": 3}, {"importance": {"dest": 1}, "of": {}}])
def test_a_study_that_is_not_one_is_refused_with_the_command(content: dict[str, object]) -> None:
    with pytest.raises(Refusal, match=r"reports/study.json is not what `make study` writes"):
        Study.from_json(content)
