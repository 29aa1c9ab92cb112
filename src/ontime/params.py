"""params.yaml, typed: an unknown name or an invalid value is rejected, with its place and value."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from ontime import schema
from ontime.candidates import CANDIDATES, Count, Parameters, Positive, Share, exportable
from ontime.problem import PROBLEM

PARAMS_FILE = Path("params.yaml")
NotNegative = Annotated[int, Field(ge=0)]


class ParamsBroken(ValueError):
    """params.yaml is invalid; the message names each wrong key and its value."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelParams(_Section):
    at_least: int | float

    @field_validator("at_least")
    @classmethod
    def is_reached_by_some(cls, value: float) -> float:
        low, high = PROBLEM.label.limits
        if not low < value <= high:
            raise ValueError(f"must be in ({low:g}, {high:g}], the problem's values: otherwise all labels are equal")
        return value


class FeatureParams(_Section):
    lead_minutes: NotNegative
    lookback_hours: NotNegative
    halo_hours: NotNegative

    @model_validator(mode="after")
    def halo_covers_lookback(self) -> Self:
        needed = self.lookback_hours + PROBLEM.halo_hours + self.lead_minutes / 60
        if self.halo_hours < needed:
            raise ValueError(
                f"halo_hours {self.halo_hours} is less than the {needed:g} that lookback_hours needs; raise it"
            )
        return self


class Split(_Section):
    train_from: date
    valid_from: date
    test_from: date
    test_until: date

    @model_validator(mode="after")
    def periods_are_in_order(self) -> Self:
        if not self.train_from < self.valid_from < self.test_from < self.test_until:
            raise ValueError("the periods must follow each other: train_from < valid_from < test_from < test_until")
        return self


class Cost(_Section):
    missed: Positive
    false_alarm: Positive
    alert_threshold: Share


def _candidate_names() -> str:
    return f"the candidates are {', '.join(CANDIDATES)} (src/ontime/candidates.py)"


def _is_candidate(name: str) -> str:
    if name not in CANDIDATES:
        raise ValueError(f"is not a candidate; {_candidate_names()}")
    return name


def _includes_exportable(names: list[str]) -> list[str]:
    if not exportable(names):
        raise ValueError("none of these can be released; add one that has an export in src/ontime/candidates.py")
    return names


Candidates = Annotated[list[Annotated[str, AfterValidator(_is_candidate)]], AfterValidator(_includes_exportable)]


class Train(_Section):
    seed: int
    request_only_share: Share
    candidates: Candidates
    ablations: bool
    parameters: dict[
        str, SerializeAsAny[Parameters]
    ]  # in params.yaml, sections of train: name of the candidate -> its parameters

    @model_validator(mode="before")
    @classmethod
    def sections_are_those_of_candidates(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        own = cls.model_fields.keys() - {"parameters"}
        sections = {name: value for name, value in content.items() if name not in own}
        parameters = _typed_sections(sections, content.get("candidates"))
        return {**{name: content[name] for name in own & content.keys()}, "parameters": parameters}

    @model_serializer(mode="wrap")
    def as_in_the_file(self, flat: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = flat(self)
        return plain | plain.pop("parameters")

    def of(self, candidate: str) -> Parameters:
        return self.parameters.get(candidate, Parameters())

    def changed(self, candidate: str, **values: object) -> Self:
        """A copy with other values of these parameters of a candidate."""
        current = self.of(candidate)
        parameters = type(current).model_validate({**current.model_dump(), **values})
        return self.model_copy(update={"parameters": {**self.parameters, candidate: parameters}})


def _typed_sections(sections: dict[str, Any], listed: Any) -> dict[str, Parameters]:
    """The parameters of each candidate. Raises ValidationError with the section, or the place in it."""
    unknown = sections.keys() - CANDIDATES.keys()
    wrong = {name: f"is neither a parameter of train nor a candidate; {_candidate_names()}" for name in unknown}
    for name in listed if isinstance(listed, list) else ():
        if name in CANDIDATES and name not in sections and (needed := CANDIDATES[name].parameters.model_fields):
            wrong[name] = f"is listed in train.candidates but has no section with its {', '.join(needed)}"
    if wrong:
        errors: list[InitErrorDetails] = [
            {"type": PydanticCustomError("section", "{why}", {"why": why}), "loc": (name,), "input": sections.get(name)}
            for name, why in sorted(wrong.items())
        ]
        raise ValidationError.from_exception_data("train", errors)
    fields: dict[str, Any] = {name: (CANDIDATES[name].parameters, ...) for name in sections}
    return dict(create_model("Sections", **fields).model_validate(sections))


class Tune(_Section):
    trials: Count
    folds: Count


class Evaluate(_Section):
    leak_auc: Share
    slice_min_rows: Count
    slice_min_positive: Count
    full_card: bool
    importance_rows: Count


class Gate(_Section):
    margin_log_loss: Positive
    margin_slice_log_loss: Positive
    slice_alarm: Share
    margin_calibration: Share
    margin_auc: Share
    first_skill: Share
    first_calibration: Share
    parity_tolerance: Positive


def _is_feature(name: str) -> str:
    if name not in schema.FEATURE_NAMES:
        raise ValueError("is not a feature; docs/features.md lists them")
    return name


class Leaks(_Section):
    explained: Share
    feature_auc: Share
    gain_share: Share
    accepted: list[Annotated[str, AfterValidator(_is_feature)]]


class AlertRule(_Section):
    """Alert if at least `days` of the last `of` values of the metric are above the limit."""

    tier: Literal[1, 2, 3]
    above: float
    days: Count
    of: Count
    reason: str

    @model_validator(mode="after")
    def can_be_reached(self) -> Self:
        if self.days > self.of:
            raise ValueError(f"days is {self.days}, more than of, which is {self.of}: the alert could never fire")
        return self


class Monitor(_Section):
    window_days: Count
    drift_every_days: Count
    drift_features: list[Annotated[str, AfterValidator(_is_feature)]]
    settle_days: Count
    alerts: dict[str, AlertRule]


class Policy(_Section):
    refresh_days: Count
    cooldown_days: Count
    budget: Count
    budget_days: Count
    min_labels: Count
    shadow_days: Count
    shadow_labels: Count
    watch_days: Count
    margin_log_loss: Positive


class Retrain(_Section):
    candidates: Candidates
    train_days: Count
    valid_days: Count
    test_days: Count


class Params(_Section):
    dataset: str
    known_until: AwareDatetime | None
    label: LabelParams
    features: FeatureParams
    split: Split
    cost: Cost
    train: Train
    leaks: Leaks
    tune: Tune
    evaluate: Evaluate
    gate: Gate
    monitor: Monitor
    policy: Policy
    retrain: Retrain

    @property
    def question(self) -> schema.Question:
        return schema.Question(self.label.at_least, self.features.lead_minutes)

    @model_validator(mode="after")
    def retrained_candidates_have_parameters(self) -> Self:
        for name in self.retrain.candidates:
            if CANDIDATES[name].parameters.model_fields and name not in self.train.parameters:
                raise ValueError(f"retrain.candidates lists {name}, which has no section under train")
        return self


def load_params(path: Path = PARAMS_FILE) -> Params:
    """The parameters in `path`. Raises ParamsBroken with each wrong key and its value."""
    try:
        return Params.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        problems = [
            f"  {'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']} (got {each['input']!r})"
            for each in error.errors()
        ]
        raise ParamsBroken("\n".join([f"{path}:", *problems])) from None
