"""Reads the committed rules, and parses PromQL expressions."""

import math
import re
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import yaml

from infra.tests.tools import INFRA

FOLDER = INFRA / "prometheus"
IN_STACK = ("rules.yaml", "stack.yaml")  # what prometheus.yml loads
ALL = (*IN_STACK, "kubernetes.yaml")

# metric -> label -> values
Series = Mapping[str, Mapping[str, Set[str]]]

LIMIT = re.compile(r"(?:>|==) (\d[\d.]*(?: \* \d[\d.]*)*)")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"(?<![\w.])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\w*\s*\()")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"}


class Query(NamedTuple):
    """The selectors of an expression (metrics with their matchers), and the labels that it groups by."""

    selectors: list[tuple[str, list[tuple[str, str, str]]]]
    grouped_by: set[str]


def groups(*names: str) -> list[dict[str, Any]]:
    """The groups of these files."""
    return [group for name in names for group in yaml.safe_load((FOLDER / name).read_text())["groups"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Every alerting rule by its name."""
    return {rule["alert"]: rule for group in groups(*ALL) for rule in group["rules"] if "alert" in rule}


def recorded() -> list[str]:
    """The series that the rules of the stack record."""
    return [rule["record"] for group in groups(*IN_STACK) for rule in group["rules"] if "record" in rule]


def expressions(*names: str) -> dict[str, str]:
    """The expression of each alerting and recording rule in these files, by its name."""
    return {rule.get("alert", rule.get("record")): rule["expr"] for group in groups(*names) for rule in group["rules"]}


def limit(expr: str) -> float | None:
    """The number that the expression compares with, such as 90 * 86400."""
    match = LIMIT.search(expr)
    return math.prod(float(number) for number in match[1].split(" * ")) if match else None


def parse(expr: str) -> Query:
    """Parses PromQL by tokens: a name before a parenthesis is a function, every other name is a metric."""
    grouped_by = {label for inside in GROUPING.findall(expr) for label in re.findall(r"\w+", inside)}
    rest = re.sub(r"\[[^\]]*\]", "", GROUPING.sub("", expr))
    selectors = [(name, MATCHER.findall(inside)) for name, inside in SELECTOR.findall(rest) if name not in WORDS]
    return Query(selectors, grouped_by)


def unknown(expr: str, series: Series) -> list[str]:
    """The metrics, labels and values of the expression that no series has."""
    query, missing = parse(expr), []
    for name, matchers in query.selectors:
        if name not in series:
            missing.append(name)
            continue
        for label, operator, value in matchers:
            if label not in series[name]:
                missing.append(f"{name}{{{label}}}")
            elif operator == "=" and value not in series[name][label]:
                missing.append(f'{name}{{{label}="{value}"}}')
    labels = {label for name, _ in query.selectors for label in series.get(name, {})}
    return missing + sorted(query.grouped_by - labels)
