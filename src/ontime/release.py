"""The model as a folder, verified before anything is loaded.

    releases/3/model.onnx
    releases/3/probe.json        entities with the probabilities that this model must give them
    releases/3/reference.parquet entities it was measured on, with its answers: what later days are compared with
    releases/3/trees.npz         for reasons; or linear.npz, or neither, by the kind of model
    releases/3/manifest.json     what the model needs and where it came from, with the sha256 of each file
    releases/current.json        the pointer: which version answers, which challenges it, what answered before

The only file that knows onnxruntime. No pickle: loading a release runs no code from it.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import wraps
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ontime import files, locks, schema
from ontime.declaration import Question
from ontime.explain import Explainer, Method
from ontime.linear import Linear
from ontime.problem import PROBLEM
from ontime.trees import NoArrays, Trees

# ONNX Runtime reports to its maker unless this is set when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

MODEL = "model.onnx"
PROBE = "probe.json"
REFERENCE = "reference.parquet"  # for monitoring, which has pandas; the service only checks its digest
TRAINED_ON = "trained_on.bin"  # `split.row_keys` of the entities that it was fitted on, sorted; for the gate
TREES, LINEAR = "trees.npz", "linear.npz"
EXPLAINERS: dict[str, type[Trees] | type[Linear]] = {TREES: Trees, LINEAR: Linear}
MANIFEST = "manifest.json"
POINTER = "current.json"
MOVING = ".current.lock"
NO_ONNX = (onnx_errors.InvalidProtobuf, onnx_errors.InvalidGraph, onnx_errors.InvalidArgument, onnx_errors.Fail)

P = ParamSpec("P")
T = TypeVar("T")
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class ReleaseRefused(ValueError):
    """A release that must not be loaded; the message names the file and the reason."""


class NoRelease(ReleaseRefused):
    """Nothing was published yet."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Lineage(_Record):
    """Enough to build the same model again."""

    git_commit: str
    mlflow_run: str
    dvc_lock: dict[str, str]  # path of each stage's output -> its md5 in dvc.lock


class Probe(_Record):
    """An entity, what was known of it, and the probability that the model gave it when it was published."""

    entity: PROBLEM.request  # type: ignore[name-defined]  # a type that is known when this runs
    online: tuple[float | None, ...] | None  # schema.ONLINE in order; None: not in the online store
    texts: dict[str, str] = {}  # the categories among them
    probability: Share


class Bin(_Record):
    """Of the entities that got a probability in [low, high), so many were positive."""

    low: float
    high: float
    entities: int
    positives: int


class TrackRecord(_Record):
    """How right the model was on entities it was not trained on, with an event in [begin, until)."""

    begin: date
    until: date
    bins: tuple[Bin, ...]


class Manifest(_Record):
    problem: str
    name: str
    version: Version
    algorithm: str
    features: tuple[str, ...]  # the order of the input tensor, float32 [n, features]
    categories: dict[str, tuple[str, ...]]  # position in the list is the code; anything else is NaN
    threshold: Annotated[float, Field(gt=0, lt=1)]
    base_rate: Share  # share positive in training
    label_at_least: int | float
    lead_minutes: int
    trained_from: date
    trained_until: date  # exclusive
    track_record: TrackRecord
    names: dict[str, dict[str, str]] = {}  # field of the request -> code -> name; without one it is shown as it is
    lineage: Lineage
    reasons: Method | None = None  # None: published before releases said so
    sha256: dict[str, Digest]

    @property
    def question(self) -> Question:
        return Question(self.label_at_least, self.lead_minutes)

    @model_validator(mode="before")
    @classmethod
    def is_of_this_problem(cls, content: Any) -> Any:
        told = content.get("problem") if isinstance(content, dict) else None
        if told != PROBLEM.name:
            what = f"for the problem {told}" if told else "before releases named their problem (CHANGELOG.md)"
            raise ValueError(f"made {what}, and this is {PROBLEM.name}: move releases/ away, then `make train`")
        return content

    @model_validator(mode="after")
    def fits_this_code(self) -> Self:
        if self.features != schema.FEATURE_NAMES:
            differing = sorted(set(self.features) ^ set(schema.FEATURE_NAMES)) or "the order"
            raise ValueError(f"features are not this code's: {differing}")
        if set(self.categories) != set(schema.CATEGORICAL):
            raise ValueError(f"categories are of {sorted(self.categories)}, not {sorted(schema.CATEGORICAL)}")
        if set(self.sha256) - {*EXPLAINERS, TRAINED_ON} != {MODEL, PROBE, REFERENCE}:
            needed = f"{MODEL}, {PROBE}, {REFERENCE} and perhaps {TRAINED_ON}, {TREES} or {LINEAR}"
            found = f"not {sorted(self.sha256)}: made by other code? Move releases/ away, then `make train`"
            raise ValueError(f"sha256 must list {needed}, {found}")
        return self


class Challenger(_Record):
    """A second release: scores every entity in the shadow, and answers a share of them (0: none)."""

    version: Version
    manifest_sha256: Digest
    share: Share


class Pointer(_Record):
    version: Version
    manifest_sha256: Digest
    challenger: Challenger | None = None
    history: tuple[Version, ...] = ()  # what answered before, the latest last
    rolled_back: tuple[Version, ...] = ()  # never promoted again but by hand


class Model:
    """An ONNX session with one thread: more of them fight over the cores of the service's workers."""

    def __init__(self, content: bytes) -> None:
        """Raises ReleaseRefused for what is no model, or not one that takes our features."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except NO_ONNX as error:
            raise ReleaseRefused(f"{MODEL}: no valid ONNX: {error}") from None
        (taken,), width = self._session.get_inputs(), len(schema.FEATURE_NAMES)
        if taken.type != "tensor(float)" or taken.shape[1:] != [width]:
            raise ReleaseRefused(f"{MODEL}: takes {taken.type} {taken.shape}, not tensor(float) [n, {width}]")
        self._input, self._output = taken.name, self._session.get_outputs()[-1].name

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability of the label for each row, shape (n,)."""
        probabilities: NDArray[np.float32] = self._session.run([self._output], {self._input: matrix})[0]
        return probabilities[:, 1]


@dataclass(frozen=True)
class Release:
    manifest: Manifest
    model: Model
    probes: tuple[Probe, ...]
    explainer: Explainer | None  # what reasons are computed from


def publish(releases: Path, contents: Mapping[str, bytes], manifest: Manifest) -> Path:
    """Write `releases/<version>/`, whole or not at all. The pointer stays where it is: see `point`.

    Publishing the same release again changes nothing; another one under the same version is refused.
    """
    folder = releases / manifest.version
    text = manifest.model_dump_json(indent=2) + "\n"
    if folder.exists():
        if (folder / MANIFEST).read_text() != text:
            raise ReleaseRefused(f"{folder} exists and is another release; versions are never overwritten")
        return folder
    releases.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".publishing-", dir=releases))
    try:
        for name, content in contents.items():
            with files.replacing(aside / name) as written:
                written.write_bytes(content)
        files.write_text(aside / MANIFEST, text)
        _load(aside, verify(aside))  # what no service could load is never published
        aside.chmod(0o755)  # mkdtemp's 0700 would hide it from a service that runs as another user
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def verify(folder: Path, manifest_sha256: str | None = None) -> Manifest:
    """The manifest of a release whose every byte is as published. Raises ReleaseRefused."""
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
    """The bytes of a file of the release: these very bytes were checked, not those read a moment ago."""
    if not (folder / name).is_file():
        raise ReleaseRefused(f"{folder / name}: missing")
    content = (folder / name).read_bytes()
    if sha256(content).hexdigest() != manifest.sha256[name]:
        raise ReleaseRefused(f"{folder / name}: sha256 is not the one in {MANIFEST}")
    return content


def _in_turn(move: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """One at a time: each of these reads the pointer in order to write it."""

    @wraps(move)
    def moved(releases: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with locks.in_turn(releases / MOVING, "release"):
            return move(releases, *args, **kwargs)

    return moved


@_in_turn
def point(releases: Path, version: str, *, watched: bool = False) -> None:
    """Make `version` live; atomic, so a reader sees the old pointer or the new one.

    `watched`: what answered before goes on in the shadow, so that the two can be compared on the same entities.
    """
    before = read_pointer(releases)
    if before and before.version == version:
        return
    challenger = _still_challenging(releases, before, version)
    if watched and before:
        challenger = Challenger(version=before.version, manifest_sha256=before.manifest_sha256, share=0)
    pointer = Pointer(
        version=version,
        manifest_sha256=_manifest_digest(releases, version),
        challenger=challenger,
        history=(*before.history, before.version) if before else (),
        rolled_back=tuple(each for each in before.rolled_back if each != version) if before else (),
    )
    _write_pointer(releases, pointer)


@_in_turn
def roll_back(releases: Path) -> str:
    """Let the version before the current one answer again; which one that is. Raises NoRelease."""
    before = read_pointer(releases)
    if before is None or not before.history:
        raise NoRelease(f"{releases / POINTER}: there is no earlier release to roll back to")
    version = before.history[-1]
    pointer = before.model_copy(
        update={
            "version": version,
            "manifest_sha256": _manifest_digest(releases, version),
            "challenger": _still_challenging(releases, before, version),
            "history": before.history[:-1],
            "rolled_back": (*before.rolled_back, before.version),
        }
    )
    _write_pointer(releases, pointer)
    return version


@_in_turn
def challenge(releases: Path, version: str | None, share: float = 0.0) -> None:
    """Let `version` challenge the current release, or nobody (None): see `Challenger`. Raises ReleaseRefused."""
    before = require_pointer(releases)
    if version == before.version:
        raise ReleaseRefused(f"release {version} answers already; it cannot challenge itself")
    challenger = None
    if version is not None:
        refuse_another_question(verify(releases / version), verify(releases / before.version))
        challenger = Challenger(version=version, manifest_sha256=_manifest_digest(releases, version), share=share)
    _write_pointer(releases, before.model_copy(update={"challenger": challenger}))


def refuse_another_question(challenger: Manifest, champion: Manifest) -> None:
    """Raise ReleaseRefused where the same outcomes cannot say which of two releases is better."""
    if challenger.question != champion.question:
        raise ReleaseRefused(
            f"release {challenger.version} predicts {schema.in_words(challenger.question)}; release {champion.version} "
            f"predicts {schema.in_words(champion.question)}: the same outcomes cannot judge both. "
            f"To serve it nevertheless: make promote VERSION={challenger.version} FORCE=1"
        )


def _still_challenging(releases: Path, before: Pointer | None, champion: str) -> Challenger | None:
    """The challenger of before, if it can challenge the new champion as well."""
    if before is None or before.challenger is None or before.challenger.version == champion:
        return None
    try:
        refuse_another_question(verify(releases / before.challenger.version), verify(releases / champion))
    except ReleaseRefused:  # a broken challenger must not stand in the way of a rollback either
        return None
    return before.challenger


def _manifest_digest(releases: Path, version: str) -> str:
    verify(releases / version)
    return files.digest(releases / version / MANIFEST)


def _write_pointer(releases: Path, pointer: Pointer) -> None:
    files.write_text(releases / POINTER, pointer.model_dump_json(indent=2) + "\n")


def published(releases: Path) -> list[str]:
    """The versions that lie there, in the order of their numbers."""
    found = [path.parent.name for path in releases.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return sorted(found, key=lambda version: (len(version), version))


def current(releases: Path) -> Manifest | None:
    """The manifest of the release that the pointer names; None before the first release."""
    pointer = read_pointer(releases)
    return verify(releases / pointer.version, pointer.manifest_sha256) if pointer else None


def load_current(releases: Path) -> Release:
    """Verify and load the release that the pointer names. Raises NoRelease, ReleaseRefused."""
    pointer = require_pointer(releases)
    return load(releases, pointer.version, pointer.manifest_sha256)


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
    stated, found = manifest.reasons, "none" if explainer is None else explainer.method
    if stated is not None and stated.method != found:
        raise ReleaseRefused(f"{folder / MANIFEST}: reasons are by {stated.method}, but its files are for {found}")
    return explainer


def trained_on(releases: Path, version: str) -> NDArray[np.uint64]:
    """`split.row_keys` of the entities that it was fitted on; empty for a release of before they were kept."""
    manifest = verify(releases / version)
    if TRAINED_ON not in manifest.sha256:
        return np.array([], dtype="<u8")
    return np.frombuffer(_content(releases / version, TRAINED_ON, manifest), "<u8")


def read_pointer(releases: Path) -> Pointer | None:
    """None before the first release. Raises ReleaseRefused for a pointer that says nothing."""
    path = releases / POINTER
    if not path.exists():
        return None
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ReleaseRefused(f"{path}: {error.errors()[0]['msg']}") from None


def require_pointer(releases: Path) -> Pointer:
    """The pointer. Raises NoRelease before the first release, ReleaseRefused for a pointer that says nothing."""
    pointer = read_pointer(releases)
    if pointer is None:
        raise NoRelease(f"{releases / POINTER}: no release yet; run `make train`")
    return pointer


PROBES = TypeAdapter(tuple[Probe, ...])
