"""What follows from the outcomes of tasks, without a cluster: clips, segments, repairs."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tclr.pipeline.preprocessing import scheduling
from tclr.pipeline.preprocessing.plan import ClipPlan, SubjectPlan
from tclr.pipeline.preprocessing.tasks import Outcome
from tclr.pipeline.sources import Clip
from tclr.pipeline.system import cluster
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import OutputError

PATH, PART = Path("s.h5"), Path("store/parts/s/c0.h5")


class Submitting:
    """A client that keeps what it is given to do, with workers on some cores; ``outcomes`` come of it in turn."""

    def __init__(self, n_workers=1, n_cores=1, outcomes=()):
        self.cores = {f"tcp://127.0.0.1:{port}": n_cores for port in range(n_workers)}
        self.outcomes = iter(outcomes)
        self.tasks = []

    def run(self, ask, on_error):
        return self.cores

    def submit(self, work, *arguments, pure, priority):
        self.tasks.append((work, arguments, priority))
        name = str(len(self.tasks))
        return SimpleNamespace(key=name, result=lambda: next(self.outcomes), release=lambda: None)


class Queue(list):
    """Tasks that are through in their order, as ``as_completed`` without a cluster."""

    add = list.append


@pytest.fixture
def carry_out(monkeypatch):
    """Carry out the plan of a subject by what a client says; returns the build."""
    monkeypatch.setattr(cluster, "as_completed", Queue)

    def run(plan, client):
        @contextmanager
        def dispatching(workers, scheduler, lost, on_progress, threads):
            yield cluster.Dispatcher(client, lost)

        monkeypatch.setattr(scheduling, "dispatching", dispatching)
        progress = scheduling.Progress(len(plan.todo), 0)
        build = scheduling.StoreBuild(Path("store"), "run", PreprocessConfig(), progress, lambda progress: None)
        build.carry_out([plan], None, None)
        return build

    return run


def plan_of(n_clips=1):
    clips = [Clip("folder", "s", f"c{i}", Path(f"c{i}.mp4"), f"c{i}.mp4") for i in range(n_clips)]
    return SubjectPlan("s", PATH, {clip.clip: ClipPlan(clip) for clip in clips})


def made(n_frames=1):
    return Outcome(names=("c0",), n_frames=n_frames)


@pytest.mark.parametrize(
    ("n_workers", "n_cores", "n_clips", "ahead"),
    [(1, 2, 3, True), (2, 2, 3, False), (8, 8, 9, False), (8, 8, 4, True), (8, 8, 5, False), (0, 0, 1, False)],
)
def test_clips_are_read_ahead_where_workers_leave_cores_idle(carry_out, n_workers, n_cores, n_clips, ahead):
    client = Submitting(n_workers, n_cores, [made()] * n_clips + [Outcome()])
    carry_out(plan_of(n_clips), client)
    assert [task[0].n_ahead > 0 for _, task, _ in client.tasks[:n_clips]] == [ahead] * n_clips


def test_segments_go_before_other_clips_and_count_as_one_clip(carry_out):
    segments = tuple(SimpleNamespace(rows=rows) for rows in ((0, 256), (256, 300)))
    client = Submitting(outcomes=[Outcome(segments=segments), made(256), made(44), Outcome()])
    plan = plan_of()
    build = carry_out(plan, client)
    assert [priority for _, _, priority in client.tasks] == [0, 1, 1, 10]
    assert [task[0].segment for _, task, _ in client.tasks[1:3]] == list(segments)
    assert plan.files == {"c0": (PART.with_name("c0~000000000.h5"), PART.with_name("c0~000000256.h5"))}
    assert (build.progress.clips_done, build.progress.n_frames, build.progress.subjects_done) == (1, 300, 1)


def test_a_clip_that_cannot_be_cut_is_done_in_one_piece_and_a_failed_segment_fails_the_clip(carry_out):
    segments = tuple(SimpleNamespace(rows=rows) for rows in ((0, 256), (256, 300)))
    uncut = Outcome(reason="no", uncut=True)
    client = Submitting(outcomes=[Outcome(segments=segments), made(256), uncut, made(300), Outcome()])
    plan = plan_of()
    assert not carry_out(plan, client).progress.failures and plan.files == {"c0": (PART,)}
    assert [task[0].whole for _, task, _ in client.tasks[:4]] == [False, False, False, True]
    client = Submitting(outcomes=[Outcome(segments=segments), Outcome(reason="broken"), made(44)])
    build = carry_out(plan_of(), client)
    assert [(failure.name, failure.reason) for failure in build.progress.failures] == [("s/c0", "broken")]
    assert (build.progress.clips_done, build.progress.n_frames) == (1, 0)


@pytest.mark.parametrize("kept", [{}, {"c0": (PATH,)}])
def test_a_part_that_is_damaged_is_made_again_once_then_what_the_present_file_has_stays(carry_out, kept):
    damaged = Outcome(damaged={"c0": "changed"})
    client, plan = Submitting(outcomes=[made(), damaged, made(), damaged]), plan_of()
    plan.clips["c0"].kept = kept
    build = carry_out(plan, client)
    assert len(client.tasks) == 4 and plan.files == kept and plan.accepted == kept.keys()
    assert [failure.name for failure in build.progress.failures] == ["s/c0"] and build.progress.subjects_done == 1


def test_a_store_that_cannot_be_written_ends_the_run(carry_out):
    client = Submitting(outcomes=[Outcome(reason="disk full", fatal=True)])
    with pytest.raises(OutputError, match="disk full"):
        carry_out(plan_of(3), client)
