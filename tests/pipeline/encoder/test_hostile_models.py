"""Model files that would run code, unpack to gigabytes, or lie about their tensors: refused with an error of ours."""

import json
import os
import pickle
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch

from tclr.pipeline.au import load_head
from tclr.pipeline.encoder import EncoderInfo, build_encoder, load_encoder, save_encoder
from tclr.pipeline.encoder.info import parse_info
from tclr.pipeline.encoder.weights import read_weights
from tclr.pipeline.system import read_tensors
from tclr.schemas.errors import ModelError

INFO = EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=1.0)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_encoder(path, build_encoder(8, 0), INFO)
    return path


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_pickle_runs_nothing(tmp_path, save, suffix):
    trap, path = tmp_path / "trap", tmp_path / f"a{suffix}"
    save({"model": {"fc1.weight": torch.zeros(2)}, "x": Touch(trap)}, path)
    for read in (read_weights, load_encoder, load_head):
        with pytest.raises(ModelError):
            read(path)
    assert not trap.exists()
    path = path.rename(tmp_path / "trap.pt")  # torch goes by the suffix, too
    with path.open("rb") as file:
        content = pickle.load(file) if not zipfile.is_zipfile(path) else torch.load(path, weights_only=False)
    assert trap.is_dir() and content, "the trap is no trap"


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    torch.save({"fc1.weight": torch.zeros(2**20)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain:
        with zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))
    assert (tmp_path / "packed.pt").stat().st_size < 2**16 < 2**22 < (tmp_path / "plain.pt").stat().st_size
    assert read_weights(tmp_path / "plain.pt")[0]["fc1.weight"].shape == (2**20,)
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("unpacked"))
    with pytest.raises(ModelError, match="is compressed"):
        read_weights(tmp_path / "packed.pt")


def header_of(path):
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write(path, header, body, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def lie(header, name="fc1.weight", **changes):
    return {**header, name: {**header[name], **changes}}


LIES = {
    "a header of 2^62 bytes": lambda header, body: (header, body, 2**62),
    "a header beyond the file": lambda header, body: (header, b"", 10**6),
    "no JSON": lambda header, body: (b"{" * 5000, body),
    "a shape of 10^18": lambda header, body: (lie(header, shape=[10**9, 10**9]), body),
    "a negative shape": lambda header, body: (lie(header, shape=[-1, 8]), body),
    "offsets beyond the file": lambda header, body: (lie(header, data_offsets=[0, 2**50]), body),
    "a type that is none": lambda header, body: (lie(header, dtype="F1"), body),
    "a body cut short": lambda header, body: (header, body[:100]),
    "metadata that are no text": lambda header, body: ({**header, "__metadata__": {"info": 3}}, body),
    "no tensor": lambda header, body: ({"__metadata__": header["__metadata__"]}, b""),
}


@pytest.mark.parametrize("name", LIES)
def test_a_safetensors_file_that_lies_is_refused(tmp_path, encoder, name):
    path = tmp_path / "a.safetensors"
    write(path, *LIES[name](*header_of(encoder)))
    with pytest.raises(ModelError) as caught:
        load_encoder(path)
    assert "\n" not in str(caught.value)


INFOS = [{"embedding_dim": 10**12}, {"embedding_dim": -1}, {"embedding_dim": "8"}, {"embedding_dim": 8.0}]
INFOS += [{"image_size": 10**9}, {"crop_ratio": 1e-9}, {"crop_ratio": float("nan")}, {"mean": [0, 0]}]
INFOS += [{"mean": [10**400] * 3}, {"mean": [True, False, True]}, {"std": [0, 0, 0]}, {"std": [1e-400, 1, 1]}]
INFOS += [{"mean": [float("nan")] * 3}, {"embedding_dim": True}, {"image_size": True}]
INFOS += [{"mean": ["a", "b", "c"]}, {"arch": "../x"}, {"arch": 3}, {"subjects": 3}, {"seed": None}, {"recipe": []}]


@pytest.mark.parametrize("change", INFOS, ids=str)
def test_an_info_that_lies_is_refused_before_a_network_is_built(change, monkeypatch, encoder, tmp_path):
    header, body = header_of(encoder)
    info = json.loads(header["__metadata__"]["info"]) | change
    header["__metadata__"]["info"] = json.dumps(info)
    write(tmp_path / "a.safetensors", header, body)
    monkeypatch.setattr("tclr.pipeline.encoder.network.build_encoder", lambda *args: pytest.fail("built"))
    with pytest.raises(ModelError):
        load_encoder(tmp_path / "a.safetensors")


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 5000, '{"mean": null}'])
def test_an_info_that_is_none_is_refused(text):
    with pytest.raises(ModelError, match="info of an encoder"):
        parse_info(text, "here")


@pytest.mark.parametrize("make", [lambda w: w.to_sparse(), lambda w: w.to(torch.complex64)], ids=["sparse", "complex"])
def test_tensors_of_another_kind_are_refused(tmp_path, make):
    state = build_encoder(8, 0).state_dict()
    torch.save({**state, "fc1.weight": make(state["fc1.weight"])}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="real numbers|Cannot read"):
        load_encoder(tmp_path / "a.pt", embedding_dim=8)


def test_a_tensor_that_repeats_one_number_over_petabytes_is_refused_by_its_size(tmp_path):
    state = build_encoder(8, 0).state_dict()
    torch.save({**state, "fc1.weight": torch.zeros(1).expand(10**6, 10**9)}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="size"):
        load_encoder(tmp_path / "a.pt", embedding_dim=8)


@pytest.mark.parametrize(
    "info", ["[]", "7", "{}", "[" * 5000, '{"au_names": 3}', '{"au_names": ["AU01"], "scores": 3}']
)
def test_a_head_with_a_header_that_lies_is_refused(tmp_path, info):
    from safetensors.numpy import save_file

    arrays = {"weight": np.zeros((1, 8), "f4"), "bias": np.zeros(1, "f4"), "threshold": np.zeros(1, "f4")}
    metadata = {"format": "tclr-au-head", "format_version": "2", "info": info}
    save_file(arrays, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ModelError):
        load_head(tmp_path / "a.safetensors")


def test_a_pipe_or_folder_called_a_model_does_not_keep_us_waiting(tmp_path, encoder):
    os.mkfifo(tmp_path / "pipe.safetensors")
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("pipe.safetensors", "pipe.pt"):
        with pytest.raises(ModelError):
            load_encoder(tmp_path / name)
    with pytest.raises(ModelError):
        read_tensors(tmp_path / "pipe.safetensors", "a head")
    shutil.copy(encoder, tmp_path / "encoder.safetensors")
    assert load_encoder(tmp_path).info.embedding_dim == 8
