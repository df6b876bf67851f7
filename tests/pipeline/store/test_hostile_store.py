"""HDF5 files that lie or lead elsewhere: refused with one clear error, by everything that reads a store."""

import shutil
from dataclasses import fields

import cv2
import h5py
import hdf5plugin
import numpy as np
import pytest

from tclr.pipeline.store import (
    WHOLE_FILE,
    Store,
    assemble_subject,
    find_changes,
    find_damage,
    scan_clips,
    summarise_store,
)
from tclr.pipeline.store.checksums import seal_clip, seal_root
from tclr.pipeline.store.damage import verify_clip
from tclr.schemas.config import AlignConfig
from tclr.schemas.errors import DamagedClipsError, StoreError
from tclr.schemas.store import CLIP_FIELDS, ClipAttrs, RootAttrs

N_FRAMES, HUGE = 20, 10**12
CLIP, SECRET = "clips/T1", b"password" * 100


@pytest.fixture(scope="module")
def sound(make_store, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("sound"), n_subjects=1, n_frames=N_FRAMES, intensity=True)


@pytest.fixture
def root(sound, tmp_path):
    """A copy of the sound store, beside a file that nobody should read."""
    (tmp_path / "secret").write_bytes(SECRET)
    return shutil.copytree(sound, tmp_path / "store")


def path_of(root):
    return root / "subjects" / "F001.h5"


def read_all(root):
    """Read every value of a store in every way."""
    with Store(root) as store:
        for info in store.clips:
            for name in store.fields(info):
                if not name.startswith("frames"):
                    store.read(info, name)
            for name in ("au", "blendshapes"):
                store.names(info, name)
            store.read_crops(info)
            store.read_crops_at(info, np.arange(min(info.n_frames, 9)))
            store.crop_size()
            verify_clip(store, info)


def assert_refused(root, match=None):
    """Reading, verifying and copying all end with a ``StoreError`` in one line."""
    with pytest.raises(StoreError, match=match) as caught:
        read_all(root)
    assert "\n" not in str(caught.value)
    (report,) = find_damage(root)
    assert report.damage, "verify has missed it"
    try:
        summarise_store(root)
    except StoreError:
        pass


def replace(file, name, **options):
    """Put another dataset in the place of one, with its attributes."""
    attrs = dict(file[f"{CLIP}/{name}"].attrs)
    del file[f"{CLIP}/{name}"]
    made = file[CLIP].create_dataset(name, **options)
    made.attrs.update(attrs)
    return made


def empty_rows(file, names=("status",), n_rows=HUGE):
    for name in names:
        shape, dtype = file[f"{CLIP}/{name}"].shape[1:], file[f"{CLIP}/{name}"].dtype
        replace(file, name, shape=(n_rows, *shape), dtype=dtype, chunks=(8, *shape))


def claim_huge_clip(file):
    empty_rows(file, [name for name in file[CLIP]])
    file[CLIP].attrs["n_frames"] = HUGE


def external_storage(file):
    secret = file.filename.replace("store/subjects/F001.h5", "secret")
    replace(file, "status", shape=(N_FRAMES,), dtype="uint8", external=[(secret, 0, N_FRAMES)])


def virtual(file):
    layout = h5py.VirtualLayout((N_FRAMES,), "uint8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (N_FRAMES,))
    attrs = dict(file[f"{CLIP}/status"].attrs)
    del file[f"{CLIP}/status"]
    file[CLIP].create_virtual_dataset("status", layout).attrs.update(attrs)


def link(place, target):
    def change(file):
        del file[place]
        file[place] = target

    return change


def swap(name, **options):
    return lambda file: replace(file, name, **options)


def nest(file):
    group = file[CLIP]
    for _ in range(500):
        group = group.create_group("more")


def group_for_dataset(file):
    del file[f"{CLIP}/pose"]
    file[CLIP].create_group("pose")


def dataset_for_group(file):
    del file[CLIP]
    file["clips"]["T1"] = np.arange(3)


def packed(claimed_bytes):
    """Put a zstd frame that claims a size in the place of the first chunk of landmarks."""

    def change(file):
        dataset = file[f"{CLIP}/landmarks"]
        head = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + claimed_bytes.to_bytes(8, "little")
        dataset.id.write_direct_chunk((0, 0, 0), head + b"\x01\x00\x00")

    return change


def packed_frames(codec, data):
    def change(file):
        shape = (N_FRAMES, 32, 32, 3)
        replace(file, "frames", shape=shape, dtype="uint8", chunks=(8, 32, 32, 3), **codec)
        file[f"{CLIP}/frames"].id.write_direct_chunk((0, 0, 0, 0), data)

    return change


COMPOUND = np.dtype([("a", "u1"), ("b", "f4")])
LIES = {
    "a clip of 10^12 rows": claim_huge_clip,
    "10^12 rows of status": empty_rows,
    "10^12 rows of crops": lambda file: empty_rows(file, ["frames"]),
    "rows that take no room": lambda file: empty_rows(file, ["timestamp"], N_FRAMES),
    "wide rows": swap("landmarks", shape=(N_FRAMES, 10**7, 3), dtype="f4", chunks=(1, 10**7, 3)),
    "crops too large": swap("frames", shape=(N_FRAMES, 10**4, 10**4, 3), dtype="u1", chunks=(1, 10**4, 10**4, 3)),
    "chunks of part of a row": swap("frames", shape=(N_FRAMES, 10**4, 10**4, 3), dtype="u1", chunks=(1, 9, 9, 3)),
    "compound": swap("status", shape=(N_FRAMES,), dtype=COMPOUND, chunks=(8,)),
    "references": swap("status", shape=(N_FRAMES,), dtype=h5py.ref_dtype, chunks=(8,)),
    "values of any length": swap("track", shape=(N_FRAMES,), dtype=h5py.vlen_dtype(np.int32), chunks=(8,)),
    "text for numbers": swap("score", shape=(N_FRAMES,), dtype=h5py.string_dtype(), chunks=(8,)),
    "floats for codes": swap("status", data=np.zeros(N_FRAMES), chunks=(8,)),
    "one dimension less": swap("pose", data=np.zeros(N_FRAMES, "f4"), chunks=(8,)),
    "no dimension": swap("status", data=np.uint8(0)),
    "nothing at all": swap("status", data=h5py.Empty("u1")),
    "not in chunks": swap("track", data=np.zeros(N_FRAMES, "i4")),
    "a filter of others": swap("track", data=np.zeros(N_FRAMES, "i4"), chunks=(8,), compression="lzf"),
    "a filter with absurd parameters": swap("track", data=np.zeros(N_FRAMES, "i4"), chunks=(8,), scaleoffset=31),
    "external storage": external_storage,
    "virtual": virtual,
    "external link for a dataset": link(f"{CLIP}/status", h5py.ExternalLink("../../secret", "/x")),
    "external link for a clip": link(CLIP, h5py.ExternalLink("../../secret", "/x")),
    "external link for all clips": link("clips", h5py.ExternalLink("../../secret", "/x")),
    "a loop of soft links": link(CLIP, h5py.SoftLink("/clips/T1")),
    "a soft link to a dataset": link(f"{CLIP}/status", h5py.SoftLink("/clips/T1/track")),
    "a group for a dataset": group_for_dataset,
    "a dataset for a group": dataset_for_group,
    "groups in groups": nest,
    "a packed chunk of 10^12 bytes": packed(HUGE),
    "packed crops of 10^12 bytes": packed_frames(
        hdf5plugin.LZ4(nbytes=3072), HUGE.to_bytes(8, "big") + (3072).to_bytes(4, "big") + bytes(40)
    ),
    "settings that are no JSON": lambda file: file.attrs.__setitem__("align_config", "{"),
    "settings that are a list": lambda file: file.attrs.__setitem__("detect_config", "[]"),
    "settings nested deep": lambda file: file.attrs.__setitem__("align_config", "[" * 5000 + "]" * 5000),
    "a format version that is no number": lambda file: file.attrs.__setitem__("format_version", "one"),
    "an infinite format version": lambda file: file.attrs.__setitem__("format_version", np.inf),
    "an array for complete": lambda file: file.attrs.__setitem__("complete", [1, 2]),
    "a text that is no UTF-8": lambda file: file[CLIP].attrs.__setitem__("source", np.bytes_(b"\xff\xfe")),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(root, lie):
    with h5py.File(path_of(root), "r+") as file:
        LIES[lie](file)
    assert_refused(root)


def test_settings_out_of_range_and_names_that_do_not_fit_are_refused_where_they_are_used(root):
    with h5py.File(path_of(root), "r+") as file:
        file.attrs["align_config"] = '{"size": 1e9}'
        file[f"{CLIP}/au"].attrs["names"] = ["AU01"] * 9
        seal_clip(file[CLIP])
        seal_root(file)
    with Store(root) as store:
        with pytest.raises(StoreError, match="AlignConfig"):
            store.crop_size()
        with pytest.raises(StoreError, match="a name for each of 2 columns, but got 9"):
            store.names(store.clips[0], "au")


@pytest.mark.parametrize("text", ["x", "[]", "7", "[" * 5000])
def test_checksums_that_are_none_are_damage(root, text):
    with h5py.File(path_of(root), "r+") as file:
        file[CLIP].attrs["checksums"] = text
    assert list(next(find_damage(root)).damage) == ["T1"]


BAD_COUNTS = [-1, 2**62, "many", np.nan, [20, 20], np.bytes_(b"\xff"), h5py.Empty("i8"), N_FRAMES + 1]


@pytest.mark.parametrize("value", BAD_COUNTS, ids=str)
def test_a_count_of_frames_that_is_none_is_refused(root, value):
    with h5py.File(path_of(root), "r+") as file:
        file[CLIP].attrs["n_frames"] = value
    assert_refused(root, "F001.h5")


def required(kind):
    """Names of the attributes that have no default, and their types."""
    return [(field.name, field.type) for field in fields(kind) if field.default.is_required()]


def test_what_a_file_must_say_is_known():
    names = [name for kind in (ClipAttrs, RootAttrs) for name, _ in required(kind)]
    assert len(names) == 33 and {"n_frames", "median_score", "warning", "align_config"} <= set(names)


@pytest.mark.parametrize(("name", "kind"), required(ClipAttrs))
def test_an_attribute_that_is_missing_or_of_another_type_is_refused(root, name, kind):
    with h5py.File(path_of(root), "r+") as file:
        file[CLIP].attrs[name] = 7 if kind == "str" else "text"
    infos, damage = scan_clips(path_of(root))
    assert not infos and name in damage["T1"]
    with h5py.File(path_of(root), "r+") as file:
        del file[CLIP].attrs[name]
    infos, damage = scan_clips(path_of(root))
    assert not infos and name in damage["T1"]


@pytest.mark.parametrize(("name", "kind"), required(RootAttrs))
def test_a_root_attribute_of_another_type_is_refused(root, name, kind):
    with h5py.File(path_of(root), "r+") as file:
        file.attrs[name] = 7 if kind == "str" else "text"
    infos, damage = scan_clips(path_of(root))
    assert not infos and list(damage) == [WHOLE_FILE]


NAMES = ["../../evil", "/etc/passwd", "..", ".hidden", "a\nb", "a\x1b[31mb", "a\u202eb", "", "x" * 300, "a b", "é/.."]


@pytest.mark.parametrize("name", NAMES)
def test_a_subject_with_an_unsafe_name_is_refused(root, name):
    with h5py.File(path_of(root), "r+") as file:
        file.attrs["subject"] = name
        seal_root(file)
    with pytest.raises(StoreError, match="Expected a name of letters") as caught:
        Store(root)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["..", "a\x1b[31mb", "a b", "x" * 300])
def test_a_clip_with_an_unsafe_name_is_refused(root, name):
    with h5py.File(path_of(root), "r+") as file:
        file["clips"].move("T1", name)
    with pytest.raises(StoreError, match="Expected a name of letters"):
        Store(root)


def test_a_file_under_another_subjects_name_is_refused(root):
    path_of(root).rename(root / "subjects" / "F002.h5")
    with pytest.raises(StoreError, match="F001.h5"):
        Store(root)


def test_a_damaged_clip_is_skipped_and_the_others_stay(make_store, tmp_path):
    root = make_store(tmp_path, n_subjects=1, n_clips=2, n_frames=9)
    with h5py.File(path_of(root), "r+") as file:
        link(CLIP, h5py.ExternalLink("x", "/y"))(file)
    infos, damage = scan_clips(path_of(root))
    assert [info.clip for info in infos] == ["T2"] and list(damage) == ["T1"]
    with Store(root, skip_damaged=True) as store:
        assert [info.clip for info in store.clips] == ["T2"]


@pytest.mark.parametrize("lie", ["external storage", "external link for a dataset", "10^12 rows of crops"])
def test_assembling_copies_nothing_from_elsewhere(root, tmp_path, lie):
    attrs = scan_clips(path_of(root))[0][0].root
    with h5py.File(path_of(root), "r+") as file:
        LIES[lie](file)
    with pytest.raises(DamagedClipsError):
        assemble_subject(tmp_path / "joined.h5", {"T1": (path_of(root),)}, attrs)
    assert not (tmp_path / "joined.h5").exists()


@pytest.mark.parametrize("clip", ["T1/../T1", "../T1", "T1/status", "/clips/T1"])
def test_a_clip_is_no_path_in_the_file(root, clip):
    assert clip in find_changes(path_of(root), [clip])


def test_a_jpeg_crop_that_claims_to_be_huge_is_not_decoded(root):
    """JPEG says its size in 16 bits a side: 4.3 gigapixels."""
    encoded = bytearray(cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].tobytes())
    place = encoded.index(b"\xff\xc0") + 5
    encoded[place : place + 4] = b"\x75\x30\x75\x30"  # 30,000 x 30,000
    with h5py.File(path_of(root), "r+") as file:
        del file[f"{CLIP}/frames"]
        files = file[CLIP].create_dataset("frames_jpeg", (N_FRAMES,), h5py.vlen_dtype(np.uint8), chunks=(8,))
        for row in range(N_FRAMES):
            files[row] = np.frombuffer(bytes(encoded), np.uint8)
    with Store(root) as store:
        for read in (store.read_crops, lambda info: store.read_crops_at(info, np.arange(3))):
            with pytest.raises(StoreError, match=r"JPEG of 32 x 32 pixels, but got \(30000, 30000\)"):
                read(store.clips[0])


def test_every_field_of_the_layout_passes_the_guard(sound):
    """The checks above refuse what the writer writes nowhere."""
    with Store(sound) as store:
        (info,) = store.clips
        assert set(store.fields(info)) >= {name for name, field in CLIP_FIELDS.items() if field.required}
        assert info.root.align == AlignConfig(size=32)
    read_all(sound)
    assert not next(find_damage(sound)).damage
