"""The secrets of the stack, made once and never shown: infra/secrets/, which git ignores.

    python -m infra.credentials            make what is missing; what exists stays

A file each, mounted into the containers that need it and into no other. The folder is closed to other users of this
machine; the files in it are not, because each container reads them as a user of its own.
"""

import json
import secrets
from collections.abc import Callable
from pathlib import Path

from ontime import files
from serving import keys

FOLDER = Path(__file__).parent / "secrets"
TENANTS = {"ontime": "postgresql+psycopg", "mlflow": "postgresql+psycopg", "prefect": "postgresql+asyncpg"}
URLS = {"ontime": "ontime_database_url", "mlflow": "mlflow_database_url", "prefect": "prefect_database_url"}
# Who may do what in which bucket.
BUCKETS = {
    "worker": {"ontime-releases": "Read Write List", "ontime-dvc": "Read Write List"},
    "mlflow": {"ontime-mlflow": "Read Write List"},
    "service": {"ontime-releases": "Read List"},
    "backup": dict.fromkeys(("ontime-releases", "ontime-dvc", "ontime-mlflow"), "Read Write List"),
}
NOBODY_IS_TOLD = "http://127.0.0.1:9/write-your-own-address-into-infra/secrets"


def make(folder: Path) -> list[str]:
    """Write the secrets that are missing; which ones."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made: list[str] = []

    def once(name: str, content: Callable[[], str]) -> str:
        path = folder / name
        if not path.exists():
            files.write_text(path, content())
            path.chmod(0o644)
            made.append(name)
        return path.read_text()

    once("postgres_password", secrets.token_urlsafe)
    for tenant, driver in TENANTS.items():
        password = once(f"{tenant}_password", secrets.token_urlsafe)
        once(URLS[tenant], lambda: f"{driver}://{tenant}:{password}@postgres:5432/{tenant}")  # noqa: B023  called at once
    for who in BUCKETS:
        once(f"aws_{who}", _credentials)
    once("s3.json", lambda: json.dumps({"identities": [_identity(folder, who) for who in BUCKETS]}, indent=2))
    once("ontime_backup", lambda: json.dumps(_parts(folder)))
    once("grafana_password", secrets.token_urlsafe)
    for receiver in ("pager_url", "tickets_url"):
        once(receiver, lambda: NOBODY_IS_TOLD)
    for name, scopes in {"metrics_key": ["admin"], "desk_key": ["predict", "outcomes"]}.items():
        once(name, lambda: keys.add(folder / "api_keys", name.removesuffix("_key"), scopes))  # noqa: B023  see above
    (folder / "api_keys").chmod(0o644)
    return made


def _parts(folder: Path) -> dict[str, str]:
    """What pipelines/backup.py takes care of."""
    databases = {tenant: (folder / URLS[tenant]).read_text() for tenant in TENANTS}
    return databases | {f"bucket-{bucket}": f"s3://{bucket}" for bucket in BUCKETS["backup"]}


def _credentials() -> str:
    """As AWS's libraries read them."""
    return (
        f"[default]\naws_access_key_id = {secrets.token_hex(10)}\naws_secret_access_key = {secrets.token_urlsafe()}\n"
    )


def _identity(folder: Path, who: str) -> dict[str, object]:
    """As SeaweedFS reads it."""
    said = dict(line.split(" = ") for line in (folder / f"aws_{who}").read_text().splitlines()[1:])
    return {
        "name": who,
        "credentials": [{"accessKey": said["aws_access_key_id"], "secretKey": said["aws_secret_access_key"]}],
        "actions": [f"{may}:{bucket}" for bucket, rights in BUCKETS[who].items() for may in rights.split()],
    }


if __name__ == "__main__":
    made = make(FOLDER)
    print(f"credentials: {', '.join(made) or 'nothing'} made in {FOLDER.relative_to(Path.cwd())}")
