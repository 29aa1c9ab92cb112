"""Retraining: the same DVC pipeline with a later window, as a recorded experiment in a clone of this repository.

    ontime retrain          if the policy has requested it, or one has begun and not finished
    ontime retrain --now    without a request

The clone (`ONTIME_WORKSPACE`) contains the current commit, so a retraining never uses uncommitted code and never
changes your files. `dvc exp show` lists its experiments. They are named after the requesting day, so an interrupted
retraining continues.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import cast

import sqlalchemy as sa
import yaml

from monitoring.policy import Action
from ontime import (
    database,
    environment,
    files,
    local_time,
    locks,
    progress,
    refusal,
    release_pointer,
    signatures,
    sources,
)
from ontime.counts import counted
from ontime.params import Params, load_params
from ontime.refusal import Refusal
from ontime.settings import PREFIX, Settings, load_settings
from ontime.unfinished_retrainings import unfinished_retrainings
from pipelines.operations import feed_clock, git, processes, raw_files, train_and_promote

FOLDERS = (
    "releases",
    "workspace",
    "artifacts",
    "evidently",
    "quarantine",
    "spool",
)  # settings whose paths are relative to this folder, not to the clone
DVC = (sys.executable, "-m", "dvc")
LAST_STAGE = "evaluate"
STAGE_LINE = re.compile(r"(?:Running stage|Stage) '([\w-]+)'")  # as DVC prints when it begins or skips one
NOT_REQUESTED = "no retraining is requested or unfinished; `make retrain NOW=1` runs one anyway"


class NotRetrained(RuntimeError):
    """The clone or one of its commands failed; the message has the command and its last lines."""


def requested_day(engine: sa.Engine) -> date | None:
    """The day of the latest retraining, by the policy or by hand, that has not finished yet; None if there is none."""
    unfinished = unfinished_retrainings(engine)
    return date.fromisoformat(unfinished[-1].evidence["day"]) if unfinished else None


def run(settings: Settings, params: Params, day: date) -> str:
    """Retrain with the data known at the end of `day`. Returns the result. Raises NotRetrained, GitRefused, Busy.

    A refusal by a stage or the gate is recorded as the result, and is not retried.
    """
    git.refuse_without_commit()
    with locks.hold(settings.workspace.with_name(f"{settings.workspace.name}.lock"), "a retraining"):
        return _run_alone(settings, params, day)


def _run_alone(settings: Settings, params: Params, day: date) -> str:
    engine = database.connect(settings.database_url)
    now = local_time.midnight(day + timedelta(days=1))
    pointer = release_pointer.read_pointer(settings.releases)
    if pointer is not None and pointer.challenger is not None:
        return f"release {pointer.challenger.version} challenges the champion, and a retraining would end its trial"
    if reason := too_early(params, day):
        database.record_decision(engine, "retrained", "too early", {"day": str(day), "reason": reason}, now)
        return reason
    if database.last_decision(engine, "retraining", day=str(day)) is None:
        database.record_decision(engine, "retraining", "begun", {"day": str(day), "reason": _why(engine, day)}, now)
    try:
        workspace = update_clone(settings.workspace)
        lines = train_candidate(settings, workspace, f"retrain-{day}", window_params(params, day, now), now)
    except Refusal as refused:  # such as a leak: a retry would fail again
        database.record_decision(engine, "retrained", "refused", {"day": str(day), "reason": str(refused)}, now)
        return f"refused: {refused}"
    database.record_decision(engine, "retrained", "done", {"day": str(day), "reason": lines[-1]}, now)
    return "\n".join(lines)


def train_candidate(
    settings: Settings, workspace: Path, name: str, changed: Mapping[str, str], now: datetime
) -> list[str]:
    """Run the stages in a clone with `changed` parameters as the experiment `name`, publish the model, ask the gate.

    Returns the lines that the promotion printed. Raises NotRetrained, and Refusal by a stage or the gate.
    """
    train_and_promote.repair_dvc_state(workspace)
    promote = (sys.executable, "-m", "pipelines.operations.promote", "--candidate-at", now.isoformat())
    # Started in parallel with the stages, because its imports take seconds; it waits for a line on its standard input.
    with processes.piped(promote, workspace, _environment(workspace, settings), files.PRIVATE_UMASK) as promotion:
        run_experiment(workspace, name, changed)
        return _promotion_output(promotion).strip().splitlines()


def too_early(params: Params, day: date) -> str | None:
    """Why `day` is too near to the start of the dataset to train on; None if it is not."""
    held_out = params.retrain.valid_days + params.retrain.test_days
    first = sources.dataset(params.dataset).first_day
    left = max(0, (day - first).days + 1 - held_out)
    if left >= params.retrain.train_days:
        return None
    available = counted(left, f"day of {params.dataset} is", f"days of {params.dataset} are")
    return f"{available} available for training, and retrain.train_days requires {params.retrain.train_days}"


def _why(engine: sa.Engine, day: date) -> str:
    decision = database.last_decision(engine, "policy", day=str(day))
    requested = decision is not None and decision.verdict == Action.RETRAIN
    return str(decision.evidence["reason"]) if decision is not None and requested else "requested by hand"


def window_params(params: Params, day: date, now: datetime) -> dict[str, str]:
    """The parameters of a retraining at the end of `day`: all data of the dataset, with the last days held out."""
    test_until = day + timedelta(days=1)
    test_from = test_until - timedelta(days=params.retrain.test_days)
    valid_from = test_from - timedelta(days=params.retrain.valid_days)
    return {
        "dataset": f"'{params.dataset}'",
        "known_until": f"'{now.isoformat()}'",
        "split.train_from": f"'{sources.dataset(params.dataset).first_day}'",
        "split.valid_from": f"'{valid_from}'",
        "split.test_from": f"'{test_from}'",
        "split.test_until": f"'{test_until}'",
        "train.candidates": f"[{','.join(params.retrain.candidates)}]",
        # The parts of the model card that take time, which a retraining does not need.
        "evaluate.full_card": "false",
    }


def update_clone(workspace: Path) -> Path:
    """Create the clone if needed, and check out this repository's current commit in it; earlier results stay."""
    if not (workspace / ".git").exists():
        temporary = workspace.with_name(f".{workspace.name}.cloning")  # so that an interrupted clone is not used
        shutil.rmtree(temporary, ignore_errors=True)
        files.make_private_folder(temporary.parent)
        _run(["git", "clone", "--quiet", "--no-checkout", ".", str(temporary)])
        _write_config(temporary)
        temporary.rename(workspace)
    for lock in (workspace / ".git").rglob("*.lock"):  # left by a git that was killed
        lock.unlink()
    commit = _run(["git", "rev-parse", "HEAD"]).strip()
    # The clone's git directory is named, because for a damaged one git would search the parent folders and find this
    # repository. It fetches by path, because this folder may have been moved or copied since `origin` was set.
    git_in_clone = ["git", f"--git-dir={workspace.resolve() / '.git'}"]
    _run([*git_in_clone, "fetch", "--quiet", str(Path.cwd()), "HEAD"], cwd=workspace)
    _run([*git_in_clone, f"--work-tree={workspace.resolve()}", "checkout", "--quiet", "--force", "--detach", commit])
    raw_files.link_into(workspace)
    return workspace


def _write_config(workspace: Path) -> None:
    for name, value in (("user.name", "ontime"), ("user.email", "ontime@localhost"), ("gc.auto", "0")):
        _run(["git", "config", name, value], cwd=workspace)
    # Links instead of copies, so that data and cache share disk space.
    (workspace / ".dvc").mkdir(exist_ok=True)
    (workspace / ".dvc" / "config.local").write_text("[cache]\n    type = reflink,hardlink,copy\n", encoding="utf-8")


def run_experiment(workspace: Path, name: str, changed: Mapping[str, str]) -> None:
    """Run the stages up to `evaluate` as the DVC experiment `name`, or apply it if it has already finished."""
    if name in _run(["git", "for-each-ref", "--format=%(refname:lstrip=-1)", "refs/exps"], cwd=workspace).split():
        _run([*DVC, "exp", "apply", name], workspace, _environment(workspace))
        return
    options = [option for key, value in changed.items() for option in ("--set-param", f"{key}={value}")]
    command = [*DVC, "exp", "run", "--name", name, *options, LAST_STAGE]
    with progress.steps("retrain", len(stages_up_to(LAST_STAGE))) as begin_step:

        def show(line: str) -> None:
            if stage := STAGE_LINE.match(line):
                begin_step(stage[1])

        _run(command, workspace, _environment(workspace), show)


def stages_up_to(target: str) -> set[str]:
    """The stages of dvc.yaml that `target` needs, directly or through others, and itself."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    # An output is a path, or a path with its options.
    makers = {
        path: name
        for name, stage in stages.items()
        for out in stage["outs"]
        for path in (out if isinstance(out, dict) else [out])
    }
    needed, new = set[str](), {target}
    while new:
        needed |= new
        new = {makers[path] for name in new for path in stages[name].get("deps", ()) if path in makers} - needed
    return needed


def _promotion_output(promotion: "subprocess.Popen[str]") -> str:
    """Tell the waiting promotion that the stages have finished, and return its output."""
    return _output(promotion, "\n")


def _environment(workspace: Path, settings: Settings | None = None) -> dict[str, str]:
    """The environment to run the clone's own code; with `settings`, with the stores of this folder."""
    variables = environment.project_variables(os.environ, workspace.resolve())
    if settings is not None:
        variables |= {f"{PREFIX}{name.upper()}": str(getattr(settings, name).resolve()) for name in FOLDERS} | {
            f"{PREFIX}SIGNING_KEY": str(signatures.signing_key_path().resolve()),
            f"{PREFIX}TRUSTED_KEYS": str(signatures.trusted_keys_path().resolve()),
            f"{PREFIX}DATABASE_URL": _from(workspace, settings.database_url.get_secret_value()),
            f"{PREFIX}TRACKING_URL": _from(workspace, settings.tracking_url),
        }
    return variables


def _from(workspace: Path, url: str) -> str:
    """The database's address as seen from the workspace; relative, because a path may be invalid in a URL."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return url
    database = os.path.relpath(Path(parsed.database).resolve(), workspace.resolve())
    return parsed.set(database=database).render_as_string(hide_password=False)


def _run(
    command: Sequence[str],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    with processes.piped(command, cwd, env, files.PRIVATE_UMASK) as process:
        return _output(process, on_line=on_line)


def _output(
    process: "subprocess.Popen[str]", text: str | None = None, on_line: Callable[[str], None] | None = None
) -> str:
    """Send `text` and return all output. Raises Refusal or NotRetrained."""
    name = " ".join(cast("Sequence[str]", process.args)[:4]) + " ..."
    try:
        return processes.output_of(process, name, text, on_line)
    except processes.ProcessFailed as failed:
        if reason := refusal.find_refusal(failed.output):
            raise Refusal(reason) from None
        raise NotRetrained(str(failed)) from None


def main(*, now: bool = False) -> None:
    settings, params = load_settings(), load_params()
    try:
        day = requested_day(database.connect(settings.database_url))
        if now:
            day = feed_clock.yesterday(settings, params)
        if day is None:
            print(f"retrain: {NOT_REQUESTED}")
            return
        print(f"retrain: {day}: {run(settings, params, day)}")
    except (NotRetrained, git.GitRefused, locks.Busy) as failed:
        sys.exit(f"retrain: {failed}")
