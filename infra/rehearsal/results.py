"""The result of a rehearsal: a table, reports/cluster.json, and whether it failed."""

from collections.abc import Sequence
from typing import Any

from infra.rehearsal.installation import Installation
from infra.rehearsal.steps import RATE, REPLICAS, Step

HEADER = f"{'step':<46} {'seconds':>8} {'requests':>9} {'200':>7} {'refused':>8} {'no response':>12} {'p99 ms':>8}"


def as_table(steps: Sequence[Step]) -> str:
    return "\n".join([HEADER, *map(_line, steps)])


def _line(step: Step) -> str:
    start = f"{step.name:<46} {step.seconds:>8.1f}"
    if step.load is None:
        return start
    load = step.load
    p99_ms = "" if load.p99_ms is None else f"{load.p99_ms:.0f}"
    return f"{start} {load.requests:>9} {load.answered:>7} {load.refused:>8} {load.without_response:>12} {p99_ms:>8}"


def failures(steps: Sequence[Step], answers_without_row: int) -> list[str]:
    """Why the rehearsal failed; empty if it did not."""
    lost = [
        f"{each.name}: {each.load.requests - each.load.answered} of {each.load.requests} requests were not answered"
        for each in steps
        if each.load is not None and each.lossless and each.load.answered < each.load.requests
    ]
    return [*lost, f"{answers_without_row} answers have no row in the table"] if answers_without_row else lost


def report(
    installation: Installation, overlay: str, steps: Sequence[Step], answers: int, rows: dict[str, Any]
) -> dict[str, Any]:
    """What reports/cluster.json holds: no name of a machine, and no address."""
    return {
        "kubernetes": installation.server_version,
        "nodes": installation.nodes,
        "overlay": overlay,
        "changed_for_this_cluster": list(installation.changes),
        "pods": REPLICAS,
        "requests_per_second": RATE,
        "steps": [_entry(each) for each in steps],
        "answers": answers,
        "answers_without_row": len(rows["missing"]),
        "rows": rows["predictions"],
        "shadow_rows": rows["shadows"],
    }


def engine_report(installation: Installation, steps: Sequence[Step]) -> dict[str, Any]:
    """What reports/cluster_engines.json holds for an engine."""
    return {
        "kubernetes": installation.server_version,
        "nodes": installation.nodes,
        "changed_for_this_cluster": list(installation.changes),
        "steps": [_entry(each) for each in steps],
    }


def _entry(step: Step) -> dict[str, Any]:
    load = step.load._asdict() if step.load is not None else {}
    return {"step": step.name, "seconds": round(step.seconds, 1), **load}
