"""What is wrong with a declared problem, one line an entry: found when it is made, not after a training.

Its functions and templates are tried on its own examples, as the service will call them.
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

from ontime.declaration import (
    ENTITY_ID,
    EntityRequest,
    Known,
    Problem,
    ProblemBroken,
    Question,
    Slice,
    arrays_of,
    choices_of,
    kind_of,
)

# Columns of ours, beside which those of a problem stand in tables and frames.
RESERVED = {
    "alert", "answered", "answered_at", "answered_by", "day", "entity_id", "event_at", "features", "known_at", "label",
    "latency_ms", "model_version", "moment", "prediction_id", "probability", "value", "vector",
}  # fmt: skip
QUERY = {"day", "hour", "limit"}  # what a search asks beside the problem's fields
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError)
TRIED = Question(label_at_least=1, lead_minutes=60)
# Shown where no release says which question it is, so they name none of its terms.
PLAIN_WORDS = {
    "entity", "entities", "positive", "negative", "is_positive", "are_positive", "event", "value", "title",
    "population", "who_alerts", "intended", "not_intended", "without_label", "communities", "of_the_day",
    "of_the_missing",
}  # fmt: skip


def wrong(problem: Problem) -> Iterator[str]:
    yield from _wrong_names(problem)
    yield from _wrong_places(problem)
    for cut in problem.slices:
        yield from _wrong_bands(cut)
    yield from _wrong_fields(problem)
    low, high = problem.label.limits
    if not low < high:
        yield f"label: limits: {low:g} to {high:g} has no room for two labels"
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
    for place, known in {"features": names, "request": list(fields)}.items():
        yield from (f"{place}: {name} is the name of a column of ours; choose another" for name in known
                    if name in RESERVED)  # fmt: skip
    searched = [each.field for each in problem.search]
    yield from (f"search: {name} is asked by every search already" for name in searched if name in QUERY)
    yield from (f"search: {name} is not a field of the request" for name in searched if name not in fields)
    yield from (f"search: {each.field} has no choices: only text, and what Literal or bool lists, can be chosen from"
                for each in problem.search if each.choices and each.field in fields
                and not _can_be_chosen(fields[each.field].annotation))  # fmt: skip


def _wrong_places(problem: Problem) -> Iterator[str]:
    names = {feature.name: feature for feature in problem.features}
    for place, features in {
        "baseline": [cell.feature for cell in problem.baseline],
        "slices": [each.feature for each in problem.slices],
        "signs_of_life": [sign.feature for sign in problem.signs_of_life],
    }.items():
        yield from (f"{place}: {name} is not a declared feature" for name in features if name not in names)
    for cut in problem.slices:
        if cut.feature in names and bool(cut.bands) == names[cut.feature].categorical:
            yield f"slices: {cut.name} needs bands, unless {cut.feature} is categorical"
    families = {feature.family for feature in problem.features}
    for name, ablation in problem.ablations.items():
        yield from (f"ablations: {name}: {each} is not a family of features" for each in ablation.families
                    if each not in families)  # fmt: skip


def _wrong_bands(cut: Slice) -> Iterator[str]:
    edges = list(cut.bands.values())
    for low, high in edges:
        if not low < high:
            yield f"slices: {cut.name}: the band {low:g} to {high:g} is empty"
    for (_, high), (low, _) in pairwise(edges):
        if high != low:
            yield f"slices: {cut.name}: a band that begins at {low:g} follows one that ends at {high:g}"


def _wrong_fields(problem: Problem) -> Iterator[str]:
    for name, each in problem.request.model_fields.items():
        try:
            kind = kind_of(each.annotation)
        except ProblemBroken as broken:
            yield f"request: {name}: {broken}"
            continue
        optional = get_origin(each.annotation) in (Union, UnionType) and type(None) in get_args(each.annotation)
        if optional and kind not in (str, float):
            # In a table a gap turns whole numbers into floats, and there is no array of times or truths with gaps.
            yield f"request: {name}: only a str or a float may be missing, not a {kind.__name__}"


def _can_be_chosen(annotation: Any) -> bool:
    try:
        return kind_of(annotation) is str or bool(choices_of(annotation))
    except ProblemBroken:
        return True  # _wrong_fields says it


def _wrong_words(problem: Problem) -> Iterator[str]:
    words = {name: text for name, text in asdict(problem.words).items() if isinstance(text, str)}
    for name, text in words.items():
        if name in PLAIN_WORDS and ("{" in text or "}" in text):
            yield f"words: {name}: names a term of the question, and is shown where there is none"
    templates = {f"words: {name}": text for name, text in words.items()}
    templates |= {f"words: limits {number}": text for number, text in enumerate(problem.words.limits, 1)}
    templates |= {f"features: {feature.name}: meaning": feature.template for feature in problem.features}
    templates |= {f"ablations: {name}: words": each.words for name, each in problem.ablations.items()}
    for place, text in templates.items():
        yield from _failing(place, text.format_map, TRIED.terms)


def _wrong_examples(problem: Problem) -> Iterator[str]:
    if not problem.examples:
        yield "examples: at least one is needed"
    for name, body in problem.examples.items():
        try:
            entity = problem.request.model_validate_json(json.dumps(body))
        except ValidationError as error:
            yield from (
                f"examples: {name}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
            )
        except TypeError as error:
            yield f"examples: {name}: a body is JSON, with times as text: {error}"
        else:
            yield from _wrong_entity(problem, f"examples: {name}", entity)
    yield from _wrong_outcome(problem)
    for value in (True, False):
        yield from _failing("outcome", problem.outcome, value, None, TRIED)


def _wrong_entity(problem: Problem, place: str, entity: EntityRequest) -> Iterator[str]:
    if not re.fullmatch(ENTITY_ID, entity.entity_id):
        yield f"{place}: entity_id {entity.entity_id!r} is not {ENTITY_ID}"
    if not isinstance(entity.event_at, datetime) or entity.event_at.tzinfo is None:
        yield f"{place}: event_at {entity.event_at!r} is not a time with its offset"
    yield from _failing(f"{place}: describe", problem.describe, entity, {})
    for feature in problem.features:
        value = "x" if feature.categorical else 1.0
        for each in (value, float("nan")):
            yield from _failing(f"reason: {feature.name}", problem.reason, feature.name, each, entity, {}, TRIED)
    if not any(_wrong_fields(problem)):
        yield from _wrong_features(problem, entity)


def _wrong_features(problem: Problem, entity: EntityRequest) -> Iterator[str]:
    kinds = {name: kind_of(each.annotation) for name, each in problem.request.model_fields.items()}
    made: Mapping[str, Any] = {}
    try:
        made = problem.request_features(arrays_of([entity], kinds))
    except FAULTS as error:
        yield f"request_features: {type(error).__name__}: {error}"
        return
    wanted = {feature.name for feature in problem.features if feature.known is Known.REQUEST}
    yield from (f"request_features: {name} is declared as known from the request, and not made of it"
                for name in sorted(wanted - made.keys()))  # fmt: skip
    yield from (f"request_features: {name} is not declared as known from the request"
                for name in sorted(made.keys() - wanted))  # fmt: skip
    yield from (f"request_features: {name} has {np.shape(values)} values for one request"
                for name, values in made.items() if np.shape(values) != (1,))  # fmt: skip


def _wrong_outcome(problem: Problem) -> Iterator[str]:
    outcome = problem.example_outcome
    for name, kind in {"entity_id": str, "label": bool, "known_at": str}.items():
        if not isinstance(outcome.get(name), kind):
            yield f"example_outcome: {name} has to be a {kind.__name__}, not {outcome.get(name)!r}"


def _failing(place: str, function: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        function(*arguments)
    except FAULTS as error:
        yield f"{place}: {type(error).__name__}: {error}"
