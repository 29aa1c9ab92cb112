"""A release is signed when it is published, and nobody without the private key can make another one."""

import shutil
import stat
from pathlib import Path

import pytest

from ontime import release, release_check, release_pointer, signatures
from ontime.release import MANIFEST, SIGNATURE, ReleaseRefused
from ontime.settings import Settings
from ontime.signatures import NoSigningKey
from pipelines.operations import signing
from tests.small_world import Small


@pytest.fixture
def own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without keys yet, in which this test's keys are created."""
    use_keys(tmp_path / "keys", monkeypatch)
    return tmp_path / "keys"


def use_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_SIGNING_KEY", str(folder / "key.pem"))
    monkeypatch.setenv("ONTIME_TRUSTED_KEYS", str(folder / "trusted_keys"))


@pytest.fixture
def signed(own_keys: Path, small: Small, other: Small) -> Settings:
    """Releases 1 and 2, signed with this test's key; 1 is live."""
    releases = own_keys.parent / "releases"
    release.publish(releases, small.contents, small.manifest("1"))
    release.publish(releases, other.contents, other.manifest("2"))
    release_pointer.set_live(releases, "1")
    return Settings(releases=releases)


@pytest.mark.usefixtures("signed")
def test_the_first_signature_creates_a_private_key_that_only_its_owner_can_read(own_keys: Path) -> None:
    assert stat.S_IMODE((own_keys / "key.pem").stat().st_mode) == 0o600
    assert (own_keys / "trusted_keys").read_text() == f"{signatures.own_public_key()}\n"


def test_no_key_is_part_of_a_release(signed: Settings, own_keys: Path) -> None:
    secret = (own_keys / "key.pem").read_bytes()

    assert not any(secret in path.read_bytes() for path in signed.releases.rglob("*") if path.is_file())


def test_a_service_that_has_only_the_public_key_loads_the_release(signed: Settings, own_keys: Path) -> None:
    (own_keys / "key.pem").unlink()

    assert release_pointer.load_live(signed.releases).manifest.version == "1"


def test_a_release_without_a_signature_is_refused_with_the_command_that_signs_it(signed: Settings) -> None:
    (signed.releases / "1" / SIGNATURE).unlink()

    with pytest.raises(ReleaseRefused, match=r"manifest\.sig: missing: the release is not signed; .* `make sign`"):
        release_pointer.load_live(signed.releases)


def test_a_forged_release_is_refused_although_its_digests_agree(
    signed: Settings, other: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged, trusted = tmp_path / "forged", signatures.own_public_key()
    with monkeypatch.context() as elsewhere:
        use_keys(tmp_path / "forger", elsewhere)
        release.publish(forged, other.contents, other.manifest("1"))
    shutil.rmtree(signed.releases / "1")
    shutil.copytree(forged / "1", signed.releases / "1")
    (signed.releases / release_pointer.POINTER).unlink()

    with pytest.raises(ReleaseRefused, match=r"signed with the key \w+, which .*trusted_keys does not list"):
        release_pointer.set_live(signed.releases, "1")
    assert trusted not in (signed.releases / "1" / SIGNATURE).read_text()


def test_a_signature_of_another_release_is_refused(signed: Settings) -> None:
    shutil.copy(signed.releases / "2" / SIGNATURE, signed.releases / "1" / SIGNATURE)

    with pytest.raises(ReleaseRefused, match="the signature does not match the content"):
        release.verify(signed.releases / "1")


def test_a_release_under_another_version_is_refused(signed: Settings) -> None:
    shutil.rmtree(signed.releases / "1")
    shutil.copytree(signed.releases / "2", signed.releases / "1")

    with pytest.raises(ReleaseRefused, match="is of release 2, not 1"):
        release.verify(signed.releases / "1")


def test_nothing_is_parsed_before_the_signature_is_verified(signed: Settings) -> None:
    (signed.releases / "1" / MANIFEST).write_text("no JSON")

    with pytest.raises(ReleaseRefused, match="the signature does not match"):
        release.verify(signed.releases / "1")


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"\xff" * 300, b"0" * 10**6])
def test_a_file_that_is_no_signature_is_refused(content: bytes, signed: Settings) -> None:
    (signed.releases / "1" / SIGNATURE).write_bytes(content)

    with pytest.raises(ReleaseRefused, match=r"manifest\.sig: "):
        release.verify(signed.releases / "1")


def test_a_machine_without_a_public_key_loads_no_release(signed: Settings, own_keys: Path) -> None:
    (own_keys / "trusted_keys").unlink()

    with pytest.raises(ReleaseRefused, match="has no public key; copy it from where releases are published"):
        release.verify(signed.releases / "1")


def test_a_lost_private_key_is_not_replaced_silently(signed: Settings, own_keys: Path, small: Small) -> None:
    (own_keys / "key.pem").unlink()

    with pytest.raises(NoSigningKey, match=r"restore it, .* make rotate-key"):
        release.publish(signed.releases, small.contents, small.manifest("3"))

    assert release.published(signed.releases) == ["1", "2"]


@pytest.mark.slow
def test_a_release_from_before_signatures_is_signed_after_a_check(signed: Settings) -> None:
    (signed.releases / "1" / SIGNATURE).unlink()

    assert signing.sign_unsigned(signed) == "signed 1"
    assert signing.sign_unsigned(signed) == "every release is signed with this key"
    assert release_pointer.load_live(signed.releases).manifest.version == "1"


@pytest.mark.slow
def test_a_release_that_fails_its_check_is_not_signed(signed: Settings) -> None:
    (signed.releases / "1" / SIGNATURE).unlink()
    (signed.releases / "1" / release.MODEL).write_bytes(b"another model")

    with pytest.raises(ReleaseRefused, match=r"model\.onnx: sha256 is not the one"):
        signing.sign_unsigned(signed)

    assert not (signed.releases / "1" / SIGNATURE).exists()


@pytest.mark.slow
def test_a_rotation_signs_all_releases_with_a_new_key_and_distrusts_the_old_one(signed: Settings) -> None:
    old_key, old_signature = signatures.own_public_key(), (signed.releases / "1" / SIGNATURE).read_text()

    message = signing.rotate(signed)

    assert message.endswith("the only one trusted; signed 2 releases")
    assert old_key not in signatures.trusted_keys()
    assert release_pointer.load_live(signed.releases).manifest.version == "1"
    (signed.releases / "1" / SIGNATURE).write_text(old_signature)
    with pytest.raises(ReleaseRefused, match="does not list"):
        release.verify(signed.releases / "1")


@pytest.mark.slow
def test_both_keys_are_trusted_between_the_steps_of_a_rotation(signed: Settings) -> None:
    signing.create_key(signed)

    release.verify(signed.releases / "1")
    assert signing.sign_unsigned(signed) == "signed 1, 2"
    release.verify(signed.releases / "1")


def test_a_rotation_does_not_sign_a_forged_release(
    signed: Settings, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        use_keys(tmp_path / "forger", elsewhere)
        release.publish(signed.releases, small.contents, small.manifest("3"))
    own_key = signatures.own_public_key()

    with pytest.raises(ReleaseRefused, match="does not list"):
        signing.rotate(signed)

    assert signatures.own_public_key() == own_key
    assert signatures.trusted_keys() == (own_key,)


@pytest.mark.slow
def test_a_child_process_needs_the_signature_too(signed: Settings) -> None:
    pointer = release_pointer.require_pointer(signed.releases)
    (signed.releases / "1" / SIGNATURE).unlink()

    with pytest.raises(ReleaseRefused, match="not signed"):
        release_check.check_in_child(signed.releases, "1", pointer.manifest_sha256)
