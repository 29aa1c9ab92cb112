"""params.yaml, typed: a typo in a name or a value of the wrong kind is refused, by name."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ontime import schema

PARAMS_FILE = Path("params.yaml")

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Candidate = Literal["constant", "rate_table", "logistic", "hist_gradient_boosting", "lightgbm"]


class ParamsBroken(ValueError):
    """params.yaml says something that cannot be."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Label(_Section):
    late_minutes: Count


class FeatureParams(_Section):
    lead_minutes: Count
    lookback_hours: Count
    halo_hours: Count

    @model_validator(mode="after")
    def halo_covers_lookback(self) -> Self:
        # An arrival inside the look-back may have been scheduled earlier by a whole day's delay (the
        # contract's limit) and an ELAPSED_MINUTES flight: 24 h + 20 h, less the lead that looks back further.
        needed = self.lookback_hours + 44 + self.lead_minutes / 60
        if self.halo_hours < needed:
            raise ValueError(f"halo_hours {self.halo_hours} is less than the {needed:g} that lookback_hours needs")
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
    missed_delay: Positive
    false_alarm: Positive
    alert_threshold: Share


class RateTableParams(_Section):
    prior_flights: Count


class LogisticParams(_Section):
    c: Positive


class HistGradientBoostingParams(_Section):
    max_iter: Count
    learning_rate: Positive
    max_leaf_nodes: Count
    min_samples_leaf: Count
    l2_regularization: float


class LightGBMParams(_Section):
    n_estimators: Count
    learning_rate: Positive
    num_leaves: Count
    min_child_samples: Count
    feature_fraction: Annotated[float, Field(gt=0, le=1)]
    lambda_l2: float


class Train(_Section):
    seed: int
    schedule_only_share: Share
    candidates: list[Candidate]
    without_tailnum: bool
    rate_table: RateTableParams
    logistic: LogisticParams
    hist_gradient_boosting: HistGradientBoostingParams
    lightgbm: LightGBMParams

    def of(self, candidate: str) -> dict[str, object]:
        """The parameters of one candidate; the constant has none."""
        own = getattr(self, candidate, None)
        return own.model_dump() if isinstance(own, _Section) else {}


class Tune(_Section):
    trials: Count
    folds: Count


class Evaluate(_Section):
    bootstrap_rounds: Count
    leak_auc: Share
    slice_min_flights: Count
    slice_min_late: Count
    full_card: bool
    importance_rows: Count


class Gate(_Section):
    bootstrap_rounds: Count
    margin_log_loss: Positive
    margin_slice_log_loss: Positive
    parity_tolerance: Positive


def _a_feature(name: str) -> str:
    if name not in schema.FEATURE_NAMES:
        raise ValueError("is no feature; docs/features.md lists them")
    return name


class AlertRule(_Section):
    """Alert when the figure of this name was above its limit on `days` of the last `of` times it was told."""

    tier: Literal[1, 2, 3]
    above: float
    days: Count
    of: Count
    reason: str

    @model_validator(mode="after")
    def can_be_reached(self) -> Self:
        if self.days > self.of:
            raise ValueError(f"{self.days} of {self.of} days can never be reached")
        return self


class Monitor(_Section):
    window_days: Count
    drift_every_days: Count
    drift_features: list[Annotated[str, AfterValidator(_a_feature)]]
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
    candidates: list[Candidate]
    train_days: Count
    valid_days: Count
    test_days: Count


class Params(_Section):
    vintage: str
    known_until: AwareDatetime | None
    label: Label
    features: FeatureParams
    split: Split
    cost: Cost
    train: Train
    tune: Tune
    evaluate: Evaluate
    gate: Gate
    monitor: Monitor
    policy: Policy
    retrain: Retrain

    @property
    def question(self) -> schema.Question:
        return schema.Question(self.label.late_minutes, self.features.lead_minutes)


def load_params(path: Path = PARAMS_FILE) -> Params:
    """The parameters in `path`. Raises ParamsBroken naming each wrong key and its value."""
    try:
        return Params.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        problems = [
            f"  {'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']} (got {each['input']!r})"
            for each in error.errors()
        ]
        raise ParamsBroken("\n".join([f"{path}:", *problems])) from None
