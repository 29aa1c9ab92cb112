"""The environment is typed, and a mistake in it is refused by name."""

from pathlib import Path

import pytest

from ontime.settings import BadSettings, Settings, is_loopback, load_settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ONTIME_PORT", "0", "ONTIME_PORT=0 Input should be greater"),
        ("ONTIME_STOP_SECONDS", "-1", "ONTIME_STOP_SECONDS=-1 Input should be greater than 0"),
        ("ONTIME_STOP_SECONDS", "nan", "ONTIME_STOP_SECONDS=nan Input should be"),
        ("ONTIME_REQUEST_SECONDS", "inf", "ONTIME_REQUEST_SECONDS=inf Input should be"),
        ("ONTIME_REQUESTS_PER_MINUTE", "inf", "ONTIME_REQUESTS_PER_MINUTE=inf Input should be"),
        ("ONTIME_REQUESTS_PER_MINUTE", "10000001", "ONTIME_REQUESTS_PER_MINUTE=10000001 Input should be less than"),
        ("ONTIME_WEEKS_BEHIND", "5221", "ONTIME_WEEKS_BEHIND=5221 Input should be less than or equal to 5220"),
        ("ONTIME_WORKERS", "true", "ONTIME_WORKERS=true Input should be a valid integer"),
        ("ONTIME_DATABASE_URL", "nonsense", "ONTIME_DATABASE_URL is not a database address"),
        ("ONTIME_DATABASE_URL", "oracle://u:secret@h/d", "ONTIME_DATABASE_URL oracle is not supported"),
        ("ONTIME_BROKER", "nonsense", "ONTIME_BROKER is not the address of a broker"),
        ("ONTIME_BROKER", "amqp://u:secret@h:5672", "ONTIME_BROKER is not the address of a broker"),
        ("ONTIME_BROKER", "kafka://h:9092,secret", "ONTIME_BROKER is not the address of a broker"),
        ("ONTIME_STREAM_PORT", "0", "ONTIME_STREAM_PORT=0 Input should be greater"),
        ("ONTIME_ONLINE_STORE_URL", "nonsense", "ONTIME_ONLINE_STORE_URL is not the address of a Redis server"),
        (
            "ONTIME_ONLINE_STORE_URL",
            "http://u:secret@h",
            "ONTIME_ONLINE_STORE_URL is not the address of a Redis server",
        ),
        ("ONTIME_ONLINE_STORE_URL", "redis://h/secret", "ONTIME_ONLINE_STORE_URL is not the address of a Redis server"),
        ("ONTIME_LINKS", "[1]", "ONTIME_LINKS="),
        ("ONTIME_BACKUP", '{"ontime": 5, "mlflow": "postgresql://u:secret@h/d"}', "ONTIME_BACKUP Input should be"),
        ("ONTIME_BACKUP", "secret", "ONTIME_BACKUP is not valid JSON"),
        ("ONTIME_BACKUP", '{"ontime": "secret://a", "ontime": "secret://b"}', "ONTIME_BACKUP has ontime twice"),
        ("ONTIME_LINKS", '{"MLflow": "x", "MLflow": "y"}', "ONTIME_LINKS={"),
        ("ONTIME_HSOT", "x", "ONTIME_HSOT is not a setting; the settings are ONTIME_ACTOR, ONTIME_API_KEYS"),
        ("ONTIME_HOST", "192.0.2.1", "ONTIME_HOST=192.0.2.1 is reachable from outside"),
    ],
)
def test_a_mistake_is_refused_by_name(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings) as refused:
        load_settings()

    assert str(refused.value).startswith(message)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "nats://127.0.0.1:4222",
        "tls://user:p@ss@a.example:4222,b.example:4222",
        "nats://[::1]:4222",
        "kafka://a:9092,b:9092?security.protocol=SASL_SSL&sasl.username=u",
    ],
)
def test_the_address_of_a_broker_is_accepted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_BROKER", address)

    broker = load_settings().broker

    assert broker is not None
    assert broker.get_secret_value() == address


def test_a_secret_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ontime_database_url").write_text("postgresql+psycopg://ontime:pw@db/ontime\n")
    monkeypatch.setenv("ONTIME_SECRETS", str(tmp_path))

    assert load_settings().database_url.get_secret_value() == "postgresql+psycopg://ontime:pw@db/ontime"


def test_a_misspelt_secret_and_a_missing_folder_of_them_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ontime_databse_url").write_text("sqlite:///x.db")
    monkeypatch.setenv("ONTIME_SECRETS", str(tmp_path))

    with pytest.raises(BadSettings, match="ONTIME_DATABSE_URL is not a setting"):
        load_settings()

    monkeypatch.setenv("ONTIME_SECRETS", str(tmp_path / "nowhere"))
    with pytest.raises(BadSettings, match=r"ONTIME_SECRETS=.*nowhere is not a folder"):
        load_settings()


def test_with_keys_the_service_may_be_reached_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_HOST", "192.0.2.1")
    monkeypatch.setenv("ONTIME_API_KEYS", "keys.json")

    assert load_settings().host == "192.0.2.1"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("ontime", False)],  # noqa: S104
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_the_defaults_need_nothing() -> None:
    assert Settings().workers == 1


@pytest.mark.parametrize(
    "address",
    ["redis://h", "redis://127.0.0.1:6379/2", "rediss://user:p%40ss@a.example:6380", "redis://:pw@[::1]:6379/0"],
)
def test_the_address_of_a_redis_server_is_accepted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_ONLINE_STORE_URL", address)

    redis = load_settings().online_store_url

    assert redis is not None
    assert redis.get_secret_value() == address
