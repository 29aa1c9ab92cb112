"""kubectl with one context and one namespace."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]

INSTALLED = Path("var/infra-venv/bin/kubectl")
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class ClusterFailed(RuntimeError):
    """The cluster refused a command, or did not reach a state in time; the message has the command and its output."""


@dataclass(frozen=True)
class Kubectl:
    """Runs commands in `namespace` of the cluster that `context` names."""

    context: str
    namespace: str

    def within(self, namespace: str) -> "Kubectl":
        return replace(self, namespace=namespace)

    def command(self, *words: str) -> list[str]:
        return [program(), f"--context={self.context}", *words]

    def run(self, *words: str, text: str | None = None) -> str:
        """The output of a command in the namespace, with `text` as its input. Raises ClusterFailed."""
        return output_of(self.command(f"--namespace={self.namespace}", *words), text)

    def get(self, *words: str) -> Any:
        return json.loads(self.run("get", *words, "--output=json"))

    def exists(self, *words: str) -> bool:
        return bool(self.run("get", *words, "--ignore-not-found", "--output=name"))

    def create(self, manifest: Manifest) -> None:
        """Replaces an object of the same name. Unlike `apply`, it does not repeat a secret in an annotation."""
        self.run("delete", manifest["kind"], manifest["metadata"]["name"], "--ignore-not-found", "--wait")
        self.run("create", "--filename=-", text=json.dumps(manifest))

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """In the namespaces that the manifests name."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        output_of(self.command("apply", "--filename=-"), json.dumps(listed))

    def started(self, *words: str) -> "subprocess.Popen[str]":
        """A command that runs until its input ends. Its errors go to this process' own."""
        command = self.command(f"--namespace={self.namespace}", *words)
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own arguments

    def server_host(self) -> str:
        """The host of the cluster's API, such as 127.0.0.1. Raises ClusterFailed for an unknown context."""
        config = json.loads(output_of(self.command("config", "view", "--minify", "--output=json")))
        address: str = config["clusters"][0]["cluster"]["server"]
        return address.partition("//")[2].partition("/")[0].rpartition(":")[0] or address.partition("//")[2]


def program() -> str:
    """The kubectl of `make test-infra`, or else the one on the PATH. Raises ClusterFailed if there is none."""
    path = str(INSTALLED) if INSTALLED.exists() else shutil.which("kubectl")
    if path is None:
        raise ClusterFailed("kubectl is not installed: run `make test-infra`, or put it on the PATH")
    return path


def output_of(command: Sequence[str], text: str | None = None) -> str:
    completed = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603  our own arguments
    if completed.returncode != 0:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise ClusterFailed(f"{shown}: {completed.stderr.strip() or completed.stdout.strip()}")
    return completed.stdout
