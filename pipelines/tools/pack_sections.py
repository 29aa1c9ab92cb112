"""The sections of a release pack: technical documentation by the headings of Annex IV of the EU AI Act (2024/1689).

Each function derives one section from what is recorded about a version; none of them has text about one problem.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ontime import schema
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.release import Manifest
from ontime.schema import WORDS

MOVES = ("gate", "approval", "promotion", "challenge", "rollback")  # the kinds of decisions about a version


class PackTable(NamedTuple):
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


class PackSection(NamedTuple):
    """`annex`: the points of Annex IV that it covers. `html` is a rendered report."""

    key: str
    title: str
    annex: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[PackTable] = ()
    html: str = ""

    @property
    def is_empty(self) -> bool:
        return not any((*self.paragraphs, self.html, *(table.rows for table in self.tables)))


class Recorded(NamedTuple):
    """What is recorded about a version: its manifest, the files of its run, its decisions, and the bill of "
    "materials."""

    manifest: Manifest
    params: Mapping[str, Any]  # params.yaml
    metrics: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    data_quality: Mapping[str, Any]
    card_html: str
    exploration_html: str
    decisions: Sequence[sa.Row[Any]]  # of this version, oldest first
    materials: Mapping[str, Any]  # CycloneDX
    same_libraries: bool


def _estimate(value: float, interval: Sequence[float] | None, digits: int = 4) -> str:
    text = f"{value:.{digits}f}"
    return f"{text} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else text


def _general(record: Recorded) -> PackSection:
    manifest = record.manifest
    fields = PROBLEM.request.model_json_schema()["properties"]
    return PackSection(
        "general",
        "General description and intended purpose",
        "1 (a), (b), (d), (e), (h)",
        [
            f"Release {manifest.version} of {manifest.name} predicts, for {WORDS.population}: "
            f"{schema.in_words(manifest.question)}. {WORDS.definition.format(**manifest.question.terms)}",
            f"Intended use: {WORDS.intended}",
            f"Not intended: {WORDS.not_intended}.",
            f"The model ({manifest.algorithm}) returns a probability; from {manifest.threshold:g} on, the "
            "service raises "
            f"an alert for {WORDS.who_alerts}. It decides nothing by itself.",
            "It runs as an HTTP service with an OpenAPI document, the Open Inference Protocol and a page; it reads "
            "features from a database, and stores every prediction there.",
        ],
        [
            PackTable(
                "Input: the fields of a request",
                ["field", "type"],
                [(name, _type_in_words(field)) for name, field in fields.items()],
            )
        ],
    )


def _type_in_words(field: Mapping[str, Any]) -> str:
    """The type of a field, from its JSON schema.

    >>> _type_in_words({"enum": ["a", "b"]}), _type_in_words({"type": "string", "format": "date-time"})
    ('a, b', 'string, date-time')
    """
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    kinds = [each.get("type", "") for each in field.get("anyOf", [field])]
    return ", ".join([" or ".join(kinds), *([field["format"]] if "format" in field else [])])


def _development(record: Recorded) -> PackSection:
    train = record.params["train"]
    parameters = train.get(record.manifest.algorithm) or {}
    rows = [(name, value) for name, value in {**_flat(train), **_flat(parameters)}.items()]
    return PackSection(
        "development",
        "Development: method, design choices and parameters",
        "2 (a), (b), (c)",
        [
            f"Candidates {', '.join(train['candidates'])} were fitted on the training period and compared on the "
            f"validation period by log-loss; {record.metrics['best']} won. The test period chooses nothing.",
            "All steps are stages of dvc.yaml, which record the hash of every input and output. The data are those of "
            "the declared dataset, and no pre-trained model is used.",
            f"A missed positive costs {record.params['cost']['missed']}, a false alarm "
            f"{record.params['cost']['false_alarm']}; that fixes the alert threshold.",
        ],
        [PackTable("Parameters of the training", ["parameter", "value"], rows)],
    )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not isinstance(value, Mapping)}


def _data_sheet(record: Recorded) -> PackSection:
    manifest, params = record.manifest, record.params
    split, quality = params["split"], record.data_quality
    periods = [("training", "train_from", "valid_from"), ("validation", "valid_from", "test_from")]
    periods.append(("test", "test_from", "test_until"))
    counts = dict(zip(("training", "validation", "test"), record.evaluation["entities"].values(), strict=True))
    return PackSection(
        "data_sheet",
        "Data sheet",
        "2 (d)",
        [
            f"Dataset {params['dataset']}: {WORDS.population}. One row is one {WORDS.entity}; the label comes from "
            f"{PROBLEM.label.column} ({PROBLEM.label.unit}): {WORDS.value}. Without a label are {WORDS.without_label}.",
            "Every table has a contract that each run checks; the rules below repair, note or quarantine "
            "known errors. "
            f"A row is used only as far as it was known at the prediction moment, {manifest.lead_minutes} "
            "minutes before "
            f"the {WORDS.event}.",
        ],
        [
            PackTable("Tables", ["table", "rows"], [(name, f"{rows:,}") for name, rows in quality["rows"].items()]),
            PackTable(
                "Periods",
                ["period", "from", "until (exclusive)", f"labelled {WORDS.entities}"],
                [(name, split[since], split[until], f"{counts[name]:,}") for name, since, until in periods],
            ),
            PackTable(
                "Contract: known errors",
                ["rule", "table", "action", "rows", "reason"],
                [
                    (each["rule"], each["table"], each["action"], f"{each['hits']:,}", each["reason"])
                    for each in quality["rules"]
                ],
            ),
            PackTable(
                "Contract: rules on whole rows, beside those on each column",
                ["table", "rules"],
                [(table.name, ", ".join(table.rules) or "none") for table in DATA.tables],
            ),
            PackTable(
                "Features",
                ["feature", "unit", "meaning", "known from"],
                [
                    (each.name, each.unit, each.meaning(manifest.question), str(each.known_from))
                    for each in schema.FEATURES
                ],
            ),
        ],
        record.exploration_html,
    )


def _metrics(record: Recorded) -> PackSection:
    evaluation = record.evaluation
    rows = [
        (
            name,
            *(
                _estimate(both["test"][figure], evaluation["intervals"].get(name, {}).get(figure))
                for figure in ("auc", "log_loss", "brier", "ece", "cost_per_1000")
            ),
        )
        for name, both in record.metrics["candidates"].items()
    ]
    return PackSection(
        "metrics",
        "Performance, with intervals",
        "2 (g), 4",
        [
            f"On {evaluation['entities']['test']:,} {WORDS.entities} of {evaluation['days']} days after all "
            "training data, "
            f"{evaluation['positive_share']:.1%} of them {WORDS.positive}. Intervals are 95 %, clustered by day.",
            "Log-loss decides, because the probability itself is shown: it falls only if probabilities are right. AUC "
            "measures ranking, ECE the calibration, the cost what the alerts are for.",
        ],
        [PackTable("Test period", ["candidate", "AUC", "log-loss", "Brier", "ECE", "cost of 1,000"], rows)],
    )


def _slices(record: Recorded) -> PackSection:
    rows = [
        (
            f"{each['dimension']} {each['slice']}",
            f"{each['entities']:,}",
            f"{each['positives'] / each['entities']:.1%}",
            "" if each["auc"] is None else _estimate(each["auc"], each["auc_interval"], 3),
            f"{each['log_loss']:.4f}",
            f"{each['mean_probability']:.1%}",
            f"{each['missed'][0]:.0%}" if each["missed"] else "",
            "yes" if each["gated"] else "too small",
        )
        for each in record.evaluation["slices"]
    ]
    head = ["slice", WORDS.entities, WORDS.positive, "AUC", "log-loss", "predicted", "missed", "can block a promotion"]
    return PackSection(
        "slices",
        "Performance by group",
        "2 (g), 3",
        [WORDS.communities],
        [PackTable("Slices of the test period", head, rows)],
    )


def _gate(record: Recorded) -> PackSection:
    gates = [row for row in record.decisions if row.kind == "gate"]
    return PackSection(
        "gate",
        "Gate: the tests before a promotion",
        "2 (g)",
        [f"{row.verdict} against {row.evidence.get('against')}: {row.evidence['reason']}" for row in gates],
        [
            PackTable(
                "Evidence of the last verdict",
                ["figure", "value"],
                [(name, str(value)) for name, value in gates[-1].evidence.items()] if gates else [],
            )
        ],
    )


def _lineage(record: Recorded) -> PackSection:
    lineage = record.manifest.lineage
    return PackSection(
        "lineage",
        "Lineage",
        "2 (a), (g)",
        [
            f"Commit {lineage.git_commit}, MLflow run {lineage.mlflow_run}. `make reproduce "
            f"VERSION={record.manifest.version}` rebuilds it and compares every prediction.",
        ],
        [
            PackTable("Files of the release", ["file", "sha256"], [*record.manifest.sha256.items()]),
            PackTable("Outputs of the stages", ["path", "md5"], [*lineage.dvc_lock.items()]),
        ],
    )


def _oversight(record: Recorded) -> PackSection:
    approvals = [row for row in record.decisions if row.kind == "approval"]
    required = record.params["policy"].get("approval_required", False)
    approved = [
        f"Approved by {row.actor} on {row.decided_at:%Y-%m-%d %H:%M} UTC: {row.evidence['reason']}" for row in approvals
    ]
    return PackSection(
        "oversight",
        "Human oversight",
        "2 (e), 3",
        [
            *(approved or ["Nobody has approved this version with `make approve`."]),
            f"policy.approval_required was {str(required).lower()} at the training: a promotion "
            f"{'needs' if required else 'does not need'} the approval of a person.",
            "`make rollback` and `make withdraw` end the use of a release at any time. Each prediction has its reasons "
            "(`?explain=true`), and every decision names who made it (`make audit`).",
        ],
        [PackTable("Decisions about this version", *_log(record.decisions))],
    )


def _log(rows: Sequence[sa.Row[Any]]) -> tuple[list[str], list[tuple[Any, ...]]]:
    head = ["id", "time, UTC", "kind", "verdict", "who", "reason"]
    return head, [
        (
            row.decision_id,
            f"{row.decided_at:%Y-%m-%d %H:%M}",
            row.kind,
            row.verdict,
            row.actor or "not recorded",
            row.evidence.get("reason", ""),
        )
        for row in rows
    ]


def _risks(record: Recorded) -> PackSection:
    terms = record.manifest.question.terms
    judged = [each for each in record.evaluation["slices"] if each["gated"] and each["missed"]]
    worst = max(judged, key=lambda each: float(each["missed"][0]), default=None)
    weakest = (
        f"The alert misses most in {worst['dimension']} {worst['slice']}: {worst['missed'][0]:.0%} of those that were "
        f"{WORDS.positive}."
        if worst
        else "No slice is large enough to judge."
    )
    return PackSection(
        "risks",
        "Risks and limits",
        "3, 5",
        [
            *(limit.format(**terms) for limit in WORDS.limits),
            weakest,
            f"Foreseeable misuse: {WORDS.not_intended}; a probability read as a promise about a single {WORDS.entity}.",
            f"Without features of the online store, predictions are worse: {WORDS.request_only}",
            "Residual risk: data that drift between two runs of the monitor, and faults that no guard stops "
            "(docs/sabotage.md lists them).",
        ],
    )


def _security(record: Recorded) -> PackSection:
    return PackSection(
        "security",
        "Robustness and cybersecurity",
        "2 (h)",
        [
            f"The service loads a release only if all {len(record.manifest.sha256)} files have the digests of "
            "its manifest "
            "and the probes get their recorded probabilities. Loading runs no code of the release.",
            "Requests need an API key with a scope, are limited in size and rate, and are validated by the declared "
            "request; the packages are locked by hash. SECURITY.md lists threats and guards.",
        ],
    )


def _monitoring(record: Recorded) -> PackSection:
    monitor, policy = record.params["monitor"], record.params["policy"]
    return PackSection(
        "monitoring",
        "Monitoring after the release",
        "3, 9",
        [
            "The monitor runs daily on the predictions in production; the policy decides from its results and "
            "is recorded."
        ],
        [
            PackTable(
                "Alerts",
                ["metric", "tier", "above", "days", "reason"],
                [
                    (name, rule["tier"], rule["above"], f"{rule['days']} of {rule['of']}", rule["reason"])
                    for name, rule in monitor["alerts"].items()
                ],
            ),
            PackTable("Policy", ["parameter", "value"], [*policy.items()]),
        ],
    )


def _changes(record: Recorded) -> PackSection:
    manifest = record.manifest
    return PackSection(
        "changes",
        "Changes over the life cycle",
        "6, 2 (f)",
        [
            f"Release {manifest.version} is immutable: a change is a new version, with its own pack. It was "
            "trained on days "
            f"from {manifest.trained_from} until {manifest.trained_until} (exclusive).",
            f"Pre-determined changes: the policy retrains with the same stages on later data at most "
            f"{record.params['policy']['budget']} times in {record.params['policy']['budget_days']} days; each result "
            "passes the gate and a shadow period before it is promoted.",
        ],
    )


def _standards(_: Recorded) -> PackSection:
    return PackSection(
        "standards",
        "Standards and declaration of conformity",
        "7, 8",
        [
            "No harmonised standard is applied in full, and there is no EU declaration of conformity: whoever "
            "puts a system "
            "into service decides whether it is of high risk, and declares its conformity.",
        ],
    )


def _materials(record: Recorded) -> PackSection:
    components = record.materials["components"]
    same = "are" if record.same_libraries else "are not"
    return PackSection(
        "materials",
        "Bill of materials",
        "1 (c), 2 (c)",
        [
            f"The {len(components)} Python packages of the service, as CycloneDX in pack.json. The locked "
            "libraries of this "
            f"workspace {same} those that the version was trained with.",
        ],
        [PackTable("Packages", ["package", "version"], [(each["name"], each["version"]) for each in components])],
    )


def _card(record: Recorded) -> PackSection:
    return PackSection("model_card", "Model card", "2 (b), (g), 3", html=record.card_html)


BUILDERS: Mapping[str, Callable[[Recorded], PackSection]] = {
    "general": _general,
    "oversight": _oversight,
    "risks": _risks,
    "metrics": _metrics,
    "slices": _slices,
    "gate": _gate,
    "data_sheet": _data_sheet,
    "development": _development,
    "lineage": _lineage,
    "changes": _changes,
    "monitoring": _monitoring,
    "security": _security,
    "standards": _standards,
    "materials": _materials,
    "model_card": _card,
}
# Each point of Annex IV, and whether a section covers it is a test.
ANNEX_IV = (
    "1",
    "2 (a)",
    "2 (b)",
    "2 (c)",
    "2 (d)",
    "2 (e)",
    "2 (f)",
    "2 (g)",
    "2 (h)",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
)


def sections_of(record: Recorded) -> list[PackSection]:
    return [build(record) for build in BUILDERS.values()]
