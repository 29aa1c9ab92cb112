"""Prints alerts, their routing and the dashboards of `make stack` as manifests for a cluster's Prometheus operator.

    python -m infra.cluster_alerts | kubectl apply -f -

A PrometheusRule, an AlertmanagerConfig and a ConfigMap for each dashboard. The operator lets the AlertmanagerConfig see
only alerts with its namespace as a label, so each alert gets that label, and no inhibition can silence another team.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

INFRA = Path(__file__).parent
NAMESPACE = "ontime"
RULE_FILES = ("rules.yaml", "kubernetes.yaml")  # not stack.yaml: a cluster has alerts on itself
URLS_SECRET = "ontime-alerting"  # noqa: S105  its name
RUNBOOK = "{{ $externalLabels.runbook }}"
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"(.*)"')

Manifest = dict[str, Any]


def read(path: str) -> Any:
    return yaml.safe_load((INFRA / path).read_text(encoding="utf-8"))


def selected() -> dict[str, str]:
    """The labels by which Prometheus selects its manifests: those of our ServiceMonitor."""
    return dict(read("kubernetes/overlays/production/monitoring.yaml")["metadata"]["labels"])


def manifest(version: str, kind: str, name: str, labels: dict[str, str], **content: Any) -> Manifest:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        **content,
    }


def alert_rules() -> Manifest:
    """The rules, with the runbook's address in place of the label, which the cluster's Prometheus does not have."""
    runbook = read("prometheus/prometheus.yml")["global"]["external_labels"]["runbook"]
    groups = [group for name in RULE_FILES for group in read(f"prometheus/{name}")["groups"]]
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        rule["labels"]["namespace"] = NAMESPACE
        rule["annotations"]["runbook_url"] = rule["annotations"]["runbook_url"].replace(RUNBOOK, runbook)
    return manifest("monitoring.coreos.com/v1", "PrometheusRule", "ontime", selected(), spec={"groups": groups})


def routing() -> Manifest:
    """The routing of alertmanager.yml, without the watchdog: the cluster's own watches its Alertmanager."""
    config = read("alertmanager/alertmanager.yml")
    spec = {
        "route": {
            **_camel_case(config["route"]),
            "routes": [
                {**_camel_case(route), "matchers": matcher_fields(route["matchers"])}
                for route in config["route"]["routes"]
                if route["receiver"] != "watchdog"
            ],
        },
        "receivers": [_receiver(each) for each in config["receivers"] if each["name"] != "watchdog"],
        "inhibitRules": [
            {
                "sourceMatch": matcher_fields(each["source_matchers"]),
                "targetMatch": matcher_fields(each["target_matchers"]),
                "equal": each.get("equal", []),
            }
            for each in config["inhibit_rules"]
        ],
    }
    return manifest("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig", "ontime", selected(), spec=spec)


def _camel_case(section: Manifest) -> Manifest:
    return {re.sub(r"_(\w)", lambda match: match[1].upper(), name): value for name, value in section.items()}


def matcher_fields(expressions: list[str]) -> list[dict[str, str]]:
    parts = [MATCHER.fullmatch(each) for each in expressions]
    if None in parts:
        raise ValueError(f'{expressions}: a matcher has another form than name="value"')
    return [{"name": each[1], "matchType": each[2], "value": each[3]} for each in parts if each]


def _receiver(receiver: Manifest) -> Manifest:
    keys = [Path(each["url_file"]).name for each in receiver["webhook_configs"]]
    webhooks = [{"urlSecret": {"name": URLS_SECRET, "key": key}} for key in keys]
    return {"name": receiver["name"], "webhookConfigs": webhooks}


def dashboard_maps() -> Iterator[Manifest]:
    """For the sidecar of Grafana that collects the ConfigMaps with this label."""
    for path in sorted((INFRA / "grafana" / "dashboards").glob("*.json")):
        data = {path.name: path.read_text(encoding="utf-8")}
        yield manifest("v1", "ConfigMap", f"ontime-dashboard-{path.stem}", {"grafana_dashboard": "1"}, data=data)


def main() -> None:
    print(yaml.safe_dump_all([alert_rules(), routing(), *dashboard_maps()], sort_keys=False, width=1000), end="")


if __name__ == "__main__":
    main()
