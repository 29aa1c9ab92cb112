"""Signatures of releases: who made a release. Its digests only show that its files belong together.

    var/signing/key.pem        the private key, Ed25519 in PKCS #8: only where releases are published
    var/signing/trusted_keys   one public key per line, in hex: wherever a release is loaded
    releases/3/manifest.sig    the public key and the signature of manifest.json, which has the digest of each file

The first signature creates the two keys. ONTIME_SIGNING_KEY and ONTIME_TRUSTED_KEYS name other paths.
"""

import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ontime import files

SIGNING_KEY, TRUSTED_KEYS = Path("var/signing/key.pem"), Path("var/signing/trusted_keys")
SIGNING_KEY_VARIABLE, TRUSTED_KEYS_VARIABLE = "ONTIME_SIGNING_KEY", "ONTIME_TRUSTED_KEYS"
MAX_BYTES = 64 * 2**10  # of each of these files
SHOWN_DIGITS = 12  # of a key, in messages


class NoSigningKey(ValueError):
    """No private key can sign a release here; the message says which file is missing or invalid."""


def signing_key_path() -> Path:
    return Path(os.environ.get(SIGNING_KEY_VARIABLE) or SIGNING_KEY)


def trusted_keys_path() -> Path:
    return Path(os.environ.get(TRUSTED_KEYS_VARIABLE) or TRUSTED_KEYS)


def rejection(signature: Path, content: bytes) -> str | None:
    """Why the file `signature` does not prove that a trusted key signed `content`; None if it does."""
    try:
        text = files.read_regular(signature, MAX_BYTES).decode("ascii", "replace")
    except FileNotFoundError:
        return "missing: the release is not signed; if you trust it, `make sign` checks and signs it"
    except OSError as error:
        return error.strerror or str(error)
    fields = re.fullmatch(r"([0-9a-f]{64}) ([0-9a-f]{128})\n?", text)
    if fields is None:
        return "is not a signature"
    trusted = trusted_keys()
    if not trusted:
        return f"cannot be verified: {trusted_keys_path()} has no public key; copy it from where releases are published"
    if fields[1] not in trusted:
        return (
            f"signed with the key {fields[1][:SHOWN_DIGITS]}, which {trusted_keys_path()} does not list; "
            "if you trust the release, `make sign` checks and signs it"
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(fields[1])).verify(bytes.fromhex(fields[2]), content)
    except (InvalidSignature, ValueError):
        return f"the signature does not match the content; {fields[1][:SHOWN_DIGITS]} did not sign it"
    return None


def trusted_keys() -> tuple[str, ...]:
    """The public keys in hex, in the order of their lines; lines that are not a key, such as comments, are ignored."""
    try:
        text = trusted_keys_path().read_text(encoding="utf-8")
    except OSError:
        return ()
    return tuple(re.findall(r"^([0-9a-f]{64})\s*$", text, re.MULTILINE))


def sign(content: bytes) -> str:
    """The content of the signature file. The first signature creates the keys. Raises NoSigningKey."""
    key = _signing_key()
    return f"{_public(key)} {key.sign(content).hex()}\n"


def signer(signature: Path) -> str | None:
    """The public key that a signature file names, which proves nothing yet."""
    try:
        return files.read_regular(signature, MAX_BYTES).decode("ascii", "replace").partition(" ")[0]
    except OSError:
        return None


def own_public_key() -> str:
    """The public key of the private key. Raises NoSigningKey."""
    return _public(_signing_key())


def generate() -> tuple[str, str]:
    """A new private key, as PEM, and its public key."""
    from cryptography.hazmat.primitives import serialization  # here: the service, which only verifies, starts faster

    key = Ed25519PrivateKey.generate()
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*encoding).decode(), _public(key)


def new_key() -> str:
    """Create a private key in place of the old one, and trust it as well. Returns its public key."""
    text, public_key = generate()
    # Trusted first: a process that ends in between has a key too many, and not a key that nobody trusts.
    trust((*trusted_keys(), public_key))
    files.write_text(signing_key_path(), text, files.PRIVATE)
    return public_key


def trust(keys: tuple[str, ...]) -> None:
    """Trust these public keys and no others."""
    files.write_text(trusted_keys_path(), "".join(f"{key}\n" for key in keys), files.READABLE)


def _signing_key() -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization

    path = signing_key_path()
    if not path.exists():
        if trusted_keys():
            raise NoSigningKey(
                f"{path}: missing, but {trusted_keys_path()} lists keys: restore it, or set ONTIME_SIGNING_KEY, "
                "or replace it: make rotate-key"
            )
        new_key()
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise NoSigningKey(f"{path}: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise NoSigningKey(f"{path}: is not an Ed25519 key")
    return key


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
