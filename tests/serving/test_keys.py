"""Keys that several processes add at once are all kept, and the service follows the file of its keys."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ontime.settings import Settings
from serving import key_watcher, keys
from tests import ROOT
from tests.service import MORNING, running, wait_for

PROCESSES = 6
ADD_ON_SIGNAL = """
import sys
import time
from pathlib import Path
from serving import key_watcher, keys
print("ready", flush=True)
sys.stdin.readline()
print(keys.add(Path(sys.argv[1]), sys.argv[2], ["predict"]), flush=True)
"""


@pytest.mark.slow
def test_six_keys_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    path, environment = tmp_path / "new/keys.json", {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    commands = [[sys.executable, "-c", ADD_ON_SIGNAL, str(path), f"desk{number}"] for number in range(PROCESSES)]
    processes = [
        subprocess.Popen(each, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for each in commands
    ]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * PROCESSES

    for process in processes:
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
    added = {process.communicate()[0].strip() for process in processes}

    assert {keys.key_digest(key) for key in added} == set(keys.read_keys(path).by_digest())
    assert len(added) == PROCESSES
    modes = {each.name: oct(each.stat().st_mode & 0o777) for each in (path.parent, *path.parent.iterdir())}
    assert modes == {"new": "0o700", "keys.json": "0o600", ".keys.json.lock": "0o600"}


def mounted(folder: Path, digests: str, version: str) -> Path:
    """The file as Kubernetes mounts it: a link to a link, which a changed secret replaces."""
    (folder / version).mkdir()
    (folder / version / "api-keys.json").write_text(digests)
    (folder / "..new").symlink_to(version)
    (folder / "..new").replace(folder / "..data")
    if not (folder / "api-keys.json").is_symlink():
        (folder / "api-keys.json").symlink_to("..data/api-keys.json")
    return folder / "api-keys.json"


@pytest.mark.slow
def test_a_rotated_key_needs_no_restart_and_a_damaged_file_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    made, secret = tmp_path / "keys.json", tmp_path / "secret"
    secret.mkdir()
    old = keys.add(made, "desk", ["predict"])
    path = mounted(secret, made.read_text(), "..1")
    with running(settings, ONTIME_API_KEYS=str(path)) as service:

        def status(key: str) -> int:
            return service.ask("POST", "/v1/predictions", MORNING, Authorization=f"Bearer {key}")[0]

        assert status(old) == 200

        new = keys.add(made, "desk", ["predict"])
        mounted(secret, made.read_text(), "..2")

        wait_for(lambda: status(new) == 200)
        assert status(old) == 401

        mounted(secret, '{"keys": []}', "..3")
        time.sleep(2 * key_watcher.POLL_SECONDS)
        mounted(secret, "{", "..4")
        time.sleep(2 * key_watcher.POLL_SECONDS)
        late = keys.add(made, "late", ["predict"])
        assert status(new) == 200
        mounted(secret, made.read_text(), "..5")

        wait_for(lambda: status(late) == 200)
        assert status(new) == 200
