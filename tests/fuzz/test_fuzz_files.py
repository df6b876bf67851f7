"""Any bytes as a store, features, a manifest or a model: read, or refused with an error of ours; never a crash."""

import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from fuzz_mutations import mutated
from hypothesis import given
from hypothesis import strategies as st

from tclr.pipeline.store import ClipLayout, root_attrs, write_part
from tclr.pipeline.system import write_table
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import ModelError
from tclr.schemas.features import FORMAT, FORMAT_VERSION
from tclr.schemas.manifest import MANIFEST_SCHEMA
from tclr.schemas.store import CLIP_FIELDS, RecordingAttrs

READER = Path(__file__).with_name("fuzz_reader.py")
PATIENCE_S = 60
"""A reader that takes longer hangs: what is read takes milliseconds."""


class Reader:
    """Asks a process what becomes of a file; starts another one if it dies."""

    def __init__(self, *arguments):
        self._command = [sys.executable, *arguments]
        self._process = None

    def ask(self, kind, path):
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._process.stdout.readline() == "ready\n"
        with suppress(BrokenPipeError):  # it has died: there is no answer
            self._process.stdin.write(f"{kind} {path}\n")
            self._process.stdin.flush()
        if select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            answer = self._process.stdout.readline().strip()
            if answer:
                return answer
        self.close()
        return "the process hung or died"

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def reader():
    opened = Reader(str(READER))
    yield opened
    opened.close()


def write_store(path, codec, **open_options):
    """Write a subject of three frames, the second without a face."""
    align = AlignConfig(size=16, codec=codec)
    layout = ClipLayout(align, 5, ("jawOpen",), ("AU01", "AU12"), ("AU01", "AU12"), has_source_names=True)
    block = {name: np.zeros((3, *shape), CLIP_FIELDS[name].dtype if "vlen" not in CLIP_FIELDS[name].dtype else object)
             for name, shape in layout.shapes().items()}  # fmt: skip
    block |= {
        "timestamp": np.arange(3) / 25,
        "source_frame": np.arange(3),
        "source_name": np.array(["a", "b", "c"], object),
    }
    block["frames"] = np.random.default_rng(0).integers(1, 255, (3, 16, 16, 3), np.uint8)
    attrs = {"source": "a", "source_sha256": "b", "source_fingerprint": "c", "source_clip": "T1", "detector": "d"}
    attrs |= {"n_people": 1, "reduction": 1, "fps": 25.0, "width": 9, "height": 9, "warning": ""}
    with write_part(path, root_attrs("folder", "s", DetectConfig(), align, "0")) as part:
        writer = part.add_clip("T1", layout)
        writer.append(block)
        writer.finish(RecordingAttrs(**attrs))
    if open_options:  # without HDF5's own checksums of headers
        old = path.with_suffix(".old")
        with h5py.File(path) as source, h5py.File(old, "w", **open_options) as target:
            target.attrs.update(dict(source.attrs))
            target.create_group("clips")
            for clip in source["clips"]:
                group = target["clips"].create_group(clip)
                group.attrs.update(dict(source["clips"][clip].attrs))
                for name, dataset in source["clips"][clip].items():
                    made = group.create_dataset(
                        name, dataset.shape, dataset.dtype, maxshape=dataset.maxshape, chunks=dataset.chunks,
                        dcpl=dataset.id.get_create_plist(),
                    )  # fmt: skip
                    made[:] = dataset[:]
                    made.attrs.update(dict(dataset.attrs))
        old.replace(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "store" / "subjects").mkdir(parents=True)
    (folder / "features" / "subject=s").mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def stores(root):
    """Small stores as bytes: as written, and with the older headers that have no checksums."""
    kinds = [("zstd", {}), ("jpeg", {}), ("none", {"libver": "earliest"}), ("lz4", {"libver": "earliest"})]
    made = [write_store(root / f"{number}.h5", codec, **options) for number, (codec, options) in enumerate(kinds)]
    return made


@given(data=st.data())
def test_store(reader, root, stores, data):
    content = data.draw(mutated(*stores, kinds=("replace", "replace", "copy", "cut")))
    (root / "store" / "subjects" / "s.h5").write_bytes(content)
    assert reader.ask("store", root / "store") in ("ok", "refused")


def test_sound_stores_are_read(reader, root, stores):
    for content in stores:
        (root / "store" / "subjects" / "s.h5").write_bytes(content)
        assert reader.ask("store", root / "store") == "ok"


@pytest.fixture(scope="module")
def tables(root):
    """Small Parquet files as bytes: features and a manifest."""
    columns = {"clip": ["T1"] * 3, "frame": [0, 1, 2], "timestamp": [0.0, 0.1, 0.2], "status": ["ok"] * 3}
    columns |= {"AU01": pa.array([0.1, None, 0.3], pa.float32()), "emb": pa.array([[1.0, 2.0]] * 3)}
    metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "au_source": "x", "columns": list(columns)}
    write_table(root / "a.parquet", pa.table(columns), metadata)
    row = {"subject": "s", "clip": "T1", "state": "done", "n_frames": 3}
    write_table(root / "b.parquet", pa.Table.from_pylist([row], MANIFEST_SCHEMA), {})
    return (root / "a.parquet").read_bytes(), (root / "b.parquet").read_bytes()


@given(data=st.data())
def test_features(reader, root, tables, data):
    (root / "features" / "subject=s" / "T1.parquet").write_bytes(data.draw(mutated(tables[0])))
    assert reader.ask("features", root / "features") in ("ok", "refused")


@given(data=st.data())
def test_manifest(reader, root, tables, data):
    (root / "store" / "manifest.parquet").write_bytes(data.draw(mutated(tables[1])))
    assert reader.ask("manifest", root / "store") in ("ok", "refused")


def test_sound_tables_are_read(reader, root, tables):
    (root / "features" / "subject=s" / "T1.parquet").write_bytes(tables[0])
    (root / "store" / "manifest.parquet").write_bytes(tables[1])
    assert reader.ask("features", root / "features") == "ok"
    assert reader.ask("manifest", root / "store") == "ok"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder, and by suffix small files as bytes: a head, tensors of torch."""
    import torch

    from tclr.pipeline.au import AuHead
    from tclr.pipeline.au.head import save_head
    from tclr.pipeline.au.readout import Readout

    folder = tmp_path_factory.mktemp("models")
    arrays = [np.zeros(shape, np.float32) for shape in ((1, 4), (1,), (1, 4), (1,), (1,))]
    save_head(folder / "a.safetensors", AuHead("linear", ("AU01",), Readout(*arrays[:4]), arrays[4]), {})
    torch.save({"encoder_info": "{}", "model": {"fc1.weight": torch.zeros(3, 4)}}, folder / "a.pt")
    return folder, {path.suffix: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@given(data=st.data())
def test_models(models, suffix, data):
    """In this process: torch takes seconds to import."""
    from tclr.pipeline.au import load_head
    from tclr.pipeline.encoder.weights import read_weights

    folder, valid = models
    path = folder / f"b{suffix}"
    path.write_bytes(data.draw(mutated(valid[suffix])))
    for read in (read_weights, load_head):
        try:
            read(path)
        except ModelError:
            pass


def test_a_reader_that_dies_or_fails_is_noticed(reader, tmp_path):
    """The checks above could otherwise not fail."""
    assert reader.ask("nonsense", tmp_path).startswith("KeyError")
    dying = Reader("-c", "print('ready')")
    try:
        assert dying.ask("store", tmp_path) == "the process hung or died"
    finally:
        dying.close()
