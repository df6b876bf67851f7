import json
import re
from html.parser import HTMLParser

import pytest

from tclr.pipeline.views.report import write_report
from tclr.pipeline.views.report.page import read_log, read_quality
from tclr.schemas.errors import StoreError


class Page(HTMLParser):
    """Start tags with attributes, and the text of all but scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.json, self._inside = [], [], {}, None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs) | {"tag": tag} if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside is None:
            self.texts.append(data)
        elif self._inside.get("type") == "application/json":
            self.json[self._inside.get("data-plot") or self._inside["id"]] = json.loads(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page(report):
    return Page(report)


def test_page_asks_for_nothing_outside_itself(page):
    places = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert places and all(place.startswith(("data:image/", "#")) for place in places)
    (policy,) = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none';") and "http" not in policy


def test_page_shows_summary_detection_faces_aus_map_training_and_settings(page):
    headings = (
        "Summary",
        "Detection",
        "Worst frames of the store",
        "Action Units",
        "Embeddings",
        "Pretraining",
        "Clips",
    )
    assert all(f"{heading} " in page.text for heading in (*headings, "Settings and provenance"))
    assert "Frames by subject All 2 subjects; F001 has the lowest share of ok frames, 97.5%." in page.text
    assert "F002 / T2" in page.text and "Distance to the anchor" in page.text and "recipe tclr" in page.text
    assert len(page.all("img")) == 4 * 12 + 4 * 3
    plots = {attrs["id"] for attrs in page.all("div") if attrs.get("class") == "plot"}
    expected = {"detection-1", "detection-2", "co-occurrence-1", "co-occurrence-2", "map", "training-4", "timeline-4"}
    assert expected <= plots and plots <= set(page.json)
    assert page.json["map-extra"]["subjects"] == ["F001", "F002"] and "AU01_true" in page.json["map-extra"]["columns"]


def test_page_can_be_used_without_seeing_it(page):
    assert all(attrs.get("alt") for attrs in page.all("img"))
    plots = [attrs for attrs in page.all("div") if attrs.get("class") == "plot"]
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 30 for attrs in plots)
    tables = sum(text.strip().startswith("Table: ") for text in page.texts)
    assert tables == len(plots) and dict(page.all("html")[0])["lang"] == "en"
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"][1:] for attrs in page.all("a")]
    named = [attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs]
    assert set(links + named) <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_text_from_files_cannot_become_markup(page, report):
    assert "</script><b>bold</b>" in page.text and "</script><b>" not in report.read_text()


def test_store_alone_makes_a_page(stored, tmp_path):
    page = Page(write_report(stored, tmp_path / "page.html"))
    assert "Embeddings" not in page.text and "Pretraining" not in page.text and len(page.all("img")) == 4 * 12 + 4 * 3


def test_what_is_doubtful_is_said_first(make_store, make_features, tmp_path, page):
    assert "Look at this first" not in page.text  # 160 frames are too few to say anything
    store = make_store(tmp_path / "store", n_subjects=2, n_frames=140)
    features = make_features(store, tmp_path / "features", collapsed=True)
    doubtful = Page(write_report(store, tmp_path / "page.html", features=features))
    said = (
        "AU01 Inner Brow Raiser is present in 100% of the frames that show it",
        "The embeddings have collapsed nearly to one point",
    )
    places = [doubtful.text.index(text) for text in ("Look at this first", *said, "Frames by subject")]
    assert places == sorted(places)
    assert {"#aus", "#embeddings"} <= {attrs["href"] for attrs in doubtful.all("a")}


def test_source_of_aus_is_told_in_words(page):
    assert "AUs from a head of 'tclr fit-au'" in page.text


def test_clips_are_in_natural_order(make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=1, n_clips=11, n_frames=2)
    text = Page(write_report(store, tmp_path / "page.html")).text
    places = [text.index(f"F001 / T{i + 1} ") for i in range(11)]
    assert places == sorted(places)


def test_run_without_a_log_is_one_clear_error(stored, tmp_path):
    with pytest.raises(StoreError, match=r"Expected a run of 'tclr pretrain' with log.jsonl, but found none in"):
        write_report(stored, tmp_path / "page.html", run=tmp_path)


@pytest.mark.parametrize("line", [b'{"epoch": 2, "val_l', b'{"val_loss": 1}', b'{"epoch": "2"}', b"[2]", b"\xff\xfe"])
def test_damaged_line_of_the_log_is_one_clear_error(tmp_path, line):
    (tmp_path / "log.jsonl").write_bytes(b'{"epoch": 1}\n\n' + line + b"\n")
    with pytest.raises(
        StoreError, match=r"Expected a JSON object .*, but got '.*' in line 3 of .*log\.jsonl\."
    ) as caught:
        read_log(tmp_path)
    assert "\n" not in str(caught.value)


def test_page_says_whether_the_encoder_is_any_good(page):
    assert "Is it any good?" in page.text and "spread 0.01 0.6 0.05 to 1 collapsed" in page.text


@pytest.mark.parametrize("text", ["{}", '{"measures": [{"name": "spread"}]}', '{"measures": [1]}', '{"measures": 1}'])
def test_quality_of_another_kind_is_one_error(tmp_path, text):
    (tmp_path / "quality.json").write_text(text)
    with pytest.raises(StoreError, match="Remove the file, or omit --run"):
        read_quality(tmp_path)
