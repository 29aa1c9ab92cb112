"""The dashboards match Grafana's schema, show the alerts' limits, and have no empty panel."""

import copy
import json
import re
import subprocess
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.tests import rules
from infra.tests.tools import INFRA, tool
from infra.tests.watchers import Prometheus, Stack
from ontime.params import Params

GRAFANA = INFRA / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
ALERTS = rules.alerts()
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}

Json = dict[str, Any]


def panels(dashboard: Json) -> list[Json]:
    """All panels except rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
]


def problems_of(folder: Path, **dashboards: Json) -> list[str]:
    """The errors by Grafana's schema."""
    files = [str(folder / f"{name}.json") for name in dashboards]
    for file, dashboard in zip(files, dashboards.values(), strict=True):
        Path(file).write_text(json.dumps(dashboard), encoding="utf-8")
    command = [tool("python"), str(INFRA / "tests" / "grafana_schema.py"), *files]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_dashboards_match_grafanas_schema(tmp_path: Path) -> None:
    assert problems_of(tmp_path, **DASHBOARDS) == []


def test_a_violation_of_grafanas_schema_is_detected(tmp_path: Path) -> None:
    panel = next(each for each in panels(DASHBOARDS["service"]) if each["type"] == "timeseries")
    options, defaults = panel["options"], panel["fieldConfig"]["defaults"]
    wrong: dict[str, Json] = {
        "kind": {"type": "timeserie"},
        "unit": {"fieldConfig": {"defaults": {**defaults, "unit": "seconds"}, "overrides": []}},
        "option": {"options": {**options, "legends": {}}},
        "choice": {"options": {**options, "legend": {**options["legend"], "displayMode": "lists"}}},
        "type": {"gridPos": {**panel["gridPos"], "x": "0"}},
        "source": {"datasource": {"type": "promethus", "uid": "prometheus"}},
        "query": {"targets": [{**panel["targets"][0], "legend": "x"}]},
    }
    planted = {name: {**DASHBOARDS["service"], "panels": [{**panel, **change}]} for name, change in wrong.items()}

    problems = problems_of(tmp_path, **planted)

    assert [each.split(".json: ")[0] for each in problems] == list(wrong)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_uses_only_existing_series_and_is_not_empty(panel: Json, stack: Stack) -> None:
    assert faults(panel, stack.prometheus) == []


def faults(panel: Json, prometheus: Prometheus) -> list[str]:
    """Expressions with unknown series or an empty result, and legends with unknown labels."""
    problems, series = [], prometheus.series()
    for target in panel["targets"]:
        expr = with_values(target["expr"])
        results = prometheus.query(expr)
        problems += rules.unknown(expr, series)
        problems += [] if results else [f"{expr} has an empty result"]
        named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        problems += [
            f"{label} is not a label of {expr}"
            for label in named
            if any(label not in each["metric"] for each in results)
        ]
    return problems


def with_values(expr: str) -> str:
    """The expression with its variables replaced, as Grafana sends it."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_releases_and_restarts_are_marked_in_every_panel(name: str, stack: Stack) -> None:
    restarts, releases = DASHBOARDS[name]["annotations"]["list"]
    series = stack.prometheus.series()

    assert [rules.unknown(each["expr"], series) for each in (restarts, releases)] == [[], []]
    assert restarts["useValueForTime"]
    (replica,) = stack.prometheus.query(restarts["expr"])
    assert abs(float(replica["value"][1]) / 1000 - time.time()) < 3600  # a moment, in milliseconds
    assert stack.prometheus.query(releases["expr"]) == []  # the release has not changed


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("ontime_requests_total", "ontime_request_total"),
        ("by (status)", "by (code)"),
        ("/v1/predictions", "/v1/prediction"),
        ("[$__rate_interval]", ""),
    ],
    ids=["metric", "label", "value", "grammar"],
)
def test_a_misspelt_expression_is_detected(right: str, wrong: str, stack: Stack) -> None:
    panel = copy.deepcopy(next(each for each in panels(DASHBOARDS["service"]) if each["title"] == "Requests by status"))
    panel["targets"][0]["expr"] = panel["targets"][0]["expr"].replace(right, wrong)

    try:
        problems = faults(panel, stack.prometheus)
    except ValueError as refused:
        problems = [str(refused)]

    assert problems


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_variable_offers_the_labels_in_prometheus(name: str, stack: Stack) -> None:
    series = stack.prometheus.series()
    for variable in DASHBOARDS[name]["templating"]["list"]:
        query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert query
        assert rules.unknown(f"sum by ({query[2]}) ({query[1]})", series) == []


@pytest.mark.parametrize("panel", PANELS)
def test_the_limits_a_panel_shows_are_those_of_the_alerts_and_figures_it_names(panel: Json, params: Params) -> None:
    words, steps = panel["description"], panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    of_alerts = [rules.limit(ALERTS[name]["expr"]) for name in re.findall(r"\w+", words) if name in ALERTS]
    of_figures = [figure.above for name, figure in params.monitor.alerts.items() if f"`{name}`" in words]

    # An alert without a limit, or with the limit 0, has no line to draw.
    assert [step["value"] for step in steps[1:]] == pytest.approx(sorted(filter(None, [*of_alerts, *of_figures])))


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_description_and_a_unit(panel: Json) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert (
        panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
    )  # otherwise Grafana's default: red from 80


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_overlaps_another_or_the_edge(name: str) -> None:
    places = [panel["gridPos"] for panel in DASHBOARDS[name]["panels"]]

    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert [
        (one, other)
        for one, other in combinations(places, 2)
        if one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    ] == []


def test_titles_and_ids_are_unique() -> None:
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS.values():
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
        assert len({panel["title"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_data_source_of_every_panel_exists() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    named = {
        (panel["datasource"]["type"], panel["datasource"]["uid"])
        for dashboard in DASHBOARDS.values()
        for panel in panels(dashboard)
    }

    assert named == {(source["type"], source["uid"])}
