"""Makes photo people from two public sources, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from string import ascii_lowercase

from tclr.pipeline.system import leave_with_parent, lock_folder
from tclr.pipeline.tools.people.casting import Role, cast_people
from tclr.pipeline.tools.people.clips import OCCLUDE, Maker
from tclr.pipeline.tools.people.files import check_output, video_path, write_cast
from tclr.pipeline.tools.people.head import FaceModel, check_shapes, read_model
from tclr.pipeline.tools.people.occluders import plan_kinds
from tclr.pipeline.tools.people.portraits import CHECKED, list_portraits
from tclr.pipeline.tools.people.render import open_context
from tclr.pipeline.tools.people.settings import PeopleSettings
from tclr.schemas.errors import ClusterError

Work = tuple[Role, list[str]]
"""A person, and the names of the clips that are to be made."""
_maker: Maker | None = None
"""The maker of this process, in a pool of several."""


@dataclass(frozen=True)
class PeopleResult:
    """What ``write_people`` wrote."""

    out: Path
    n_people: int
    n_clips: int
    n_new: int
    """Clips that were not there before."""
    n_frames: int


def write_people(
    out: Path,
    faces: Path,
    portraits: Path,
    settings: PeopleSettings | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PeopleResult:
    """Write videos of photo people to ``out``, with true labels; clips that are there already stay.

    ``faces`` is the folder of ICT-FaceKit, ``portraits`` that of webmorphR.stim. ``progress`` is called with
    (clips done, clips in all). ``files`` describes the layout.

    Raises
    ------
    SettingError
        If moderngl or EGL is missing.
    InputError
        If a source is missing, or a portrait has not one face.
    ClusterError
        If one of several processes ends.
    OutputError
        If ``out`` holds people of other settings, cannot be written, or another run writes to it.

    Examples
    --------
    >>> write_people(Path("people"), Path("faces"), Path("no-such-folder"))
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected portraits in no-such-folder/... but found none. ...
    """
    settings = settings or PeopleSettings()
    found = list_portraits(portraits, () if settings.all_portraits else CHECKED)
    roles = cast_people(found, settings.people, settings.seed)
    model = read_model(faces)
    check_shapes(model)
    check_output(out, settings)
    open_context().release()  # a missing renderer is reported once, before any process starts
    total = done = settings.people * settings.clips
    with lock_folder(out):
        kinds = [plan_kinds(settings.clips, settings.occluded, role.rng(settings.seed, OCCLUDE)) for role in roles]
        write_cast(out, settings, roles, kinds)
        work = find_work(out, roles, settings.clips)
        new = sum(len(clips) for _, clips in work)
        done -= new
        progress(done, total)
        for count in _make(_Job(out, faces, settings), model, work, workers):
            done += count
            progress(done, total)
    return PeopleResult(out, settings.people, total, new, total * settings.frames)


def find_work(out: Path, roles: Sequence[Role], clips: int) -> list[Work]:
    """Return the people who lack clips, and which."""
    names = ascii_lowercase[:clips]
    work = [(role, [name for name in names if not video_path(out, role, name).exists()]) for role in roles]
    return [(role, lacking) for role, lacking in work if lacking]


@dataclass(frozen=True)
class _Job:
    """What a process of the pool needs."""

    out: Path
    faces: Path
    settings: PeopleSettings


def _make(job: _Job, model: FaceModel, work: Sequence[Work], workers: int) -> Iterator[int]:
    """Make people in this process, or in several; yield the number of clips that were added."""
    if not work:
        return
    if workers > 1:
        yield from _make_side_by_side(job, work, workers)
        return
    with closing(Maker(job.out, model, job.settings)) as maker:
        for role, clips in work:
            for _ in maker.make(role, clips):
                yield 1


def _make_side_by_side(job: _Job, work: Sequence[Work], workers: int) -> Iterator[int]:
    """Make people in several processes; yield the number of clips that were added."""
    with ProcessPoolExecutor(min(workers, len(work)), get_context("spawn"), _start, (job,)) as pool:
        making = [pool.submit(_make_one, item) for item in work]
        try:
            for one in as_completed(making):
                yield one.result()
        except BrokenProcessPool as error:
            raise ClusterError(
                "A process ended before its people were made, often for lack of memory. Use fewer --workers, then run "
                "the same command again: clips that are done stay."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start(job: _Job) -> None:
    """Prepare a process of the pool."""
    global _maker
    leave_with_parent()
    _maker = Maker(job.out, read_model(job.faces), job.settings)


def _make_one(item: Work) -> int:
    """Make the clips of a person in a process of the pool."""
    if _maker is None:
        raise RuntimeError("the process was not prepared")
    return sum(1 for _ in _maker.make(*item))
