"""Checks a declared problem when it is created, instead of after a training: one line for each wrong entry.

The problem's functions and templates are called with its own examples, as the service calls them.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from types import UnionType
from typing import Any, Union, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from pydantic import ValidationError

from ontime.declaration import ENTITY_ID, EntityRequest, KnownFrom, Problem, ProblemBroken, Question, Slice
from ontime.request_fields import arrays_of, choices_of, kind_of

# Columns that the project adds to a problem's tables.
RESERVED = {
    "alert", "answered", "answered_at", "answered_by", "day", "entity_id", "event_at", "features", "known_at", "label",
    "latency_ms", "model_version", "moment", "prediction_id", "probability", "value", "vector",
}  # fmt: skip
QUERY = {"day", "hour", "limit"}  # parameters that every search has
EXAMPLE_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError)
EXAMPLE_QUESTION = Question(label_at_least=1, lead_minutes=60)
# Shown where no release, and so no question, is known: they must not contain placeholders.
PLAIN_WORDS = {
    "entity", "entities", "positive", "negative", "is_positive", "are_positive", "event", "value", "title",
    "population", "who_alerts", "intended", "not_intended", "without_label", "communities", "of_the_day",
    "of_the_missing",
}  # fmt: skip


def wrong(problem: Problem) -> Iterator[str]:
    """One line for each wrong entry of the declaration: its place, the value, and what to do."""
    yield from _wrong_names(problem)
    yield from _wrong_places(problem)
    for each in problem.slices:
        yield from _wrong_bands(each)
    yield from _wrong_fields(problem)
    low, high = problem.label.limits
    if not low < high:
        yield f"label: limits: {low:g} to {high:g} is empty; the lower limit must be less than the upper one"
    yield from _wrong_words(problem)
    yield from _wrong_examples(problem)


def _wrong_names(problem: Problem) -> Iterator[str]:
    names = [feature.name for feature in problem.features]
    try:
        ZoneInfo(problem.zone)
    except (ZoneInfoNotFoundError, ValueError):
        yield f"zone: {problem.zone!r} is not an IANA time zone"
    yield from (f"features: {name} is declared twice" for name in sorted({n for n in names if names.count(n) > 1}))
    fields = problem.request.model_fields
    for place, declared in {"features": names, "request": list(fields)}.items():
        yield from (f"{place}: {name} is a reserved column name; choose another" for name in declared
                    if name in RESERVED)  # fmt: skip
    searched = [each.field for each in problem.search]
    yield from (f"search: {name} is a parameter of every search; remove it" for name in searched if name in QUERY)
    yield from (f"search: {name} is not a field of the request" for name in searched if name not in fields)
    yield from (f"search: {each.field} cannot have choices: it must be a str, a bool or a Literal"
                for each in problem.search if each.choices and each.field in fields
                and not _can_be_chosen(fields[each.field].annotation))  # fmt: skip


def _wrong_places(problem: Problem) -> Iterator[str]:
    names = {feature.name: feature for feature in problem.features}
    for place, features in {
        "baseline": [cell.feature for cell in problem.baseline],
        "slices": [each.feature for each in problem.slices],
        "freshness_checks": [check.feature for check in problem.freshness_checks],
    }.items():
        yield from (f"{place}: {name} is not a declared feature" for name in features if name not in names)
    for each in problem.slices:
        if each.feature in names and bool(each.bands) == names[each.feature].categorical:
            yield f"slices: {each.name} needs bands, unless {each.feature} is categorical"
    families = {feature.family for feature in problem.features}
    for name, ablation in problem.ablations.items():
        yield from (f"ablations: {name}: {each} is not a family of features" for each in ablation.families
                    if each not in families)  # fmt: skip


def _wrong_bands(declared: Slice) -> Iterator[str]:
    edges = list(declared.bands.values())
    for low, high in edges:
        if not low < high:
            yield f"slices: {declared.name}: the band {low:g} to {high:g} is empty"
    for (_, high), (low, _) in pairwise(edges):
        if high != low:
            yield f"slices: {declared.name}: {low:g} follows a band that ends at {high:g}; make them equal"


def _wrong_fields(problem: Problem) -> Iterator[str]:
    for name, each in problem.request.model_fields.items():
        try:
            kind = kind_of(each.annotation)
        except ProblemBroken as broken:
            yield f"request: {name}: {broken}"
            continue
        optional = get_origin(each.annotation) in (Union, UnionType) and type(None) in get_args(each.annotation)
        if optional and kind not in (str, float):
            # In a table, missing values turn integers into floats, and arrays of times or booleans cannot have them.
            yield f"request: {name}: only a str or a float may be optional, not a {kind.__name__}"


def _can_be_chosen(annotation: Any) -> bool:
    try:
        return kind_of(annotation) is str or bool(choices_of(annotation))
    except ProblemBroken:
        return True  # _wrong_fields reports it


def _wrong_words(problem: Problem) -> Iterator[str]:
    words = {name: text for name, text in asdict(problem.words).items() if isinstance(text, str)}
    for name, text in words.items():
        if name in PLAIN_WORDS and ("{" in text or "}" in text):
            yield f"words: {name}: {text!r} has a placeholder, but is shown without a question; remove the braces"
    templates = {f"words: {name}": text for name, text in words.items()}
    templates |= {f"words: limits {number}": text for number, text in enumerate(problem.words.limits, 1)}
    templates |= {f"features: {feature.name}: meaning": feature.template for feature in problem.features}
    templates |= {f"ablations: {name}: words": each.words for name, each in problem.ablations.items()}
    for place, text in templates.items():
        yield from _failing(place, text.format_map, EXAMPLE_QUESTION.terms)


def _wrong_examples(problem: Problem) -> Iterator[str]:
    if not problem.examples:
        yield "examples: is empty; add at least one request"
    for name, body in problem.examples.items():
        try:
            entity = problem.request.model_validate_json(json.dumps(body))
        except ValidationError as error:
            yield from (
                f"examples: {name}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
            )
        except TypeError as error:
            yield f"examples: {name}: is not JSON, which has times as text: {error}"
        else:
            yield from _wrong_entity(problem, f"examples: {name}", entity)
    yield from _wrong_outcome(problem)
    for value in (True, False):
        yield from _failing("outcome", problem.outcome, value, None, EXAMPLE_QUESTION)


def _wrong_entity(problem: Problem, place: str, entity: EntityRequest) -> Iterator[str]:
    if not re.fullmatch(ENTITY_ID, entity.entity_id):
        yield f"{place}: entity_id {entity.entity_id!r} does not match {ENTITY_ID}"
    if not isinstance(entity.event_at, datetime) or entity.event_at.tzinfo is None:
        yield f"{place}: event_at {entity.event_at!r} is not a datetime with a time zone"
    yield from _failing(f"{place}: describe", problem.describe, entity, {})
    for feature in problem.features:
        value = "x" if feature.categorical else 1.0
        for each in (value, float("nan")):
            yield from _failing(
                f"reason: {feature.name}", problem.reason, feature.name, each, entity, {}, EXAMPLE_QUESTION
            )
    if not any(_wrong_fields(problem)):
        yield from _wrong_features(problem, entity)


def _wrong_features(problem: Problem, entity: EntityRequest) -> Iterator[str]:
    kinds = {name: kind_of(each.annotation) for name, each in problem.request.model_fields.items()}
    computed: Mapping[str, Any] = {}
    try:
        computed = problem.request_features(arrays_of([entity], kinds))
    except EXAMPLE_ERRORS as error:
        yield f"request_features: {type(error).__name__}: {error}"
        return
    declared = {feature.name for feature in problem.features if feature.known_from is KnownFrom.REQUEST}
    yield from (f"request_features: {name} is declared with KnownFrom.REQUEST, but not returned"
                for name in sorted(declared - computed.keys()))  # fmt: skip
    yield from (f"request_features: {name} is returned, but not declared with KnownFrom.REQUEST"
                for name in sorted(computed.keys() - declared))  # fmt: skip
    yield from (f"request_features: {name} has the shape {np.shape(values)} for one request; it must be (1,)"
                for name, values in computed.items() if np.shape(values) != (1,))  # fmt: skip


def _wrong_outcome(problem: Problem) -> Iterator[str]:
    outcome = problem.example_outcome
    for name, kind in {"entity_id": str, "label": bool, "known_at": str}.items():
        if not isinstance(outcome.get(name), kind):
            yield f"example_outcome: {name} must be a {kind.__name__}, not {outcome.get(name)!r}"


def _failing(place: str, function: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        function(*arguments)
    except EXAMPLE_ERRORS as error:
        yield f"{place}: {type(error).__name__}: {error}"
