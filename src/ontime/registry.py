"""The only file that knows MLflow: runs, registered versions, and the alias of the champion.

History, not production: the service runs a release folder and never asks MLflow anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient

from ontime import locations, schema

NAME = locations.EXPERIMENT  # of the registered model as well
ABOUT = f"{schema.WORDS.title} Each version says what exactly, and when it is asked."
CHAMPION, CHALLENGER = "champion", "challenger"  # the aliases
SERVES_WITH = ["onnxruntime", "numpy"]  # named, so that MLflow does not spend seconds on finding out


class NotRecorded(Exception):
    """MLflow is away, or knows no such version; the message says which."""


@dataclass(frozen=True)
class Run:
    """What is kept of one candidate."""

    candidate: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    description: str


@dataclass(frozen=True)
class Origin:
    """What a version was made from, and what it became: enough to make it again and compare."""

    git_commit: str
    pipeline: str
    params_yaml: str
    dvc_lock: str
    onnx: bytes


def connect(tracking_url: str, artifacts: Path) -> MlflowClient:
    """A client on a store that exists, with our experiment in it. `artifacts` is for a file: a server keeps its own.

    Raises NotRecorded where MLflow does not answer.
    """
    if tracking_url.startswith("sqlite:///"):
        Path(tracking_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(tracking_url)
    client = MlflowClient()
    try:
        if client.get_experiment_by_name(NAME) is None:
            served = tracking_url.startswith(("http://", "https://"))
            client.create_experiment(NAME, artifact_location=None if served else artifacts.resolve().as_uri())
    except MlflowException as error:
        raise NotRecorded(f"MLflow does not answer: {error.message}") from None
    if tracking_url.startswith("sqlite"):
        locations.follow(tracking_url, artifacts)
    return client


def record(client: MlflowClient, pipeline: str, runs: Sequence[Run], reports: Sequence[Path]) -> dict[str, str]:
    """One run a candidate; the id of each. A pipeline that was recorded before is not recorded again."""
    experiment = client.get_experiment_by_name(NAME).experiment_id  # type: ignore[union-attr]  # connect made it
    known = client.search_runs([experiment], f"tags.pipeline = '{pipeline}' and attributes.status = 'FINISHED'")
    ids = {run.data.tags["candidate"]: run.info.run_id for run in known}
    for run in runs:
        if run.candidate not in ids:
            ids[run.candidate] = _record_one(client, experiment, pipeline, run, reports)
    return ids


def _record_one(client: MlflowClient, experiment: str, pipeline: str, run: Run, reports: Sequence[Path]) -> str:
    tags = {"pipeline": pipeline, "candidate": run.candidate, **run.tags}
    created = client.create_run(experiment, tags=tags, run_name=run.candidate)
    run_id, now = created.info.run_id, created.info.start_time
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in run.metrics.items()],
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
    """The registered version of this pipeline's winner: the one that exists, or a new one."""
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
    if not any(known.name == NAME for known in client.search_registered_models()):
        client.create_registered_model(NAME, description=ABOUT)
    version = client.create_model_version(
        NAME, logged.model_uri, run_id, {"pipeline": pipeline}, description=description, model_id=logged.model_id
    )
    return str(version.version)


def tag(client: MlflowClient, run_id: str, name: str) -> str:
    """What was recorded with a run."""
    return str(client.get_run(run_id).data.tags[name])


def crown(client: MlflowClient, aliases: Mapping[str, str | None]) -> None:
    """Let each alias, such as champion, name its version, or none; again is no change. Raises NotRecorded."""
    for alias, version in aliases.items():
        try:
            if version is None:
                client.delete_registered_model_alias(NAME, alias)
            else:
                client.set_registered_model_alias(NAME, alias, version)
        except MlflowException as error:
            raise NotRecorded(f"MLflow's alias {alias} stays where it was: {error.message}") from None


def note(client: MlflowClient, version: str, said: Mapping[str, str]) -> None:
    """Tag a registered version with what was decided about it. Raises NotRecorded."""
    for name, value in said.items():
        try:
            client.set_model_version_tag(NAME, version, name, value)
        except MlflowException as error:
            raise NotRecorded(
                f"MLflow does not know what was decided about version {version}: {error.message}"
            ) from None


def origin(client: MlflowClient, version: str) -> Origin:
    """Where a registered version comes from. Raises NotRecorded."""
    known = {str(each.version): each for each in _versions(client)}
    if version not in known:
        there = ", ".join(sorted(known, key=int)) or "none; `make train` makes one"
        raise NotRecorded(f"version {version} is not registered; registered are {there}")
    run_id = known[version].run_id
    try:
        return Origin(
            git_commit=tag(client, run_id, "git_commit"),
            pipeline=tag(client, run_id, "pipeline"),
            params_yaml=_kept(client, version, run_id, "params.yaml"),
            dvc_lock=_kept(client, version, run_id, "dvc.lock"),
            onnx=mlflow.onnx.load_model(f"models:/{NAME}/{version}").SerializeToString(),
        )
    except (MlflowException, OSError) as error:
        raise NotRecorded(f"version {version} is registered, but not all of it is there: {error}") from None


def _kept(client: MlflowClient, version: str, run_id: str, name: str) -> str:
    """A text that was recorded beside a version's run."""
    if name not in {file.path for file in client.list_artifacts(run_id)}:
        raise NotRecorded(f"version {version} was registered without its {name} (run {run_id})")
    return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{name}"))


def _versions(client: MlflowClient) -> Sequence[Any]:
    return client.search_model_versions(f"name = '{NAME}'")
