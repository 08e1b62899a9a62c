"""Passwords: hashes that can be kept on disk, and how they are checked.

RabbitMQ's salted hashes are taken as they are
(https://www.rabbitmq.com/docs/passwords#computing-password-hash), so that users move between the
two with their passwords. Their check is quick. leveret's own are scrypt's, from OpenSSL by way of
`hashlib`: slow on purpose, and therefore to be checked off the event loop.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable

import msgspec

SHA256, SHA512 = "rabbit_password_hashing_sha256", "rabbit_password_hashing_sha512"
MD5 = "rabbit_password_hashing_md5"
"""From before RabbitMQ 3.6; users from then still have it."""
SCRYPT = "leveret_password_hashing_scrypt"

_SALT_BYTES = {SHA256: 4, SHA512: 4, MD5: 4, SCRYPT: 16}
_HASH_BYTES = {SHA256: 32, SHA512: 64, MD5: 16, SCRYPT: 32}
_SCRYPT_COST, _SCRYPT_BLOCK, _SCRYPT_LANES = 1 << 14, 8, 1


class InvalidHash(ValueError):
    """Something is not a hash of a password that can be checked; the text says why."""


class PasswordHash(msgspec.Struct, frozen=True):
    """A salt and the hash of a password with it, joined, as base64; "" is no password's."""

    algorithm: str
    encoded: str

    def __repr__(self) -> str:
        return f"PasswordHash({self.algorithm!r})"

    @property
    def is_slow(self) -> bool:
        """Whether checking takes long: some 50 ms of a processor and 16 MB of memory."""
        return self.algorithm == SCRYPT

    def accepts(self, password: bytes) -> bool:
        """Whether that is the password; may be called in any thread."""
        salted = b64decode(self.encoded)
        salt = salted[: _SALT_BYTES[self.algorithm]]
        return bool(salted) and hmac.compare_digest(
            salted, salt + _DIGESTS[self.algorithm](salt, password)
        )


DECOY = PasswordHash(SCRYPT, b64encode(bytes(_SALT_BYTES[SCRYPT] + _HASH_BYTES[SCRYPT])).decode())
"""What a password is checked against where there is nothing to check it against, so that the answer
takes as long.
"""


def checked_hash(encoded: str, algorithm: str = SHA256) -> PasswordHash:
    """A hash from outside. Raises InvalidHash."""
    if algorithm not in _DIGESTS:
        known = ", ".join(_DIGESTS)
        raise InvalidHash(f"unknown hashing algorithm {algorithm!r}; expected one of {known}")
    try:
        salted = b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        raise InvalidHash("a password hash must be base64") from None
    if salted and len(salted) != _SALT_BYTES[algorithm] + _HASH_BYTES[algorithm]:
        raise InvalidHash(f"a password hash of {len(salted)} bytes is not one of {algorithm}")
    return PasswordHash(algorithm, encoded)


def hashed(password: bytes, random: bytes, algorithm: str = SCRYPT) -> PasswordHash:
    """A new hash; `random` are 16 bytes at least that nobody can guess."""
    salt = random[: _SALT_BYTES[algorithm]]
    salted = salt + _DIGESTS[algorithm](salt, password)
    return PasswordHash(algorithm, b64encode(salted).decode())


def _scrypt(salt: bytes, password: bytes) -> bytes:
    return hashlib.scrypt(
        password,
        salt=salt,
        n=_SCRYPT_COST,
        r=_SCRYPT_BLOCK,
        p=_SCRYPT_LANES,
        maxmem=64 << 20,
        dklen=_HASH_BYTES[SCRYPT],
    )


_DIGESTS: dict[str, Callable[[bytes, bytes], bytes]] = {
    SHA256: lambda salt, password: hashlib.sha256(salt + password).digest(),
    SHA512: lambda salt, password: hashlib.sha512(salt + password).digest(),
    MD5: lambda salt, password: hashlib.md5(salt + password).digest(),
    SCRYPT: _scrypt,
}
