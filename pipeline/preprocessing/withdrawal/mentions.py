"""Files elsewhere that were made from a person: models that learnt from them, tables and pages that name them.

Nothing is changed. Encoders and heads say whom they learnt from in their metadata; other files are searched for the
name, which stands between characters other than letters and digits.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tclr.pipeline.system import read_schema, read_table
from tclr.schemas.errors import InputError, StoreError

TEXTS = frozenset({".csv", ".html", ".json", ".jsonl", ".log", ".md", ".tex", ".toml", ".tsv", ".txt", ".yaml", ".yml"})
BLOCK_CHARACTERS = 2**20
LEARNT, NAMES = "learnt from them: train it again without them, or delete it", "names them"
UNKNOWN = "does not say whom it learnt from (written by tclr 0.1.0)"


@dataclass(frozen=True)
class Mention:
    """A file, and what it has to do with a person."""

    path: Path
    what: str


def find_mentions(places: Iterable[Path], subject: str) -> list[Mention]:
    """Find the files in folders, or of those given, that learnt from a subject or name them.

    Models of a run (``checkpoint.pt``) and ``.safetensors`` files, Parquet, tables, reports and other texts are read;
    of any other file, the path.

    Raises
    ------
    InputError
        If a file or folder does not exist, or cannot be read.

    Examples
    --------
    >>> [mention.path.name for mention in find_mentions([Path("features")], "F003")]
    ['T1.parquet']
    """
    found = []
    for place in places:
        if not place.exists():
            raise InputError(f"Expected a file or folder to check, but found nothing at {place}. Check the path.")
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            try:
                what = _what(path, path.relative_to(place) if place.is_dir() else Path(path.name), subject)
            except OSError as error:
                raise InputError(f"Cannot read {path}: {error.strerror}. Check its permissions.") from error
            found += [Mention(path, what)] if what else []
    return found


def _what(path: Path, relative: Path, subject: str) -> str:
    """Return what a file has to do with a subject, "" for nothing."""
    match path.suffix.lower():
        case ".safetensors":
            return _learnt(_read_header(path), subject)
        case ".pt":
            return LEARNT if _has_checkpoint(path, subject) else ""
    is_named = _names(subject).search(str(relative)) is not None
    if not is_named and path.suffix.lower() in TEXTS:
        is_named = _has_text(path, subject)
    elif not is_named and path.suffix.lower() == ".parquet":
        is_named = _has_rows(path, subject)
    return NAMES if is_named else ""


def _names(subject: str) -> re.Pattern[str]:
    """Return a pattern of a name, as it is or as JSON escapes it."""
    forms = {re.escape(subject), re.escape(json.dumps(subject)[1:-1])}
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(sorted(forms))})(?![^\W_])")


def _read_header(path: Path) -> list[dict[str, Any]]:
    """Return the descriptions of the model, and of the encoder within, that a file of tensors has."""
    try:
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            metadata = json.loads(file.read(min(n_bytes, path.stat().st_size)))["__metadata__"]
        return [json.loads(metadata[name]) for name in ("info", "encoder_info") if name in metadata]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _learnt(infos: Iterable[dict[str, Any]], subject: str) -> str:
    people = [info.get("subjects") for info in infos if isinstance(info, dict)]
    known = {str(name).rpartition("/")[2] for names in people if isinstance(names, list) for name in names}
    if subject in known:
        return LEARNT
    return "" if known or not people else UNKNOWN


def _has_checkpoint(path: Path, subject: str) -> bool:
    """Return whether a checkpoint's encoder has learnt from a subject; its JSON is plain text in the file."""
    wanted = re.compile(rf'"[^"/]+/{re.escape(json.dumps(subject)[1:-1])}"'.encode())
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return any(wanted.search(archive.read(name)) for name in names)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False


def _has_rows(path: Path, subject: str) -> bool:
    """Return whether a Parquet file has rows of a subject, or names them in its metadata."""
    try:
        schema = read_schema(path)
        if any(_names(subject).search(text.decode(errors="replace")) for text in (schema.metadata or {}).values()):
            return True
        if "subject" not in schema.names:
            return False
        return subject in pa.compute.unique(read_table(path, ["subject"])["subject"]).to_pylist()
    except StoreError:
        return False


def _has_text(path: Path, subject: str) -> bool:
    wanted = _names(subject)
    with path.open(encoding="utf-8", errors="replace") as file:
        return any(wanted.search(block) for block in _blocks(file, len(subject.encode()) * 6))


def _blocks(file: Any, n_before: int) -> Iterator[str]:
    """Yield a text in blocks that repeat the end of the block before, in which a name may begin."""
    end = ""
    while block := file.read(BLOCK_CHARACTERS):
        yield end + block
        end = (end + block)[-n_before - 1 :]
