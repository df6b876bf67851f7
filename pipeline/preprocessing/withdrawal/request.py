"""A person's request to withdraw, or to return: the name, as people know it, then the list, then what is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tclr.pipeline.preprocessing.withdrawal.listed import Withdrawn, recording_of
from tclr.pipeline.preprocessing.withdrawal.removal import Removal, plan_removal, remove
from tclr.pipeline.sources import Pseudonyms, check_key, read_key, safe_name
from tclr.pipeline.store import list_rows
from tclr.pipeline.system import lock_folder, read_json, real_path, some_of
from tclr.schemas.errors import InputError, StoreError
from tclr.schemas.store import PSEUDONYM_KEY


@dataclass(frozen=True)
class Withdrawal:
    """What ``withdraw`` did, or would do if ``is_done`` is false."""

    store: Path
    name: str  # subject or subject/clip, as the store has it
    clips: tuple[str, ...]  # of the store that went
    files: tuple[Path, ...]  # that were deleted
    rewritten: Path | None  # the subject's file, if clips stay in it
    rebuilt: tuple[Path, ...]  # of ``files``, features of clips that stay: 'tclr embed' makes them again
    lost: dict[str, str]  # clips that should stay, but were damaged and could not be copied, with the reason
    is_done: bool


def withdraw(
    store: Path,
    name: str,
    *,
    features: Sequence[Path] = (),
    key_file: Path | None = None,
    confirm: Callable[[Removal], bool] = lambda removal: True,
) -> Withdrawal:
    """Remove a person, a recording or one person of it from a store and from features, and keep them out.

    The name is put on the list of the store first, so no run brings back what an interrupted call left. A second call
    finishes.

    Parameters
    ----------
    store : Path
        The store.
    name : str
        ``subject``, ``subject/clip`` for a recording with everyone in it, or ``subject/clip#2`` for one person of it.
    features : sequence of Path
        Folders of ``tclr embed`` to remove them from, too.
    key_file : Path, optional
        Key of the store's pseudonyms, if ``name`` is a real name.
    confirm : callable
        Called with what would go, while the store is locked; nothing is changed unless it returns true.

    Raises
    ------
    InputError
        If the store has nothing and nobody of that name, or a folder of features does not exist.
    StoreError
        If it is no store, or only a clip is to go and the subject's file cannot be read.
    OutputError
        If another run holds the store or the features, or a file cannot be deleted.

    Examples
    --------
    >>> import shutil
    >>> fewer = Path(shutil.copytree("store", "fewer"))
    >>> withdraw(fewer, "F003").clips
    ('T1',)
    >>> [path.name for path in (fewer / "subjects").iterdir()]
    ['F001.h5']
    """
    store, folders = real_path(store), [real_path(folder) for folder in features]
    _require_store(store)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"Expected a folder of features, but found none at {folder}. Check the path.")
    with ExitStack() as stack:
        for folder in (store, *folders):
            stack.enter_context(lock_folder(folder))
        subject, clip = _find(store, name, key_file)
        listed = Withdrawn.of(store)
        removal = plan_removal(store, subject, [clip] if clip else (), folders)
        known = _join(subject, clip)
        is_done = confirm(removal)
        lost = {}
        if is_done:
            _add(listed, known, removal).write(store)
            lost = remove(removal)
    return Withdrawal(store, known, removal.clips, removal.files, removal.rewritten, removal.rebuilt, lost, is_done)


def readmit(store: Path, name: str, *, key_file: Path | None = None) -> str:
    """Take a name off the list of those who have withdrawn, and return it as the store has it.

    The next run of preprocessing stores them again, if the source has them. Parameters are those of ``withdraw``.

    Raises
    ------
    InputError
        If the name is not on the list.

    Examples
    --------
    >>> import shutil
    >>> again = Path(shutil.copytree("store", "again"))
    >>> withdraw(again, "F003/T1").clips, readmit(again, "F003/T1")
    (('T1',), 'F003/T1')
    """
    store = real_path(store)
    _require_store(store)
    with lock_folder(store):
        listed = Withdrawn.of(store)
        for subject, clip in _readings(store, name, key_file):
            known = _join(subject, clip)
            if known in listed:
                listed.without(known).write(store)
                return known
    raise InputError(f"Expected someone who has withdrawn from {store}, but {name!r} is not on its list.")


def _join(subject: str, clip: str) -> str:
    return f"{subject}/{clip}" if clip else subject


def _require_store(store: Path) -> None:
    if not any((store / name).exists() for name in ("subjects", "manifest.parquet", "run.json")):
        raise StoreError(f"Expected a store, but found none at {store}. Give the folder that 'tclr preprocess' wrote.")


def _add(listed: Withdrawn, name: str, removal: Removal) -> Withdrawn:
    """Return the list with a name, and with its recording if others of the recording stay."""
    recording = recording_of(name)
    of_it = {info.attrs.source_clip for info in removal.infos if info.clip in removal.clips}
    others = {info.clip for info in removal.infos if info.attrs.source_clip in of_it and info.clip in removal.stay}
    return listed.with_names([name], [recording] if recording != name and others else [])


def _find(store: Path, name: str, key_file: Path | None) -> tuple[str, str]:
    """Return the subject and clip, "" for all, that a name stands for in a store.

    Raises
    ------
    InputError
        If the store has no such name.
    """
    listed = Withdrawn.of(store)
    for subject, clip in _readings(store, name, key_file):
        if _join(subject, clip) in listed or not plan_removal(store, subject, [clip] if clip else ()).is_empty:
            return subject, clip
    people = sorted({path.stem for path in (store / "subjects").glob("*.h5")} | list_rows(store).keys())
    advice = "" if key_file else " Real names of a store with pseudonyms need their key: --pseudonyms KEYFILE."
    raise InputError(f"Expected a subject, or SUBJECT/CLIP, of {store} ({some_of(people)}), but got {name!r}.{advice}")


def _readings(store: Path, name: str, key_file: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the names in the store, subject and clip, that a name may stand for."""
    raw_subject, _, raw_clip = name.partition("/")
    if not raw_subject or (not raw_clip and "/" in name) or "/" in raw_clip:
        raise InputError(f"Expected SUBJECT or SUBJECT/CLIP, but got {name!r}.")
    subject, clip = safe_name(raw_subject), safe_name(raw_clip) if raw_clip else ""
    if key_file is not None:
        pseudonyms = read_key(key_file)
        check_key(store, _keys(store), pseudonyms)
        yield pseudonyms.subject(subject), _pseudonym(pseudonyms, clip)
    yield subject, clip


def _pseudonym(pseudonyms: Pseudonyms, clip: str) -> str:
    """Return the pseudonym of a clip, "" for none; that of a person keeps the number."""
    recording = recording_of(clip)
    return pseudonyms.clip(recording) + clip.removeprefix(recording) if clip else ""


def _keys(store: Path) -> set[str]:
    """Return which key made the names of a store, "" for real names; nothing if it has no record."""
    with suppress(StoreError):
        return {str(read_json(store / "run.json").get(PSEUDONYM_KEY, ""))}
    return set()
