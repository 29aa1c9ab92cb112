"""What a rehearsal does to an installed service, step by step, under a constant load."""

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from infra.rehearsal import disturbances, jobs, pods, traffic
from infra.rehearsal.disturbances import DEPLOYMENT
from infra.rehearsal.installation import Installation
from infra.rehearsal.kubectl import ClusterFailed
from infra.rehearsal.load import Attempt

RATE = 20  # requests per second
REPLICAS = 3
ENTITIES = 500  # whose requests are sent again and again, and scored as a file
CALM_SECONDS = 20
FOLLOW_SECONDS = 30  # until all pods must serve a release: two mirrors, which copy every 5 seconds
TRAINING_SECONDS = 3600
PUBLISHER = "deployment/ontime-publisher"


class Step(NamedTuple):
    name: str
    seconds: float  # of a moved release: until the last request that another release answered
    load: traffic.Counts | None = None
    lossless: bool = False  # every request must be answered


@dataclass
class Rehearsal:
    installation: Installation
    plan: dict[str, Any] = field(default_factory=dict)  # of the load
    attempts: list[Attempt] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def run(self) -> None:
        """All steps. Raises ClusterFailed if one does not succeed."""
        self._first_release()
        self._disturb("steady load", lambda _: time.sleep(CALM_SECONDS), lossless=True)
        self._disturb("rolling restart", disturbances.restart, lossless=True)
        self._disturb("the next version is deployed", disturbances.deploy_next_version, lossless=True)
        self._disturb("a version that cannot start is taken back", disturbances.deploy_missing_image, lossless=True)
        self._disturb("a pod is deleted", disturbances.delete_pod)
        self._disturb("the service process of a pod is killed", disturbances.kill_process)
        self._disturb("the service process of a pod hangs", disturbances.hang_process)
        self._second_release()
        self._score_file()

    def _first_release(self) -> None:
        """As in the guide: migrate, train, publish, restart; and what would be materialised soon after."""
        self.job("ontime-migrate", "the tables are migrated")
        self.job("ontime-first-release", "the first release is trained")
        began = time.monotonic()
        self._kubectl("scale", DEPLOYMENT, f"--replicas={REPLICAS}")
        disturbances.restart(self.installation)
        self.record(Step(f"{REPLICAS} pods are ready", time.monotonic() - began))
        self.job("ontime-materialise", "features are materialised")
        address = self.installation.kubectl.get("service", "ontime")["spec"]["clusterIP"]
        self.plan = {
            "url": f"http://{address}/v1/predictions",
            "key": self.installation.key,
            "rate": RATE,
            "requests": self.in_worker("requests", str(ENTITIES)),
        }
        if not self.plan["requests"]:
            raise ClusterFailed("no entity is materialised: there is nothing to ask about")
        pods.start(self.installation.client, pods.client(self.installation.image))

    def _second_release(self) -> None:
        """A release of a week earlier on the feed's clock: in shadow, promoted by force, and rolled back."""
        earlier = {"ONTIME_WEEKS_BEHIND": str(self.in_worker("weeks") + 1)}
        self.job("ontime-retrain", "a second release is trained", ["ontime", "retrain", "--now"], earlier)
        before, version = "1", "2"
        self._kubectl("exec", PUBLISHER, "--", "ontime", "withdraw")
        shadows = self.in_worker("rows")["shadows"]
        self._move(f"release {version} runs in shadow", ["shadow", version], before)
        if self.in_worker("rows")["shadows"] == shadows:
            raise ClusterFailed(f"release {version} is in shadow, but scored nothing")
        self._move(f"release {version} is promoted", ["promote", version, "--force"], version)
        self._move(f"release {before} is live again", ["rollback"], before)

    def _score_file(self) -> None:
        requests: list[dict[str, Any]] = self.plan["requests"]
        self.keep_to_score(requests)
        self.job("ontime-score", f"a file of {len(requests)} rows is scored")
        rows = self.in_worker("scored", "var/scored/score.parquet")
        if rows != len(requests):
            raise ClusterFailed(f"the scoring job wrote {rows} rows of {len(requests)}")

    def keep_to_score(self, requests: Sequence[dict[str, Any]]) -> None:
        """Write them to the file that the job `ontime-score` reads."""
        keep = "mkdir -p var/to-score && cat > var/to-score/rows.csv"
        self._kubectl("exec", "--stdin", PUBLISHER, "--", "sh", "-c", keep, text=as_csv(requests))

    def job(
        self, cronjob: str, name: str, command: Sequence[str] | None = None, env: dict[str, str] | None = None
    ) -> None:
        """Run a CronJob's job to its end, as a step of that name."""
        job = jobs.job_of(self.installation.cronjob(cronjob), cronjob.removeprefix("ontime-"), command, env)
        self.record(Step(name, jobs.run_job(self.installation.kubectl, job, TRAINING_SECONDS)))

    def _disturb(self, name: str, action: Callable[[Installation], None], *, lossless: bool = False) -> None:
        with self._load() as attempts:
            began = time.monotonic()
            action(self.installation)
            seconds = time.monotonic() - began
        self._loaded(name, seconds, attempts, lossless)

    def _move(self, name: str, words: Sequence[str], version: str) -> None:
        """Move a release; its seconds end with the last request that another release answers."""
        with self._load() as attempts:
            began = time.time()
            self._kubectl("exec", PUBLISHER, "--", "ontime", *words)
            time.sleep(FOLLOW_SECONDS)
        self._loaded(name, traffic.seconds_until_only(version, attempts, began), attempts, lossless=True)

    def _load(self) -> AbstractContextManager[list[Attempt]]:
        return traffic.under_load(self.installation.client, pods.CLIENT, self.plan)

    def _loaded(self, name: str, seconds: float, attempts: Sequence[Attempt], lossless: bool) -> None:
        self.attempts += attempts
        self.record(Step(name, seconds, traffic.counts_of(attempts), lossless))

    def record(self, step: Step) -> None:
        self.steps.append(step)
        print(f"rehearsal: {step.name}: {step.seconds:.0f} s", flush=True)

    def _kubectl(self, *words: str, text: str | None = None) -> str:
        return self.installation.kubectl.run(*words, text=text)

    def in_worker(self, *words: str, text: str | None = None) -> Any:
        """The parsed output of infra/rehearsal/in_worker.py in the publisher's pod. Raises ClusterFailed."""
        command = ("exec", "--stdin", PUBLISHER, "--", "python", "-m", "infra.rehearsal.in_worker", *words)
        return json.loads(self._kubectl(*command, text=text or ""))


def as_csv(requests: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    rows = csv.DictWriter(text, list(requests[0]))
    rows.writeheader()
    rows.writerows(requests)
    return text.getvalue()
