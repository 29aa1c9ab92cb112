"""`make train`: the stages by DVC, the promotion, and DVC's push of what is new; one at a time in a folder.

Whatever kills this, `make train` again goes on after the last complete stage. DVC runs in a group of processes of its
own, which ends with this process, and this process ends with DVC: nothing of it goes on writing unseen.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import yaml

from ontime import environment, locks, sources, split
from ontime.params import ParamsBroken, load_params
from ontime.refusal import Refusal
from pipelines.operations import processes, promote
from pipelines.operations.lineage import LOCK

PUSHED = Path("var/.pushed")  # younger than dvc.lock: what that names is in the remote
DVC_READS_AND_WRITES = Path(".dvc/tmp/rwlock")
RESUME_HINT = "`make train` again goes on after the last complete stage"


class NotTrained(RuntimeError):
    """A step did not end well; the message says which, and how to go on."""


def train_and_promote() -> None:
    """Raises Busy, NotTrained, ParamsBroken, SourceBroken, SplitBroken."""
    params = load_params()  # refused here, before a stage shows where in the code it was read
    dataset = sources.dataset(params.dataset)
    split.refuse_outside(params.split, dataset.first_day, dataset.last_day)
    with locks.held(locks.WORKSPACE, "make train"):
        repair_dvc_state()
        _dvc("repro")
        promote.main()
        if not PUSHED.exists() or PUSHED.stat().st_mtime < LOCK.stat().st_mtime:
            remote = os.environ.get("DVC_REMOTE")
            _dvc("push", "--quiet", *(("--remote", remote) if remote else ()))
            PUSHED.touch()


def repair_dvc_state(folder: Path = Path()) -> None:
    """Remove what a DVC that was killed, or a computer that was switched off, has left and DVC would not go past."""
    lock, in_use = folder / LOCK, folder / DVC_READS_AND_WRITES
    if lock.exists() and not _is_whole(lock):
        lock.unlink()
        print(f"train: {LOCK} was cut off: removed, and made again from DVC's cache", flush=True)
    # DVC takes any process that has got the number of a dead one for that one, and any half of this file for an error.
    if in_use.exists() and not _is_in_use(in_use):
        in_use.unlink()


def _is_whole(lock: Path) -> bool:
    try:
        return isinstance(yaml.safe_load(lock.read_text()), dict)
    except (yaml.YAMLError, UnicodeDecodeError):
        return False


def _is_in_use(path: Path) -> bool:
    """Whether one of the processes that DVC wrote down there is a living DVC, such as one that was started by hand."""
    try:
        entries = json.loads(path.read_text())
    except ValueError:
        return False
    readers = [each for of_path in entries.get("read", {}).values() for each in of_path]
    return any(_is_dvc(each["pid"]) for each in (*entries.get("write", {}).values(), *readers))


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's: it may be one
        return True


def _dvc(*words: str) -> None:
    with processes.started([sys.executable, "-m", "dvc", *words]) as process:
        code = process.wait()
    if code:
        raise NotTrained(f"`dvc {words[0]}` {_ending(code)}; {RESUME_HINT}")


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with {code}, for what it says above"
    return f"was killed ({signal.Signals(-code).name}), and what it had started with it"


def main(words: Sequence[str]) -> None:
    if words:
        sys.exit(f"train: takes no arguments, and was given {' '.join(words)}; what it trains is in params.yaml")
    for each in (signal.SIGINT, signal.SIGTERM):  # a shell's background job inherits a deaf ear for Ctrl-C
        signal.signal(each, signal.default_int_handler)
    try:
        train_and_promote()
    except (locks.Busy, NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"train: {refused}")
    except KeyboardInterrupt:
        sys.exit(f"train: interrupted; {RESUME_HINT}")


if __name__ == "__main__":
    environment.settle()
    main(sys.argv[1:])
