"""Who has withdrawn from a store: ``STORE/withdrawn.json``, so that no later run brings them back.

The file holds salted hashes of names, ``subject`` or ``subject/clip``. Who reads it learns no name, but may try one.
``partly`` are recordings of which one person of several has withdrawn: they are never extracted again.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tclr.pipeline.sources import Clip
from tclr.pipeline.system import read_json, remove_quietly, write_json
from tclr.schemas.errors import StoreError

MOST_PEOPLE = 1000
"""Far more than are told apart in one recording."""
SALT_BYTES = 16
DIGITS = 32
"""Hexadecimal digits kept of a hash: 128 bits."""


@dataclass(frozen=True)
class Withdrawn:
    """The list of a store.

    >>> listed = Withdrawn.of(Path("store"))
    >>> "anna" in listed, "anna" in listed.with_names(["anna"]), "anna" in listed.without("anna")
    (False, True, False)
    """

    salt: str
    names: frozenset[str] = frozenset()
    partly: frozenset[str] = frozenset()

    @classmethod
    def of(cls, store: Path) -> Withdrawn:
        """Read the list of a store, empty if it has none.

        Raises
        ------
        StoreError
            If it cannot be read: a run might bring someone back.
        """
        path = _path(store)
        if not path.exists():
            return cls(secrets.token_hex(SALT_BYTES))
        try:
            content = read_json(path)
            salt, names, partly = content["salt"], content["names"], content["partly"]
            good = all(isinstance(name, str) and re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", name) for name in names + partly)
            if not good or not isinstance(salt, str):
                raise ValueError
        except (StoreError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"Expected the list of who has withdrawn, but cannot read {path}. Restore it from a copy; without it, "
                "they could come back. If nobody has withdrawn, delete it."
            ) from error
        return cls(salt, frozenset(names), frozenset(partly))

    def write(self, store: Path) -> None:
        """Replace the list of a store, or delete it if it is empty; raises ``OutputError`` if it cannot be written."""
        if self.names:
            write_json(_path(store), {"salt": self.salt, "names": sorted(self.names), "partly": sorted(self.partly)})
        else:
            remove_quietly(_path(store))

    def _hash(self, name: str) -> str:
        return hashlib.sha256(f"{self.salt}\0{name}".encode()).hexdigest()[:DIGITS]

    def __contains__(self, name: str) -> bool:
        """Return whether a subject, ``subject/clip`` or one person of a clip is on the list."""
        return self._hash(name) in self.names

    def is_partly(self, name: str) -> bool:
        """Return whether a person has withdrawn from a recording, ``subject/clip``, that holds others."""
        return self._hash(name) in self.partly

    def with_names(self, names: Iterable[str], partly: Iterable[str] = ()) -> Withdrawn:
        """Return the list with more names."""
        added = {self._hash(name) for name in names}
        return Withdrawn(self.salt, self.names | added, self.partly | {self._hash(name) for name in partly})

    def without(self, name: str) -> Withdrawn:
        """Return the list without a name; a recording that nobody is withdrawn from any more may be extracted again."""
        recording = recording_of(name)
        rest = Withdrawn(self.salt, self.names - {self._hash(name)}, self.partly)
        if any(f"{recording}#{number}" in rest for number in range(1, MOST_PEOPLE + 1)):
            return rest
        return Withdrawn(self.salt, rest.names, self.partly - {self._hash(recording)})

    def covers(self, clip: Clip) -> bool:
        """Return whether a clip of the source is not to be extracted."""
        return clip.subject in self or clip.name in self or self.is_partly(clip.name)


def recording_of(name: str) -> str:
    """Return the name of the recording of a clip of one person, ``subject/clip#2``.

    >>> recording_of("anna/talk#2"), recording_of("anna/talk")
    ('anna/talk', 'anna/talk')
    """
    return re.sub(r"#\d+$", "", name)


def _path(store: Path) -> Path:
    return store / "withdrawn.json"
