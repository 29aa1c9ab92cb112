"""Creates the secrets of the stack once, as files in infra/secrets/, which git ignores. It never prints them.

    python -m infra.credentials            creates missing secrets; existing ones stay; says which addresses are missing

To change a secret, delete its file and run `make stack` again; for a database password, also run ALTER USER in
PostgreSQL; for mlflow_login, also delete logins.db in the volume `mlflow`; for the signing key, sign the releases with
`make stack-run DO="make sign"`, then delete the first line of trusted_keys and restart the services. To use Kafka,
write its address into ontime_broker. No backup includes the secrets: keep a copy in a password manager.

Each file is mounted only into the containers that need it. Other users of this machine cannot enter the folder; the
files themselves are readable, because each container reads them as its own user.
"""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import sqlalchemy as sa

from ontime import files, signatures
from pipelines.operations import embedded_broker
from serving import keys

FOLDER = Path(os.environ.get("STACK_SECRETS") or Path(__file__).parent / "secrets")
TENANTS = {"ontime": "postgresql+psycopg", "mlflow": "postgresql+psycopg", "prefect": "postgresql+asyncpg"}
URLS = {tenant: f"{tenant}_database_url" for tenant in TENANTS}
ROLES = ("ontime_service", "ontime_worker")  # users of ontime's database with fewer rights than its owner
# The permissions of each user in each bucket.
BUCKETS = {
    "worker": {"ontime-releases": "Read Write List", "ontime-dvc": "Read Write List"},
    "mlflow": {"ontime-mlflow": "Read Write List"},
    "service": {"ontime-releases": "Read List"},
    "backup": dict.fromkeys(("ontime-releases", "ontime-dvc", "ontime-mlflow"), "Read Write List"),
}
KEYS = {"metrics_key": ["admin"], "desk_key": ["predict", "outcomes"]}  # for Prometheus, and for a first person
BROKER_FOLDER = Path("/app/var/broker")  # in the container
RECEIVERS = ("pager_url", "tickets_url", "watchdog_url")  # of infra/alertmanager/alertmanager.yml
PLACEHOLDER_URL = "http://127.0.0.1:9/write-your-own-address-into-infra/secrets"


def create_missing(folder: Path) -> list[str]:
    """Write missing secrets and the files derived from them; the names of the new files."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    before = _names(folder)

    def write(name: str, content: str) -> None:
        files.write_text(folder / name, content)
        (folder / name).chmod(0o644)

    generators: dict[str, Callable[[], str]] = dict.fromkeys(
        ("postgres_password", "grafana_password", "mlflow_login", "mlflow_session"), secrets.token_urlsafe
    )
    generators["prefect_login"] = lambda: f"admin:{secrets.token_urlsafe()}"
    generators |= {f"{user}_password": secrets.token_urlsafe for user in (*TENANTS, *ROLES)}
    generators |= {f"aws_{who}": _credentials for who in BUCKETS}
    generators["ontime_broker"] = lambda: f"nats://{secrets.token_urlsafe()}@broker:4222"
    generators |= dict.fromkeys(RECEIVERS, lambda: PLACEHOLDER_URL)
    for name in sorted(generators.keys() - before):
        write(name, generators[name]())
    if "signing_key" not in before:
        private_key, public_key = signatures.generate()
        earlier = (folder / "trusted_keys").read_text() if "trusted_keys" in before else ""
        write("trusted_keys", f"{earlier}{public_key}\n")
        write("signing_key", private_key)
    urls = _urls(folder)
    for tenant, url in urls.items():
        write(URLS[tenant], url)
    for role in ROLES:
        password = (folder / f"{role}_password").read_text()
        of_role = sa.make_url(urls["ontime"]).set(username=role, password=password)
        write(f"{role}_database_url", of_role.render_as_string(hide_password=False))
    broker = urlsplit((folder / "ontime_broker").read_text())
    if broker.scheme == "nats":
        write("nats.conf", _nats_config(broker))
    write("s3.json", json.dumps({"identities": [_identity(folder, who) for who in BUCKETS]}, indent=2))
    write("ontime_backup", json.dumps(_parts(folder)))
    for name, scopes in KEYS.items():
        if not {"api_keys", name} <= before:
            write(name, keys.add(folder / "api_keys", name.removesuffix("_key"), scopes))
    (folder / "api_keys").chmod(0o644)
    return sorted(_names(folder) - before)


def receivers_without_address(folder: Path) -> list[str]:
    """The files that still have the address they were created with, where nobody listens."""
    return [name for name in RECEIVERS if (folder / name).read_text().strip() == PLACEHOLDER_URL]


def _names(folder: Path) -> set[str]:
    """Without lock files, whose names begin with a dot."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _urls(folder: Path) -> dict[str, str]:
    """The database URL of each tenant."""
    return {
        tenant: f"{driver}://{tenant}:{(folder / f'{tenant}_password').read_text()}@postgres:5432/{tenant}"
        for tenant, driver in TENANTS.items()
    }


def _parts(folder: Path) -> dict[str, str]:
    """The databases and buckets to back up. Not Prefect's database: it would not match its leases, which are files."""
    databases = {tenant: url for tenant, url in _urls(folder).items() if tenant != "prefect"}
    return databases | {f"bucket-{bucket}": f"s3://{bucket}" for bucket in BUCKETS["backup"]}


def _nats_config(broker: SplitResult) -> str:
    """The configuration of the broker's container, with the token of its address; otherwise as on one machine."""
    return embedded_broker.CONFIG.format(
        host="0.0.0.0",  # noqa: S104  of its container, which is in an internal network
        port=broker.port,
        token=broker.username,
        folder=json.dumps(str(BROKER_FOLDER)),
    )


def _credentials() -> str:
    """Random credentials in the format of AWS's libraries."""
    return (
        f"[default]\naws_access_key_id = {secrets.token_hex(10)}\naws_secret_access_key = {secrets.token_urlsafe()}\n"
    )


def _identity(folder: Path, who: str) -> dict[str, object]:
    """A user in the format of SeaweedFS."""
    keys = dict(line.split(" = ") for line in (folder / f"aws_{who}").read_text().splitlines()[1:])
    return {
        "name": who,
        "credentials": [{"accessKey": keys["aws_access_key_id"], "secretKey": keys["aws_secret_access_key"]}],
        "actions": [f"{may}:{bucket}" for bucket, rights in BUCKETS[who].items() for may in rights.split()],
    }


if __name__ == "__main__":
    if created := create_missing(FOLDER):
        print(f"credentials: {', '.join(created)} created in {FOLDER}")
    if unset := receivers_without_address(FOLDER):
        print(f"credentials: no alert reaches anybody by {', '.join(unset)}: write your addresses into these files")
