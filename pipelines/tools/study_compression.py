"""`ontime study compression`: what smaller and faster models lose -> reports/study_compression.json.

Distilled, pruned and quantised models, and beside them the same small models trained directly. All are compared with
the best candidate of the last training on the validation period.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import lightgbm
from numpy.typing import NDArray

from ontime import candidates, distillation, explain, export, locks, model, pruning, study_plots
from ontime.boosting import LightGBM
from ontime.candidate import ONLINE_POSITIONS
from ontime.params import Params, ParamsBroken, Train, load_params
from ontime.quantisation import Format, quantise
from ontime.refusal import Refusal
from pipelines.layout import read_training
from pipelines.operations import train_and_promote
from pipelines.tools import study_pages
from pipelines.tools.study_fits import Fitted, StudyModel, comparison, fit_all, forget_fits, read_study_data
from pipelines.tools.study_models import fit_and_export, gate_verdicts, row_of

STUDY = "compression"
NETWORK, TREES, DISTILLED = "neural_network", "lightgbm", "distilled"
TREE_COUNTS = (30, 60, 120)
HIGHEST_RATE = 0.25  # chosen by hand; 30 trees would otherwise have twice this rate
FIRST_TREES = 60
FEW_LEAVES = 8
SMALL_NETWORK = {"units": 64, "bins": 8}
FINE_TUNING_EPOCHS = 2
FORMATS: Mapping[Format, str] = {
    "int8": "8-bit weights; ranges computed in each prediction",
    "int8_static": "8-bit weights; ranges fixed beforehand",
    "float16": "16-bit weights",
}
WITHOUT_REASONS = explain.method_of("reasons are not computed for compressed networks")

Made = TypeVar("Made")
Rows: TypeAlias = model.Matrix
Labels: TypeAlias = NDArray[Any]


class SharedFits:
    """What several models are made from, fitted once for each seed."""

    def __init__(self) -> None:
        self._seed, self._made = -1, dict[str, Any]()

    def get(self, name: str, seed: int, make: Callable[[], Made]) -> Made:
        if seed != self._seed:
            self._seed, self._made = seed, {}
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def network(self, train: Train, rows: Rows, label: Labels) -> Any:
        return self.get(NETWORK, train.seed, lambda: model.fit(NETWORK, rows, label, train))

    def targets(self, train: Train, rows: Rows, label: Labels, folds: int) -> distillation.Targets:
        """The labels mixed with the teacher's probabilities, as the candidate `distilled` mixes them."""
        parameters = train.of(DISTILLED).model_dump()

        def fit_teacher(others: Rows, labels: Labels) -> Any:
            return model.fit(parameters["teacher"], others, labels, train)

        alone = distillation.request_only_rows(rows, ONLINE_POSITIONS)
        mix = partial(distillation.teacher_targets, rows, label, alone, folds, parameters["share"], fit_teacher)
        return self.get(f"targets {folds}", train.seed, mix)


def compression_models(best: str, train: Train) -> list[StudyModel]:
    """The best candidate first. Raises Refusal if a candidate has no section, or packages are missing."""
    for name in (NETWORK, TREES, DISTILLED):
        if name not in train.parameters:
            raise Refusal(f"params.yaml has no train.{name}: this study compresses it; docs/models.md has an example")
        model.refuse_missing_packages(name)
    shared = SharedFits()
    teacher = train.of(DISTILLED).model_dump()["teacher"]
    return [
        StudyModel(best, "the best of the last training", partial(fit_and_export, best)),
        *([StudyModel(teacher, "the teacher", partial(fit_and_export, teacher))] if teacher != best else []),
        *tree_models(train, shared),
        *network_models(shared),
    ]


def tree_models(train: Train, shared: SharedFits) -> list[StudyModel]:
    folds = train.of(DISTILLED).model_dump()["folds"]

    def direct(changes: Mapping[str, object], train: Train, rows: Rows, label: Labels) -> Fitted:
        return fit_and_export(TREES, train.changed(TREES, **changes), rows, label)

    def taught(count: int, folds: int, train: Train, rows: Rows, label: Labels) -> Fitted:
        targets = shared.targets(train, rows, label, folds)
        return fit_and_export(TREES, train.changed(TREES, **fewer_trees(train, count)), rows, targets)

    def first(train: Train, rows: Rows, label: Labels) -> Fitted:
        fitted = shared.get(TREES, train.seed, lambda: model.fit(TREES, rows, label, train))
        return _described(TREES, first_trees(cast(LightGBM, fitted), FIRST_TREES), rows)

    taught_words = "labels and the teacher's out-of-fold probabilities"
    return [
        *(StudyModel(f"{n} trees", "trained on labels", partial(direct, fewer_trees(train, n))) for n in TREE_COUNTS),
        *(StudyModel(f"{n} trees, taught", taught_words, partial(taught, n, folds)) for n in TREE_COUNTS),
        StudyModel(
            f"{FIRST_TREES} trees, taught on its rows",
            "labels and the teacher's probabilities of its own training rows",
            partial(taught, FIRST_TREES, 1),
        ),
        StudyModel(f"first {FIRST_TREES} trees", f"of {TREES}, the rest cut off", first),
        StudyModel(
            f"{FEW_LEAVES} leaves", "as many trees, with few leaves", partial(direct, {"num_leaves": FEW_LEAVES})
        ),
    ]


def fewer_trees(train: Train, count: int) -> dict[str, object]:
    """Parameters of so many trees that learn as much in all as those of params.yaml, up to a limit for each."""
    usual = train.of(TREES).model_dump()
    faster = usual["learning_rate"] * max(1.0, usual["n_estimators"] / count)
    return {"n_estimators": count, "learning_rate": max(usual["learning_rate"], min(HIGHEST_RATE, faster))}


def network_models(shared: SharedFits) -> list[StudyModel]:
    def whole(train: Train, rows: Rows, label: Labels) -> Fitted:
        return _network(shared.network(train, rows, label))

    def smaller(train: Train, rows: Rows, label: Labels) -> Fitted:
        return _network(model.fit(NETWORK, rows, label, train.changed(NETWORK, **SMALL_NETWORK)))

    def taught(train: Train, rows: Rows, label: Labels) -> Fitted:
        targets = shared.targets(train, rows, label, train.of(DISTILLED).model_dump()["folds"])
        return smaller(train, rows, targets)

    def cut(train: Train, rows: Rows, label: Labels) -> Fitted:
        pruned = pruning.pruned(shared.network(train, rows, label), SMALL_NETWORK["units"])
        return _network(pruning.fine_tuned(pruned, rows, label, FINE_TUNING_EPOCHS))

    def as_format(to: Format, train: Train, rows: Rows, label: Labels) -> Fitted:
        exact = _network(shared.network(train, rows, label))
        return exact._replace(onnx=quantise(exact.onnx, to, rows))

    units = SMALL_NETWORK["units"]
    return [
        StudyModel("network", "of two hidden layers", whole),
        *(
            StudyModel(f"network, {to.replace('_', ' ')}", words, partial(as_format, to))
            for to, words in FORMATS.items()
        ),
        StudyModel(f"network, pruned to {units}", "the strongest units of each layer, trained a little further", cut),
        StudyModel(f"small network of {units}", "trained on labels", smaller),
        StudyModel(f"small network of {units}, taught", "labels and the teacher's out-of-fold probabilities", taught),
    ]


def first_trees(fitted: LightGBM, count: int) -> LightGBM:
    """The model of the first trees alone."""
    shorter = LightGBM(fitted.parameters)
    shorter.booster_ = lightgbm.Booster(model_str=fitted.booster_.model_to_string(num_iteration=count))
    return shorter


def _network(fitted: model.Classifier) -> Fitted:
    return Fitted(partial(model.predict, fitted), export.to_onnx(NETWORK, fitted), WITHOUT_REASONS)


def _described(name: str, fitted: model.Classifier, rows: Rows) -> Fitted:
    method = explain.method_of(candidates.explainer(name, fitted, rows))
    return Fitted(partial(model.predict, fitted), export.to_onnx(name, fitted), method)


def measure_compression(params: Params) -> dict[str, Any]:
    """The content of reports/study_compression.json. Raises Refusal if something to compress is missing."""
    best = read_training()["best"]
    models = compression_models(best, params.train)
    data = read_study_data(params)
    fits = fit_all(STUDY, models, data, params)
    verdicts = gate_verdicts(fits, best, params)
    rows = [
        {"name": each.name, "words": each.words, **row_of(fits[each.name], fits[best], data, params)}
        | verdicts[each.name]
        for each in models
    ]
    return {**comparison(best, data, params), "rows": rows}


def main() -> None:
    try:
        params = load_params()
        with locks.hold(locks.WORKSPACE, "make study-compression"):
            train_and_promote.run_stages("train")  # so that features and algorithm are those of params.yaml
            report = measure_compression(params)
            study_pages.COMPRESSION.write(report, {study_pages.COMPRESSION.picture: study_plots.compression(report)})
            forget_fits(STUDY)
    except (locks.Busy, train_and_promote.NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"study compression: {refused}")
