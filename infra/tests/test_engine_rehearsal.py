"""The rehearsal with an engine on a recorded cluster; infra/kubernetes/README.md has its result on a real one."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.rehearsal import __main__ as rehearsal_main
from infra.rehearsal import engine_steps, installation
from infra.rehearsal.installation import Installation
from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest
from infra.rehearsal.steps import ENTITIES, Rehearsal, Step
from infra.tests.kubernetes.manifests import parsed, render
from infra.tests.kubernetes.parts import GUIDE, made_by_hand
from infra.tests.tools import ROOT

ENGINES = ("dask", "spark")
REPORT = json.loads((ROOT / "reports/cluster_engines.json").read_text())
WHOLE = json.loads((ROOT / "reports/cluster.json").read_text())
ROWS = 2 * engine_steps.COPIES


@dataclass(frozen=True)
class Recorded(Kubectl):
    """A cluster that keeps what it is given. Its jobs are complete at once, but on an engine without workers never."""

    waits: bool = True  # such a job; False as if it did not use the engine
    digests: tuple[str, str] = ("1a", "1a")  # of the files that the two jobs write
    rows: int = ROWS  # of these files
    created: dict[str, Manifest] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    def run(self, *words: str, text: str | None = None) -> str:
        command = " ".join(words)
        self.commands.append(command)
        if words[0] == "create":
            manifest = json.loads(text or "")
            self.created[manifest["metadata"]["name"]] = manifest
        if words[:2] == ("get", "job"):
            idle = self.waits and words[2] == engine_steps.DISTRIBUTED and not self.workers
            return json.dumps({"status": {} if idle else {"conditions": [{"type": "Complete", "status": "True"}]}})
        answers = {"in_worker requests": '[{"carrier": "UA"}, {"carrier": "B6"}]', "in_worker scored": str(self.rows)}
        answers["sha256sum"] = "\n".join(f"{digest}  a.parquet" for digest in self.digests)
        return next((answer for part, answer in answers.items() if part in command), "")

    @property
    def workers(self) -> int:
        """As many as they were last scaled to; two are in the manifests."""
        counts = re.findall(r"--replicas=(\d+)", " ".join(self.commands))
        return int(counts[-1]) if counts else engine_steps.WORKERS

    def variables(self, job: str) -> Mapping[str, str]:
        """What a created job's container sets itself."""
        (container,) = self.created[job]["spec"]["template"]["spec"]["containers"]
        return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_steps, "WITHOUT_WORKERS_SECONDS", 0)


def rehearse(kubectl: Kubectl, engine: str = "dask") -> list[Step]:
    rehearsal = Rehearsal(Installation(kubectl, parsed(render(f"small-{engine}")), [], "1.33.0", 1, "key"))
    engine_steps.run(rehearsal, engine)
    return rehearsal.steps


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_file_is_scored_by_the_job_and_on_the_engine(engine: str) -> None:
    cluster = Recorded("c", "ontime")

    recorded = rehearse(cluster, engine)

    scaled = [place for place, command in enumerate(cluster.commands) if command.startswith("scale ")]
    started = cluster.commands.index(f"delete Job {engine_steps.DISTRIBUTED} --ignore-not-found --wait")
    assert [cluster.commands[place].rpartition("=")[2] for place in scaled] == ["0", str(engine_steps.WORKERS)]
    assert scaled[0] < started < scaled[1]
    assert cluster.variables(engine_steps.LOCAL)["ONTIME_ENGINE"] == "local"
    assert "ONTIME_ENGINE" not in cluster.variables(engine_steps.DISTRIBUTED)  # so the engine's ConfigMap decides
    committed = [each["step"].replace("dask", engine).replace("60000", str(ROWS)) for each in REPORT["dask"]["steps"]]
    assert [each.name for each in recorded] == committed


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (Recorded("c", "ontime", waits=False), "was completed without workers: it does not use dask"),
        (Recorded("c", "ontime", digests=("1a", "2b")), "is not the file that processes of the job write"),
        (Recorded("c", "ontime", rows=ROWS - 1), "is not the file that processes of the job write"),
    ],
    ids=["a job that needs no worker", "other bytes", "a lost row"],
)
def test_it_fails_if_the_engine_was_not_used_or_wrote_another_file(cluster: Recorded, message: str) -> None:
    with pytest.raises(ClusterFailed, match=message):
        rehearse(cluster)


@pytest.mark.parametrize("overlay", ["small", "small-dask", "small-spark"])
def test_an_overlay_names_its_engine_and_the_rehearsals_own_pods_need_none(overlay: str) -> None:
    manifests = parsed(render(overlay))

    assert installation.engine_of(manifests) == (overlay.partition("-")[2] or None)
    assert installation.worker_image(manifests) == "ontime-worker:0.1.0"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engines_secret_is_the_one_of_the_guide(engine: str) -> None:
    cluster = Recorded("c", "ontime")

    installation._create_secret_of_engine(cluster, engine)

    content = cluster.created[f"ontime-{engine}"]["stringData"]
    assert set(content) == made_by_hand()[f"ontime-{engine}"]
    if engine == "spark":
        (template,) = re.findall(r"printf '(spark\.authenticate .*)' \"\$\(openssl", GUIDE.read_text())
        lines = re.escape(template.replace("\\n", "\n")).replace("%s", "[0-9a-f]{64}")
        assert re.fullmatch(lines, content["spark-defaults.conf"])
    else:
        assert "PRIVATE KEY" in content["tls.key"]
        assert "BEGIN CERTIFICATE" in content["tls.crt"]


def test_a_rehearsal_keeps_what_the_report_says_of_other_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cluster_engines.json").write_text(json.dumps({"dask": {"nodes": 3}, "spark": {"nodes": 5}}))
    cluster = Recorded("c", "ontime")
    monkeypatch.setattr(rehearsal_main, "install", lambda *_: Installation(cluster, [], [], "1.33.0", 1, "key"))
    monkeypatch.setattr(engine_steps, "run", lambda rehearsal, _: rehearsal.record(Step("scored", 8.04)))
    monkeypatch.setattr(rehearsal_main, "REPORTS", tmp_path)

    rehearsal_main.rehearse_engine(cluster, "spark")

    sections = json.loads((tmp_path / "cluster_engines.json").read_text())
    assert sections["dask"] == {"nodes": 3}
    assert sections["spark"]["steps"] == [{"step": "scored", "seconds": 8.0}]


def table() -> list[str]:
    """The steps of the committed rehearsals, as the guide's table has them."""
    by_engine = {
        engine: {each["step"].replace(engine, "the engine"): f"{each['seconds']:.0f}" for each in section["steps"]}
        for engine, section in REPORT.items()
    }
    lines = [["step", *(engine.capitalize() for engine in by_engine)]]
    lines += [[name, *(seconds[name] for seconds in by_engine.values())] for name in by_engine["dask"]]
    return [f"| {' | '.join(line)} |" for line in lines]


@pytest.mark.parametrize("line", table(), ids=lambda line: line.split(" | ")[0])
def test_the_guide_has_the_line_of_the_engines_report(line: str) -> None:
    assert line in GUIDE.read_text()


def test_the_engines_ran_on_the_guides_cluster() -> None:
    assert set(REPORT) <= set(ENGINES)
    assert f"{engine_steps.COPIES * ENTITIES:,} rows were the same bytes" in GUIDE.read_text()
    for section in REPORT.values():
        assert all(section[name] == WHOLE[name] for name in ("kubernetes", "nodes"))
        # The manifests may have more by now that an old version lacks.
        assert set(section["changed_for_this_cluster"]) <= set(WHOLE["changed_for_this_cluster"])
