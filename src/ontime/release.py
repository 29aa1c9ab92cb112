"""The model as a folder: model.onnx and manifest.json, verified before anything is loaded.

    releases/3/model.onnx
    releases/3/manifest.json     what the model needs and where it came from, with the sha256 of each file
    releases/current.json        the pointer: which version answers, with the sha256 of its manifest

The only file that knows onnxruntime. No pickle: loading a release runs no code from it.
"""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ontime import files, schema

MODEL = "model.onnx"
MANIFEST = "manifest.json"
POINTER = "current.json"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


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


class Manifest(_Record):
    name: str
    version: Version
    algorithm: str
    features: tuple[str, ...]  # the order of the input tensor, float32 [n, features]
    categories: dict[str, tuple[str, ...]]  # position in the list is the code; anything else is NaN
    threshold: Annotated[float, Field(gt=0, lt=1)]
    usual_rate: Annotated[float, Field(ge=0, le=1)]  # share late in training
    lead_minutes: int
    trained_from: date
    trained_until: date  # exclusive
    lineage: Lineage
    sha256: dict[str, Digest]

    @model_validator(mode="after")
    def fits_this_code(self) -> Self:
        if self.features != schema.FEATURE_NAMES:
            differing = sorted(set(self.features) ^ set(schema.FEATURE_NAMES)) or "the order"
            raise ValueError(f"features are not this code's: {differing}")
        if set(self.categories) != set(schema.CATEGORICAL):
            raise ValueError(f"categories are of {sorted(self.categories)}, not {sorted(schema.CATEGORICAL)}")
        if set(self.sha256) != {MODEL}:
            raise ValueError(f"sha256 must list {MODEL} and nothing else, not {sorted(self.sha256)}")
        return self


class Pointer(_Record):
    version: Version
    manifest_sha256: Digest


class Model:
    """An ONNX session with one thread: more of them fight over the cores of the service's workers."""

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[-1].name

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability of late for each row, shape (n,)."""
        probabilities: NDArray[np.float32] = self._session.run([self._output], {self._input: matrix})[0]
        return probabilities[:, 1]


@dataclass(frozen=True)
class Release:
    manifest: Manifest
    model: Model


def publish(releases: Path, model: bytes, manifest: Manifest) -> Path:
    """Write `releases/<version>/`, whole or not at all. The pointer stays where it is: see `point`.

    Publishing the same release again changes nothing; another one under the same version is refused.
    """
    folder = releases / manifest.version
    content = manifest.model_dump_json(indent=2) + "\n"
    if folder.exists():
        if (folder / MANIFEST).read_text() != content:
            raise ReleaseRefused(f"{folder} exists and is another release; versions are never overwritten")
        return folder
    releases.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".publishing-", dir=releases))
    try:
        files.write_text(aside / MANIFEST, content)
        with files.replacing(aside / MODEL) as written:
            written.write_bytes(model)
        verify(aside)
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
    for name, expected in manifest.sha256.items():
        if not (folder / name).is_file():
            raise ReleaseRefused(f"{folder / name}: missing")
        if files.digest(folder / name) != expected:
            raise ReleaseRefused(f"{folder / name}: sha256 is not the one in {MANIFEST}")
    return manifest


def point(releases: Path, version: str) -> None:
    """Let `version` answer from now on; atomic, so a reader sees the old pointer or the new one."""
    verify(releases / version)
    pointer = Pointer(version=version, manifest_sha256=files.digest(releases / version / MANIFEST))
    files.write_text(releases / POINTER, pointer.model_dump_json(indent=2) + "\n")


def current(releases: Path) -> Manifest | None:
    """The manifest of the release that the pointer names; None before the first release."""
    pointer = _read_pointer(releases)
    return verify(releases / pointer.version, pointer.manifest_sha256) if pointer else None


def load_current(releases: Path) -> Release:
    """Verify and load the release that the pointer names. Raises ReleaseRefused."""
    manifest = current(releases)
    if manifest is None:
        raise NoRelease(f"{releases / POINTER}: no release yet; run `make train`")
    path = releases / manifest.version / MODEL
    content = path.read_bytes()
    if sha256(content).hexdigest() != manifest.sha256[MODEL]:  # these very bytes, not those read a moment ago
        raise ReleaseRefused(f"{path}: sha256 is not the one in {MANIFEST}")
    return Release(manifest, Model(content))


def _read_pointer(releases: Path) -> Pointer | None:
    path = releases / POINTER
    if not path.exists():
        return None
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ReleaseRefused(f"{path}: {error.errors()[0]['msg']}") from None
