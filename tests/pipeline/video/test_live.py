"""Cameras, streams, pipes and files as they play: what is opened, what is dropped, and how it ends."""

import os
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tclr.pipeline.sources import find_clips
from tclr.pipeline.video import Frame, LiveReader, LiveSource, find_source, probe, read_frames
from tclr.pipeline.video.live import source as live_source
from tclr.schemas.errors import InputError


class Script:
    """A source that yields what a test says, and waits where the test says so."""

    title = "script"

    def __init__(self, *steps):
        self.steps = steps

    def read(self):
        number = 0
        for step in self.steps:
            if callable(step):
                step()
                continue
            yield Frame(number, step, np.full((4, 6, 3), number, np.uint8))
            number += 1


def breaks():
    raise InputError("Expected more, but it broke.")


@pytest.fixture
def video(tmp_path, write_video, portrait):
    images = [np.full((48, 64, 3), 5 * i, np.uint8) for i in range(20)]
    return write_video(tmp_path / "talk.mkv", images, pts_ms=[i * i for i in range(20)])


@pytest.fixture
def serve(tmp_path):
    """Serve the test's folder on loopback; return its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_every_frame_of_a_file_comes_with_its_own_time(video):
    with LiveReader(find_source(str(video)), every=True) as reader:
        frames = list(reader)
    expected = list(read_frames(probe(find_clips(video)[0], image_fps=25)))
    assert [(one.index, one.timestamp_s) for one in frames] == [(one.index, one.timestamp_s) for one in expected]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(frames, expected, strict=True))
    assert reader.n_dropped == 0 and reader.error is None and not reader.is_stopped


def test_a_file_at_its_own_pace_loses_none_that_it_does_not_count(video):
    with LiveReader(find_source(str(video))) as reader:
        frames = list(reader)
    numbers = [frame.index for frame in frames]
    assert numbers[0] == 0 and numbers[-1] == 19 and numbers == sorted(set(numbers))
    assert len(numbers) + reader.n_dropped == 20
    came = [frame.came_s - frame.timestamp_s for frame in frames]
    assert min(came[1:]) >= came[0] - 1e-6  # no frame is early


def test_a_slow_reader_gets_the_newest_frame_and_the_others_are_counted():
    taken, filled = threading.Event(), threading.Event()
    nan = float("nan")
    source = Script(nan, taken.wait, nan, nan, nan, nan, filled.set, partial(threading.Event().wait, 0.2))
    with LiveReader(source) as reader:
        frames = iter(reader)
        assert next(frames).index == 0
        taken.set()
        filled.wait()
        newest = next(frames)
        assert newest.index == 4 and newest.image[0, 0, 0] == 4 and newest.timestamp_s >= 0
        assert reader.n_dropped == 3
        assert list(frames) == [] and reader.error is None


def test_who_wants_every_frame_makes_the_source_wait():
    with LiveReader(Script(*[i / 100 for i in range(30)]), every=True) as reader:
        assert [frame.index for frame in reader] == list(range(30)) and reader.n_dropped == 0


def test_what_came_before_a_break_is_given_and_the_break_is_told():
    with LiveReader(Script(0.0, 0.1, breaks), every=True) as reader:
        assert len(list(reader)) == 2
    assert "it broke" in str(reader.error)


def test_a_defect_of_the_reader_is_raised_where_frames_are_asked_for():
    with LiveReader(Script(0.0, lambda: 1 / 0), every=True) as reader, pytest.raises(ZeroDivisionError):
        list(reader)


def test_stopping_ends_after_the_frame_at_hand_also_while_the_source_is_silent():
    silent = threading.Event()
    with LiveReader(Script(float("nan"), silent.wait)) as reader:
        frames = iter(reader)
        next(frames)
        threading.Timer(0.2, reader.stop).start()
        assert list(frames) == [] and reader.is_stopped
        silent.set()


@pytest.mark.parametrize(
    ("name", "kind"), [("rtsp://cam/1", "address"), ("-", "pipe"), ("HTTP://cam:8080/video", "address")]
)
def test_names_say_what_a_source_is(name, kind):
    assert find_source(name) == LiveSource(kind, name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("99", "there is no /dev/video99"),
        ("/dev/video98", "there is no /dev/video98"),
        ("no/such.mp4", "found nothing at no/such.mp4"),
        ("ftp://a/b.mp4", "begins with one of http://"),
        ("concat://a", "begins with one of"),
    ],
)
@pytest.mark.skipif(os.name != "posix" or not os.path.isdir("/dev"), reason="cameras of Linux")
def test_what_cannot_be_watched_is_one_line_that_says_what_to_try(name, reason, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(InputError, match=reason) as caught:
        find_source(name)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_no_camera_says_so(tmp_path):
    (tmp_path / "video0").write_text("no camera")
    with LiveReader(LiveSource("camera", str(tmp_path / "video0"))) as reader:
        assert list(reader) == []
    assert "cannot be opened" in str(reader.error) and "name another camera" in str(reader.error)


def test_a_stream_is_read_to_its_end(tmp_path, serve, write_video, moving_portrait):
    write_video(tmp_path / "live.ts", moving_portrait(12), format="mpegts")
    with LiveReader(find_source(f"{serve}/live.ts"), every=True) as reader:
        frames = list(reader)
    assert reader.error is None and [frame.index for frame in frames] == list(range(12))
    assert {frame.image.shape for frame in frames} == {(240, 240, 3)}
    assert [frame.timestamp_s for frame in frames] == sorted(frame.timestamp_s for frame in frames)


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat"])
def test_a_playlist_that_names_other_addresses_is_refused(tmp_path, serve, write_video, moving_portrait, name):
    write_video(tmp_path / "live.ts", moving_portrait(3), format="mpegts")
    lists = {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nlive.ts\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile live.ts\n",
    }
    (tmp_path / name).write_text(lists[name])
    with LiveReader(find_source(f"{serve}/{name}")) as reader:
        assert list(reader) == []
    assert "playlists (.m3u8) are not read" in str(reader.error)


def test_an_address_without_an_answer_is_told_without_its_password(serve):
    source = find_source(serve.replace("://", "://me:secret@") + "/none.ts?token=abc")
    with LiveReader(source) as reader:
        assert list(reader) == []
    assert "cannot be opened" in str(reader.error) and "127.0.0.1" in str(reader.error)
    assert not any(word in f"{reader.error} {source.title}" for word in ("secret", "token", "abc"))


def test_a_silent_server_is_left_after_a_while(monkeypatch):
    monkeypatch.setattr(live_source, "OPEN_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with LiveReader(find_source(f"http://127.0.0.1:{server.getsockname()[1]}/x")) as reader:
            assert list(reader) == []
    assert "nothing came for 1 s" in str(reader.error)


def test_an_rtsp_camera_is_asked_in_its_language(monkeypatch):
    monkeypatch.setattr(live_source, "OPEN_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"rtsp://127.0.0.1:{server.getsockname()[1]}/stream1"
        with LiveReader(find_source(address)) as reader:
            connection, _ = server.accept()
            with connection:
                asked = connection.recv(1000).decode()
                assert list(reader) == []
    assert asked.startswith(f"OPTIONS {address} RTSP/1.0") and "cannot be opened" in str(reader.error)


@pytest.mark.parametrize("scheme", ["https", "rtsps", "rtmp", "tcp"])
def test_each_scheme_reaches_the_address(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with LiveReader(find_source(f"{scheme}://127.0.0.1:{port}/x")) as reader:  # nobody listens there any more
        assert list(reader) == []
    assert "refused" in str(reader.error).lower()


def test_a_named_pipe_is_read_as_it_is_written(tmp_path, write_video, moving_portrait):
    data = write_video(tmp_path / "a.ts", moving_portrait(8), format="mpegts").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[data], daemon=True).start()
    source = find_source(str(tmp_path / "pipe"))
    with LiveReader(source, every=True) as reader:
        images = [frame.image for frame in reader]
    expected = [frame.image for frame in read_frames(probe(find_clips(tmp_path / "a.ts")[0], image_fps=25))]
    assert len(images) == 8 and all(map(np.array_equal, images, expected))  # in order of time
    assert source.kind == "pipe" and source.waits and reader.error is None
