"""Candidates that `make train` does not fit unless params.yaml lists them; `make study-models` measures all of them.

Most need packages that only `make install-candidates` installs.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ontime import tree_readers
from ontime.candidate import (
    CATEGORY_POSITIONS,
    ONLINE_POSITIONS,
    Candidate,
    Count,
    Explainer,
    LearningRate,
    Leaves,
    Matrix,
    NotNegativeNumber,
    Parameters,
    Positive,
    Share,
    TreeCount,
    UpToOne,
)


class RandomForestParams(Parameters):
    n_estimators: TreeCount
    max_leaf_nodes: Leaves
    min_samples_leaf: Count
    max_features: UpToOne
    max_samples: UpToOne  # share of the rows that each tree is fitted on


class XGBoostParams(Parameters):
    n_estimators: TreeCount
    learning_rate: LearningRate
    max_leaves: Leaves
    min_child_weight: Positive
    colsample_bytree: UpToOne
    reg_lambda: NotNegativeNumber


class CatBoostParams(Parameters):
    iterations: TreeCount
    learning_rate: LearningRate
    depth: Annotated[int, Field(gt=0, le=16)]  # CatBoost's limit
    l2_leaf_reg: NotNegativeNumber


class NeuralNetworkParams(Parameters):
    bins: Annotated[int, Field(ge=2, le=256)]  # of each number
    embedding: Annotated[int, Field(gt=0, le=1024)]  # numbers for each category
    layers: Annotated[int, Field(gt=0, le=32)]
    units: Annotated[int, Field(gt=0, le=65_536)]  # of each layer
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: LearningRate
    weight_decay: NotNegativeNumber
    batch_rows: Count
    epochs: Annotated[int, Field(gt=0, le=10_000)]
    patience: Count  # epochs without a better loss on the held-out rows, after which training stops


class DistilledParams(Parameters):
    teacher: str
    student: str
    changes: dict[str, Count | NotNegativeNumber]  # of the student's parameters, which have limits of their own
    folds: Annotated[int, Field(gt=0, le=100)]  # 1: the teacher's probabilities of its own training rows
    share: UpToOne  # of the teacher's probability in the mixture with the label


class QuantisedParams(Parameters):
    of: str
    format: Literal["int8", "int8_static", "float16"]
    tolerance: Share  # largest change of a probability


class AverageParams(Parameters):
    of: Annotated[list[str], Field(min_length=1)]  # other candidates with a section in params.yaml
    seeds: Annotated[int, Field(gt=0, le=100)]  # each of them is fitted with so many seeds


def random_forest(parameters: RandomForestParams, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    # skl2onnx loses where a tree sends missing values, so they become a number below all others.
    imputer = SimpleImputer(strategy="constant", fill_value=-9999, keep_empty_features=True)
    return make_pipeline(imputer, RandomForestClassifier(**parameters.model_dump(), random_state=seed, n_jobs=-1))


def _predict_on_one_thread(model: Any) -> None:
    model.steps[-1][1].n_jobs = 1  # several add up the trees in any order, and differ in the last bit


def random_forest_onnx(model: Any) -> Any:
    from ontime import export

    return export.from_sklearn(model)


def xgboost(parameters: XGBoostParams, seed: int) -> Any:
    from xgboost import XGBClassifier

    # One thread: the sum of gradients depends on the number of threads.
    return XGBClassifier(**parameters.model_dump(), grow_policy="lossguide", random_state=seed, n_jobs=1)


def random_forest_gain(model: Any) -> Sequence[float]:
    return list(model.steps[-1][1].feature_importances_)


def xgboost_gain(model: Any) -> Sequence[float]:
    gains = model.get_booster().get_score(importance_type="total_gain")
    return [gains.get(f"f{position}", 0.0) for position in range(model.n_features_in_)]


def xgboost_onnx(model: Any) -> Any:
    from onnxmltools import convert_xgboost

    from ontime import export

    return convert_xgboost(
        model, initial_types=export.input_type(), target_opset=export.ONNX_OPSET, name=export.GRAPH_NAME
    )


def catboost(parameters: CatBoostParams, seed: int) -> Any:
    from catboost import CatBoostClassifier

    # Codes as plain numbers: a model with native categories cannot be exported to ONNX. Class names: neither can one of
    # labels that are bools. One thread: another number gives another model.
    constants = {"class_names": [0, 1], "thread_count": 1, "allow_writing_files": False, "verbose": False}
    return CatBoostClassifier(**parameters.model_dump(), random_seed=seed, **constants)


def catboost_gain(model: Any) -> Sequence[float]:
    return list(
        model.get_feature_importance()
    )  # how much a prediction changes with the feature: CatBoost keeps no gains


def catboost_onnx(model: Any) -> Any:
    from ontime import export_catboost

    return export_catboost.from_catboost(model)


def neural_network(parameters: NeuralNetworkParams, seed: int) -> Any:
    from ontime.neural import NeuralNetwork

    return NeuralNetwork(**parameters.model_dump(), seed=seed)


def neural_network_onnx(model: Any) -> Any:
    from ontime import export_neural

    return export_neural.from_neural_network(model)


def distilled(parameters: DistilledParams, seed: int) -> Any:
    from ontime.distillation import Distilled

    return Distilled(**parameters.model_dump(), seed=seed)


def distilled_gain(model: Any) -> Sequence[float]:
    return _mean_gain([(model.student, model.student_)], model.n_features_in_)


def average_gain(model: Any) -> Sequence[float]:
    return _mean_gain(model.members_, model.n_features_in_)


def _mean_gain(members: Sequence[tuple[str, Any]], features: int) -> Sequence[float]:
    """The mean share of each feature over the members that have gains; zeros if none has."""
    from ontime.candidates import CANDIDATES

    gains = [np.array(gain(fitted)) for name, fitted in members if (gain := CANDIDATES[name].gain) is not None]
    return list(np.mean([each / max(each.sum(), 1e-9) for each in gains], axis=0)) if gains else [0.0] * features


def distilled_onnx(model: Any) -> Any:
    from ontime import export

    return export.convert(model.student, model.student_)


def quantised(parameters: QuantisedParams, seed: int) -> Any:
    from ontime.quantisation import Quantised

    return Quantised(**parameters.model_dump(), seed=seed)


def quantised_onnx(model: Any) -> Any:
    from onnx import load_model_from_string

    return load_model_from_string(model.onnx_)


def average(parameters: AverageParams, seed: int) -> Any:
    from ontime.average import Average

    return Average(**parameters.model_dump(), seed=seed)


def average_of(names: list[str], seeds: int) -> AverageParams:
    """The parameters of the mean of these candidates, each fitted with this many seeds."""
    return AverageParams(of=names, seeds=seeds)


def average_onnx(model: Any) -> Any:
    from ontime import export_average

    return export_average.from_average(model)


def _of_student(model: Any, rows: Matrix) -> Explainer | str:
    from ontime import candidates

    return candidates.explainer(model.student, model.student_, rows)


OPTIONAL_CANDIDATES: dict[str, Candidate] = {
    "random_forest": Candidate(
        random_forest,
        RandomForestParams,
        after_fit=_predict_on_one_thread,
        export=random_forest_onnx,
        gain=random_forest_gain,
        explain=tree_readers.of_forest,
    ),
    "xgboost": Candidate(
        xgboost,
        XGBoostParams,
        export=xgboost_onnx,
        explain=tree_readers.of_xgboost,
        gain=xgboost_gain,
        needs=("xgboost",),
    ),
    "catboost": Candidate(
        catboost,
        CatBoostParams,
        export=catboost_onnx,
        gain=catboost_gain,
        explain="its trees have leaves that no training row reached, and for these TreeSHAP is undefined",
        needs=("catboost",),
    ),
    "neural_network": Candidate(
        neural_network,
        NeuralNetworkParams,
        fit_arguments={"categories": CATEGORY_POSITIONS},
        export=neural_network_onnx,
        explain="Shapley values of a neural network would need thousands of predictions for each answer",
        needs=("keras",),
    ),
    "distilled": Candidate(
        distilled,
        DistilledParams,
        fit_arguments={"online": ONLINE_POSITIONS},
        members=lambda parameters: (parameters.teacher, parameters.student),
        export=distilled_onnx,
        gain=distilled_gain,
        explain=_of_student,
    ),
    "quantised": Candidate(
        quantised,
        QuantisedParams,
        members=lambda parameters: (parameters.of,),
        export=quantised_onnx,
        explain="reasons are not computed for quantised models",
    ),
    "average": Candidate(
        average,
        AverageParams,
        members=lambda parameters: parameters.of,
        export=average_onnx,
        gain=average_gain,
        explain="the models of an average have reasons on scales of their own, which cannot be added up",
    ),
}
