"""`make train`: runs the stages with DVC, promotes the model, and pushes new outputs; one run at a time per folder.

After an interruption, `make train` continues after the last complete stage. DVC runs in its own process group, which
ends with this process, so no stage continues to write on its own.
"""

import gc
import json
import os
import signal
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import yaml

from ontime import locks, sources, split
from ontime.params import ParamsBroken, load_params
from ontime.refusal import Refusal
from ontime.settings import load_settings
from pipelines.layout import STUDY, write_json
from pipelines.operations import processes
from pipelines.operations.lineage import LOCK

PUSHED = Path("var/.pushed")  # newer than dvc.lock if the outputs in it have been pushed
DVC_RWLOCK = Path(".dvc/tmp/rwlock")
RESUME_HINT = "run `make train` again to continue after the last complete stage"


class NotTrained(RuntimeError):
    """A step failed; the message says which, and how to continue."""


def train_and_promote() -> None:
    """Run everything. Raises Busy, NotTrained, ParamsBroken, SourceBroken, SplitBroken."""
    params = load_params()  # first, for a message without a stage's traceback
    dataset = sources.dataset(params.dataset)
    split.refuse_outside(params.split, dataset.first_day, dataset.last_day)
    with locks.hold(locks.WORKSPACE, "make train"):
        run_stages()
        from pipelines.operations import migrate, promote

        migrate.upgrade_local_file(load_settings())
        promote.main()
        if not PUSHED.exists() or PUSHED.stat().st_mtime < LOCK.stat().st_mtime:
            remote = os.environ.get("DVC_REMOTE")
            _dvc("push", "--quiet", *(("--remote", remote) if remote else ()))
            PUSHED.touch()


def run_stages(*targets: str) -> None:
    """Run these stages and those that they need, as far as their inputs changed; by default all. Raises NotTrained."""
    repair_dvc_state()
    _dvc("repro", *targets)


def repair_dvc_state(folder: Path = Path()) -> None:
    """Mend what stops DVC: a lock, truncated or stale after it was killed or the machine switched off; no study."""
    lock, rwlock, study = folder / LOCK, folder / DVC_RWLOCK, folder / STUDY
    if not study.exists():  # a new problem has none yet, and DVC refuses a missing input
        write_json(study, {})
    if lock.exists() and not _is_complete(lock):
        lock.unlink()
        print(f"train: {LOCK} is incomplete after an interruption; rebuilding it from DVC's cache", flush=True)
    # DVC would mistake another process with a reused id for the holder of the lock, and cannot read half a file.
    if rwlock.exists() and not _is_in_use(rwlock):
        rwlock.unlink()


def _is_complete(lock: Path) -> bool:
    try:
        return isinstance(yaml.safe_load(lock.read_text(encoding="utf-8")), dict)
    except (yaml.YAMLError, UnicodeDecodeError):
        return False


def _is_in_use(path: Path) -> bool:
    """Whether a process in DVC's read-write lock is a running DVC, such as one started by hand."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    readers = [each for of_path in entries.get("read", {}).values() for each in of_path]
    return any(_is_dvc(each["pid"]) for each in (*entries.get("write", {}).values(), *readers))


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # of another user: it may be DVC
        return True


def _dvc(*words: str) -> None:
    with processes.process_group([sys.executable, "-m", "dvc", *words]) as process:
        from pipelines.operations import promote  # noqa: F401  meanwhile, because its imports take half a second

        code = process.wait()
    if code:
        raise NotTrained(f"`dvc {words[0]}` {_failure(code)}; {RESUME_HINT}")


def _failure(code: int) -> str:
    if code > 0:
        return f"failed with exit status {code}, see its output above"
    return f"was killed by {signal.Signals(-code).name}, together with its stage"


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job inherits it as ignored
        signal.signal(number, signal.default_int_handler)
    try:
        train_and_promote()
    except (locks.Busy, NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"train: {refused}")
    except KeyboardInterrupt:
        print(f"train: interrupted; {RESUME_HINT}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)  # as shells report it
    gc.freeze()  # the process ends: searching MLflow and all other modules for garbage would take a second
