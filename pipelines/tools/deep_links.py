"""Where this project's data are in the pages of MLflow, Prefect and Evidently, asked of the running pages."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

PROJECT = "ontime"  # the name of MLflow's experiment and model, and of Evidently's project
TRAINING = "workflowType=machine_learning"  # else MLflow opens on its pages for language models
PATIENCE_SECONDS = 30


class Shown(NamedTuple):
    """What a page shows: name -> address; and where that is nothing, which command changes it."""

    links: Mapping[str, str]
    empty: str | None = None


def mlflow(page: str) -> Shown:
    try:
        found = _ask(f"{page}/api/2.0/mlflow/experiments/get-by-name?{urlencode({'experiment_name': PROJECT})}")
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return Shown({"runs": f"{page}/#/experiments?{TRAINING}"}, "no runs yet; `make train` records them")
    number = found["experiment"]["experiment_id"]
    links = {"runs": f"{page}/#/experiments/{number}/runs?{TRAINING}"}
    try:
        _ask(f"{page}/api/2.0/mlflow/registered-models/get?{urlencode({'name': PROJECT})}")
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return Shown(links, "no registered model yet; `make train` registers one")
    return Shown({**links, "registered model": f"{page}/#/models/{PROJECT}?{TRAINING}"})


def prefect(page: str) -> Shown:
    settings = _ask(f"{page}/ui-settings")
    runs = f"{page}{settings[settings['default_ui'] + '_base_url'].rstrip('/')}/runs"
    if _ask(f"{page}/api/flow_runs/count", {}):
        return Shown({"flow runs": runs})
    return Shown({"flow runs": runs}, "no flow runs yet; `make orchestrate` runs them by the clock")


def evidently(page: str, workspace: Path) -> Shown:
    """Its folder is read instead: a page that was asked before the first report lists none until it is restarted."""
    for metadata in sorted(workspace.glob("*/metadata.json")):
        project = json.loads(metadata.read_text())
        if project["name"] == PROJECT and any(metadata.parent.glob("snapshots/*.json")):
            return Shown({"reports": f"{page}/projects/{project['id']}/reports"})
    words = (
        "no reports yet; `make monitor` writes them every so many days (params.yaml: monitor.drift_every_days), "
        "`make replay` writes its own; then start `make ui` again"
    )
    return Shown({"reports": page}, words)


def reports(page: str, folder: Path) -> Shown:
    """The pages that lie there, each under its name."""
    return Shown({path.stem: f"{page}/{path.name}" for path in sorted(folder.glob("*.html"))})


def _ask(address: str, body: Mapping[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(address, data, {"Content-Type": "application/json"})  # noqa: S310  our own pages
    with urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310  see above
        return json.load(answer)
