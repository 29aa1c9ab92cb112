"""params.yaml, typed: an unknown name or an invalid value is rejected, with its place and value.

Every number is finite and has limits, because a margin of `.inf` would switch a gate off without an error. Types are
strict: neither `true` nor `"5"` is a number.
"""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
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
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from ontime import schema, strict_yaml
from ontime.candidates import CANDIDATES, Count, NotNegativeNumber, Parameters, Positive, Share, exportable
from ontime.problem import PROBLEM
from ontime.strict_yaml import YamlBroken

PARAMS_FILE = Path("params.yaml")
LONGEST_VALUE = 100  # characters of it in a message
EXPONENT_WITHOUT_POINT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
# Days and hours are limited to about ten years: a longer period is a typing error, or switches its rule off.
Days = Annotated[int, Field(gt=0, le=3_660)]
Hours = Annotated[int, Field(ge=0, le=87_840)]
Minutes = Annotated[int, Field(ge=0, le=525_600)]  # a year before the event
# ln 2 = 0.69 is the log-loss of a coin, so a margin of 0.1 already lets much worse models pass.
LogLossMargin = Annotated[float, Field(gt=0, le=0.1)]
Auc = Annotated[float, Field(gt=0.5, lt=1)]  # 0.5 is the AUC of a coin
Seed = Annotated[int, Field(ge=0, lt=2**31)]  # LightGBM reads it as a signed 32-bit integer


def _parsed(kind: type[date]) -> BeforeValidator:
    """Parses text as ISO 8601. Pydantic's own parsing would also take a number, as seconds since 1970."""

    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return kind.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"is not a {kind.__name__}: {error}") from None

    return BeforeValidator(parse)


Day = Annotated[date, _parsed(date)]
Moment = Annotated[AwareDatetime, _parsed(datetime)]


class ParamsBroken(ValueError):
    """params.yaml is invalid; the message names each wrong key and its value."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


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
    lead_minutes: Minutes
    lookback_hours: Hours
    halo_hours: Hours
    partition: Literal["month", "week"]  # built at once: a week where the rows of a month do not fit into memory

    @model_validator(mode="after")
    def halo_covers_windows(self) -> Self:
        if self.lookback_hours < PROBLEM.lookback_hours:
            raise ValueError(
                f"lookback_hours {self.lookback_hours} is less than {PROBLEM.lookback_hours:g}, the longest window of "
                "a feature; raise it"
            )
        needed = self.lookback_hours + PROBLEM.halo_hours + self.lead_minutes / 60
        if self.halo_hours < needed:
            raise ValueError(
                f"halo_hours {self.halo_hours} is less than the {needed:g} that are needed: lookback_hours "
                f"{self.lookback_hours}, the problem's halo_hours {PROBLEM.halo_hours:g} and the lead; raise it"
            )
        return self


class Split(_Section):
    train_from: Day
    valid_from: Day
    test_from: Day
    test_until: Day

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
    seed: Seed
    request_only_share: Share
    candidates: Candidates
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

    @model_validator(mode="after")
    def members_are_other_candidates(self) -> Self:
        for name in self.parameters:
            self._refuse_members_of(name, ())
        return self

    def _refuse_members_of(self, name: str, made_from_it: tuple[str, ...]) -> None:
        """Raise ValueError if a member has no section, cannot be released, or is made from this candidate itself."""
        members = CANDIDATES[name].members
        for member in members(self.of(name)) if members else ():
            if member not in self.parameters or member not in exportable(self.parameters):
                raise ValueError(f"{name} is made from {member}, which is no candidate with a section and an export")
            if member in (name, *made_from_it):
                raise ValueError(f"{name} is made from {member}, which is made from {name}")
            self._refuse_members_of(member, (*made_from_it, name))

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
    trials: Annotated[int, Field(gt=0, le=10_000)]
    folds: Annotated[int, Field(gt=0, le=120)]  # months


class Evaluate(_Section):
    leak_auc: Auc
    slice_min_rows: Count
    slice_min_positive: Count
    full_card: bool


class StudyParams(_Section):
    importance_rows: Count


class Gate(_Section):
    margin_log_loss: LogLossMargin
    margin_slice_log_loss: LogLossMargin
    slice_alarm: Annotated[float, Field(ge=0.001, lt=1)]  # a lower rate of false alarms would find no worse slice
    margin_calibration: Annotated[float, Field(gt=0, lt=0.5)]
    margin_auc: Annotated[float, Field(gt=0, lt=0.5)]  # from a coin to a perfect model it is 0.5
    first_skill: Share
    first_calibration: Annotated[float, Field(gt=0, lt=0.5)]
    parity_tolerance: Annotated[float, Field(gt=0, le=0.01)]  # above, it is another model


def _is_feature(name: str) -> str:
    if name not in schema.FEATURE_NAMES:
        raise ValueError("is not a feature; docs/features.md lists them")
    return name


class Leaks(_Section):
    explained: Share
    feature_auc: Auc
    gain_share: Share
    accepted: list[Annotated[str, AfterValidator(_is_feature)]]


class AlertRule(_Section):
    """Alert if at least `days` of the last `of` values of the metric are above the limit."""

    tier: Annotated[int, Field(ge=1, le=3)]  # not a Literal, which would take `true` and 1.0
    above: NotNegativeNumber
    days: Days
    of: Days
    reason: str

    @model_validator(mode="after")
    def can_be_reached(self) -> Self:
        if self.days > self.of:
            raise ValueError(f"days is {self.days}, more than of, which is {self.of}: the alert could never fire")
        return self


class Monitor(_Section):
    window_days: Days
    drift_every_days: Days
    drift_features: list[Annotated[str, AfterValidator(_is_feature)]]
    settle_days: Days
    alerts: dict[str, AlertRule]

    @field_validator("alerts")
    @classmethod
    def shares_can_be_exceeded(cls, alerts: dict[str, AlertRule]) -> dict[str, AlertRule]:
        for metric, rule in alerts.items():
            if metric.endswith("_share") and rule.above >= 1:
                raise ValueError(
                    f"{metric}.above is {rule.above:g}, which no share exceeds: the alert could never fire"
                )
        return alerts


class Policy(_Section):
    refresh_days: Days
    cooldown_days: Days
    budget: Count
    budget_days: Days
    min_labels: Count
    shadow_days: Days
    shadow_labels: Count
    watch_days: Days
    margin_log_loss: LogLossMargin
    approval_required: bool


class Retrain(_Section):
    candidates: Candidates
    train_days: Days
    valid_days: Days
    test_days: Days


class Retention(_Section):
    predictions_days: Days
    shadows_days: Days
    features_days: Days
    outcomes_days: Days
    files_days: Days
    events_days: Days


class StreamParams(_Section):
    allowed_lateness_seconds: Annotated[int, Field(ge=0, le=86_400)]


class Params(_Section):
    dataset: str
    known_until: Moment | None
    label: LabelParams
    features: FeatureParams
    split: Split
    cost: Cost
    train: Train
    leaks: Leaks
    tune: Tune
    evaluate: Evaluate
    study: StudyParams
    gate: Gate
    monitor: Monitor
    policy: Policy
    retrain: Retrain
    retention: Retention
    stream: StreamParams

    @property
    def fewest_stored_days(self) -> int:
        """How many days the monitor and the policy look back, at most, unless a trial of a release takes longer."""
        monitor, policy = self.monitor, self.policy
        return max(
            monitor.window_days + monitor.settle_days,
            monitor.drift_every_days,
            policy.refresh_days,
            policy.shadow_days,
            policy.watch_days,
        )

    @property
    def question(self) -> schema.Question:
        return schema.Question(self.label.at_least, self.features.lead_minutes)

    @model_validator(mode="after")
    def retention_covers_the_monitor(self) -> Self:
        for name in ("predictions_days", "shadows_days", "features_days", "outcomes_days"):
            if getattr(self.retention, name) < self.fewest_stored_days:
                raise ValueError(
                    f"retention.{name} is {getattr(self.retention, name)}, but monitor and policy look back "
                    f"{self.fewest_stored_days} days"
                )
        return self

    @model_validator(mode="after")
    def retrained_candidates_have_parameters(self) -> Self:
        for name in self.retrain.candidates:
            if CANDIDATES[name].parameters.model_fields and name not in self.train.parameters:
                raise ValueError(f"retrain.candidates lists {name}, which has no section under train")
        return self


def load_params(path: Path = PARAMS_FILE) -> Params:
    """The parameters in `path`. Raises ParamsBroken with each wrong key and its value."""
    try:
        return Params.model_validate(strict_yaml.parse_yaml(path.read_text(encoding="utf-8")))
    except YamlBroken as error:
        problems = [f"  {error}"]
    except ValidationError as error:
        problems = [f"  {_in_words(each)}" for each in error.errors()]
    raise ParamsBroken("\n".join([f"{path}:", *problems]))


def _in_words(error: ErrorDetails) -> str:
    place = ".".join(map(str, error["loc"])) or "the file"
    return f"{place}: {error['msg']} (got {_shown(error['input'])}){_hint(error)}"


def _shown(value: Any) -> str:
    """A value in a message; of a whole section, only its beginning."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _hint(error: ErrorDetails) -> str:
    """What to do about a number that YAML reads as text."""
    if error["type"] not in ("float_type", "int_type") or not isinstance(error["input"], str):
        return ""
    if EXPONENT_WITHOUT_POINT.fullmatch(error["input"]):
        return f"; YAML reads {error['input']} as text, write 1.0e-5 instead of 1e-5"
    return "; a number has no quotes"
