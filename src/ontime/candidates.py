"""The registry of candidates: how each model is built, exported and explained. docs/models.md shows how to add one.

params.py imports this module in every command, so libraries are imported only inside the functions that need them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ontime import linear, tree_readers
from ontime.candidate import CATEGORY_POSITIONS as CATEGORY_POSITIONS
from ontime.candidate import Candidate as Candidate
from ontime.candidate import Count as Count
from ontime.candidate import Explainer, LearningRate, Leaves, TreeCount
from ontime.candidate import Matrix as Matrix
from ontime.candidate import NotNegativeNumber as NotNegativeNumber
from ontime.candidate import Parameters as Parameters
from ontime.candidate import Positive as Positive
from ontime.candidate import Share as Share
from ontime.candidate import UpToOne as UpToOne
from ontime.optional_candidates import OPTIONAL_CANDIDATES
from ontime.tree_readers import TooManyConditions


class RateTableParams(Parameters):
    prior_rows: Count


class LogisticParams(Parameters):
    c: Positive


class HistGradientBoostingParams(Parameters):
    max_iter: TreeCount
    learning_rate: LearningRate
    max_leaf_nodes: Leaves
    min_samples_leaf: Count
    l2_regularization: NotNegativeNumber


class LightGBMParams(Parameters):
    n_estimators: TreeCount
    learning_rate: LearningRate
    num_leaves: Leaves
    min_child_samples: Count
    feature_fraction: UpToOne
    lambda_l2: NotNegativeNumber


def constant(_: Parameters, __: int) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


def rate_table(parameters: RateTableParams, _: int) -> Any:
    from ontime.model import RateTable

    return RateTable(parameters.prior_rows)


def logistic(parameters: LogisticParams, _: int) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    # A missing category is a category of its own, if there are any in training.
    codes = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),
    )
    prepared = (
        make_column_transformer((codes, CATEGORY_POSITIONS), remainder=numbers) if CATEGORY_POSITIONS else numbers
    )
    # Newton-Cholesky: with many more rows than columns, each of its few steps is cheap.
    return make_pipeline(prepared, LogisticRegression(C=parameters.c, solver="newton-cholesky"))


def hist_gradient_boosting(parameters: HistGradientBoostingParams, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Codes as plain numbers: skl2onnx converts native categories wrongly, without an error.
    return HistGradientBoostingClassifier(**parameters.model_dump(), early_stopping=False, random_state=seed)


def _with_empty_columns_constant(rows: Matrix) -> Matrix:
    """scikit-learn 1.9 cannot bin a column without any value; on a constant one it makes no split either."""
    empty = np.isnan(rows).all(axis=0)
    return np.where(empty, np.float32(0), rows) if empty.any() else rows


def _reset_thread_count(model: Any) -> None:
    model._bin_mapper.n_threads = 1  # otherwise the saved file contains the number of cores of this machine


def lightgbm(parameters: LightGBMParams, seed: int) -> Any:
    from ontime.boosting import LightGBM

    constants = {"objective": "binary", "seed": seed, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    return LightGBM({**parameters.model_dump(), **constants})


def sklearn_onnx(model: Any) -> Any:
    """For any estimator that skl2onnx converts; the smoke test compares the result with the model."""
    from ontime import export

    return export.from_sklearn(model)


def hist_gradient_boosting_onnx(model: Any) -> Any:
    from ontime import export

    return export.from_hist_gradient_boosting(model)


def lightgbm_onnx(model: Any) -> Any:
    from ontime import export

    return export.from_lightgbm(model)


def hist_gradient_boosting_gain(model: Any) -> Sequence[float]:
    nodes = np.concatenate([tree.nodes for trees in model._predictors for tree in trees])
    splits = nodes[nodes["is_leaf"] == 0]
    return np.bincount(splits["feature_idx"], splits["gain"], model.n_features_in_).tolist()


def lightgbm_gain(model: Any) -> Sequence[float]:
    return list(model.booster_.feature_importance("gain"))


CANDIDATES: dict[str, Candidate] = {
    "constant": Candidate(constant),
    "rate_table": Candidate(rate_table, RateTableParams, reads_batches=True),
    "logistic": Candidate(logistic, LogisticParams, export=sklearn_onnx, explain=linear.of_logistic),
    "hist_gradient_boosting": Candidate(
        hist_gradient_boosting,
        HistGradientBoostingParams,
        prepare=_with_empty_columns_constant,
        after_fit=_reset_thread_count,
        export=hist_gradient_boosting_onnx,
        explain=tree_readers.of_hist_gradient_boosting,
        gain=hist_gradient_boosting_gain,
    ),
    "lightgbm": Candidate(
        lightgbm,
        LightGBMParams,
        reads_batches=True,
        fit_arguments={"categorical_feature": CATEGORY_POSITIONS},
        export=lightgbm_onnx,
        explain=tree_readers.of_lightgbm,
        gain=lightgbm_gain,
    ),
    **OPTIONAL_CANDIDATES,
}


def exportable(names: Mapping[str, object] | list[str]) -> list[str]:
    """The candidates that can be released: those with an export."""
    return [name for name in names if CANDIDATES[name].export is not None]


def explainer(name: str, fitted: Any, background: Matrix) -> Explainer | str:
    """The explainer of this candidate, or the reason why it has none."""
    explain = CANDIDATES[name].explain
    if isinstance(explain, str):
        return explain
    try:
        return explain(fitted, background)
    except TooManyConditions as error:
        return str(error)
