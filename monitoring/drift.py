"""Drift between reference and current entities, as up to four Evidently reports. The only file that imports Evidently.

The import takes seven seconds, so it belongs inside the function that needs it.

A frame has one row per entity: the columns of `schema.FEATURE_NAMES`, `probability` (0 to 1), and `label`
(nullable boolean: null if not known yet). The population stability index (PSI) measures all drift, so that columns can
be compared. Evidently computes it as follows:

- Nulls are dropped first, so the PSI does not change when a column loses half its values; `missing` shows that. A
  column without any value has no PSI (Evidently raises); it is listed under `empty` and counts neither as stable nor
  as drifted.
- A number with over 20 distinct values is binned into equal widths over both frames, so that one outlier widens all
  bins. `ontime.exploration` uses the reference's deciles and a bin for nulls; the two differ slightly.
- An empty bin counts as 0.0001. If the smallest filled bin is that small, which needs 10,000 rows or more, an empty one
  counts as a millionth of it instead, and the PSI of a rare value jumps. Pass fewer rows than that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.core.report import Snapshot
from evidently.metrics import ValueDrift
from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset
from evidently.sdk.models import ProjectModel
from evidently.ui.storage.local.base import SNAPSHOTS_DIR_NAME, LocalState

from ontime import files, schema
from ontime.schema import WORDS

PROBABILITY, LABEL = "probability", "label"
DATA_DRIFT, PREDICTION_DRIFT, DATA_QUALITY, CLASSIFICATION = KINDS = (
    "data_drift",
    "prediction_drift",
    "data_quality",
    "classification",
)
# The usual limit for a different population. The usual 0.1 for "moderate" is too low here: samples of 2,000 and 5,000
# entities from the same months differ by 0.07 to 0.09 in a feature with a hundred categories.
PSI_LIMIT = 0.25
SCORES = {"precision": "Precision", "recall": "Recall", "roc_auc": "RocAuc", "log_loss": "LogLoss"}


class NothingToMonitor(ValueError):
    """There is nothing to compare; the message names what is missing. Missing data must not look like no drift."""


@dataclass(frozen=True)
class Reports:
    """Evidently's reports by kind, and the columns and scores that they lack."""

    snapshots: Mapping[str, Snapshot]
    rows: Mapping[str, int]
    empty: Mapping[str, list[str]]  # the columns without any value, in reference and current
    unscored: str | None  # why there is no report on classification

    def values(self) -> dict[str, Any]:
        """The reports' numbers: PSI by column, missing values, scores. `classification` is None without outcomes."""
        drift, quality = self.snapshots[DATA_DRIFT], self.snapshots[DATA_QUALITY]
        return {
            "rows": dict(self.rows),
            "features": {each["config"]["column"]: float(each["value"]) for each in _all(drift, "ValueDrift")},
            "prediction": float(_one(self.snapshots[PREDICTION_DRIFT], "ValueDrift")),
            "share_drifted": float(_one(drift, "DriftedColumnsCount")["share"]),
            "missing_share": _missing_share(quality),
            "missing": _missing(quality),
            "empty": dict(self.empty),
            "classification": self._scores(),
            "unscored": self.unscored,
        }

    def _scores(self) -> dict[str, float] | None:
        report = self.snapshots.get(CLASSIFICATION)
        return None if report is None else {name: float(_one(report, metric)) for name, metric in SCORES.items()}

    def save(self, workspace: Path, project: str, at: datetime, version: str) -> None:
        """Store the reports in a project of an Evidently workspace. Idempotent for the same moment and version.

        Creates the project if it does not exist.
        """
        # Not with Evidently's class Workspace: it reads all runs of the workspace before it writes one.
        files.make_private_folder(workspace)
        project_id = _project(LocalState(str(workspace)), project)
        for kind, snapshot in self.snapshots.items():
            run_id = uuid5(project_id, f"{at.astimezone(UTC).isoformat()} {version} {kind}")
            path = workspace / str(project_id) / SNAPSHOTS_DIR_NAME / f"{run_id}.json"
            files.write_text(path, _as_run(snapshot, kind, at, version, self.rows))
            path.touch()  # `evidently ui` notices writes, but not renamed files
        files.make_private_tree(workspace / str(project_id))  # Evidently creates files with the umask's mode

    def html(self, folder: Path) -> None:
        """Write a self-contained `<kind>.html` for each report, and delete those of kinds that this run lacks."""
        for kind in KINDS:
            path = folder / f"{kind}.html"
            if kind in self.snapshots:
                files.write_text(path, self.snapshots[kind].get_html_str(as_iframe=False))
            else:
                path.unlink(missing_ok=True)


def build_reports(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    threshold: float,
    name: str,
    features: Sequence[str] = schema.FEATURE_NAMES,
) -> Reports:
    """Compare `current` with `reference`, and score the alerts as far as outcomes are known.

    A probability of at least `threshold` is an alert. `name` is the title of the reports. Raises NothingToMonitor.
    """
    frames = {"reference": reference, "current": current}
    for which, entities in frames.items():
        _refuse_empty(which, entities)
    empty = {which: [name for name in features if entities[name].isna().all()] for which, entities in frames.items()}
    measured = [column for column in features if column not in {*empty["reference"], *empty["current"]}]
    if not measured:
        raise NothingToMonitor("no feature has a value in both reference and current, so drift cannot be measured")
    unscored = _why_unscored(current)
    both = _features(current, features), _features(reference, features)
    results = {
        DATA_DRIFT: _report(DataDriftPreset(columns=measured, method="psi", threshold=PSI_LIMIT)).run(*both),
        PREDICTION_DRIFT: _report(ValueDrift(column=PROBABILITY, method="psi", threshold=PSI_LIMIT)).run(*both),
        DATA_QUALITY: _report(DataSummaryPreset()).run(*both),
    }
    if unscored is None:
        results[CLASSIFICATION] = _classification(reference, current, threshold)
    for kind, result in results.items():
        result.set_name(f"{name}: {kind.replace('_', ' ')}")
    rows = {which: len(entities) for which, entities in frames.items()} | {"labelled": int(current[LABEL].count())}
    return Reports(results, rows, empty, unscored)


def _refuse_empty(which: str, entities: pd.DataFrame) -> None:
    if entities.empty:
        raise NothingToMonitor(f"{which} has no entities, so drift cannot be measured")
    if entities[PROBABILITY].isna().all():
        raise NothingToMonitor(
            f"{which}.{PROBABILITY} has no value in {len(entities)} entities, so drift cannot be measured"
        )


def _why_unscored(current: pd.DataFrame) -> str | None:
    labels = current.loc[current[PROBABILITY].notna(), LABEL].dropna()
    if labels.empty:
        return f"no outcome of the {len(current)} entities is known yet"
    if labels.nunique() == 1:
        return f"all {len(labels)} known outcomes are {WORDS.positive if labels.iloc[0] else WORDS.negative}"
    return None


def _features(entities: pd.DataFrame, features: Sequence[str]) -> Any:
    texts = [name for name in features if name in schema.CATEGORICAL]
    numbers = [name for name in features if name not in schema.CATEGORICAL]
    definition = DataDefinition(numerical_columns=[*numbers, PROBABILITY], categorical_columns=texts)
    columns = entities[[*features, PROBABILITY]].reset_index(drop=True)
    return Dataset.from_pandas(columns, data_definition=definition)


def _report(content: Any) -> Any:
    return Report([content])


def _classification(reference: pd.DataFrame, current: pd.DataFrame, threshold: float) -> Any:
    """The scores of the labelled entities, compared with the reference's unless it has one outcome only."""
    compared = _labelled(reference) if reference[LABEL].nunique() == 2 else None
    return _report(ClassificationPreset(probas_threshold=threshold)).run(_labelled(current), compared)


def _labelled(entities: pd.DataFrame) -> Any:
    definition = DataDefinition(
        numerical_columns=[PROBABILITY],
        categorical_columns=[LABEL],
        classification=[BinaryClassification(target=LABEL, prediction_probas=PROBABILITY, pos_label=1)],
    )
    rows = entities.loc[entities[LABEL].notna() & entities[PROBABILITY].notna(), [LABEL, PROBABILITY]]
    return Dataset.from_pandas(rows.reset_index(drop=True).astype({LABEL: "int64"}), data_definition=definition)


def _all(snapshot: Any, metric: str) -> list[dict[str, Any]]:
    metrics = snapshot.dict()["metrics"]
    return [each for each in metrics if each["config"]["type"] == f"evidently:metric_v2:{metric}"]


def _one(snapshot: Any, metric: str) -> Any:
    return _all(snapshot, metric)[0]["value"]


def _missing_share(quality: Any) -> float:
    """The share of all cells. Evidently's own share is per row: 0.7 if one column of 71 is mostly null."""
    cells = _one(quality, "RowCount") * _one(quality, "ColumnCount")
    return float(_one(quality, "DatasetMissingValueCount")["count"] / cells)


def _missing(quality: Any) -> dict[str, dict[str, float]]:
    """The share of nulls of each column that has any, in reference and current."""
    shares = {}
    for metric in _all(quality, "MissingValueCount"):
        reference = quality.context.get_reference_metric_result(metric["id"]).share.value
        shares[metric["config"]["column"]] = {
            "reference": float(reference),
            "current": float(metric["value"]["share"]),
        }
    return {column: share for column, share in shares.items() if any(share.values())}


def _project(state: Any, name: str) -> UUID:
    projects = [project for project in state.list_projects() if state.read_project(project).name == name]
    return projects[0] if projects else state.write_project(ProjectModel(id=uuid5(NAMESPACE_URL, name), name=name)).id


def _as_run(snapshot: Any, kind: str, at: datetime, version: str, rows: Mapping[str, int]) -> str:
    """A report as the JSON of a workspace."""
    model = snapshot.to_snapshot_model()
    fields = {
        "timestamp": at,
        "tags": [kind, f"version {version}"],
        "metadata": {"version": version, **{f"rows_{which}": str(count) for which, count in rows.items()}},
        # Without the widget of each single metric: two thirds of the file, and no page shows them.
        "metric_results": {key: each.copy(update={"widget": None}) for key, each in model.metric_results.items()},
    }
    return str(Snapshot.load_model(model.copy(update=fields)).dumps())
