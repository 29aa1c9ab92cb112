"""The only file that knows Evidently: entities of then and entities of now in, up to four reports out.

Importing it takes seven seconds: import it inside the command that needs it.

A frame has one row an entity: the columns of `schema.FEATURE_NAMES`, `probability` (0 to 1), and `label`
(nullable boolean: null where nobody knows yet). The population stability index (PSI) measures all drift, so that
columns can be compared. Evidently's reading of it:

- Nulls are dropped before it counts, so the index never sees a column that loses half its values: `missing` in the
  figures does. Of a column without any value there is no index (Evidently raises); it is listed under `empty`
  and counts neither as calm nor as drifted.
- A number with over 20 distinct values falls into equally wide bins over both frames together: one outlier widens
  them all. `ontime.exploration` uses the reference's deciles and a bin for nulls; the two do not agree to the digit.
- An empty bin counts as 0.0001. Where the smallest filled bin is that small, from 10,000 rows on, it counts as a
  millionth of it instead, and the index of a rare value jumps: give it fewer rows than that.
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
# Another population, in the usual reading. The usual 0.1 for "moderate" is no alarm here: 2,000 and 5,000 entities
# drawn from the same months to a hundred destinations come to 0.07 to 0.09 by chance.
DRIFTED = 0.25
SCORES = {"precision": "Precision", "recall": "Recall", "roc_auc": "RocAuc", "log_loss": "LogLoss"}


class NothingToMonitor(ValueError):
    """There is nothing to compare; the message names what is missing. A failure, never a calm report."""


@dataclass(frozen=True)
class Reports:
    """Evidently's results by kind, and what it was not asked."""

    snapshots: Mapping[str, Snapshot]
    rows: Mapping[str, int]
    empty: Mapping[str, list[str]]  # the columns without any value, in the reference and now
    unscored: str | None  # why there is no report on classification

    def figures(self) -> dict[str, Any]:
        """What Evidently found, as plain numbers; PSI by column, and `classification` None where nobody can know."""
        drift, quality = self.snapshots[DATA_DRIFT], self.snapshots[DATA_QUALITY]
        return {
            "rows": dict(self.rows),
            "features": {found["config"]["column"]: float(found["value"]) for found in _all(drift, "ValueDrift")},
            "prediction": float(_one(self.snapshots[PREDICTION_DRIFT], "ValueDrift")),
            "share_drifted": float(_one(drift, "DriftedColumnsCount")["share"]),
            "missing_share": _missing_share(quality),
            "missing": _missing(quality),
            "empty": dict(self.empty),
            "classification": self._scores(),
            "unscored": self.unscored,
        }

    def _scores(self) -> dict[str, float] | None:
        told = self.snapshots.get(CLASSIFICATION)
        return None if told is None else {name: float(_one(told, metric)) for name, metric in SCORES.items()}

    def save(self, workspace: Path, project: str, at: datetime, version: str) -> None:
        """Put each report into the project of a workspace; again for that moment and version, it takes its own place.

        The project is made when there is none of that name.
        """
        # The class Workspace would read every run there is before it writes one.
        workspace.mkdir(parents=True, exist_ok=True)
        project_id = _project(LocalState(str(workspace)), project)
        for kind, snapshot in self.snapshots.items():
            run_id = uuid5(project_id, f"{at.astimezone(UTC).isoformat()} {version} {kind}")
            path = workspace / str(project_id) / SNAPSHOTS_DIR_NAME / f"{run_id}.json"
            files.write_text(path, _as_run(snapshot, kind, at, version, self.rows))
            path.touch()  # `evidently ui` waits for writes, and overlooks what is renamed into place

    def html(self, folder: Path) -> None:
        """Write `<kind>.html` for each report, each complete in itself; one of an earlier run does not stay."""
        for kind in KINDS:
            path = folder / f"{kind}.html"
            if kind in self.snapshots:
                files.write_text(path, self.snapshots[kind].get_html_str(as_iframe=False))
            else:
                path.unlink(missing_ok=True)


def run(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    threshold: float,
    name: str,
    features: Sequence[str] = schema.FEATURE_NAMES,
) -> Reports:
    """How `current` differs from `reference`, and how good the alerts were where the outcomes are known.

    A probability of `threshold` or more is an alert; `name` titles the reports; `features` are those to look at.
    Raises NothingToMonitor.
    """
    frames = {"reference": reference, "current": current}
    for which, entities in frames.items():
        _refuse_nothing(which, entities)
    empty = {which: [name for name in features if entities[name].isna().all()] for which, entities in frames.items()}
    measured = [column for column in features if column not in {*empty["reference"], *empty["current"]}]
    if not measured:
        raise NothingToMonitor("no feature has a value in both reference and current: a failure, not calm")
    unscored = _why_unscored(current)
    both = _features(current, features), _features(reference, features)
    results = {
        DATA_DRIFT: _report(DataDriftPreset(columns=measured, method="psi", threshold=DRIFTED)).run(*both),
        PREDICTION_DRIFT: _report(ValueDrift(column=PROBABILITY, method="psi", threshold=DRIFTED)).run(*both),
        DATA_QUALITY: _report(DataSummaryPreset()).run(*both),
    }
    if unscored is None:
        results[CLASSIFICATION] = _classification(reference, current, threshold)
    for kind, result in results.items():
        result.set_name(f"{name}: {kind.replace('_', ' ')}")
    rows = {which: len(entities) for which, entities in frames.items()} | {"labelled": int(current[LABEL].count())}
    return Reports(results, rows, empty, unscored)


def _refuse_nothing(which: str, entities: pd.DataFrame) -> None:
    if entities.empty:
        raise NothingToMonitor(f"{which} holds no entities: a failure, not calm")
    if entities[PROBABILITY].isna().all():
        raise NothingToMonitor(f"{which}.{PROBABILITY} holds no value in {len(entities)} entities: a failure, not calm")


def _why_unscored(current: pd.DataFrame) -> str | None:
    known = current.loc[current[PROBABILITY].notna(), LABEL].dropna()
    if known.empty:
        return f"no outcome of the {len(current)} entities is known yet"
    if known.nunique() == 1:
        return f"all {len(known)} known outcomes are {WORDS.positive if known.iloc[0] else WORDS.negative}"
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
    """The labelled entities' report, beside the reference's unless that has one outcome only."""
    beside = _labelled(reference) if reference[LABEL].nunique() == 2 else None
    return _report(ClassificationPreset(probas_threshold=threshold)).run(_labelled(current), beside)


def _labelled(entities: pd.DataFrame) -> Any:
    definition = DataDefinition(
        numerical_columns=[PROBABILITY],
        categorical_columns=[LABEL],
        classification=[BinaryClassification(target=LABEL, prediction_probas=PROBABILITY, pos_label=1)],
    )
    known = entities.loc[entities[LABEL].notna() & entities[PROBABILITY].notna(), [LABEL, PROBABILITY]]
    return Dataset.from_pandas(known.reset_index(drop=True).astype({LABEL: "int64"}), data_definition=definition)


def _all(snapshot: Any, metric: str) -> list[dict[str, Any]]:
    found = snapshot.dict()["metrics"]
    return [each for each in found if each["config"]["type"] == f"evidently:metric_v2:{metric}"]


def _one(snapshot: Any, metric: str) -> Any:
    return _all(snapshot, metric)[0]["value"]


def _missing_share(quality: Any) -> float:
    """Of all cells. What Evidently calls the share is nulls by rows: 0.7 where one column of 71 is mostly null."""
    cells = _one(quality, "RowCount") * _one(quality, "ColumnCount")
    return float(_one(quality, "DatasetMissingValueCount")["count"] / cells)


def _missing(quality: Any) -> dict[str, dict[str, float]]:
    """The share of nulls of each column that has any, in the reference and now."""
    shares = {}
    for found in _all(quality, "MissingValueCount"):
        before = quality.context.get_reference_metric_result(found["id"]).share.value
        shares[found["config"]["column"]] = {"reference": float(before), "current": float(found["value"]["share"])}
    return {column: share for column, share in shares.items() if any(share.values())}


def _project(state: Any, name: str) -> UUID:
    found = [known for known in state.list_projects() if state.read_project(known).name == name]
    return found[0] if found else state.write_project(ProjectModel(id=uuid5(NAMESPACE_URL, name), name=name)).id


def _as_run(snapshot: Any, kind: str, at: datetime, version: str, rows: Mapping[str, int]) -> str:
    """The JSON that a workspace keeps of a report."""
    model = snapshot.to_snapshot_model()
    told = {
        "timestamp": at,
        "tags": [kind, f"version {version}"],
        "metadata": {"version": version, **{f"rows_{which}": str(count) for which, count in rows.items()}},
        # A figure for each metric beside those of the page: two thirds of the file, and no page shows them.
        "metric_results": {key: each.copy(update={"widget": None}) for key, each in model.metric_results.items()},
    }
    return str(Snapshot.load_model(model.copy(update=told)).dumps())
