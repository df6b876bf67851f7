"""Pseudonyms: keyed hashes in place of the names of people, clips and files, and the file that holds the key.

The same key gives the same pseudonym in every run and store, so that follow-up recordings join. Without the key there
is no way back: names are few and could be tried one by one against a plain hash, not against HMAC-SHA256 (RFC 2104).
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from tclr.pipeline.system import writing
from tclr.schemas.errors import InputError, OutputError, SettingError

KEY_BYTES = 32
LETTERS = 12
"""Letters of a pseudonym, 5 bits each; chosen by us: two of a million names share one with a probability of 4e-7
(2^40 / 2^61), and that is refused. Base32 in lower case: file systems that take ``A`` for ``a`` keep them apart."""


@dataclass(frozen=True)
class Pseudonyms:
    """What a key makes of names and of digests of files."""

    key: bytes = field(repr=False)

    def _hmac(self, kind: str, content: bytes) -> bytes:
        return hmac.digest(self.key, f"tclr {kind}\0".encode() + content, "sha256")

    def _name(self, kind: str, name: str) -> str:
        # macOS hands out names in decomposed form
        content = unicodedata.normalize("NFC", name).encode(errors="surrogateescape")
        return base64.b32encode(self._hmac(kind, content)).decode().lower()[:LETTERS]

    def subject(self, name: str) -> str:
        """Return the pseudonym of a subject: ``P`` and 12 letters and digits."""
        return f"P{self._name('subject', name)}"

    def clip(self, name: str) -> str:
        """Return the pseudonym of a clip's name, the same for every subject: ``C`` and 12 letters and digits."""
        return f"C{self._name('clip', name)}"

    def file(self, name: str) -> str:
        """Return the pseudonym of a file's name: ``F`` and 12 letters and digits."""
        return f"F{self._name('file', name)}"

    def seal(self, digest: bytes) -> str:
        """Return 64 hexadecimal digits for a digest of files, which without the key confirm no file."""
        return self._hmac("digest", digest).hex()

    @property
    def check(self) -> str:
        """16 hexadecimal digits that tell keys apart and nothing about them."""
        return self._hmac("check", b"").hex()[:16]


def read_key(path: Path) -> Pseudonyms:
    """Read a key file.

    Raises
    ------
    InputError
        If it is missing or holds anything but 64 hexadecimal digits.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise InputError(f"Expected a key file at {path}, but cannot read it: {error.strerror}.") from error
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
        raise InputError(
            f"Expected a key file with {2 * KEY_BYTES} hexadecimal digits, but {path} holds {len(text)} other "
            "characters. Give the file that 'tclr preprocess --pseudonymise' made."
        )
    return Pseudonyms(bytes.fromhex(text))


def _make_key(path: Path) -> None:
    """Write a new key that only its owner can read; never over a file."""
    with writing(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secrets.token_hex(KEY_BYTES)}\n")
        file.flush()
        os.fsync(file.fileno())


def open_key(path: Path, source: Path, store: Path) -> tuple[Pseudonyms, bool]:
    """Read the key for a store, or make it if there is neither the file nor yet a store; tell whether it is new.

    The key file must not lie in the source or the store: whoever gets these folders would get the key.

    Raises
    ------
    SettingError
        If it lies in the source or the store.
    InputError
        If it is no key, or missing though the store is there: another key would give other pseudonyms.
    OutputError
        If it cannot be written.
    """
    for folder in (source, store):
        if path.resolve().is_relative_to(folder.resolve()):
            raise SettingError(f"Expected a key file outside of {folder}, but got {path}. Keep it apart from the data.")
    if path.exists():
        return read_key(path), False
    if (store / "run.json").exists() or (store / "subjects").exists():
        raise InputError(
            f"Expected the key file of {store}, but found nothing at {path}. A key is made for a new STORE only: give "
            "the one that this store was made with."
        )
    _make_key(path)
    return read_key(path), True


def check_key(store: Path, known: set[str], pseudonyms: Pseudonyms | None) -> None:
    """Refuse to mix names, pseudonyms, or those of two keys in one store.

    ``known`` are the ``Pseudonyms.check`` of what it holds, empty for names; ``pseudonyms`` are those of this run.

    Raises
    ------
    OutputError
        If the store holds others.
    """
    others = known - {pseudonyms.check if pseudonyms else ""}
    if not others:
        return
    if "" in others:
        got, advice = "names in the clear", "Use another STORE for pseudonyms, or leave out --pseudonymise"
    elif pseudonyms is None:
        got, advice = "pseudonyms", "Give their key (--pseudonymise KEYFILE), or another STORE"
    else:
        got, advice = "pseudonyms of another key", "Give the key that it was made with, or another STORE"
    wanted = "names in the clear" if pseudonyms is None else "pseudonyms of the key given"
    raise OutputError(f"Expected a store of {wanted}, but {store} holds {got}. {advice}.")
