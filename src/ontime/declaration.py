"""The types that declare a problem. `ontime.problem` creates one `Problem`; all other code reads it.

The service imports this file, so it needs pydantic and numpy only; the types that declare tables are in
`ontime.datasets`. The terms are Feast's where they fit: an entity, its key, its event time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

Columns = Mapping[str, NDArray[Any]]
Names = Mapping[str, Mapping[str, str]]  # field of the request -> code -> name

# RFC 3339, with or without seconds. The offset is optional here because pydantic's message about a missing one is
# better. Not `\d`, which also matches the digits of other scripts.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
FIRST_YEAR, LAST_YEAR = 2000, 2099  # of every time that the service accepts, in UTC
_BEGIN, _END = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
ENTITY_ID = r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}"  # safe in URLs, logs and file names


class ProblemBroken(ValueError):
    """A declaration is inconsistent; the message names each wrong entry."""


def _text_only(value: object) -> object:
    """Reject numbers, also as text: pydantic would read them as seconds since 1970."""
    if not (_TIME.fullmatch(value) if isinstance(value, str) else isinstance(value, datetime)):
        raise ValueError(
            "a time is text with its offset, such as 2013-11-05T06:00:00-05:00 (hours to 23, minutes and seconds to 59)"
        )
    return value


def _in_supported_years(moment: datetime) -> datetime:
    # Years first: comparing times with different offsets is slower, and this runs for every request.
    if not (FIRST_YEAR < moment.year < LAST_YEAR or _BEGIN <= moment < _END):
        raise ValueError(f"{moment.isoformat()} is not between {FIRST_YEAR} and {LAST_YEAR}, in UTC")
    return moment


def _whole_minute(moment: datetime) -> datetime:
    if moment.second or moment.microsecond:
        raise ValueError(f"{moment.isoformat()} is not a whole minute")
    return _in_supported_years(moment)


Time = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_in_supported_years), Field(strict=False)]
Minute = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_whole_minute), Field(strict=False)]


def span(minutes: float) -> str:
    """A duration in words.

    >>> span(120), span(60), span(90), span(1)
    ('2 hours', '1 hour', '90 minutes', '1 minute')
    """
    count, unit = (minutes / 60, "hour") if minutes and minutes % 60 == 0 else (minutes, "minute")
    return f"{count:g} {unit}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Question:
    """What a model predicts. Models with different questions cannot be compared on the same outcomes."""

    label_at_least: float  # label.at_least: the label is true if the value reaches it
    lead_minutes: int  # features.lead_minutes

    @property
    def terms(self) -> dict[str, str]:
        """The placeholders of templates: {at_least} as a number, {span} as a duration in minutes, and {lead}.

        >>> Question(label_at_least=15, lead_minutes=120).terms
        {'at_least': '15', 'span': '15 minutes', 'lead': '2 hours'}
        """
        return {
            "at_least": f"{self.label_at_least:g}",
            "span": span(self.label_at_least),
            "lead": span(self.lead_minutes),
        }

    def is_positive(self, value: float) -> bool:
        return value >= self.label_at_least


class EntityRequest(BaseModel):
    """The base class of a problem's request: the fields that a caller sends about an entity."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @property
    def entity_id(self) -> str:
        """The key of the entity, in tables, API and logs: matches ENTITY_ID."""
        raise NotImplementedError

    @property
    def event_at(self) -> datetime:
        """The event time; the prediction moment is `features.lead_minutes` before it."""
        raise NotImplementedError


class KnownFrom(StrEnum):
    """Which data a feature is computed from, and so from when its value is known."""

    REQUEST = "request"  # the request alone: always known
    PLAN = "plan of all"  # the plan of other entities: always known, but not in the request
    MOMENT = "prediction moment"  # events with known_at <= prediction moment, nothing later


@dataclass(frozen=True)
class Feature:
    name: str
    unit: str
    template: str  # its meaning; may contain the placeholders of Question.terms
    known_from: KnownFrom
    family: str  # features of one source, which fail together
    categorical: bool = False

    def meaning(self, question: Question) -> str:
        return self.template.format(**question.terms)


@dataclass(frozen=True)
class Label:
    """The label is true if a value reaches `label.at_least` of params.yaml. An entity without a value has no label."""

    column: str  # of the entities' table, with the value
    known_at: str  # of the entities' table, with the time from which the value is known
    unit: str
    limits: tuple[float, float]  # possible values


@dataclass(frozen=True)
class Cell:
    """One dimension of the baseline, a table of rates; a numeric feature is binned with this `width`."""

    feature: str
    width: float = 1


@dataclass(frozen=True)
class Slice:
    """A dimension by which entities are sliced: a categorical feature, or bands [low, high) of a numeric one."""

    name: str
    feature: str
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ablation:
    """Fit the best candidate again without these families of features, to measure their contribution.

    `words` introduce the result in the model card; they may contain the placeholders of Question.terms.
    """

    families: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class FreshnessCheck:
    """A feature whose values show whether the data feed is up to date: `is_fresh` takes them, one a row."""

    feature: str
    is_fresh: Callable[[NDArray[Any]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Search:
    """A field of the request that the search form of the page has."""

    field: str
    label: str
    placeholder: str = ""
    choices: bool = False  # a list of values instead of a text input


@dataclass(frozen=True)
class Described:
    """The text that shows an entity to users."""

    title: str
    subtitle: str
    details: str  # a sentence or two
    note: str = ""  # small print in a list of entities


@dataclass(frozen=True)
class Words:
    """All user-facing text about the problem. Templates may contain the placeholders of Question.terms."""

    entity: str
    entities: str
    positive: str  # an adjective
    negative: str
    is_positive: str  # a verb in the singular, after "one"
    are_positive: str
    question: str  # what exactly is predicted, and when
    definition: str  # one sentence: when the label is true
    event: str  # what happens at the event time
    value: str  # the value that the label is computed from
    title: str  # of the page, a question
    invitation: str  # below it
    footer: str
    population: str  # which entities the data contain: "every ..."
    who_alerts: str  # who bears the cost of missed positives and false alarms
    request_only: str  # a sentence about a prediction without online features
    limits: Sequence[str]  # of the model, in the model card
    intended: str
    not_intended: str
    without_label: str  # which entities have no label
    with_only_request: str = "about which nothing else is known"  # after "24 in 100 ..."
    store_unavailable: str = "The online store did not answer."
    communities: str = "A slice stands for those whom it concerns."  # whom the slices affect, in the model card
    day: str = ""  # why the example's day is interesting: "is the day before Thanksgiving"
    families: Mapping[str, str] = field(default_factory=dict)  # what each family of features describes
    of_the_day: str = ""  # why rates differ by hour of day, in the exploration report
    of_the_missing: str = ""  # why values are missing, in the exploration report


@dataclass(frozen=True)
class Problem:
    """The declaration of a problem. Raises ProblemBroken with every inconsistent entry: see ontime.consistency."""

    name: str
    zone: str  # IANA time zone of days, months and schedules
    request: type[EntityRequest]
    request_features: Callable[[Columns], Columns]  # from one array for each field of the request; times in UTC
    features: Sequence[Feature]
    label: Label
    baseline: Sequence[Cell]
    slices: Sequence[Slice]
    freshness_checks: Sequence[FreshnessCheck]
    search: Sequence[Search]
    words: Words
    describe: Callable[[Any, Names], Described]
    outcome: Callable[[bool, float | None, Question], str]  # the outcome, in a sentence
    # A feature and its value in a few words. The value is a number or a category; NaN: unknown, or unseen in training.
    reason: Callable[[str, float | str, Any, Names, Question], str]
    examples: Mapping[str, Mapping[str, Any]]  # name -> body of a request, as JSON
    example_outcome: Mapping[str, Any]
    example_day: date
    example_hour: int | None = None
    ablations: Mapping[str, Ablation] = field(default_factory=dict)
    lookback_hours: float = 0  # the longest window of a feature, which `features.lookback_hours` must reach
    halo_hours: float = 0  # `features.halo_hours` must exceed `features.lookback_hours` by this

    def __post_init__(self) -> None:
        from ontime.consistency import wrong  # here, because it imports this module

        if problems := list(wrong(self)):
            raise ProblemBroken("\n".join([f"problem {self.name}:", *(f"  {each}" for each in problems)]))
