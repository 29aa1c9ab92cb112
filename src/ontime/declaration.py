"""In what terms a problem is declared. `ontime.problem` fills them in, everything else reads them.

The service imports this file, so it knows pydantic and numpy only; what is said of tables is in `ontime.datasets`.
Terms are Feast's where they fit: an entity, its key, the time of its event.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

Columns = Mapping[str, NDArray[Any]]
Names = Mapping[str, Mapping[str, str]]  # field of the request -> code -> what people call it

# RFC 3339, with or without seconds. The offset may be missing here: pydantic says so in better words. No `\d` in this
# file: it also stands for the digits of other scripts.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
FIRST_YEAR, LAST_YEAR = 2000, 2099  # in UTC, of every time that the service takes
_BEGIN, _END = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
ENTITY_ID = r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}"  # stands in addresses, logs and file names as it is


class ProblemBroken(ValueError):
    """A declaration that cannot be; the message names the entry."""


def _text_only(value: object) -> object:
    """Refuse numbers, also as text, which pydantic would read as seconds since 1970."""
    if not (_TIME.fullmatch(value) if isinstance(value, str) else isinstance(value, datetime)):
        raise ValueError(
            "a time is text with its offset, such as 2013-11-05T06:00:00-05:00 (hours to 23, minutes and seconds to 59)"
        )
    return value


def _in_our_years(moment: datetime) -> datetime:
    # Years first: to compare moments of two offsets takes longer, and this is done for every request.
    if not (FIRST_YEAR < moment.year < LAST_YEAR or _BEGIN <= moment < _END):
        raise ValueError(f"{moment.isoformat()} is not between {FIRST_YEAR} and {LAST_YEAR}, in UTC")
    return moment


def _whole_minute(moment: datetime) -> datetime:
    if moment.second or moment.microsecond:
        raise ValueError(f"{moment.isoformat()} is not a whole minute")
    return _in_our_years(moment)


Time = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_in_our_years), Field(strict=False)]
Minute = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_whole_minute), Field(strict=False)]


def span(minutes: float) -> str:
    """A length of time in words.

    >>> span(120), span(60), span(90), span(1)
    ('2 hours', '1 hour', '90 minutes', '1 minute')
    """
    count, unit = (minutes / 60, "hour") if minutes and minutes % 60 == 0 else (minutes, "minute")
    return f"{count:g} {unit}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Question:
    """What a model is asked. Models that are asked different questions cannot be judged by the same outcomes."""

    label_at_least: float  # label.at_least: the label is true from this value on
    lead_minutes: int  # features.lead_minutes

    @property
    def terms(self) -> dict[str, str]:
        """What templates of words may name: the limit as a number and as a span of minutes, and the lead."""
        return {
            "at_least": f"{self.label_at_least:g}",
            "span": span(self.label_at_least),
            "lead": span(self.lead_minutes),
        }

    def is_positive(self, value: float) -> bool:
        return value >= self.label_at_least


class EntityRequest(BaseModel):
    """What a caller has to know of an entity. A problem's request derives from this and says what identifies it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @property
    def entity_id(self) -> str:
        """The key of the entity everywhere: see ENTITY_ID."""
        raise NotImplementedError

    @property
    def event_at(self) -> datetime:
        """When it happens; the prediction moment lies `features.lead_minutes` before."""
        raise NotImplementedError


class Known(StrEnum):
    """When a feature's ingredients are known."""

    REQUEST = "request"  # all along: computed from the request alone
    PLAN = "plan of all"  # all along as well, but of other entities: not in the request
    MOMENT = "prediction moment"  # events with known_at <= moment, nothing later


@dataclass(frozen=True)
class Feature:
    name: str
    unit: str
    template: str  # its meaning; may name the question's terms
    known: Known
    family: str  # of one source: these break together
    categorical: bool = False

    def meaning(self, question: Question) -> str:
        return self.template.format(**question.terms)


@dataclass(frozen=True)
class Label:
    """Yes or no: whether a value reaches `label.at_least` of params.yaml. Entities without a value have no label."""

    column: str  # of the entities' table: the value
    known_at: str  # of the entities' table: the moment from which it is known
    unit: str
    limits: tuple[float, float]  # possible values


@dataclass(frozen=True)
class Cell:
    """One side of a cell of the rate table, the baseline; a number is cut into pieces of `width`."""

    feature: str
    width: float = 1


@dataclass(frozen=True)
class Slice:
    """A way to cut entities into groups: by a categorical feature, or by bands [low, high) of a number."""

    name: str
    feature: str
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ablation:
    """Families of features that the champion is fitted without once more, to see what hangs on them.

    `words` stand before the result in the model card; they may name the question's terms.
    """

    families: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Sign:
    """A feature that shows that the feed is alive: `alive` tells it from the values of the rows."""

    feature: str
    alive: Callable[[NDArray[Any]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Search:
    """A field of the request by which people search on the page."""

    field: str
    label: str
    placeholder: str = ""
    choices: bool = False  # a list to choose from, instead of text


@dataclass(frozen=True)
class Described:
    """An entity as people see it."""

    title: str
    subtitle: str
    details: str  # a sentence or two
    note: str = ""  # small, in a list


@dataclass(frozen=True)
class Words:
    """Everything that people read about the problem. Templates may name the question's terms: see Question.terms."""

    entity: str
    entities: str
    positive: str  # an adjective
    negative: str
    is_positive: str  # a verb in the singular, after "one"
    are_positive: str
    question: str  # what exactly is asked, and when
    definition: str  # one sentence: what makes the label true
    event: str  # what happens at the event time
    value: str  # what the label is made of
    title: str  # of the page, a question
    invitation: str  # below it
    footer: str
    population: str  # of whom the data are: "every ..."
    who_alerts: str  # who pays for missed ones and false alarms
    request_only: str  # a sentence about an entity of which nothing but the request is known
    limits: Sequence[str]  # of the model, in the model card
    intended: str
    not_intended: str
    without_label: str  # which entities have no label
    with_only_request: str = "of which no more is known"  # after "24 in 100 ..."
    store_unavailable: str = "The database of what was known did not answer."
    communities: str = "A slice stands for those whom it concerns."  # whom slices stand for, in the model card
    day: str = ""  # what is special about the example's day: "is the day before Thanksgiving"
    families: Mapping[str, str] = field(default_factory=dict)  # what each family of features tells
    of_the_day: str = ""  # why hours of the day differ, in the exploration report
    of_the_missing: str = ""  # why values are missing, there as well


@dataclass(frozen=True)
class Problem:
    """A problem, declared. Raises ProblemBroken, naming each entry that is inconsistent: see ontime.consistency."""

    name: str
    zone: str  # the calendar of days, months and schedules: an IANA name
    request: type[EntityRequest]
    request_features: Callable[[Columns], Columns]  # of arrays, one a field of the request; times in UTC
    features: Sequence[Feature]
    label: Label
    baseline: Sequence[Cell]
    slices: Sequence[Slice]
    signs_of_life: Sequence[Sign]
    search: Sequence[Search]
    words: Words
    describe: Callable[[Any, Names], Described]
    outcome: Callable[[bool, float | None, Question], str]  # how it ended, in a sentence
    # A feature and its value in a few words; of a category its text. NaN: not known, or new to the model.
    reason: Callable[[str, float | str, Any, Names, Question], str]
    examples: Mapping[str, Mapping[str, Any]]  # bodies of requests
    example_outcome: Mapping[str, Any]
    example_day: date
    example_hour: int | None = None
    ablations: Mapping[str, Ablation] = field(default_factory=dict)
    halo_hours: float = 0  # what `features.halo_hours` must reach back beyond `features.lookback_hours`

    def __post_init__(self) -> None:
        from ontime.consistency import wrong  # which knows all that is above

        if problems := list(wrong(self)):
            raise ProblemBroken("\n".join([f"problem {self.name}:", *(f"  {each}" for each in problems)]))


def arrays_of(entities: Sequence[EntityRequest], kinds: Mapping[str, type]) -> Columns:
    """Fields of requests as arrays, as `request_features` takes them; times in UTC, without a zone."""
    columns = {}
    for name, kind in kinds.items():
        values = [getattr(entity, name) for entity in entities]
        if kind is datetime:
            columns[name] = np.array([each.astimezone(UTC).replace(tzinfo=None) for each in values], "datetime64[us]")
        else:
            columns[name] = np.array(values, dtype=object if kind is str else None)
    return columns


def kind_of(annotation: Any) -> type:
    """The plain type behind a field's annotation: str, int, float, bool or datetime. Raises ProblemBroken."""
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if inner and get_origin(annotation) is Literal:
        annotation = type(inner[0])
    elif inner and get_origin(annotation) in (Annotated, Union, UnionType):
        return kind_of(inner[0])  # what follows says more about it, or stands for none
    if annotation is AwareDatetime:
        return datetime
    for kind in (bool, int, float, str, datetime):
        if isinstance(annotation, type) and issubclass(annotation, kind):
            return kind
    raise ProblemBroken(f"a field of a request is a str, int, float, bool or datetime, not {annotation}")


def choices_of(annotation: Any) -> tuple[str | int, ...]:
    """The values that a field's annotation lists: of a Literal, also within others or beside None, or of a bool."""
    if annotation is bool:
        return (False, True)
    if get_origin(annotation) is Literal:
        return tuple(value for value in get_args(annotation) if value is not None)
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return tuple(value for part in get_args(annotation) for value in choices_of(part))
    return ()
