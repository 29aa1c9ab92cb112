"""The results of `bench.feast_comparison`, as reports/feast.json and as tables."""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import redis_server
from bench.call_cost import CallCost, median_cost
from bench.feast_process import ENVIRONMENT, EXAMPLE, LOCK
from ontime import schema

LABELS = {
    "ours, SQLite": "this project, SQLite",
    "ours, PostgreSQL": "this project, PostgreSQL",
    "feast, SQLite": "Feast, SQLite",
    "feast, Redis": "Feast, Redis",
    "feast, SQLite, packed": "Feast, SQLite, packed",
    "feast, Redis, packed": "Feast, Redis, packed",
    "bare, Redis": "Redis MGET, packed",
}
CODE = {
    "ours": [Path("src/ontime/online_store.py")],
    "feast": [EXAMPLE / name for name in ("definitions.py", "feature_store.yaml", "redis.yaml")],
}


def feast_report(rounds: Sequence[Mapping[str, Any]], joins: Sequence[Mapping[str, Any]], rows: int) -> dict[str, Any]:
    """The medians of all rounds. Exits if a join returned other rows in another round."""
    return {
        "cores": os.cpu_count(),
        "rounds": len(rounds),
        "rows": rows,
        "features": len(schema.ONLINE),
        "redis": redis_server.DURABILITY,
        "stores": {name: _store([costs[name] for costs in rounds]) for name in LABELS},
        "join": {name: _join(name, [each[name] for each in joins]) for name in joins[0]},
        "lines": {name: sum(map(lines_of_code, paths)) for name, paths in CODE.items()},
        "packages": sum("==" in line for line in LOCK.read_text("utf-8").splitlines()),
        "environment_megabytes": round(sum(path.lstat().st_size for path in ENVIRONMENT.rglob("*")) / 1e6),
    }


def _store(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sizes = costs[0]["look_up"]
    return {
        "differing": max(each["differing"] for each in costs),
        "materialise": in_seconds(median_cost(each["materialise"] for each in costs)),
        "megabytes": round(statistics.median(each["megabytes"] for each in costs), 1),
        "look_up": {size: in_milliseconds(median_cost(each["look_up"][size] for each in costs)) for size in sizes},
    }


def _join(name: str, joins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    facts, *others = [{key: value for key, value in each.items() if key != "cost"} for each in joins]
    if any(each != facts for each in others):
        raise SystemExit(f"bench-feast: the join by {name} returned other rows in another round: {facts}, {others}")
    return {**in_seconds(median_cost(each["cost"] for each in joins)), **facts}


def in_seconds(cost: CallCost) -> dict[str, float]:
    return {name: round(value, 3) for name, value in cost._asdict().items()}


def in_milliseconds(cost: CallCost) -> dict[str, float]:
    return {name.replace("seconds", "ms"): round(1_000 * value, 2) for name, value in cost._asdict().items()}


def lines_of_code(path: Path) -> int:
    """Lines that are neither empty nor a comment."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def print_feast(report: Mapping[str, Any]) -> None:
    print(f"\n{report['rows']:,} rows of {report['features']} features, medians of {report['rounds']} rounds")
    print(f"{'look-up':<26}{'entities':>9}{'ms':>9}{'CPU ms':>9}{'of server':>11}")
    for name, each in report["stores"].items():
        for size, cost in each["look_up"].items():
            print(f"{LABELS[name]:<26}{size:>9}{cost['ms']:>9}{cost['cpu_ms']:>9}{cost['server_cpu_ms']:>11}")
    print(f"\n{'materialise':<26}{'':>9}{'s':>9}{'CPU s':>9}{'of server':>11}{'MB':>9}{'differing':>11}")
    for name, each in report["stores"].items():
        cost = each["materialise"]
        figures = f"{cost['seconds']:>9}{cost['cpu_seconds']:>9}{cost['server_cpu_seconds']:>11}"
        print(f"{LABELS[name]:<26}{'':>9}{figures}{each['megabytes']:>9}{each['differing']:>11}")
    print(f"\n{'point-in-time join':<26}{'asked':>9}{'s':>9}{'CPU s':>9}{'returned':>11}{'':>9}{'differing':>11}")
    for name, each in report["join"].items():
        figures = f"{each['asked']:>9}{each['seconds']:>9}{each['cpu_seconds']:>9}{each['returned']:>11}"
        print(f"{name:<26}{figures}{'':>9}{each['differing']:>11}")
    dropped = {case: count for case, count in report["join"]["feast"]["dropped"].items() if count}
    print(f"rows that Feast drops: {dropped}")
    print(f"lines: {report['lines']}; Feast: {report['packages']} packages, {report['environment_megabytes']} MB")
