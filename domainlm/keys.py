"""Secret keys: where they come from, the keyed ids and sealed bytes that they make, and what a new key does to both.

A pseudonym made by a plain hash falls to a dictionary within seconds (there are only about 10^10 resident registration
numbers), so every id here is an HMAC-SHA-256 (RFC 2104) under a key that stays outside data and configuration. An id
has 32 hexadecimal digits: 8 name the key that made it, 24 (96 bits) are the HMAC; a collision among 10^9 ids has odds
of 10^-11.

**Rotation keeps links by chaining.** Under keys k1, k2, ... the id of a value is `HMAC(k2, HMAC(k1, value))`: after a
rotation every stored id can be carried to the new key without the value that nobody holds any more, the same value
found afterwards gets the very same id, and whoever has the old key alone can make none of the new ids. The other way,
one stable linking secret wrapped by a changing key, would keep ids as they are; but then whoever once had the old key
has the linking secret for good, and nothing has been re-keyed. The price of the chain: the ring keeps, of each retired
key, the part that makes ids (never the part that opens what was sealed), and each retired key costs one more HMAC.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domainlm.errors import ConfigurationError, SecretError, nearest
from domainlm.private_files import others_can_read
from domainlm.project import home

KEY_FILE_VARIABLE = "DOMAINLM_KEY_FILE"
KEY_VARIABLE = "DOMAINLM_KEY"
KEY_SECRET_VARIABLE = "DOMAINLM_KEY_SECRET"  # names a secret of the secret manager
MODE_VARIABLE = "DOMAINLM_MODE"
SECRET_BYTES = 32
TAG_HEX_DIGITS, HMAC_HEX_DIGITS = 8, 24
ID_HEX_DIGITS = TAG_HEX_DIGITS + HMAC_HEX_DIGITS
DEVELOPMENT, PRODUCTION = "development", "production"
_EXPECTED = 'expected {"key_id": ..., "secret": base64 of 32 bytes}'


@lru_cache(maxsize=256)
def _derived(secret: bytes, info: str) -> bytes:
    return HKDF(SHA256(), SECRET_BYTES, salt=None, info=f"domainlm/{info}".encode()).derive(secret)


def _tag(key_id: str) -> str:
    return hashlib.sha256(key_id.encode()).hexdigest()[:TAG_HEX_DIGITS]


def _encoded(values: tuple[str, ...]) -> bytes:
    return b"".join(
        len(raw).to_bytes(8, "big") + raw for raw in (value.encode("utf-8", "surrogatepass") for value in values)
    )


@dataclass(frozen=True)
class RetiredKey:
    """What is left of a key after a rotation: its name, and the part of it that makes ids.

    Args:
        key_id: its public name.
        link: 32 bytes, derived from its secret; opens nothing that was sealed.
    """

    key_id: str
    link: bytes = field(repr=False)


@dataclass(frozen=True)
class KeyRing:
    """One institution's secret, from which a separate key for each use is derived (HKDF, RFC 5869), and what is left of
    the secrets before it.

    Args:
        key_id: the public name of the key; part of every pseudonym and of the cache key.
        secret: 32 random bytes; never printed, logged or stored in an artifact.
        retired: the keys before it, the oldest first.
    """

    key_id: str
    secret: bytes = field(repr=False)
    retired: tuple[RetiredKey, ...] = ()

    @classmethod
    def load(cls, read_secret: Callable[[str], str] | None = None, mode: str | None = None) -> KeyRing:
        """The key that this run shall use: `DOMAINLM_KEY`, else the secret manager's secret named by
        `DOMAINLM_KEY_SECRET`, else `DOMAINLM_KEY_FILE`, else the project's own key file.

        Each holds the JSON `{"key_id": ..., "secret": BASE64 of 32 bytes}`, and `"retired"` after a rotation.

        Args:
            read_secret: reads a named secret from a secret manager; `steps.keys` has ZenML's.
            mode: "production" refuses the development key; by default what `DOMAINLM_MODE` says.

        Raises:
            SecretError: there is none, others may read the file, it is malformed, it is the development key in
                production, or a rotation was interrupted.
            ConfigurationError: there is no such mode.
        """
        ring = cls._load(read_secret)
        mode = mode if mode is not None else os.environ.get(MODE_VARIABLE, "")
        if mode not in ("", DEVELOPMENT, PRODUCTION):
            raise ConfigurationError(
                f"there is no mode '{mode}'", MODE_VARIABLE, nearest(mode, (DEVELOPMENT, PRODUCTION))
            )
        if mode == PRODUCTION and ring.key_id.startswith(DEVELOPMENT):
            raise SecretError(
                f"the development key '{ring.key_id}' is refused in production: whoever has the checkout has it",
                MODE_VARIABLE,
                f"make one with `domainlm keys new FILE` and set {KEY_FILE_VARIABLE}, or set {KEY_SECRET_VARIABLE}",
            )
        if unfinished := _unfinished_rotation():
            raise SecretError(
                "a rotation of the key was interrupted, so ids and sealed files are of two keys",
                unfinished,
                "run `domainlm keys rotate` again: it finishes",
            )
        return ring

    @classmethod
    def _load(cls, read_secret: Callable[[str], str] | None) -> KeyRing:
        if text := os.environ.get(KEY_VARIABLE):
            return cls.parse(text, f"environment variable {KEY_VARIABLE}")
        if name := os.environ.get(KEY_SECRET_VARIABLE):
            if read_secret is None:
                raise SecretError(
                    "names a secret of ZenML's secret manager, which cannot be asked from here",
                    KEY_SECRET_VARIABLE,
                    "load the key with steps.keys.load_keys()",
                )
            return cls.parse(read_secret(name), f"secret '{name}'")
        return cls.of_file(key_file())

    @classmethod
    def of_file(cls, path: Path) -> KeyRing:
        """The key in a file of mode 0600, or in a mounted secret (`domainlm.private_files`).

        Raises:
            SecretError: there is none, others may read it, or it is malformed.
        """
        try:
            handle = open(os.open(path, os.O_RDONLY), encoding="utf-8", errors="replace")
        except OSError:
            raise SecretError(
                "the key for keyed ids is missing", str(path), f"run `make setup`, or set {KEY_FILE_VARIABLE}"
            ) from None
        with handle:
            state = os.fstat(handle.fileno())  # of the very file that is read, not of one put in its place
            if not stat.S_ISREG(state.st_mode):
                raise SecretError("the key for keyed ids is missing", str(path), "name a file")
            if others_can_read(state):
                raise SecretError("the key file can be read by others", str(path), f"chmod 600 {path}")
            return cls.parse(handle.read(), str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> KeyRing:
        """A key from its JSON; neither it nor any part of it is ever quoted.

        Raises:
            SecretError: it is malformed.
        """
        try:
            return cls.of_json(json.loads(text), where)
        except (ValueError, TypeError):
            # `from None`: the parser's own message would quote the secret
            raise SecretError("is not a key", where, _EXPECTED) from None

    @classmethod
    def of_json(cls, content: Any, where: str) -> KeyRing:
        """A key from what `to_json` made; `retired` may be a list as well.

        Raises:
            SecretError: it is malformed.
        """
        try:
            retired = content.get("retired") or []
            retired = json.loads(retired) if isinstance(retired, str) else retired
            ring = cls(
                str(content["key_id"]),
                base64.b64decode(content["secret"], validate=True),
                tuple(
                    RetiredKey(str(item["key_id"]), base64.b64decode(item["link"], validate=True)) for item in retired
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SecretError("is not a key", where, _EXPECTED) from None
        if any(len(part) != SECRET_BYTES for part in (ring.secret, *(key.link for key in ring.retired))):
            raise SecretError(f"the secret must have {SECRET_BYTES} bytes", where, "make a new key")
        names = [ring.key_id, *(key.key_id for key in ring.retired)]
        if not ring.key_id or len({_tag(name) for name in names}) < len(names):
            raise SecretError("two of its keys have one name, or one has none", where, "name each key")
        return ring

    @classmethod
    def new(cls, key_id: str = "") -> KeyRing:
        """A fresh random key.

        Args:
            key_id: its public name; a random one by default.
        """
        return cls(key_id or f"key-{secrets.token_hex(4)}", secrets.token_bytes(SECRET_BYTES))

    def continues(self, old: KeyRing) -> bool:
        """Whether ids of an old key can be carried to this ring."""
        return any(key.key_id == old.key_id and hmac.compare_digest(key.link, old._link) for key in self.retired)

    def to_json(self) -> dict[str, str]:
        """What a key file holds: strings alone, as secret managers want them. Secret."""
        content = {"key_id": self.key_id, "secret": base64.b64encode(self.secret).decode()}
        if self.retired:
            content["retired"] = json.dumps(
                [{"key_id": key.key_id, "link": base64.b64encode(key.link).decode()} for key in self.retired]
            )
        return content

    def succeeded_by(self, new: KeyRing) -> KeyRing:
        """The ring after a rotation from this one to a new key: its ids continue ours.

        Raises:
            SecretError: the new key bears the name of one that was already used, or has a past of its own.
        """
        if new.retired:
            raise SecretError("the new key has retired keys of its own", new.key_id, "rotate to a fresh key")
        if new.secret == self.secret:
            raise SecretError("the new key has the secret of the present one", new.key_id, "make a fresh key")
        if _tag(new.key_id) in {_tag(name) for name in (self.key_id, *(key.key_id for key in self.retired))}:
            raise SecretError("a key of this name was already used", new.key_id, "give the new key a name of its own")
        return KeyRing(new.key_id, new.secret, (*self.retired, RetiredKey(self.key_id, self._link)))

    @property
    def lineage(self) -> str:
        """The names of all keys that its ids depend on, the oldest first: "k1>k2"; what a cache key wants."""
        return ">".join([*(key.key_id for key in self.retired), self.key_id])

    @property
    def _link(self) -> bytes:
        return _derived(self.secret, f"link/{self.key_id}")

    @property
    def _chain(self) -> list[tuple[str, bytes]]:
        return [*((key.key_id, key.link) for key in self.retired), (self.key_id, self._link)]

    def _derive(self, use: str) -> bytes:
        return _derived(self.secret, use)

    def keyed_id(self, use: str, *values: str) -> str:
        """A pseudonymous id of 32 hexadecimal digits: the key's mark, then HMAC-SHA-256 over the values under this
        use's own key, carried through every key of the ring.

        Args:
            use: what the id is for ("record", "group", "subject"): ids of two uses cannot be linked.
            values: the identifying values, in order; lengths are encoded, so ("ab", "c") differs from ("a", "bc").
        """
        (key_id, link), *later = self._chain
        identifier = _identifier(key_id, _derived(link, f"id/{use}"), _encoded(values))
        for key_id, link in later:
            identifier = _identifier(key_id, _derived(link, f"carry/{use}"), identifier.encode())
        return identifier

    @property
    def origin(self) -> str:
        """The mark of the first key, 8 hexadecimal digits: buckets of one origin can be compared."""
        return _tag(self._chain[0][0])

    def bucket(self, use: str, value: str, buckets: int) -> int:
        """One of some buckets for a value, under the part of the first key that makes ids: no rotation changes it.

        For counts that must stay comparable over years. Whoever has the first key alone can compute it; a bucket of
        thousands of words is no id.
        """
        key = _derived(self._chain[0][1], f"bucket/{use}")
        return int.from_bytes(hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256")[:8], "big") % buckets

    def knows(self, identifier: str) -> bool:
        """Whether an id bears the mark of one of the ring's keys."""
        return identifier[:TAG_HEX_DIGITS] in {_tag(key_id) for key_id, _ in self._chain}

    def carried(self, use: str, identifier: str) -> str:
        """The present id of what had an id under one of the retired keys; any other id comes back as it is.

        So carrying twice does no more than carrying once.
        """
        chain = self._chain
        for place, (key_id, _) in enumerate(chain):
            if identifier[:TAG_HEX_DIGITS] == _tag(key_id):
                for later, link in chain[place + 1 :]:
                    identifier = _identifier(later, _derived(link, f"carry/{use}"), identifier.encode())
                return identifier
        return identifier

    def mac(self, use: str, *values: str) -> bytes:
        """HMAC-SHA-256 over values under the present key alone, 32 bytes: for choices and seals, not for links."""
        return hmac.new(self._derive(use), _encoded(values), hashlib.sha256).digest()

    def seal(self, use: str, data: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate bytes (AES-256-GCM, NIST SP 800-38D): 12 bytes of nonce, then the ciphertext."""
        return seal(self._derive(use), data, context)

    def unseal(self, use: str, sealed: bytes, context: bytes) -> bytes:
        """Undo `seal`.

        Raises:
            SecretError: another key, another context, or a changed byte.
        """
        return unseal(self._derive(use), sealed, context, use)


def _identifier(key_id: str, key: bytes, message: bytes) -> str:
    return _tag(key_id) + hmac.new(key, message, hashlib.sha256).hexdigest()[:HMAC_HEX_DIGITS]


def seal(key: bytes, data: bytes, context: bytes) -> bytes:
    """Encrypt and authenticate bytes under a key of 32 bytes (AES-256-GCM): 12 bytes of nonce, then the ciphertext."""
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(key).encrypt(nonce, data, context)


def unseal(key: bytes, sealed: bytes, context: bytes, where: str) -> bytes:
    """Undo `seal`.

    Raises:
        SecretError: another key, another context, or a changed byte.
    """
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], context)
    except (InvalidTag, ValueError):
        raise SecretError(
            "cannot be decrypted: another key or changed bytes", where, "use the key it was made with"
        ) from None


def key_file() -> Path:
    """The key file that a run reads when neither the environment nor a secret manager has the key."""
    return Path(os.environ.get(KEY_FILE_VARIABLE) or development_key_file())


def development_key_file() -> Path:
    """Where the project's own development key lies."""
    return home() / "keys" / "development.key"


def rotation_file() -> Path:
    """What a rotation at work writes, and removes when it is done; it holds both keys."""
    return home() / "keys" / "rotation.unfinished"


def _unfinished_rotation() -> str:
    try:
        path = rotation_file()
    except (ConfigurationError, OSError):  # outside of a project nothing can have been rotated
        return ""
    return str(path) if path.exists() else ""


def write_secret_file(path: Path, content: Any, *, replace: bool = False) -> None:
    """Write JSON to a file of mode 0600 that appears whole or not at all, and is on the disk when this returns.

    Raises:
        FileExistsError: it is there already, and `replace` was not said.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            os.replace(draft, path)
        else:
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or deleted in a folder last through a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_development_key() -> Path:
    """Create the project's development key once (file mode 0600); an existing one stays as it is.

    The file appears whole or not at all, also when two set-ups run at the same time.
    """
    path = development_key_file()
    if not path.exists():
        try:
            write_secret_file(path, KeyRing.new(f"{DEVELOPMENT}-{secrets.token_hex(4)}").to_json())
        except FileExistsError:
            pass  # another set-up was first
    return path
