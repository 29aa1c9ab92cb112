"""With several workers, live gauges are those of the workers that run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import metrics


def test_gauges_of_the_supervisor_and_of_dead_workers_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for process in (os.getppid(), ended.pid, os.getpid()):
        for kind in ("livemin", "livemax", "livesum"):
            (tmp_path / f"gauge_{kind}_{process}.db").touch()
    (tmp_path / f"counter_{ended.pid}.db").touch()

    metrics._keep_gauges_of_workers(tmp_path)

    own = {f"gauge_{kind}_{os.getpid()}.db" for kind in ("livemin", "livemax", "livesum")}
    assert {path.name for path in tmp_path.iterdir()} == own | {f"counter_{ended.pid}.db"}
