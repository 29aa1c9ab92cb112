"""A release: the folder of a published model, verified before anything in it is loaded.

    releases/3/model.onnx
    releases/3/probe.json        entities, and the probabilities that this model must return for them
    releases/3/reference.parquet test entities with their probabilities: monitoring compares later days with them
    releases/3/trees.npz         for explanations; linear.npz or no file, depending on the kind of model
    releases/3/manifest.json     the model's inputs and lineage, and the sha256 of each file
    releases/current.json        the pointer to the live release: see release_pointer.py

The only file that imports onnxruntime. There is no pickle: loading a release runs no code from it.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ontime import files, schema
from ontime.declaration import Question
from ontime.explain import Explainer, Method
from ontime.linear import Linear
from ontime.problem import PROBLEM
from ontime.trees import NoArrays, Trees

# ONNX Runtime sends telemetry to its maker unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

MODEL = "model.onnx"
PROBE = "probe.json"
REFERENCE = "reference.parquet"  # read by monitoring; the service, without pandas, only verifies its digest
TRAINED_ON = "trained_on.bin"  # sorted `split.row_keys` of the training entities, for the gate
TREES, LINEAR = "trees.npz", "linear.npz"
EXPLAINERS: dict[str, type[Trees] | type[Linear]] = {TREES: Trees, LINEAR: Linear}
MANIFEST = "manifest.json"
INVALID_ONNX = (onnx_errors.InvalidProtobuf, onnx_errors.InvalidGraph, onnx_errors.InvalidArgument, onnx_errors.Fail)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class ReleaseRefused(ValueError):
    """A release must not be loaded; the message names the file and the reason."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Lineage(Record):
    """What is needed to rebuild the same model."""

    git_commit: str
    mlflow_run: str
    dvc_lock: dict[str, str]  # path of each stage's output -> its md5 in dvc.lock


class Probe(Record):
    """An entity, its online features, and the probability that the model returned when it was published."""

    entity: PROBLEM.request  # type: ignore[name-defined]  # a type that is known when this runs
    online: tuple[float | None, ...] | None  # schema.ONLINE in order; None: not in the online store
    texts: dict[str, str] = {}  # the categorical ones of these features, by name
    probability: Share


class Bin(Record):
    """The number of entities with a probability in [low, high), and how many of them were positive."""

    low: float
    high: float
    entities: int
    positives: int


class TrackRecord(Record):
    """Calibration of the model on entities outside its training data, with an event in [begin, until)."""

    begin: date
    until: date
    bins: tuple[Bin, ...]


class Manifest(Record):
    problem: str
    name: str
    version: Version
    algorithm: str
    features: tuple[str, ...]  # the order of the input tensor, float32 [n, features]
    categories: dict[str, tuple[str, ...]]  # a category's code is its position; other values become NaN
    threshold: Annotated[float, Field(gt=0, lt=1)]
    base_rate: Share  # share of positives in the training data
    label_at_least: int | float
    lead_minutes: int
    trained_from: date
    trained_until: date  # exclusive
    track_record: TrackRecord
    names: dict[
        str, dict[str, str]
    ] = {}  # field of the request -> code -> name; a code without a name is shown as it is
    lineage: Lineage
    reasons: Method | None = None  # None: published before this field existed
    sha256: dict[str, Digest]

    @property
    def question(self) -> Question:
        return Question(self.label_at_least, self.lead_minutes)

    @model_validator(mode="before")
    @classmethod
    def is_of_this_problem(cls, content: Any) -> Any:
        name = content.get("problem") if isinstance(content, dict) else None
        if name != PROBLEM.name:
            what = f"for the problem {name}" if name else "before releases named their problem (CHANGELOG.md)"
            raise ValueError(f"made {what}, and this is {PROBLEM.name}: move releases/ away, then `make train`")
        return content

    @model_validator(mode="after")
    def fits_this_code(self) -> Self:
        if self.features != schema.FEATURE_NAMES:
            differences = sorted(set(self.features) ^ set(schema.FEATURE_NAMES)) or "the order"
            raise ValueError(f"features are not this code's: {differences}")
        if set(self.categories) != set(schema.CATEGORICAL):
            raise ValueError(f"categories are of {sorted(self.categories)}, not {sorted(schema.CATEGORICAL)}")
        if set(self.sha256) - {*EXPLAINERS, TRAINED_ON} != {MODEL, PROBE, REFERENCE}:
            needed = f"{MODEL}, {PROBE}, {REFERENCE} and perhaps {TRAINED_ON}, {TREES} or {LINEAR}"
            actual = f"not {sorted(self.sha256)}: made by other code? Move releases/ away, then `make train`"
            raise ValueError(f"sha256 must list {needed}, {actual}")
        return self


class Model:
    """An ONNX session with one thread: the service's workers already use all cores."""

    def __init__(self, content: bytes) -> None:
        """Raises ReleaseRefused if `content` is not an ONNX model, or its input is not this code's features."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except INVALID_ONNX as error:
            raise ReleaseRefused(f"{MODEL}: not valid ONNX: {error}") from None
        (tensor,), width = self._session.get_inputs(), len(schema.FEATURE_NAMES)
        if tensor.type != "tensor(float)" or tensor.shape[1:] != [width]:
            raise ReleaseRefused(f"{MODEL}: takes {tensor.type} {tensor.shape}, not tensor(float) [n, {width}]")
        self._input, self._output = tensor.name, self._session.get_outputs()[-1].name

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability of the label for each row, shape (n,)."""
        probabilities: NDArray[np.float32] = self._session.run([self._output], {self._input: matrix})[0]
        return probabilities[:, 1]


@dataclass(frozen=True)
class Release:
    manifest: Manifest
    model: Model
    probes: tuple[Probe, ...]
    explainer: Explainer | None  # computes the reasons of a prediction; None: the release has none


def make_folder(releases: Path) -> None:
    """Create the folder of releases, readable by a service that runs as another user. An existing one is unchanged."""
    if not releases.is_dir():
        releases.mkdir(parents=True, exist_ok=True)
        releases.chmod(files.READABLE_FOLDER)


def publish(releases: Path, contents: Mapping[str, bytes], manifest: Manifest) -> Path:
    """Write `releases/<version>/` atomically. The live release does not change: see `release_pointer.set_live`.

    Idempotent. Raises ReleaseRefused if the version exists with other content.
    """
    folder = releases / manifest.version
    text = manifest.model_dump_json(indent=2) + "\n"
    if folder.exists():
        if (folder / MANIFEST).read_text() != text:
            raise ReleaseRefused(f"{folder} exists and is another release; versions are never overwritten")
        return folder
    make_folder(releases)
    temporary = Path(tempfile.mkdtemp(prefix=".publishing-", dir=releases))
    try:
        for name, content in contents.items():
            with files.replacing(temporary / name) as written:
                written.write_bytes(content)
        files.write_text(temporary / MANIFEST, text)
        _load(temporary, verify(temporary))  # a release that the service cannot load is not published
        files.make_readable_tree(temporary)  # mkdtemp's 0700 would hide it from a service that runs as another user
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def verify(folder: Path, manifest_sha256: str | None = None) -> Manifest:
    """Check every file of a release against its digest; return the manifest. Raises ReleaseRefused."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ReleaseRefused(f"{path}: missing")
    if manifest_sha256 is not None and files.digest(path) != manifest_sha256:
        raise ReleaseRefused(f"{path}: sha256 is not the one that was published")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ReleaseRefused(f"{path}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}") from None
    for name in manifest.sha256:
        _content(folder, name, manifest)
    return manifest


def _content(folder: Path, name: str, manifest: Manifest) -> bytes:
    """The content of a file of the release. Read once, so that the verified bytes are the ones used."""
    if not (folder / name).is_file():
        raise ReleaseRefused(f"{folder / name}: missing")
    content = (folder / name).read_bytes()
    if sha256(content).hexdigest() != manifest.sha256[name]:
        raise ReleaseRefused(f"{folder / name}: sha256 is not the one in {MANIFEST}")
    return content


def published(releases: Path) -> list[str]:
    """The published versions, sorted by number."""
    versions = [path.parent.name for path in releases.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return sorted(versions, key=lambda version: (len(version), version))


def load(releases: Path, version: str, manifest_sha256: str | None = None) -> Release:
    """Verify and load one release. Raises ReleaseRefused."""
    folder = releases / version
    return _load(folder, verify(folder, manifest_sha256))


def _load(folder: Path, manifest: Manifest) -> Release:
    try:
        probes = PROBES.validate_json(_content(folder, PROBE, manifest))
        explainer = _explainer(folder, manifest)
    except ValidationError as error:
        raise ReleaseRefused(f"{folder / PROBE}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}") from None
    return Release(manifest, Model(_content(folder, MODEL, manifest)), probes, explainer)


def _explainer(folder: Path, manifest: Manifest) -> Explainer | None:
    explainer: Explainer | None = None
    for name in EXPLAINERS.keys() & manifest.sha256.keys():
        try:
            explainer = EXPLAINERS[name].from_bytes(_content(folder, name, manifest))
        except NoArrays as error:
            raise ReleaseRefused(f"{folder / name}: {error}") from None
    stated, method = manifest.reasons, "none" if explainer is None else explainer.method
    if stated is not None and stated.method != method:
        raise ReleaseRefused(f"{folder / MANIFEST}: reasons are by {stated.method}, but its files are for {method}")
    return explainer


def trained_on(releases: Path, version: str) -> NDArray[np.uint64]:
    """`split.row_keys` of the training entities; empty for a release published before they were stored."""
    manifest = verify(releases / version)
    if TRAINED_ON not in manifest.sha256:
        return np.array([], dtype="<u8")
    return np.frombuffer(_content(releases / version, TRAINED_ON, manifest), "<u8")


PROBES = TypeAdapter(tuple[Probe, ...])
