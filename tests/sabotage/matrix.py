"""The detection matrix: each planted fault with the guard that stops it, and each guard with the faults it stops.

A test declares what it plants by `@sabotage(...)`, and at its end passes the real message to the fixture `reported`,
which compares it with the committed row; `make sabotage` writes the rows again.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ontime import files, rendering
from pipelines.layout import read_json, write_json

ROOT = Path(__file__).parents[2]
JSON = ROOT / "reports" / "sabotage.json"
PAGE = ROOT / "docs" / "sabotage.md"
TEMPLATE = Path(__file__).with_name("page.md.jinja")
LONGEST = 150  # characters of a message
Test = TypeVar("Test", bound=Callable[..., object])


@dataclass(frozen=True)
class Guard:
    """A check that refuses, quarantines or raises an alert."""

    where: str
    refusal: str = ""  # the exception that it raises


CONTRACT, PERIODS, LEAK, AUC = "data contract", "periods", "variance explained by all features", "AUC above the limit"
QUARANTINE, AS_OF, DATASET, PARAMETERS = "quarantine", "feed as of a moment", "dataset adapter", "params.yaml schema"
POINT_IN_TIME, QUARANTINED_ROWS, GATE = "point in time", "known data errors", "gate"
SEEN = "no training rows in the test"
DIGESTS, PROBES, REASONS, PARITY = "digests", "probes", "probes' reasons", "parity with ONNX"
MANIFEST, SIGNATURES, OVERWRITE, ITSELF, TREES = (
    "manifest",
    "signatures",
    "versions are immutable",
    "no release challenges itself",
    "trees.npz check",
)
LEAD, FEATURE_SET, FLAGS, REQUEST = "lead check", "feature set", "flags of a prediction", "request schema"
UNSEEN_DAYS, NOTHING, LAST_WORD = "training days are excluded", "empty comparison", "latest report of an outcome"
SHADOW, WATCH, HELD_BACK = "policy: shadow", "policy: watch", "policy: cooldown, budget, labels"
REPRODUCTION, SETTINGS = "dvc.lock", "settings schema"
ALONE, DOMINANT, UNDECLARED = (
    "AUC of a single feature",
    "share of the model's gain",
    "tables declare when they are known",
)
MONTHS, KEYS = "record of months", "every row has a partition key"
SMOKE_TEST, OBJECTION = "smoke test of candidates", "objection to a promotion by hand"


def alert(figure: str) -> str:
    """The guard that watches a figure of the monitor."""
    return f"alert `{figure}`"


FIGURES = (
    "quarantined_batches", "skewed_share", "late_share", "silent", "stale_feed_share", "blind_features",
    "request_only_share", "unseen_share", "unlabelled_share", "loss_excess", "auc_shortfall", "rate_gap",
    "prediction_psi", "feature_psi",
)  # fmt: skip
READ_FROM_THE_DATABASE = {"quarantined_batches", "skewed_share", "late_share", "silent", "unlabelled_share"}

GUARDS: Mapping[str, Guard] = {
    PARAMETERS: Guard("src/ontime/params.py", "ParamsBroken"),
    SETTINGS: Guard("src/ontime/settings.py", "BadSettings"),
    DATASET: Guard("src/ontime/problem/sources.py", "SourceBroken"),
    CONTRACT: Guard("src/ontime/contract.py", "ContractBroken"),
    QUARANTINED_ROWS: Guard("src/ontime/contract.py"),
    AS_OF: Guard("src/ontime/sources.py"),
    UNDECLARED: Guard("src/ontime/sources.py", "NotDeclared"),
    POINT_IN_TIME: Guard("src/ontime/point_in_time.py", "FutureLeak"),
    MONTHS: Guard("pipelines/layout.py", "MonthsMissing"),
    KEYS: Guard("pipelines/features.py", "KeyMissing"),
    PERIODS: Guard("src/ontime/split.py", "SplitBroken"),
    LEAK: Guard("src/ontime/leaks.py", "LeakFound"),
    ALONE: Guard("src/ontime/leaks.py", "LeakFound"),
    DOMINANT: Guard("src/ontime/leaks.py", "LeakFound"),
    AUC: Guard("src/ontime/evaluation.py", "LeakSuspected"),
    SEEN: Guard("src/ontime/gate.py", "GateBroken"),
    GATE: Guard("src/ontime/gate.py"),
    SMOKE_TEST: Guard("pipelines/smoke_test.py", "CandidateRefused"),
    OBJECTION: Guard("pipelines/operations/transitions.py", "TransitionRefused"),
    PARITY: Guard("pipelines/operations/packaging.py", "ReleaseRefused"),
    REPRODUCTION: Guard("pipelines/operations/lineage.py"),
    MANIFEST: Guard("src/ontime/release.py", "ReleaseRefused"),
    SIGNATURES: Guard("src/ontime/release.py", "ReleaseRefused"),
    OVERWRITE: Guard("src/ontime/release.py", "ReleaseRefused"),
    DIGESTS: Guard("src/ontime/release.py", "ReleaseRefused"),
    ITSELF: Guard("src/ontime/release_pointer.py", "ReleaseRefused"),
    TREES: Guard("src/ontime/trees.py", "NoArrays"),
    PROBES: Guard("src/ontime/online.py", "ReleaseRefused"),
    REASONS: Guard("src/ontime/online.py", "ReleaseRefused"),
    LEAD: Guard("pipelines/operations/materialise.py", "QuestionDiffers"),
    QUARANTINE: Guard("pipelines/operations/arrivals.py"),
    FEATURE_SET: Guard("src/ontime/online_store.py"),
    LAST_WORD: Guard("src/ontime/database.py"),
    REQUEST: Guard("src/ontime/declaration.py"),
    FLAGS: Guard("src/ontime/online.py"),
    UNSEEN_DAYS: Guard("monitoring/performance.py"),
    NOTHING: Guard("monitoring/drift.py", "NothingToMonitor"),
    **{
        alert(figure): Guard(
            f"monitoring/{'daily_metrics' if figure in READ_FROM_THE_DATABASE else 'table_metrics'}.py"
        )
        for figure in FIGURES
    },
    SHADOW: Guard("monitoring/policy.py"),
    WATCH: Guard("monitoring/policy.py"),
    HELD_BACK: Guard("monitoring/policy.py"),
}
# Our errors that are not guards: a resource is missing, or a machine is not reachable.
NO_GUARDS = {
    "NoRelease", "NotRecorded", "ServiceFailed", "NotRetrained", "NotRebuilt", "NotOrchestrated", "NotBackedUp",
    "PageFailed", "NotTrained", "TooFewDays", "GitRefused", "NotExportable", "TooManyConditions", "UnsupportedModel",
    "Busy", "BrokerUnavailable", "RedisFailed",
    "Refusal", "NotAdopted", "NotInstalled", "NotRenamed", "NotWritten", "ProblemBroken", "DatabaseRefused",
    "ProcessFailed", "YamlBroken", "ErasureRefused", "ExportRefused", "PackIncomplete", "NoSigningKey",
    "NotScored", "NotARequest", "EngineRefused", "MessagesLost", "StorageRefused", "NotStreamable", "EventRejected",
    "PositionMoved", "DemoRefused", "GitMissing", "NoFault", "StepFailed", "TrainingMissing",
}  # fmt: skip


@dataclass(frozen=True)
class Sabotage:
    """One fault. If nothing stops it, `stopped_by` is None, and `instead` says what would, or why nothing should."""

    fault: str
    planted: str
    stopped_by: str | None = None
    harmless: bool = False
    instead: str = ""


def sabotage(
    fault: str, planted: str, stopped_by: str | None = None, *, harmless: bool = False, instead: str = ""
) -> Callable[[Test], Test]:
    """Declare what a test plants."""
    declared = Sabotage(fault, planted, stopped_by, harmless, instead)
    return lambda test: pytest.mark.sabotage(declared)(test)


def declared_by(tests: Iterable[Any]) -> list[Sabotage]:
    """What these tests plant, in their order."""
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", []) if mark.name == "sabotage"]
    return [mark.args[0] for mark in marks]


def shortened(message: str) -> str:
    """The main line of a message, without rows, folders and ids, which differ between runs or years."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    line = lines[1] if len(lines) > 1 and lines[0].endswith("contract:") else lines[0]
    line = re.sub(r"(/[^\s:/]+)+/", "", line).split("; first ")[0].replace("|", "/")
    line = re.sub(r"[-+]?\d+\.\d{3,}", lambda number: f"{float(number[0]):.1g}", line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4].rsplit(' ', 1)[0]} ..."


def row_of(declared: Sabotage, message: str) -> dict[str, Any]:
    where = GUARDS[declared.stopped_by].where if declared.stopped_by else ""
    return {**asdict(declared), "where": where, "reported": shortened(message)}


def committed() -> list[dict[str, Any]]:
    return list(read_json(JSON))


def write(rows: list[dict[str, Any]]) -> None:
    write_json(JSON, rows)
    files.write_text(PAGE, page(rows))


def page(rows: list[dict[str, Any]]) -> str:
    """docs/sabotage.md."""
    stopped = [row for row in rows if row["stopped_by"]]
    harmless = [row for row in rows if row["harmless"]]
    unstopped = [row for row in rows if not row["stopped_by"] and not row["harmless"]]
    used = {row["stopped_by"] for row in rows}
    idle = {name: guard.where for name, guard in GUARDS.items() if name not in used}
    return rendering.render(
        TEMPLATE, faults=len(rows), stopped=stopped, harmless=harmless, unstopped=unstopped, idle=idle
    )
