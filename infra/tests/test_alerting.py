"""Alerts fire at their threshold and not before, reach the right receiver once, and say what to do."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.tests import rules
from infra.tests.conftest import World, strangers
from infra.tests.tools import INFRA, ROOT
from infra.tests.watchers import Stack, alertmanager_config, alertmanager_telling, program
from monitoring.alerts import NOT_URGENT
from tests.service import wait_for

PROMETHEUS = INFRA / "prometheus"
ALERTS = rules.alerts()
EXPRESSIONS = rules.expressions(*rules.IN_STACK)
# Labels and values of kube-state-metrics, by its documentation (docs/metrics/workload), as far as rules select by them.
KUBE_STATE_METRICS: rules.Series = {
    "kube_job_failed": {"namespace": {"ontime"}, "job_name": set(), "condition": {"true", "false", "unknown"}},
    "kube_job_created": {"namespace": {"ontime"}, "job_name": set()},
    **{
        f"kube_cronjob_{name}": {"namespace": {"ontime"}, "cronjob": set()}
        for name in ("created", "next_schedule_time", "status_last_schedule_time", "status_last_successful_time")
    },
    "kube_deployment_status_replicas_unavailable": {"namespace": {"ontime"}, "deployment": set()},
}
RUNBOOK = (INFRA / "runbook.md").read_text()
UNIT_TESTS = yaml.safe_load((PROMETHEUS / "rules_test.yaml").read_text())


def ran(name: str, *arguments: str | Path) -> str:
    completed = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def test_prometheus_accepts_its_configuration_and_its_rules() -> None:
    # Without the secret file, which does not exist here.
    ran("promtool", "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    ran("promtool", "check", "rules", *(rules.FOLDER / name for name in rules.ALL))


def test_every_alert_fires_above_its_threshold_and_not_below() -> None:
    ran("promtool", "test", "rules", PROMETHEUS / "rules_test.yaml")


@pytest.mark.parametrize(("limit", "wait"), [(0.8, 0.5), (1.25, 2.0)], ids=["sooner", "later"])
def test_a_changed_threshold_or_waiting_time_fails_the_unit_tests(limit: float, wait: float, tmp_path: Path) -> None:
    """So each alert has series just above and just below its threshold."""
    groups = rules.groups(*rules.ALL)
    for group in groups:
        for rule in group["rules"]:
            if "alert" in rule:
                move(rule, limit, wait)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    about_one = [test for test in UNIT_TESTS["tests"] if test["name"].split()[0] in ALERTS]
    (tmp_path / "rules_test.yaml").write_text(
        yaml.safe_dump({**UNIT_TESTS, "tests": about_one, "rule_files": ["rules.yaml"]})
    )

    command = [program("promtool"), "test", "rules", str(tmp_path / "rules_test.yaml")]
    log = subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert set(re.findall(r'alertname=\\"(\w+)\\"', log)) == set(ALERTS)


def move(rule: dict[str, Any], limit: float, wait: float) -> None:
    """Changes the alert's limit, or its waiting time if it has none."""
    moved = re.sub(r"> (?!0( |$))(?=\d)", f"> {limit} * ", rule["expr"])
    if moved == rule["expr"]:
        seconds = int(rule["for"][:-1]) * {"m": 60, "h": 3600}[rule["for"][-1]]
        rule["for"] = f"{int(seconds * wait)}s"
    rule["expr"] = moved


def test_an_alert_of_the_monitor_that_is_not_urgent_is_no_page() -> None:
    names = "|".join(NOT_URGENT)

    assert f'metric!~"{names}"' in ALERTS["DataBroken"]["expr"]
    assert f'metric=~"{names}"' in ALERTS["NoPredictions"]["expr"]
    assert ALERTS["NoPredictions"]["labels"]["severity"] == "ticket"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_summary_a_description_and_a_runbook_link(name: str) -> None:
    alert = ALERTS[name]

    assert "for" in alert
    assert alert["labels"].keys() == {"severity", "cause"}
    assert alert["labels"]["severity"] in (("none",) if name == "Watchdog" else ("page", "ticket"))
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"{{{{ $externalLabels.runbook }}}}#{name.lower()}"


def test_the_texts_name_only_labels_that_the_alert_has_when_it_fires() -> None:
    fired = {
        name: set(re.findall(r"(\w+)=", sample["labels"]))
        for test in UNIT_TESTS["tests"]
        for each in test["promql_expr_test"]
        for sample in each["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    named = {
        name: set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
        for name, alert in ALERTS.items()
    }

    assert {name: labels - fired[name] for name, labels in named.items() if labels - fired[name]} == {}


def test_the_runbook_has_a_section_for_each_alert_in_their_order_and_no_other() -> None:
    assert re.findall(r"^## (.*)$", RUNBOOK, re.MULTILINE) == list(ALERTS)


def test_each_section_of_the_runbook_has_severity_diagnosis_and_remedy() -> None:
    sections = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    labels = {name: f"{alert['labels']['severity']}, {alert['labels']['cause']}. " for name, alert in ALERTS.items()}

    assert [
        name
        for name, section in sections.items()
        if not (section.startswith(labels[name]) and "\n**Look.** " in section and "\n**Do.** " in section)
    ] == []


def test_runbook_and_alerts_give_only_commands_that_exist() -> None:
    texts = RUNBOOK + " ".join(alert["annotations"]["description"] for alert in ALERTS.values())
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    given = set(re.findall(r"(?:`|: )make ([a-z-]+)", texts))

    assert given
    assert given <= set(targets)


def test_the_panels_in_the_runbook_exist() -> None:
    dashboards = [json.loads(path.read_text()) for path in (INFRA / "grafana" / "dashboards").glob("*.json")]
    titles = {panel["title"] for dashboard in dashboards for panel in dashboard["panels"]}

    named = set(re.findall(r"panel \*([^*]+)\*", RUNBOOK))

    assert named
    assert named <= titles


def test_alertmanager_accepts_its_configuration(tmp_path: Path) -> None:
    ran("amtool", "check-config", alertmanager_config(tmp_path, "http://127.0.0.1"))


@pytest.mark.parametrize(
    ("severity", "receiver"), [("page", "pager"), ("ticket", "tickets"), ("unheard-of", "tickets")]
)
def test_a_page_goes_to_the_pager_and_all_else_to_the_tickets(severity: str, receiver: str, tmp_path: Path) -> None:
    config = alertmanager_config(tmp_path, "http://127.0.0.1")

    route = ran("amtool", "config", "routes", "test", f"--config.file={config}", f"severity={severity}", "cause=errors")

    assert route.strip() == receiver


def test_the_watchdog_has_a_receiver_of_its_own(tmp_path: Path) -> None:
    config = alertmanager_config(tmp_path, "http://127.0.0.1")
    labels = [f"{name}={value}" for name, value in {"alertname": "Watchdog", **ALERTS["Watchdog"]["labels"]}.items()]

    assert ran("amtool", "config", "routes", "test", f"--config.file={config}", *labels).strip() == "watchdog"


def test_make_stack_says_which_receivers_have_no_address(tmp_path: Path) -> None:
    def printed() -> str:
        command, environment = (
            [sys.executable, "-m", "infra.credentials"],
            {**os.environ, "STACK_SECRETS": str(tmp_path)},
        )
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    first = printed()
    (tmp_path / "pager_url").write_text("https://pager.example.com/hook\n")
    second = printed()
    for name in ("tickets_url", "watchdog_url"):
        (tmp_path / name).write_text("https://tickets.example.com/hook")

    assert "no alert reaches anybody by pager_url, tickets_url, watchdog_url: write your addresses" in first
    assert second.startswith("credentials: no alert reaches anybody by tickets_url, watchdog_url: ")
    assert printed() == ""


@pytest.mark.parametrize("expr", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_a_rule_uses_only_series_that_the_service_has(expr: str, stack: Stack) -> None:
    assert rules.unknown(expr, stack.prometheus.series()) == []


@pytest.mark.parametrize(
    "expr", rules.expressions("kubernetes.yaml").values(), ids=rules.expressions("kubernetes.yaml")
)
def test_a_rule_on_the_cluster_uses_only_series_of_kube_state_metrics(expr: str) -> None:
    assert rules.unknown(expr, KUBE_STATE_METRICS) == []


@pytest.mark.parametrize("name", ["rules.yaml", "kubernetes.yaml"])
def test_no_rule_selects_series_of_other_programs(name: str) -> None:
    """So they can be loaded into a Prometheus that watches a whole cluster."""
    for expr in rules.expressions(name).values():
        for metric, matchers in rules.parse(expr).selectors:
            of_ours = metric.startswith(("ontime_", "ontime:"))
            values = [value for label, _, value in matchers if label in ("job", "namespace")]
            assert of_ours or (values and all(re.fullmatch(r"ontime[\w|-]*", value) for value in values)), expr


@pytest.mark.parametrize(
    ("expr", "missing"),
    [
        ("rate(ontime_prediction_total[5m])", "ontime_prediction_total"),
        ('ontime_alert{level="2"}', "ontime_alert{level}"),
        ('ontime_alert{tier="4"}', 'ontime_alert{tier="4"}'),
        ("sum by (replica) (ontime_database_unavailable)", "replica"),
    ],
)
def test_a_misspelt_metric_label_or_value_is_detected(expr: str, missing: str, stack: Stack) -> None:
    assert rules.unknown(expr, stack.prometheus.series()) == [missing]


@pytest.mark.parametrize(
    ("firing", "inhibited"),
    [
        ("ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly"),
        ("ServiceDown", "AnswersSlow"),
        ("ServiceDown", "NothingMaterialised"),
        ("DatabaseAway", "FeaturesMissing"),
        ("DatabaseAway", "BackupOld"),
    ],
)
def test_an_alert_that_follows_from_another_is_inhibited(firing: str, inhibited: str, tmp_path: Path) -> None:
    with alertmanager_telling("http://127.0.0.1", tmp_path) as alertmanager:
        alertmanager.post(*({"alertname": name, **ALERTS[name]["labels"]} for name in (firing, inhibited)))

        wait_for(lambda: alertmanager.inhibited() == {inhibited})


def test_no_alert_of_another_program_is_inhibited(tmp_path: Path) -> None:
    """Also one that was copied into an Alertmanager that others use."""
    theirs = [{"alertname": "DiskSlow", "severity": "ticket"}, {"alertname": "Other", "severity": "page", "team": "b"}]
    ours = [{"alertname": name, **ALERTS[name]["labels"]} for name in ("ServiceDown", "TargetDown", "StreamBehind")]
    with alertmanager_telling("http://127.0.0.1", tmp_path) as alertmanager:
        alertmanager.post(*theirs, *ours)

        wait_for(lambda: bool(alertmanager.inhibited()))
        assert alertmanager.inhibited() == {"TargetDown"}


def test_the_watchdog_is_sent_while_nothing_is_wrong(stack: Stack) -> None:
    wait_for(lambda: bool(stack.receiver.alerts("/watchdog_url", "Watchdog", "firing")))


def test_an_alert_of_the_real_service_reaches_the_pager_and_resolves(stack: Stack, world: World) -> None:
    name, path = "NothingMaterialised", "/pager_url"

    stack.ask(strangers(1000))  # they are not materialised
    wait_for(lambda: bool(stack.receiver.alerts(path, name, "firing")))
    wait_for(lambda: "FeaturesMissing" in stack.alertmanager.inhibited())  # a ticket of the same cause
    for _ in range(6):
        stack.ask(world.flights[:1000])
    wait_for(lambda: bool(stack.receiver.alerts(path, name, "resolved")))

    alert = stack.receiver.alerts(path, name, "firing")[0]
    assert alert["labels"] == {"alertname": name, "severity": "page", "cause": "features"}
    runbook = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["external_labels"]["runbook"]
    assert alert["annotations"]["runbook_url"] == f"{runbook}#nothingmaterialised"
    assert re.match(r"9\d\.?\d*% of the entities are predicted from their request", alert["annotations"]["summary"])
