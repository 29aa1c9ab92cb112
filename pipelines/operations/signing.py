"""`ontime sign`, `ontime rotate-key`: sign the releases of this folder with its private key.

    ontime sign                    ... those that it has not signed yet, each after a check
    ontime rotate-key              ... all, with a new key; the old one is no longer trusted
    ontime rotate-key --prepare    creates a new key and trusts it too: a rotation's first step

Publishing signs too, so `sign` is for releases from before there were signatures, or from elsewhere. With services on
other machines, a rotation has several steps: see docs/decisions/35.
"""

import sys
from collections.abc import Callable

from ontime import files, locks, release, release_check, signatures
from ontime.counts import counted
from ontime.release import MANIFEST, SIGNATURE, ReleaseRefused
from ontime.settings import Settings, load_settings
from ontime.signatures import NoSigningKey

LOCK = ".signing.lock"


def sign_releases(settings: Settings) -> list[str]:
    """Sign each published release that has no signature of our key, after it was verified, loaded and probed.

    Returns the signed versions. Raises ReleaseRefused for a release that fails a check; those before it are signed.
    """
    signed, own_key = [], signatures.own_public_key()
    if own_key not in signatures.trusted_keys():
        raise NoSigningKey(
            f"{signatures.trusted_keys_path()} does not list the key of {signatures.signing_key_path()}: add {own_key}"
        )
    for version in release.published(settings.releases):
        folder = settings.releases / version
        signer = signatures.signer(folder / SIGNATURE)
        if signer == own_key:
            release.verify(folder)
            continue
        # A broken signature of a trusted key is not replaced: something has changed the release since.
        if signer in signatures.trusted_keys():
            release.verify(folder)
        digest = files.digest(folder / MANIFEST)
        release_check.check_in_child(settings.releases, version, digest, signed=False)
        release.write_signature(folder)
        release.verify(folder, digest)
        signed.append(version)
    return signed


def rotate_key(settings: Settings) -> list[str]:
    """Replace the key: all releases are signed with a new one, and only the new one is trusted afterwards.

    Idempotent, also after an interruption: both keys are trusted until every release is signed. Raises ReleaseRefused,
    before the key changes, for a release that the present keys do not verify.
    """
    for version in release.published(settings.releases):
        release.verify(settings.releases / version)
    new_key = signatures.new_key()
    signed = sign_releases(settings)
    signatures.trust((new_key,))
    return signed


def sign_unsigned(settings: Settings) -> str:
    """Sign what is not signed yet; returns a message, as the next two do."""
    signed = sign_releases(settings)
    return f"signed {', '.join(signed)}" if signed else "every release is signed with this key"


def rotate(settings: Settings) -> str:
    signed = rotate_key(settings)
    return f"new key in {signatures.signing_key_path()}, the only one trusted; signed {counted(len(signed), 'release')}"


def create_key(settings: Settings) -> str:  # noqa: ARG001  a command like the other two
    """Trust a new key beside the old one: a rotation's first step on several machines."""
    key = signatures.new_key()
    return f"new key in {signatures.signing_key_path()}; {signatures.trusted_keys_path()} lists it: {key}"


def main(action: Callable[[Settings], str]) -> None:
    try:
        settings = load_settings()
        with locks.wait_and_hold(settings.releases / LOCK, "signing"):
            print(f"sign: {action(settings)}")
    except (ReleaseRefused, NoSigningKey, ValueError, OSError) as refused:
        sys.exit(f"sign: {refused}")
