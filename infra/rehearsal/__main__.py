"""Rehearses operations on a real cluster: `make rehearsal CONTEXT=kind-kind`.

It installs an overlay in its own namespace, trains and serves a release, disturbs the service under load, moves
releases, scores a file, and compares the answers with the rows of the table. It writes reports/cluster.json, and exits
with 1 if an answer has no row, or a request was lost where none may be. `--clean` deletes what it has created.

`--engine dask` installs the overlay `small-dask` and compares a file that is scored on Dask with the one that processes
of the job write. It writes its section of reports/cluster_engines.json.
"""

import argparse
import json
import sys
import time
from typing import Any

from infra.rehearsal import engine_steps, results, traffic
from infra.rehearsal.installation import install, remove
from infra.rehearsal.kubectl import LOCAL_HOSTS, ClusterFailed, Kubectl
from infra.rehearsal.steps import Rehearsal
from pipelines.layout import REPORTS, write_json

NAMESPACE = "ontime"  # of all overlays
STORE_SECONDS = 60  # a prediction from the spool is in the table by then


def confirm(kubectl: Kubectl, action: str) -> None:
    """Ask before anything changes on a cluster that is not on this machine. Exits unless the context is typed."""
    host = kubectl.server_host()
    print(f"rehearsal: {action} namespace {kubectl.namespace} of context {kubectl.context} ({host})", flush=True)
    if (
        host not in LOCAL_HOSTS
        and input("not on this machine; type the context's name to continue: ") != kubectl.context
    ):
        sys.exit("rehearsal: nothing was changed")


def stored(rehearsal: Rehearsal) -> dict[str, Any]:
    """The rows of the answers, after those from the spool had time to arrive."""
    ids, deadline = "\n".join(traffic.prediction_ids(rehearsal.attempts)), time.monotonic() + STORE_SECONDS
    while True:
        rows: dict[str, Any] = rehearsal.in_worker("rows", text=ids)
        if not rows["missing"] or time.monotonic() > deadline:
            return rows
        time.sleep(2)


def rehearse(kubectl: Kubectl, overlay: str) -> list[str]:
    """Why the rehearsal failed; empty if it did not. Raises ClusterFailed."""
    installation = install(kubectl, overlay)
    for change in installation.changes:
        print(f"rehearsal: changed for {installation.server_version}, so not shown: {change}", flush=True)
    rehearsal = Rehearsal(installation)
    rehearsal.run()
    rows, answers = stored(rehearsal), len(traffic.prediction_ids(rehearsal.attempts))
    print(results.as_table(rehearsal.steps))
    print(f"rehearsal: {answers} answers, {len(rows['missing'])} of them without a row; {rows['predictions']} rows")
    write_json(REPORTS / "cluster.json", results.report(installation, overlay, rehearsal.steps, answers, rows))
    return results.failures(rehearsal.steps, len(rows["missing"]))


def rehearse_engine(kubectl: Kubectl, engine: str) -> None:
    """Raises ClusterFailed."""
    installation = install(kubectl, f"small-{engine}")
    rehearsal = Rehearsal(installation)
    engine_steps.run(rehearsal, engine)
    print(results.as_table(rehearsal.steps))
    path = REPORTS / "cluster_engines.json"
    sections = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, {**sections, engine: results.engine_report(installation, rehearsal.steps)})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.rehearsal", description=__doc__)
    parser.add_argument("--context", required=True, help="of kubectl's configuration; there is no default")
    parser.add_argument("--overlay", default="small")
    parser.add_argument("--engine", choices=("dask", "spark"), help="rehearse the overlay with this engine instead")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--clean", action="store_true", help="only delete what a rehearsal has created")
    arguments = parser.parse_args()
    kubectl = Kubectl(arguments.context, NAMESPACE)
    try:
        if not arguments.yes:
            confirm(kubectl, "deletes" if arguments.clean else "creates")
        if arguments.clean:
            remove(kubectl)
        elif arguments.engine:
            rehearse_engine(kubectl, arguments.engine)
        elif reasons := rehearse(kubectl, arguments.overlay):
            sys.exit("\n".join(f"rehearsal: {reason}" for reason in reasons))
    except ClusterFailed as failed:
        sys.exit(f"rehearsal: {failed}")


if __name__ == "__main__":
    main()
