"""Runs, registered versions and their aliases; the only file that imports MLflow.

MLflow keeps the history: the service runs a release folder, and never connects to MLflow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient

from ontime import files, locations, schema

NAME = locations.EXPERIMENT  # of the registered model as well
ABOUT = f"{schema.WORDS.title} The description of a version has the exact question and its prediction moment."
CHAMPION, CHALLENGER = "champion", "challenger"  # the aliases
SERVES_WITH = ["onnxruntime", "numpy"]  # listed, because MLflow takes seconds to infer it


class NotRecorded(Exception):
    """MLflow cannot be reached, or has no such version."""


@dataclass(frozen=True)
class Run:
    """The run of one candidate, as recorded in MLflow."""

    candidate: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    description: str
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)  # metrics with a value for each epoch


@dataclass(frozen=True)
class Origin:
    """The inputs and the model of a version: enough to rebuild and compare it."""

    git_commit: str
    pipeline: str
    params_yaml: str
    dvc_lock: str
    onnx: bytes


def tracking_client(tracking_url: str, artifacts: Path) -> MlflowClient:
    """A client of the MLflow at this address; creates the experiment if it does not exist.

    `artifacts` is used with a database file only: a server has its own location. Raises NotRecorded if MLflow cannot
    be reached.
    """
    if tracking_url.startswith("sqlite:///"):
        files.make_private_database(Path(tracking_url.removeprefix("sqlite:///")))
        files.make_private_folder(artifacts)
    mlflow.set_tracking_uri(tracking_url)
    client = MlflowClient()
    try:
        if client.get_experiment_by_name(NAME) is None:
            is_server = tracking_url.startswith(("http://", "https://"))
            client.create_experiment(NAME, artifact_location=None if is_server else artifacts.resolve().as_uri())
    except MlflowException as error:
        raise NotRecorded(f"MLflow cannot be reached: {error.message}") from None
    if tracking_url.startswith("sqlite"):
        locations.relocate(tracking_url, artifacts)
    return client


def record_runs(client: MlflowClient, pipeline: str, runs: Sequence[Run], reports: Sequence[Path]) -> dict[str, str]:
    """Record one run per candidate, and return their ids. Idempotent: runs of a recorded pipeline are reused."""
    experiment = client.get_experiment_by_name(NAME).experiment_id  # type: ignore[union-attr]  # tracking_client has created it
    recorded = client.search_runs([experiment], f"tags.pipeline = '{pipeline}' and attributes.status = 'FINISHED'")
    ids = {run.data.tags["candidate"]: run.info.run_id for run in recorded}
    for run in runs:
        if run.candidate not in ids:
            ids[run.candidate] = _record_one(client, experiment, {"pipeline": pipeline}, run, reports)
    _make_artifacts_private(client)
    return ids


def record_study(client: MlflowClient, run: Run) -> None:
    """Record one run of a study, which belongs to no pipeline and is never registered."""
    experiment = client.get_experiment_by_name(NAME).experiment_id  # type: ignore[union-attr]  # tracking_client has created it
    _record_one(client, experiment, {}, run, ())


def _record_one(
    client: MlflowClient, experiment: str, pipeline: Mapping[str, str], run: Run, reports: Sequence[Path]
) -> str:
    tags = {**pipeline, "candidate": run.candidate, **run.tags}
    created = client.create_run(experiment, tags=tags, run_name=run.candidate)
    run_id, now = created.info.run_id, created.info.start_time
    client.log_batch(
        run_id,
        metrics=[
            *(Metric(name, value, now, 0) for name, value in run.metrics.items()),
            *(
                Metric(name, value, now, epoch)
                for name, curve in run.curves.items()
                for epoch, value in enumerate(curve)
            ),
        ],
        params=[Param(name, str(value)) for name, value in run.params.items()],
        tags=[RunTag("mlflow.note.content", run.description)],
    )
    for report in reports:
        if report.is_dir():
            client.log_artifacts(run_id, str(report), artifact_path=report.name)
        else:
            client.log_artifact(run_id, str(report))
    client.set_terminated(run_id)
    return str(run_id)


def register(client: MlflowClient, pipeline: str, run_id: str, model: bytes, description: str) -> str:
    """The registered version of this pipeline's model; registers it if it is not."""
    for version in _versions(client):
        if version.tags.get("pipeline") == pipeline:
            return str(version.version)
    row = np.zeros((1, len(schema.FEATURE_NAMES)), np.float32)
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.onnx.log_model(
            onnx.load_from_string(model),
            name="model",
            signature=infer_signature(row, {"probabilities": np.zeros((1, 2), np.float32)}),
            pip_requirements=SERVES_WITH,
        )
    if not any(registered.name == NAME for registered in client.search_registered_models()):
        client.create_registered_model(NAME, description=ABOUT)
    version = client.create_model_version(
        NAME, logged.model_uri, run_id, {"pipeline": pipeline}, description=description, model_id=logged.model_id
    )
    _make_artifacts_private(client)
    return str(version.version)


def _make_artifacts_private(client: MlflowClient) -> None:
    """MLflow copies files with their modes, and creates others with the umask's."""
    folder = locations.local_path(client.get_experiment_by_name(NAME).artifact_location)  # type: ignore[union-attr]  # as above
    if folder is not None:
        files.make_private_tree(folder)


def run_tag(client: MlflowClient, run_id: str, name: str) -> str:
    """The value of a tag of a run."""
    return str(client.get_run(run_id).data.tags[name])


def run_files(run_id: str) -> Path:
    """A folder with the files of a run, after `tracking_client`. Raises NotRecorded."""
    try:
        return Path(mlflow.artifacts.download_artifacts(run_id=run_id))
    except (MlflowException, OSError) as error:
        raise NotRecorded(f"the files of run {run_id} cannot be read: {error}") from None


def set_aliases(client: MlflowClient, aliases: Mapping[str, str | None]) -> None:
    """Point each alias, such as champion, to its version, or delete it for None. Idempotent. Raises NotRecorded."""
    for alias, version in aliases.items():
        try:
            if version is None:
                client.delete_registered_model_alias(NAME, alias)
            else:
                client.set_registered_model_alias(NAME, alias, version)
        except MlflowException as error:
            raise NotRecorded(f"MLflow's alias {alias} was not moved: {error.message}") from None


def tag_version(client: MlflowClient, version: str, tags: Mapping[str, str]) -> None:
    """Tag a registered version, for example with the gate's decision. Raises NotRecorded."""
    for name, value in tags.items():
        try:
            client.set_model_version_tag(NAME, version, name, value)
        except MlflowException as error:
            raise NotRecorded(f"MLflow did not store the tag {name} of version {version}: {error.message}") from None


def origin(client: MlflowClient, version: str) -> Origin:
    """The origin of a registered version. Raises NotRecorded."""
    versions = {str(each.version): each for each in _versions(client)}
    if version not in versions:
        registered = ", ".join(sorted(versions, key=int)) or "none; run `make train`"
        raise NotRecorded(f"version {version} is not registered; registered are {registered}")
    run_id = versions[version].run_id
    try:
        return Origin(
            git_commit=run_tag(client, run_id, "git_commit"),
            pipeline=run_tag(client, run_id, "pipeline"),
            params_yaml=_artifact_text(client, version, run_id, "params.yaml"),
            dvc_lock=_artifact_text(client, version, run_id, "dvc.lock"),
            onnx=mlflow.onnx.load_model(f"models:/{NAME}/{version}").SerializeToString(),
        )
    except (MlflowException, OSError) as error:
        raise NotRecorded(f"version {version} is registered, but its artifacts are incomplete: {error}") from None


def _artifact_text(client: MlflowClient, version: str, run_id: str, name: str) -> str:
    """The text of an artifact of a version's run."""
    if name not in {file.path for file in client.list_artifacts(run_id)}:
        raise NotRecorded(f"version {version} was registered without its {name} (run {run_id})")
    return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{name}"))


def _versions(client: MlflowClient) -> Sequence[Any]:
    return client.search_model_versions(f"name = '{NAME}'")
