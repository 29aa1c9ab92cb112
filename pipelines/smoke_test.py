"""Stage 4: checks every candidate on a small synthetic table -> data/smoke_test.json.

Each candidate is fitted, saved, exported, explained and reported with the code of the later stages, which take minutes.
The stage reads no data, so `dvc repro smoke_test` checks a new candidate in seconds, even in a fresh clone.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import joblib
import numpy as np

from ontime import (
    candidates,
    card,
    card_plots,
    evaluation,
    explain,
    export,
    model,
    plots,
    progress,
    refusal,
    release,
    schema,
)
from ontime.batches import Batches
from ontime.model_study import StudiedModel, Study
from ontime.online import PROBE_TOLERANCE
from ontime.params import Params, load_params
from ontime.problem import PROBLEM
from ontime.refusal import Refusal
from pipelines.layout import SMOKE_TEST, write_json

ROWS = 800  # to fit on, and as many to predict
CATEGORIES = 6
MISSING_SHARE = 0.1
BATCHES = 3
EXPLAINED_ROWS = 8  # of each kind
NUMERIC_POSITIONS = [
    position for position in range(len(schema.FEATURE_NAMES)) if position not in candidates.CATEGORY_POSITIONS
]
ADVICE = {
    "complete rows": "its converter changes the model; use another converter, or do not export it",
    "rows with missing values": "put a SimpleImputer before it",
    "rows with a category not seen in training": "its converter loses the rule for NaN; put a SimpleImputer before it",
}


class CandidateRefused(Refusal):
    """A candidate would fail after its training; the message has its name, the failure and the remedy."""


class SyntheticSample(NamedTuple):
    """Rows to fit on, and rows of each kind to predict: see ADVICE."""

    matrix: model.Matrix
    label: model.Labels
    inputs: dict[str, model.Matrix]
    input_label: model.Labels  # the same entities in each kind


def draw_sample(seed: int) -> SyntheticSample:
    """Synthetic rows whose label depends on a few features, one of them categorical if there is any."""
    drawn = np.random.default_rng(seed)
    # From shares to thousands; half of them whole numbers, because a wrong threshold shows on ties.
    matrix = drawn.normal(2, 1, (2 * ROWS, len(schema.FEATURE_NAMES))) * np.logspace(-1, 3, len(schema.FEATURE_NAMES))
    matrix[:, ::2] = matrix[:, ::2].round()
    matrix[:, candidates.CATEGORY_POSITIONS] = drawn.integers(0, CATEGORIES, (2 * ROWS, len(schema.CATEGORICAL)))
    signal = matrix[:, NUMERIC_POSITIONS[-4:]] / matrix[:, NUMERIC_POSITIONS[-4:]].std(axis=0) - 2
    odds = signal.sum(axis=1) + 0.5 * matrix[:, candidates.CATEGORY_POSITIONS[:1]].sum(axis=1) - 3
    label = drawn.random(2 * ROWS) < 1 / (1 + np.exp(-odds))
    complete, holes = matrix.astype(np.float32), drawn.random(matrix.shape) < MISSING_SHARE
    holes[:, candidates.CATEGORY_POSITIONS] = False
    missing = np.where(holes, np.float32(np.nan), complete)
    missing[::4] = model.request_only(missing[::4])
    unseen = complete.copy()
    unseen[:, candidates.CATEGORY_POSITIONS] = np.nan
    inputs = dict(zip(ADVICE, (complete[ROWS:], missing[ROWS:], unseen[ROWS:]), strict=True))
    return SyntheticSample(missing[:ROWS], label[:ROWS], inputs, label[ROWS:])


@contextmanager
def noting_failure(name: str, step: str) -> Iterator[None]:
    """Add the candidate's name and the failed step to any error raised in the block."""
    try:
        yield
    except Exception as error:
        error.add_note(f"smoke_test: {name} failed when it was {step}; see docs/models.md for what a candidate must do")
        raise


def check_candidate(name: str, sample: SyntheticSample, params: Params) -> tuple[model.Probabilities, explain.Method]:
    """Its probabilities for all rows of the sample, and how it is explained. Raises CandidateRefused."""
    inputs = np.vstack([*sample.inputs.values()])
    with noting_failure(name, "fitted"):
        fitted = model.fit(name, sample.matrix, sample.label, params.train)
        refitted = model.fit(name, sample.matrix, sample.label, params.train)
    with noting_failure(name, "saved and loaded"):
        saved = io.BytesIO()
        joblib.dump(fitted, saved)
        probabilities = model.predict(joblib.load(saved), inputs)
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise CandidateRefused(
            f"{name}: predict_proba gives {probabilities.min():g} to {probabilities.max():g}, not probabilities"
        )
    if (difference := np.abs(probabilities - model.predict(refitted, inputs)).max()) > 0:
        raise CandidateRefused(f"{name}: two fits differ by {difference:.2g}; pass the seed as random_state")
    if candidates.CANDIDATES[name].reads_batches:
        refuse_batches_difference(name, sample, model.predict(refitted, inputs), params)
    if candidates.CANDIDATES[name].export is None:
        return probabilities, explain.method_of("it is a baseline, which is never released")
    with noting_failure(name, "exported as ONNX"):
        onnx, onnx_again = export.to_onnx(name, fitted), export.to_onnx(name, fitted)
        exported = release.Model(onnx)
        served = exported.predict(inputs)
    if onnx != onnx_again:
        raise CandidateRefused(f"{name}: the bytes of two exports differ; name the graph: export.GRAPH_NAME")
    refuse_onnx_difference(name, sample.inputs, probabilities, served, params.gate.parity_tolerance)
    with noting_failure(name, "explained"):
        return probabilities, refuse_wrong_explanations(name, fitted, sample, exported)


def refuse_batches_difference(
    name: str, sample: SyntheticSample, probabilities: model.Probabilities, params: Params
) -> None:
    """Raise CandidateRefused if a fit on batches gives other probabilities, or depends on how the rows are divided."""
    inputs = np.vstack([*sample.inputs.values()])
    batches = Batches(len(sample.matrix), lambda: iter(np.array_split(sample.matrix, BATCHES)))
    with noting_failure(name, "fitted on batches"):
        fitted = model.fit(name, batches, sample.label, params.train)
    if (difference := np.abs(probabilities - model.predict(fitted, inputs)).max()) > 0:
        raise CandidateRefused(
            f"{name}: a fit on batches differs from one on the matrix by {difference:.2g}: "
            "remove `reads_batches` from its entry, or let `fit` use all rows of all batches"
        )


def refuse_onnx_difference(
    name: str,
    inputs: Mapping[str, model.Matrix],
    probabilities: model.Probabilities,
    served: model.Matrix,
    tolerance: float,
) -> None:
    """Raise CandidateRefused for the first kind of rows on which the ONNX file and the model differ."""
    ends = np.cumsum([len(rows) for rows in inputs.values()])[:-1]
    for kind, difference in zip(inputs, np.split(np.abs(probabilities - served), ends), strict=True):
        if not difference.max() <= tolerance:
            raise CandidateRefused(
                f"{name}: ONNX differs from the model by {difference.max():.2g} on {kind} (gate.parity_tolerance "
                f"{tolerance:g}): {ADVICE[kind]}; see docs/models.md"
            )


def refuse_wrong_explanations(
    name: str, fitted: model.Classifier, sample: SyntheticSample, exported: release.Model
) -> explain.Method:
    """How it is explained. Raises CandidateRefused where contributions do not add up to the ONNX file's probability."""
    explainer = candidates.explainer(name, fitted, sample.matrix)
    method = explain.method_of(explainer)
    if isinstance(explainer, str):
        return method
    read = type(explainer).from_bytes(explainer.to_bytes())
    for kind, matrix in sample.inputs.items():
        rows = matrix[:EXPLAINED_ROWS]
        for row, served in zip(rows, exported.predict(rows).tolist(), strict=True):
            summed = explain.explain(read, row).probability
            if not abs(summed - served) <= PROBE_TOLERANCE:
                raise CandidateRefused(
                    f"{name}: its contributions add up to {summed:.6f}, not {served:.6f}, on {kind}: `explain` of its "
                    "entry in src/ontime/candidates.py is for another kind of model; see docs/models.md"
                )
    return method


def check_reports(probabilities: Mapping[str, model.Probabilities], methods: Mapping[str, explain.Method],
                sample: SyntheticSample, params: Params) -> None:  # fmt: skip
    """Write the model card of each exportable candidate, and draw its plots, as the stage `evaluate` does."""
    label = np.tile(sample.input_label, len(sample.inputs))
    scores = {name: evaluation.scores(label, each, params.cost) for name, each in probabilities.items()}
    day = np.datetime64("2013-01-01") + np.arange(len(label)) % 2  # an interval clustered by day needs two days
    intervals = {name: evaluation.intervals(label, each, day, params.cost) for name, each in probabilities.items()}
    piece = {"dimension": "all", "slice": "all", "entities": len(label), "positives": int(label.sum()), "auc": 0.5,
             "auc_interval": (0.4, 0.6), "log_loss": 0.5, "mean_probability": 0.5, "missed": [0.5, 0.4, 0.6],
             "false_alarms": [0.5, 0.4, 0.6], "gated": True}  # fmt: skip
    equal = {"dimension": "all", "slices": 1, "missed": [[0.5, 0.5]] * 2, "false_alarms": [[0.5, 0.5]] * 2,
             "thresholds": [0.25, 0.25], "cost_per_1000": 500.0, "cost_more": None}  # fmt: skip
    covered = {"dimension": "all", "slice": "all", "entities": len(label), "positive_covered": [0.9, 0.8, 1.0],
               "negative_covered": [0.9, 0.8, 1.0], "both": 0.5}  # fmt: skip
    for name in candidates.exportable([*probabilities]):
        report = card.EvaluationReport(
            params=params, best=name, candidates={each: {"valid": s, "test": s} for each, s in scores.items()},
            intervals=intervals, request_only=scores[name],
            study=Study(
                of=StudiedModel(params.dataset, name, valid=scores[name], test=scores[name]),
                ablations=dict.fromkeys(PROBLEM.ablations, scores[name]),
                importance=dict.fromkeys(schema.FEATURE_NAMES, (0.0, 0.0)), coverage=[covered] * 2,
            ),
            slices=[piece] * 5, equalised=[equal],
            entities=dict.fromkeys(("train", "valid", "test"), len(label)),
            positive_share=float(label.mean()), days=2, reasons=methods[name],
        )  # fmt: skip
        with noting_failure(name, "described in a model card"):
            card.model_card(report)
    with noting_failure(" or ".join(probabilities), "drawn"), TemporaryDirectory() as folder:
        card_plots.draw_card(label, probabilities, report, Path(folder))
        costs = plots.quality_against_latency([(name, 1.0, scores[name]["log_loss"], 1000) for name in scores])
        plots.save(costs, Path(folder) / "quality_latency.png")


def main() -> None:
    params = load_params()
    sample = draw_sample(params.train.seed)
    names = params.train.candidates
    checked = {}
    with progress.steps("smoke_test", len(names) + 1) as begin:
        for name in names:
            begin(f"fits, exports and explains {name}")
            checked[name] = check_candidate(name, sample, params)
        begin("writes and draws the reports")
        methods = {name: method for name, (_, method) in checked.items()}
        check_reports({name: probability for name, (probability, _) in checked.items()}, methods, sample, params)
    # Contains no scores and no text, so it rarely changes; DVC then skips the training.
    write_json(SMOKE_TEST, {name: method.model_dump(exclude={"about"}) for name, method in methods.items()})
    print(f"smoke_test: {len(checked)} candidates can be fitted, exported and explained")


if __name__ == "__main__":
    with refusal.exit_on_refusal("smoke_test"):
        main()
