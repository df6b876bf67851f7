import csv
import http.client
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from functools import partial

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tclr.pipeline.store import Store
from tclr.pipeline.views.viewer import ViewerClips, ViewerServer
from tclr.pipeline.views.viewer.server import MAX_BODY_BYTES
from tclr.schemas.errors import OutputError, StoreError


@pytest.fixture(scope="module")
def server(stored, features):
    with ViewerServer(ViewerClips(features, stored)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path, method="GET", body=None, token=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, f"/{server.token if token is None else token}/{path}", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_page_is_served_at_the_address_that_is_printed(server):
    assert re.fullmatch(rf"http://127\.0\.0\.1:{server.server_port}/[\w-]{{43}}/", server.url)
    answer, content = ask(server, "")
    assert answer.status == 200 and b"<title>tclr viewer</title>" in content
    for name in re.findall(rb'(?:href|src)="([a-z.]+)"', content):
        assert ask(server, name.decode())[0].status == 200
    scripts, lanes = (ask(server, name)[1] for name in ("viewer.js", "lanes.js"))
    assert all(
        ask(server, name.decode())[0].status == 200 for name in re.findall(rb'from "./(\w+\.js)"', scripts + lanes)
    )


def test_only_this_machine_can_connect(server):
    assert server.server_address[0] == "127.0.0.1"
    with socket.socket() as other:
        other.settimeout(2)
        assert other.connect_ex(("127.0.0.2", server.server_port)) != 0


@pytest.mark.parametrize("path", ["", "viewer.js", "api/clips", "api/clips/0", "api/clips/0/sprites/0"])
@pytest.mark.parametrize("token", ["", "wrong", "short", "longer"])
def test_nothing_is_told_without_the_token(server, path, token):
    given = {"short": server.token[:-1], "longer": server.token + "x"}.get(token, token)
    answer, content = ask(server, path, token=given)
    assert answer.status == 403 and content == b"Forbidden: open the address that 'tclr view' printed.\n"


def test_tokens_differ_between_servers(server, stored, features):
    with ViewerServer(ViewerClips(features, stored)) as other:
        assert other.token != server.token


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_host_name_is_refused_as_dns_rebinding(server, host):
    assert ask(server, "api/clips", Host=host.format(port=server.server_port))[0].status == 403


def test_localhost_is_this_host_and_other_origins_are_not(server):
    assert ask(server, "api/clips", Host=f"localhost:{server.server_port}")[0].status == 200
    body = b"[]"
    assert ask(server, "api/events.csv", "POST", body, Origin="http://evil.example")[0].status == 403
    assert ask(server, "api/events.csv", "POST", body, Origin=server.url.rsplit("/", 2)[0])[0].status == 200


@pytest.mark.parametrize("path", ["", "api/clips/0/sprites/0", "absent"])
def test_answers_are_not_kept_and_pages_stay_inside(server, path):
    answer, _ = ask(server, path)
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Server"] == "tclr"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "theme.css/../server.py", "__init__.py",
     "report.html", "api/clips/4", "api/clips/-1", "api/clips/999999999", "api/clips/9999999999",
     "api/clips/0/sprites/2", "api/clips/0/sprites/-1", "api/clips/F001", "api/clips/0/", "api"],
)  # fmt: skip
def test_what_is_not_a_known_page_or_index_is_not_found(server, path):
    answer, content = ask(server, path)
    assert answer.status == 404 and content == b"Not found.\n"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(server, method):
    assert ask(server, "api/clips", method)[0].status == 501


def test_head_has_no_body(server):
    answer, content = ask(server, "api/clips", "HEAD")
    assert answer.status == 200 and content == b"" and int(answer.headers["Content-Length"]) > 100


def test_clips_are_listed_with_their_quality(server):
    summary = json.loads(ask(server, "api/clips")[1])
    assert [(c["subject"], c["clip"]) for c in summary["clips"]] == [
        (s, t) for s in ("F001", "F002") for t in ("T1", "T2")
    ]
    first = summary["clips"][0]
    assert (
        first["share_ok"] == 39 / 40 and first["face_px"] == 2 and first["sharpness"] == 50 and first["n_frames"] == 40
    )
    assert summary["aus"] == [
        {"id": "AU01", "name": "Inner Brow Raiser", "threshold": 0.5},
        {"id": "AU12", "name": "Lip Corner Puller", "threshold": None},
    ]
    assert summary["au_source"] == "a head of 'tclr fit-au'"
    assert summary["sprite"] == {"frames": 32, "columns": 8, "tile_px": 32} and summary["n_without_crops"] == 0


def test_clips_are_in_natural_order(make_store, make_features, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=1, n_clips=11, n_frames=2)
    clips = ViewerClips(make_features(store, tmp_path / "features"), store)
    assert [clip["clip"] for clip in clips.summary()["clips"]] == [f"T{i + 1}" for i in range(11)]
    clips.close()


def test_curves_are_those_of_the_features(server, features):
    curves = json.loads(ask(server, "api/clips/3")[1])
    table = pd.read_parquet(features / "subject=F002/T2.parquet")
    assert curves["frame"] == table["frame"].tolist() and curves["status"][:2] == ["ok", "no_face"]
    np.testing.assert_allclose(curves["timestamp"], table["timestamp"], atol=1e-4)
    assert set(curves["aus"]["AU01"]) == {"probability", "label"} and set(curves["aus"]["AU12"]) == {
        "intensity",
        "label",
    }
    assert curves["aus"]["AU01"]["probability"][1] is None
    np.testing.assert_allclose(curves["aus"]["AU01"]["probability"][2:], table["AU01"][2:], atol=1e-3)
    np.testing.assert_allclose(curves["aus"]["AU12"]["intensity"][2:], table["AU12_r"][2:], atol=1e-3)
    assert curves["aus"]["AU12"]["label"] == table["AU12_true"].tolist()


@pytest.mark.parametrize(("block", "n_frames"), [(0, 32), (1, 8)])
def test_sprites_hold_the_crops_row_by_row(server, stored, block, n_frames):
    answer, content = ask(server, f"api/clips/2/sprites/{block}")
    sheet = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert answer.headers["Content-Type"] == "image/jpeg" and sheet.shape == (-(-n_frames // 8) * 32, 8 * 32, 3)
    with Store(stored) as store:
        crops = store.read_crops(store.clips[2], block * 32, block * 32 + n_frames)
    for place, crop in enumerate(crops):
        top, left = place // 8 * 32, place % 8 * 32
        assert np.abs(sheet[top : top + 32, left : left + 32].astype(int) - crop).mean() < 6


def test_crops_are_read_a_chunk_at_a_time_and_large_ones_reduced(make_store, make_features, tmp_path, monkeypatch):
    store = make_store(tmp_path / "store", n_subjects=1, size=240)
    clips = ViewerClips(make_features(store, tmp_path / "features"), store)
    read, spans = Store.read_crops, []
    monkeypatch.setattr(Store, "read_crops", lambda s, info, a, b: spans.append((a, b)) or read(s, info, a, b))
    sheet = cv2.imdecode(np.frombuffer(clips.sprite(0, 0), np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (4 * 224, 8 * 224, 3) and spans == [(0, 8), (8, 16), (16, 24), (24, 32)]
    clips.close()


def test_many_requests_at_once_get_their_own_answers(server):
    expected = [ask(server, f"api/clips/{i}/sprites/0")[1] for i in range(4)]
    got = {}

    def fetch(number):
        got[number] = ask(server, f"api/clips/{number % 4}/sprites/0")[1]

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(expected)) == 4 and all(got[number] == expected[number % 4] for number in range(16))


def post_events(server, events):
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    return ask(server, "api/events.csv", "POST", body)


def test_events_come_back_as_csv_with_times_and_frames_of_the_source(server):
    note = 'raised, "slowly"\nthen held'
    events = [
        {"clip": 3, "au": "AU12", "start": 5, "end": 5, "note": note},
        {"clip": 0, "au": "AU01", "start": 10, "end": 39},
    ]
    answer, content = post_events(server, events)
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert list(rows[0]) == ["subject", "clip", "AU", "start_s", "end_s", "start_frame", "end_frame", "note"]
    assert list(rows[0].values()) == ["F001", "T1", "AU01", "0.4000", "1.5600", "110", "139", ""]
    assert list(rows[1].values()) == ["F002", "T2", "AU12", "0.2000", "0.2000", "105", "105", note]
    assert post_events(server, [])[1].count(b"\n") == 1


def test_note_cannot_become_a_formula_in_a_spreadsheet(server):
    dangerous = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1"]
    harmless = ["", "a = b", "1-2", "'=1"]
    events = [{"clip": 0, "au": "AU01", "start": 0, "end": 0, "note": note} for note in dangerous + harmless]
    _, content = post_events(server, events)
    notes = [row["note"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]
    assert notes == [f"'{note}" for note in dangerous] + harmless


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (b"no json", "Expected a JSON list of events, but got an error at the list"),
        ({"clip": 0}, "Expected a JSON list of events"),
        ([{"clip": 0, "au": "AU01", "start": 0}], "but got an error at 0.end: Field required"),
        ([{"clip": 0, "au": "AU01", "start": "0", "end": 1}], "but got an error at 0.start"),
        ([{"clip": 0, "au": "AU01", "start": -1, "end": 1}], "but got an error at 0.start"),
        ([{"clip": 0, "au": "AU01", "start": 0, "end": 1, "path": "/"}], "but got an error at 0.path"),
        ([{"clip": 4, "au": "AU01", "start": 0, "end": 1}], "Expected a clip below 4, but got 4 in event 0"),
        ([{"clip": 0, "au": "AU99", "start": 0, "end": 1}], "Unknown AU 'AU99' in event 0. Known AUs: AU01, AU12"),
        ([{"clip": 0, "au": "AU01", "start": 0, "end": 40}], "Expected a start and an end of 0 to 39"),
        ([{"clip": 0, "au": "AU01", "start": 3, "end": 2}], "Expected a start and an end of 0 to 39"),
    ],
)
def test_events_that_make_no_sense_are_one_clear_line(server, events, message):
    answer, content = post_events(server, events)
    assert answer.status == 400 and message in content.decode() and content.count(b"\n") == 1


def test_bodies_are_limited_in_size_and_need_a_length(server):
    headers = {"Content-Length": str(MAX_BODY_BYTES + 1)}
    assert ask(server, "api/events.csv", "POST", None, **headers)[0].status == 413
    assert ask(server, "api/events.csv", "POST", None, **{"Content-Length": "-5"})[0].status == 413
    assert ask(server, "api/clips", "POST", b"[]")[0].status == 404


def test_features_of_other_frames_are_told_on_the_page(make_features, stored, tmp_path):
    clips = ViewerClips(make_features(stored, tmp_path, drop_rows=1), stored)
    with ViewerServer(clips) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        answer, content = ask(server, "api/clips/0")
        server.shutdown()
    assert answer.status == 500 and b"Expected 40 frames of F001/T1 as in the store, but the features in" in content


def test_store_of_other_clips_is_one_clear_error(make_store, features, tmp_path):
    other = make_store(tmp_path, n_subjects=3, n_clips=1)
    for name in ("F001", "F002"):
        (other / f"subjects/{name}.h5").unlink()
    with pytest.raises(StoreError, match="Expected a store with the clips of .*, but .* has none of them"):
        ViewerClips(features, other)


def test_clips_that_the_store_lacks_are_counted(make_store, features, tmp_path):
    clips = ViewerClips(features, make_store(tmp_path, n_subjects=1, n_clips=2))
    assert len(clips.infos) == 2 and clips.summary()["n_without_crops"] == 2
    clips.close()


def test_taken_port_is_one_clear_error(server, stored, features):
    with pytest.raises(OutputError, match="Expected a free port of 127.0.0.1, but cannot use"):
        ViewerServer(ViewerClips(features, stored), server.server_port)


@pytest.fixture
def idle_server(stored, features):
    """A server that nothing runs: a test handles the request itself, in its own thread."""
    with ViewerServer(ViewerClips(features, stored)) as server:
        yield server


def handle_next(server):
    server.process_request_thread(*server.get_request())


def test_browser_that_drops_a_request_is_no_error(idle_server, capsys):
    client = socket.create_connection(("127.0.0.1", idle_server.server_port), timeout=10)
    client.sendall(b"GET /")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
    client.close()
    handle_next(idle_server)
    assert capsys.readouterr() == ("", "")


def test_error_of_our_own_is_still_told(idle_server, monkeypatch, capsys):
    monkeypatch.setattr(idle_server, "get", lambda path: 1 / 0)
    with socket.create_connection(("127.0.0.1", idle_server.server_port), timeout=10) as client:
        client.sendall(
            f"GET /{idle_server.token}/ HTTP/1.1\r\nHost: 127.0.0.1:{idle_server.server_port}\r\n\r\n".encode()
        )
        handle_next(idle_server)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_command_prints_the_address_serves_and_ends_on_ctrl_c(stored, features):
    command = [sys.executable, "-m", "tclr.cli.main", "view", str(features), "--store", str(stored), "--no-browser"]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs inherit that it is ignored
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        url = re.search(r"http://127\.0\.0\.1:(\d+)(/\S+)", process.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", int(url[1]), timeout=10)
        connection.request("GET", url[2])
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    assert process.returncode == 0 and out == "Ended.\n" and error == ""


def test_features_of_chosen_columns_need_no_status(stored, features, tmp_path):
    for path in features.rglob("*.parquet"):
        copy = tmp_path / path.relative_to(features)
        table = pq.read_table(path).drop_columns(["status"])
        copy.parent.mkdir(exist_ok=True)
        pq.write_table(table, copy)
    curves = ViewerClips(tmp_path, stored).curves(0)
    assert curves["status"] == [""] * 40 and len(curves["timestamp"]) == 40
