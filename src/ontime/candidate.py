"""What a candidate is: how a model is built, exported and explained. candidates.py lists them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ontime import schema
from ontime.batches import Matrix as Matrix
from ontime.linear import Linear
from ontime.trees import Trees

Explainer = Trees | Linear

# Limits far beyond any sensible value catch a mistyped zero, and values that switch a check off.
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Positive = Annotated[float, Field(gt=0, le=1_000_000)]
NotNegativeNumber = Annotated[float, Field(ge=0, le=1_000_000)]
Share = Annotated[float, Field(gt=0, lt=1)]
UpToOne = Annotated[float, Field(gt=0, le=1)]
TreeCount = Annotated[int, Field(gt=0, le=10_000)]  # the service scores every tree in every request
Leaves = Annotated[int, Field(ge=2, le=131_072)]  # LightGBM's limits
LearningRate = UpToOne  # above 1, each tree overshoots the error that it corrects

ONLINE_POSITIONS = [schema.FEATURE_NAMES.index(name) for name in schema.ONLINE]
CATEGORY_POSITIONS = [schema.FEATURE_NAMES.index(name) for name in schema.CATEGORICAL]


class Parameters(BaseModel):
    """A candidate's section under `train` in params.yaml; empty unless a subclass adds fields.

    Strict: text or a bool is not a number. No number is infinite or NaN.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FitMember(Protocol):
    """Fits another candidate: by name and seed, on these rows, with changes of its parameters in params.yaml."""

    def __call__(
        self, name: str, seed: int, rows: Matrix, label: NDArray[Any], changes: Mapping[str, object] = ...
    ) -> Any: ...


@dataclass(frozen=True)
class Candidate:
    """One model that `train.candidates` may list.

    `build` takes its parameters and the seed. `fit` and `predict_proba` receive a float32 matrix: categories as codes,
    NaN for a missing value or a category that was not seen in training. With `reads_batches`, `fit` also takes
    `batches.Batches`; the rows must fit into memory as a matrix if any listed candidate does not read batches.
    """

    build: Callable[[Any, int], Any]
    parameters: type[Parameters] = Parameters
    reads_batches: bool = False
    fit_arguments: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Matrix], Matrix] | None = None  # what `fit` receives instead of the rows
    after_fit: Callable[[Any], None] | None = None
    # From the fitted model to an ONNX model. None: a baseline, which cannot be released.
    export: Callable[[Any], Any] | None = None
    # From the fitted model and background rows to an explainer; or the reason why there is none.
    explain: Callable[[Any, Matrix], Explainer | str] | str = "no method is declared for this model"
    # From the fitted model to the total gain of its splits on each feature; a dominant feature is rejected as a leak.
    gain: Callable[[Any], Sequence[float]] | None = None
    # From its parameters to the candidates that it is made from; `fit` then also gets a FitMember as `fit_member`.
    members: Callable[[Any], Sequence[str]] | None = None
    # Packages beyond requirements/all.txt, which `make install-candidates` installs.
    needs: tuple[str, ...] = ()
