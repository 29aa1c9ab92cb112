"""A release: the folder of a published model, verified before anything in it is loaded.

    releases/3/model.onnx
    releases/3/probe.json        entities, and the probabilities that this model must return for them
    releases/3/reference.parquet test entities with their probabilities: monitoring compares later days with them
    releases/3/trees.npz         for explanations; linear.npz or no file, depending on the kind of model
    releases/3/manifest.json     the model's inputs and lineage, and the sha256 of each file
    releases/3/manifest.sig      the signature of manifest.json: see signatures.py
    releases/current.json        the pointer to the live release: see release_pointer.py

The only file that imports onnxruntime. There is no pickle: loading a release runs no code from it. A model can still
need endless time or memory, so the service loads a release in a child process first: see release_check.py.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ontime import files, schema, signatures
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
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_FILE_BYTES = 512 * 2**20
# ONNX Runtime's exceptions have no common base class.
MODEL_ERRORS: tuple[type[Exception], ...] = (
    *(each for each in vars(onnx_errors).values() if isinstance(each, type) and issubclass(each, Exception)),
    RuntimeError,
    MemoryError,
)

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
    def names_its_files(self) -> Self:
        if set(self.sha256) - {*EXPLAINERS, TRAINED_ON} != {MODEL, PROBE, REFERENCE}:
            needed = f"{MODEL}, {PROBE}, {REFERENCE} and perhaps {TRAINED_ON}, {TREES} or {LINEAR}"
            actual = f"not {sorted(self.sha256)}: made by other code? Move releases/ away, then `make train`"
            raise ValueError(f"sha256 must list {needed}, {actual}")
        return self


class Model:
    """An ONNX session with one thread: the service's workers already use all cores."""

    def __init__(self, content: bytes, width: int = len(schema.FEATURE_NAMES)) -> None:
        """Raises ReleaseRefused if `content` is not an ONNX model, or does not take `width` features."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except MODEL_ERRORS as error:
            raise ReleaseRefused(f"{MODEL}: not valid ONNX: {_one_line(error)}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise ReleaseRefused(f"{MODEL}: takes {len(inputs)} inputs, not 1")
        (tensor,) = inputs
        if tensor.type != "tensor(float)" or tensor.shape[1:] != [width]:
            raise ReleaseRefused(f"{MODEL}: takes {tensor.type} {tensor.shape}, not tensor(float) [n, {width}]")
        if not outputs or outputs[-1].type != "tensor(float)":
            actual = outputs[-1].type if outputs else "nothing"
            raise ReleaseRefused(f"{MODEL}: returns {actual}, not tensor(float) [n, 2]")
        self._input, self._output = tensor.name, outputs[-1].name

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability of the label for each row, shape (n,). Raises ReleaseRefused if the model fails."""
        try:
            probabilities: NDArray[np.float32] = self._session.run([self._output], {self._input: matrix})[0]
        except MODEL_ERRORS as error:
            raise ReleaseRefused(f"{MODEL}: fails to predict: {_one_line(error)}") from None
        if probabilities.shape != (len(matrix), 2):
            raise ReleaseRefused(f"{MODEL}: returns {list(probabilities.shape)} for {len(matrix)} rows, not [n, 2]")
        return probabilities[:, 1]


def _one_line(error: BaseException) -> str:
    """An error of ONNX Runtime may repeat names of the model, of any length, over many lines."""
    return " ".join(str(error).split())[:300] or type(error).__name__


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


def publish(
    releases: Path,
    contents: Mapping[str, bytes],
    manifest: Manifest,
    check: Callable[[Release], None] = lambda _: None,
) -> Path:
    """Write and sign `releases/<version>/`, atomically. The live release does not change: `release_pointer.set_live`.

    `check` raises an exception for a loaded release that must not be signed. Idempotent. Raises ReleaseRefused if the
    version exists with other content, and NoSigningKey.
    """
    folder = releases / manifest.version
    text = manifest.model_dump_json(indent=2) + "\n"
    if folder.exists():
        if (folder / MANIFEST).read_text(encoding="utf-8") != text:
            raise ReleaseRefused(f"{folder} exists and is another release; versions are never overwritten")
        return folder
    make_folder(releases)
    temporary = Path(tempfile.mkdtemp(prefix=".publishing-", dir=releases))
    try:
        for name, content in contents.items():
            with files.replacing(temporary / name) as written:
                written.write_bytes(content)
        files.write_text(temporary / MANIFEST, text)
        # A release that the service cannot load is neither signed nor published.
        check(_load(temporary, verify(temporary, signed=False)))
        write_signature(temporary)
        files.make_readable_tree(temporary)  # mkdtemp's 0700 would hide it from a service that runs as another user
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_signature(folder: Path) -> None:
    """Write the signature of a release. Raises NoSigningKey. The caller has verified and loaded the release."""
    files.write_text(folder / SIGNATURE, signatures.sign((folder / MANIFEST).read_bytes()), files.READABLE)


def verify(
    folder: Path, manifest_sha256: str | None = None, *, signed: bool = True, any_features: bool = False
) -> Manifest:
    """Check the signature of a release, then every file against its digest; return the manifest. Raises ReleaseRefused.

    Nothing is parsed before the signature is verified. With `signed=False` the signature is ignored: only for a release
    that is about to be signed. `any_features` accepts a release of earlier code: to compare with it, not to serve it.
    """
    path = folder / MANIFEST
    content = _read(path, MAX_MANIFEST_BYTES)
    if manifest_sha256 is not None and sha256(content).hexdigest() != manifest_sha256:
        raise ReleaseRefused(f"{path}: sha256 is not the one that was published")
    if signed and (reason := signatures.rejection(folder / SIGNATURE, content)):
        raise ReleaseRefused(f"{folder / SIGNATURE}: {reason}")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ReleaseRefused(f"{path}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}") from None
    if manifest.version != folder.name and not folder.name.startswith("."):  # a temporary folder
        raise ReleaseRefused(f"{path}: is of release {manifest.version}, not {folder.name}")
    if not any_features:
        _refuse_other_features(path, manifest)
    for name in manifest.sha256:
        _content(folder, name, manifest)
    return manifest


def _refuse_other_features(path: Path, manifest: Manifest) -> None:
    if manifest.features != schema.FEATURE_NAMES:
        differences = sorted(set(manifest.features) ^ set(schema.FEATURE_NAMES)) or "the order"
        raise ReleaseRefused(
            f"{path}: features are not this code's: {differences}. `make train` makes a release of this code; the code "
            f"of this one is commit {manifest.lineage.git_commit}"
        )
    if set(manifest.categories) != set(schema.CATEGORICAL):
        raise ReleaseRefused(
            f"{path}: categories are of {sorted(manifest.categories)}, not {sorted(schema.CATEGORICAL)}"
        )


def _content(folder: Path, name: str, manifest: Manifest) -> bytes:
    """The content of a file of the release. Read once, so that the verified bytes are the ones used."""
    content = _read(folder / name, MAX_FILE_BYTES)
    if sha256(content).hexdigest() != manifest.sha256[name]:
        raise ReleaseRefused(f"{folder / name}: sha256 is not the one in {MANIFEST}")
    return content


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        return files.read_regular(path, max_bytes)
    except FileNotFoundError:
        raise ReleaseRefused(f"{path}: missing") from None
    except OSError as error:
        raise ReleaseRefused(f"{path}: {error.strerror or error}") from None


def published(releases: Path) -> list[str]:
    """The published versions, sorted by number."""
    versions = [path.parent.name for path in releases.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return sorted(versions, key=lambda version: (len(version), version))


def load(releases: Path, version: str, manifest_sha256: str | None = None, *, signed: bool = True) -> Release:
    """Verify and load one release. Raises ReleaseRefused. For `signed` see `verify`."""
    folder = releases / version
    return _load(folder, verify(folder, manifest_sha256, signed=signed))


def _load(folder: Path, manifest: Manifest) -> Release:
    try:
        probes = PROBES.validate_json(_content(folder, PROBE, manifest))
        explainer = _explainer(folder, manifest)
    except ValidationError as error:
        raise ReleaseRefused(f"{folder / PROBE}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}") from None
    return Release(manifest, Model(_content(folder, MODEL, manifest)), probes, explainer)


def load_model(releases: Path, manifest: Manifest) -> Model:
    """The model of a verified release, which takes the manifest's features. Raises ReleaseRefused."""
    return Model(_content(releases / manifest.version, MODEL, manifest), len(manifest.features))


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
    manifest = verify(releases / version, any_features=True)
    if TRAINED_ON not in manifest.sha256:
        return np.array([], dtype="<u8")
    return np.frombuffer(_content(releases / version, TRAINED_ON, manifest), "<u8")


PROBES = TypeAdapter(tuple[Probe, ...])
