"""Removes subjects or clips from a store, and from features that were made of it.

What is to go is planned first, then removed file by file. Each step can be repeated: after an interruption a second
call finishes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tclr.pipeline.preprocessing.layout import old_folder, scan_file, subject_path
from tclr.pipeline.preprocessing.withdrawal.listed import recording_of
from tclr.pipeline.store import WHOLE_FILE, ClipInfo, DamageRecord, assemble_subject, list_rows, remove_rows
from tclr.pipeline.system import read_json, read_metadata, write_json, writing
from tclr.schemas.errors import StoreError


@dataclass(frozen=True)
class Removal:
    """What goes with a subject, or with some of the subject's clips; see ``plan_removal``."""

    store: Path
    subject: str
    clips: tuple[str, ...]  # of the store that go, also those that are in the manifest only
    files: tuple[Path, ...]  # to delete
    rewritten: Path | None = None  # the subject's file, if clips stay in it
    stay: tuple[str, ...] = ()  # clips that stay in it
    infos: tuple[ClipInfo, ...] = ()  # all that can be read of it
    rebuilt: tuple[Path, ...] = ()  # of ``files``, features of clips that stay, but were measured from those that go
    whole: bool = True  # the subject goes, not only some clips

    @property
    def is_empty(self) -> bool:
        """Whether nothing of them is left; a copy in ``old/`` counts only for a subject as a whole."""
        old = old_folder(self.store)
        return not self.clips and all(file.parent == old and not self.whole for file in self.files)


def plan_removal(store: Path, subject: str, clips: Collection[str] = (), features: Iterable[Path] = ()) -> Removal:
    """Find what goes with a subject, or only with ``clips``; nothing is changed.

    ``clips`` are recordings, each with everyone in it, or single people of one (``talk#2``). Without any, the subject
    goes. Copies of the subject's file in ``old/`` and unfinished parts go, too.

    Raises
    ------
    StoreError
        If only clips are to go and nothing of the subject's file can be read.

    Examples
    --------
    >>> removal = plan_removal(Path("store"), "F001")
    >>> removal.clips, [file.as_posix() for file in removal.files]
    (('T1',), ['store/subjects/F001.h5'])
    """
    path, old = subject_path(store, subject), old_folder(store)
    infos, damage = scan_file(path)
    if clips and WHOLE_FILE in damage:
        raise StoreError(
            f"Expected to take clips out of {path}, but it cannot be read: {damage[WHOLE_FILE]} Remove the subject "
            "as a whole, then run 'tclr preprocess' for the other clips."
        )
    hit = {info.clip for info in infos if not clips or {info.clip, info.attrs.source_clip} & {*clips}}
    stay = {name for name in (*(info.clip for info in infos), *damage) if clips and name not in hit}
    stay -= {name for name in damage if _is_of(name, clips)}

    def goes(name: str) -> bool:
        return name not in stay and (not clips or name in hit or _is_of(name, clips))

    recordings = {info.attrs.source_clip for info in infos if info.clip in hit} | {recording_of(name) for name in clips}
    files = [*old.glob(f"{subject}.h5"), *old.glob(f"{subject}~*.h5")]
    files += [part for part in (store / "parts" / subject).glob("*") if not clips or _is_part(part, recordings)]
    if not stay and path.is_file():
        files.append(path)
    made, rebuilt = _features_files(features, subject, goes if clips else None)
    gone = {name for name in (*hit, *damage, *list_rows(store).get(subject, ())) if name and goes(name)}
    return Removal(
        store=store,
        subject=subject,
        clips=tuple(sorted(gone)),
        files=tuple(sorted({*files, *made, *rebuilt})),
        rewritten=path if stay and gone & {*hit, *damage} else None,
        stay=tuple(sorted(stay)),
        infos=tuple(infos),
        rebuilt=tuple(rebuilt),
        whole=not clips,
    )


def _is_of(name: str, clips: Collection[str]) -> bool:
    """Return whether a clip, by its name alone, is one of ``clips`` or a person of one."""
    return name in clips or recording_of(name) in clips


def _is_part(path: Path, recordings: Collection[str]) -> bool:
    """Return whether a file of ``parts/`` belongs to a recording, as a whole or a segment."""
    return path.stem.partition("~")[0] in recordings


def _features_files(
    features: Iterable[Path], subject: str, goes: Callable[[str], bool] | None
) -> tuple[list[Path], list[Path]]:
    """Return the files of a subject in features folders: those of clips that go, and others measured from these."""
    from tclr.pipeline.features import PARTITION  # brings pandas

    made: list[Path] = []
    others: list[Path] = []
    for folder in features:
        for path in sorted((folder / f"{PARTITION}{subject}").rglob("*")):
            if path.is_file():
                (made if goes is None or goes(path.stem) else others).append(path)
    return made, [path for path in others if made and _is_measured_from_others(path)]


def _is_measured_from_others(path: Path) -> bool:
    """Return whether AUs of a features file begin at a resting level that other clips of the person gave."""
    try:
        metadata = read_metadata(path)
    except StoreError:
        return False
    return bool(metadata.get("neutral")) or (metadata.get("settings") or {}).get("centre") == "subject"


def remove(removal: Removal) -> dict[str, str]:
    """Carry out a removal; the caller holds the locks of the store and the features.

    Returns
    -------
    dict of str to str
        Clips that should stay, but were damaged so that they could not be copied, with the reason.

    Raises
    ------
    OutputError
        If a file cannot be deleted or written; a second call goes on there.

    Examples
    --------
    >>> import shutil
    >>> remove(plan_removal(Path(shutil.copytree("store", "less")), "F003"))
    {}
    """
    lost: dict[str, str] = {}
    if removal.rewritten is not None:
        sources = {clip: [removal.rewritten] for clip in removal.stay}
        lost = assemble_subject(removal.rewritten, sources, removal.infos[0].root, accepted=removal.stay)
    for file in removal.files:
        with writing(file):
            file.unlink(missing_ok=True)
    _remove_empty_folders({file.parent for file in removal.files}, removal.store)
    remove_rows(removal.store, removal.subject, removal.clips)
    record = DamageRecord(removal.store)
    damaged = record.read()
    noted = [] if removal.whole else sorted({*damaged.get(removal.subject, ())} - {*removal.clips})
    record.write({subject: names for subject, names in (damaged | {removal.subject: noted}).items() if names})
    if removal.whole:
        _forget_source(removal.store, removal.subject)
    return lost


def _remove_empty_folders(folders: Iterable[Path], store: Path) -> None:
    for folder in (*folders, store / "parts", old_folder(store)):
        with suppress(OSError):  # not empty, or not there
            folder.rmdir()


def _forget_source(store: Path, subject: str) -> None:
    """Take the path of the source out of ``run.json`` if the subject's name is in it."""
    with suppress(StoreError):
        record = read_json(store / "run.json")
        parts = Path(str(record.get("source"))).parts
        if subject in {name for part in parts for name in (part, Path(part).stem)}:
            write_json(store / "run.json", record | {"source": None})
