"""The secrets of the stack, made once and never shown: infra/secrets/, which git ignores.

    python -m infra.credentials            make what is missing; what exists stays

To change one, delete its file and run `make stack` again; of a database's password tell PostgreSQL as well (ALTER
USER). They are in no backup: keep a copy where you keep passwords.

A file each, mounted into the containers that need it and into no other. The folder is closed to other users of this
machine; the files in it are not, because each container reads them as a user of its own.
"""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from ontime import files
from serving import keys

FOLDER = Path(os.environ.get("STACK_SECRETS") or Path(__file__).parent / "secrets")
TENANTS = {"ontime": "postgresql+psycopg", "mlflow": "postgresql+psycopg", "prefect": "postgresql+asyncpg"}
URLS = {"ontime": "ontime_database_url", "mlflow": "mlflow_database_url", "prefect": "prefect_database_url"}
# Who may do what in which bucket.
BUCKETS = {
    "worker": {"ontime-releases": "Read Write List", "ontime-dvc": "Read Write List"},
    "mlflow": {"ontime-mlflow": "Read Write List"},
    "service": {"ontime-releases": "Read List"},
    "backup": dict.fromkeys(("ontime-releases", "ontime-dvc", "ontime-mlflow"), "Read Write List"),
}
KEYS = {"metrics_key": ["admin"], "desk_key": ["predict", "outcomes"]}  # Prometheus', and a person's to begin with
NOBODY_IS_TOLD = "http://127.0.0.1:9/write-your-own-address-into-infra/secrets"


def make(folder: Path) -> list[str]:
    """Write the secrets that are missing, and all that follows from them; which files are new."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    before = {path.name for path in folder.iterdir()}

    def write(name: str, content: str) -> None:
        files.write_text(folder / name, content)
        (folder / name).chmod(0o644)

    drawn: dict[str, Callable[[], str]] = dict.fromkeys(
        ("postgres_password", "grafana_password"), secrets.token_urlsafe
    )
    drawn |= {f"{tenant}_password": secrets.token_urlsafe for tenant in TENANTS}
    drawn |= {f"aws_{who}": _credentials for who in BUCKETS}
    drawn |= dict.fromkeys(("pager_url", "tickets_url"), lambda: NOBODY_IS_TOLD)
    for name in sorted(drawn.keys() - before):
        write(name, drawn[name]())
    for tenant, url in _urls(folder).items():
        write(URLS[tenant], url)
    write("s3.json", json.dumps({"identities": [_identity(folder, who) for who in BUCKETS]}, indent=2))
    write("ontime_backup", json.dumps(_parts(folder)))
    for name, scopes in KEYS.items():
        if not {"api_keys", name} <= before:
            write(name, keys.add(folder / "api_keys", name.removesuffix("_key"), scopes))
    (folder / "api_keys").chmod(0o644)
    return sorted({path.name for path in folder.iterdir()} - before)


def _urls(folder: Path) -> dict[str, str]:
    """Each tenant's database."""
    return {
        tenant: f"{driver}://{tenant}:{(folder / f'{tenant}_password').read_text()}@postgres:5432/{tenant}"
        for tenant, driver in TENANTS.items()
    }


def _parts(folder: Path) -> dict[str, str]:
    """What pipelines/tools/backup.py backs up. Not Prefect's runs: its leases are files that would not match them."""
    databases = {tenant: url for tenant, url in _urls(folder).items() if tenant != "prefect"}
    return databases | {f"bucket-{bucket}": f"s3://{bucket}" for bucket in BUCKETS["backup"]}


def _credentials() -> str:
    """As AWS's libraries read them."""
    return (
        f"[default]\naws_access_key_id = {secrets.token_hex(10)}\naws_secret_access_key = {secrets.token_urlsafe()}\n"
    )


def _identity(folder: Path, who: str) -> dict[str, object]:
    """As SeaweedFS reads it."""
    keys = dict(line.split(" = ") for line in (folder / f"aws_{who}").read_text().splitlines()[1:])
    return {
        "name": who,
        "credentials": [{"accessKey": keys["aws_access_key_id"], "secretKey": keys["aws_secret_access_key"]}],
        "actions": [f"{may}:{bucket}" for bucket, rights in BUCKETS[who].items() for may in rights.split()],
    }


if __name__ == "__main__":
    print(f"credentials: {', '.join(make(FOLDER)) or 'nothing'} made in {FOLDER}")
