"""Pseudonyms: keyed hashes that replace the names of people, clips and files, and the file with the key.

The same key gives the same pseudonym in every run and store, so follow-up recordings can be joined. Without the key
there is no way back. A plain hash could be reversed by trying likely names; HMAC-SHA256 (RFC 2104) cannot be.
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
"""Letters per pseudonym, 5 bits each. Two of a million names collide with a probability of 4e-7 (2^40 / 2^61), and a
collision is an error. Lower-case base32 stays distinct on file systems that ignore case."""


@dataclass(frozen=True)
class Pseudonyms:
    """The pseudonyms of names and of file digests under one key."""

    key: bytes = field(repr=False)

    def _hmac(self, kind: str, content: bytes) -> bytes:
        return hmac.digest(self.key, f"tclr {kind}\0".encode() + content, "sha256")

    def _name(self, kind: str, name: str) -> str:
        # macOS returns names in decomposed form
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
        """Return 64 hexadecimal digits for a digest of files; without the key they cannot confirm a file."""
        return self._hmac("digest", digest).hex()

    @property
    def check(self) -> str:
        """16 hexadecimal digits that identify the key without revealing it."""
        return self._hmac("check", b"").hex()[:16]


def read_key(path: Path) -> Pseudonyms:
    """Read a key file.

    Raises
    ------
    InputError
        If it is missing or contains anything but 64 hexadecimal digits.

    Examples
    --------
    >>> n_digits = Path("zeros.key").write_text("0" * 64)
    >>> read_key(Path("zeros.key")).subject("anna")
    'Pzqdi4kqvzphe'
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise InputError(f"Cannot read the key file {path}: {error.strerror}.") from error
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
        raise InputError(
            f"Expected {2 * KEY_BYTES} hexadecimal digits, but {path} has other content ({len(text)} characters). "
            "Give the key file that 'tclr preprocess --pseudonymise' wrote."
        )
    return Pseudonyms(bytes.fromhex(text))


def _make_key(path: Path) -> None:
    """Write a new key that only its owner can read; never overwrite a file."""
    with writing(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secrets.token_hex(KEY_BYTES)}\n")
        file.flush()
        os.fsync(file.fileno())


def open_key(path: Path, source: Path, store: Path) -> tuple[Pseudonyms, bool]:
    """Read the key of a store, or create it for a new store; return it and whether it is new.

    The key file must lie outside the source and the store: whoever gets these folders would get the key.

    Raises
    ------
    SettingError
        If it lies in the source or the store.
    InputError
        If it is not a key, or is missing although the store exists: a new key would give other pseudonyms.
    OutputError
        If it cannot be written.

    Examples
    --------
    >>> made, is_new = open_key(Path("study.key"), Path("clips"), Path("new_store"))
    >>> is_new, open_key(Path("study.key"), Path("clips"), Path("new_store")) == (made, False)
    (True, True)
    """
    for folder in (source, store):
        if path.resolve().is_relative_to(folder.resolve()):
            raise SettingError(f"Expected a key file outside {folder}, but got {path}. Keep it apart from the data.")
    if path.exists():
        return read_key(path), False
    if (store / "run.json").exists() or (store / "subjects").exists():
        raise InputError(
            f"Expected the key file of {store}, but found nothing at {path}. A key is created for a new STORE only: "
            "give the key that this store was made with."
        )
    _make_key(path)
    return read_key(path), True


def check_key(store: Path, known: set[str], pseudonyms: Pseudonyms | None) -> None:
    """Raise if a run would mix real names and pseudonyms, or pseudonyms of two keys, in one store.

    ``known`` has the ``Pseudonyms.check`` of each key in the store, empty for real names; ``pseudonyms`` are the run's.

    Raises
    ------
    OutputError
        If the store has other names than this run would write.

    Examples
    --------
    >>> check_key(Path("store"), {""}, Pseudonyms(bytes(32)))
    Traceback (most recent call last):
    tclr.schemas.errors.OutputError: Expected a store with pseudonyms of the given key, but store has real names. ...
    """
    others = known - {pseudonyms.check if pseudonyms else ""}
    if not others:
        return
    if "" in others:
        got, advice = "real names", "Use another STORE for pseudonyms, or leave out --pseudonymise"
    elif pseudonyms is None:
        got, advice = "pseudonyms", "Give their key (--pseudonymise KEYFILE), or another STORE"
    else:
        got, advice = "pseudonyms of another key", "Give the key that it was made with, or another STORE"
    wanted = "real names" if pseudonyms is None else "pseudonyms of the given key"
    raise OutputError(f"Expected a store with {wanted}, but {store} has {got}. {advice}.")
