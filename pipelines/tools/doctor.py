"""`ontime doctor`: what is installed, where things are written, which release is live, and what would stop a command.

Each check gives findings in words. It changes nothing.
"""

import json
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import sqlalchemy as sa

from ontime import database, release, release_pointer
from ontime.environment import ROOT
from ontime.params import PARAMS_FILE, ParamsBroken, load_params
from ontime.release import ReleaseRefused
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.operations import git
from pipelines.tools import install

VENV = Path(".venv")
NEEDED_GB = 3  # packages, data, models and DVC's cache
WRITTEN = ("data", "models", "releases", "reports", "var", ".dvc/cache", ".venv")
Status = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """`problem`: some command fails until this is fixed; the text says how."""

    status: Status
    topic: str
    text: str


def _python() -> Iterator[Finding]:
    where = Path(sys.prefix)
    shown = VENV if where.resolve() == VENV.resolve() else where
    yield Finding("ok", "python", f"{sys.version.split()[0]} in {shown}")
    if install.is_installed(VENV / ".installed"):
        yield Finding("ok", "packages", f"as locked in {install.ALL}")
    else:
        yield Finding("problem", "packages", f"{VENV} does not match {install.ALL}: run make install")
    try:
        install.refuse_without_openmp(sys.executable)
    except install.NotInstalled as error:
        yield Finding("problem", "openmp", str(error))
    else:
        yield Finding("ok", "openmp", "LightGBM finds its library")


def _folder() -> Iterator[Finding]:
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    text = f"{free_gb:,.0f} GB free in {ROOT}"
    yield Finding(
        "ok" if free_gb >= NEEDED_GB else "problem",
        "disk",
        text if free_gb >= NEEDED_GB else f"{text}: a training needs about {NEEDED_GB} GB",
    )
    sizes = (f"{name} {_size_mb(Path(name)):,.0f} MB" for name in WRITTEN if Path(name).exists())
    yield Finding("ok", "written", f"generated files: {', '.join(sizes)}")
    if not os.access(ROOT, os.W_OK):
        yield Finding("problem", "user", f"{ROOT} is not writable for the user id {os.getuid()}")
    try:
        yield Finding("ok", "user", f"{pwd.getpwuid(os.getuid()).pw_name}, id {os.getuid()}")
    except KeyError:
        yield Finding("note", "user", f"the id {os.getuid()} has no name, so decisions record the number")


def _size_mb(folder: Path) -> float:
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(each.lstat().st_size for each in files) / 1e6


def _git() -> Iterator[Finding]:
    try:
        commit = git.commit()
        changed = len((git.query("status", "--porcelain") or "").splitlines())
        git.refuse_without_commit()
    except git.GitRefused as error:
        yield Finding("problem", "git", f"make retrain, reproduce and replay: {error}")
        return
    changes = f", {changed} uncommitted changes, which a retraining does not see" if changed else ""
    yield Finding("note" if changed else "ok", "git", f"commit {str(commit)[:12]}{changes}")


def _settings() -> Iterator[Finding]:
    try:
        settings = load_settings()
    except BadSettings as error:
        yield Finding("problem", "settings", str(error))
        return
    given = sorted(name for name in os.environ if name.startswith("ONTIME_"))
    yield Finding("ok", "settings", f"from the environment: {', '.join(given)}" if given else "all defaults")
    yield from _release(settings)
    yield from _database(settings)
    yield _port(settings)


def _params() -> Iterator[Finding]:
    try:
        params = load_params()
    except ParamsBroken as error:
        yield Finding("problem", "parameters", str(error))
    else:
        yield Finding("ok", "parameters", f"{PARAMS_FILE} is valid, dataset {params.dataset}")


def _release(settings: Settings) -> Iterator[Finding]:
    try:
        pointer = release_pointer.read_pointer(settings.releases)
        if pointer is None:
            yield Finding("note", "release", "none is live: run make train")
            return
        manifest = release.verify(settings.releases / pointer.version, pointer.manifest_sha256)
    except ReleaseRefused as error:
        yield Finding("problem", "release", f"make serve: {error}")
        return
    published = len(release.published(settings.releases))
    trained = f"trained on {manifest.trained_from} until {manifest.trained_until}"
    text = f"{manifest.version} ({manifest.algorithm}, {trained}) is live, of {published} published"
    if pointer.challenger:
        text += f"; challenger {pointer.challenger.version} serves {pointer.challenger.share:.1%}"
    yield Finding("ok", "release", text)


def _database(settings: Settings) -> Iterator[Finding]:
    url = sa.make_url(settings.database_url.get_secret_value())
    shown = url.render_as_string()  # without the password
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        yield Finding("note", "database", f"{shown} does not exist yet")
        return
    try:
        engine = database.connect(settings.database_url, patience_s=2)
        newest = database.latest_decisions(engine, 1)
    except (sa.exc.SQLAlchemyError, database.DatabaseRefused) as error:
        yield Finding("problem", "database", f"{shown}: {str(error).partition(chr(10))[0]}")
        return
    if url.get_backend_name() == "sqlite":
        yield _sqlite(sqlite3.sqlite_version_info, settings.workers)
    last = f"; the last decision: {newest[0].kind}, {newest[0].verdict}" if newest else ""
    yield Finding("ok", "database", f"{shown}{last}")


def _sqlite(version: tuple[int, ...], workers: int) -> Finding:
    """Older versions can lose committed rows when two processes write and checkpoint at the same instant.

    https://sqlite.org/wal.html#walresetbug: fixed in 3.51.3, and in 3.50.7 and 3.44.6 of those lines.
    """
    is_fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    shown = ".".join(map(str, version))
    if is_fixed or workers == 1:
        return Finding("ok", "sqlite", f"{shown}")
    return Finding(
        "note",
        "sqlite",
        f"{shown} can, very rarely, lose committed rows when several processes write: for ONTIME_WORKERS={workers} use "
        "PostgreSQL (ONTIME_DATABASE_URL), or a Python with SQLite 3.51.3",
    )


def _port(settings: Settings) -> Finding:
    try:
        socket.create_server(
            (settings.host, settings.port), family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        ).close()
    except OSError as error:
        text = f"{settings.host}:{settings.port}: {error.strerror}; if that is not your service, set ONTIME_PORT"
        return Finding("note", "port", text)
    return Finding("ok", "port", f"{settings.host}:{settings.port} is free")


def _pipeline() -> Iterator[Finding]:
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    completed = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  our own words
    if completed.returncode:
        yield Finding("problem", "pipeline", (completed.stderr.strip().splitlines() or ["dvc status failed"])[-1])
        return
    stages = sorted(json.loads(completed.stdout))
    if stages:
        yield Finding("note", "pipeline", f"out of date, make train runs: {', '.join(stages)}")
    else:
        yield Finding("ok", "pipeline", "every stage is up to date")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _folder, _git, _params, _settings, _pipeline)


def main(*, as_json: bool = False) -> None:
    """Print all findings; exits with 1 if one is a problem."""
    findings = []
    for check in CHECKS:
        for finding in check():
            findings.append(finding)
            if not as_json:
                mark = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}[finding.status]
                print(f"{mark}  {finding.topic:<11} {finding.text}", flush=True)
    if as_json:
        print(json.dumps([each._asdict() for each in findings], indent=2))
    sys.exit(1 if any(each.status == "problem" for each in findings) else 0)
