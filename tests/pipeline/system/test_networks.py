"""Networks as TensorFlow Lite models: each operator gives what PyTorch's does."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional

from tclr.pipeline.faces import find_model
from tclr.pipeline.faces.landmarker.bundle import LANDMARKS, read_entry
from tclr.pipeline.system import SAME, LiteNetwork, NetworkWriter, widen_network

SHAPE = (1, 6, 8, 4)


def rand(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def tensor(values):
    return torch.from_numpy(values)


WEIGHT, BIAS, SMALL, DEPTHWISE = rand(5, 4, 2, 2), rand(5), rand(3, 4, 3, 3), rand(4, 1, 3, 3)
WIDE = rand(4, 6, 1, 1)
LINEAR, SHIFT = rand(7, 4 * 6 * 8), rand(7)
OPERATORS = {
    "convolve": (
        lambda w: w.convolve(w.input, WEIGHT, BIAS, 2),
        lambda x: functional.conv2d(x, tensor(WEIGHT), tensor(BIAS), 2),
    ),
    "convolve with rectifier": (
        lambda w: w.convolve(w.input, WEIGHT, BIAS, relu=True),
        lambda x: functional.conv2d(x, tensor(WEIGHT), tensor(BIAS)).relu(),
    ),
    "convolve to the same size": (
        lambda w: w.convolve(w.input, SMALL, BIAS[:3], 2, SAME),
        lambda x: functional.conv2d(functional.pad(x, (0, 1, 0, 1)), tensor(SMALL), tensor(BIAS[:3]), 2),
    ),
    "convolve_depthwise": (
        lambda w: w.convolve_depthwise(w.input, DEPTHWISE, BIAS[:4]),
        lambda x: functional.conv2d(x, tensor(DEPTHWISE), tensor(BIAS[:4]), padding=1, groups=4),
    ),
    "prelu": (lambda w: w.prelu(w.input, BIAS[:4]), lambda x: functional.prelu(x, tensor(BIAS[:4]))),
    "add": (lambda w: w.add(w.input, w.logistic(w.input)), lambda x: x + x.sigmoid()),
    "max_pool": (lambda w: w.max_pool(w.input, 2), lambda x: functional.max_pool2d(x, 2)),
    "average_pool": (lambda w: w.average_pool(w.input, 2), lambda x: functional.avg_pool2d(x, 2)),
    "pad": (
        lambda w: w.pad(w.input, (0, 1, 2, 0), (0, 0, 1, 3)),
        lambda x: functional.pad(x, (2, 1, 1, 0, 0, 3)),
    ),
    "linear": (
        lambda w: w.linear(w.input, LINEAR, SHIFT, relu=True),
        lambda x: functional.linear(x.flatten(1), tensor(LINEAR), tensor(SHIFT)).relu(),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_what_pytorchs_gives(name):
    write, expect = OPERATORS[name]
    writer = NetworkWriter(SHAPE)
    array = write(writer)
    x = np.concatenate([rand(*SHAPE), -rand(*SHAPE) / 2])
    (found,) = LiteNetwork(writer.finish(array))(x)
    expected = expect(tensor(x).permute(0, 3, 1, 2))
    placed = expected.permute(0, 2, 3, 1) if expected.ndim == 4 else expected
    assert writer.shape(array) == (1, *placed.shape[1:])
    np.testing.assert_allclose(found, placed.flatten(1), atol=1e-5)


def test_several_outputs_come_in_their_order():
    writer = NetworkWriter((1, 3))
    doubled = writer.linear(writer.input, 2 * np.eye(3), np.zeros(3))
    network = LiteNetwork(writer.finish(doubled, writer.add(doubled, doubled)))
    x = rand(2, 3)
    assert [np.allclose(found, factor * x) for found, factor in zip(network(x), (2, 4), strict=True)] == [True, True]


def test_threads_have_a_copy_of_their_own():
    writer = NetworkWriter(SHAPE)
    x = writer.input
    for _ in range(20):
        x = writer.convolve(x, rand(4, 4, 1, 1) / 2, BIAS[:4], relu=True)
    network = LiteNetwork(writer.finish(x))
    given = [rand(*SHAPE) * scale for scale in range(1, 25)]
    expected = [network(values)[0] for values in given]
    with ThreadPoolExecutor(4) as pool:
        found = [outputs for (outputs,) in pool.map(network, given * 5)]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected * 5, strict=True))


def chain(writer, x, n_channels, slopes=True):
    """Add a narrow chain: a convolution, a PReLU, a depthwise convolution, and a convolution that mixes them."""
    n_in = writer.shape(x)[-1]
    y = writer.convolve(x, rand(n_channels, n_in, 1, 1), rand(n_channels))
    y = writer.prelu(y, rand(n_channels)) if slopes else y
    y = writer.convolve_depthwise(y, rand(n_channels, 1, 3, 3), rand(n_channels))
    return writer.convolve(y, rand(n_in, n_channels, 1, 1), rand(n_in))


def widths(model):
    """Return the channels of each convolution's output."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0)).subgraphs
    weighty = [one for one in graph.operators if len(one.inputs) == 3]
    return [int(graph.tensors[one.outputs[0]].shape[-1]) for one in weighty]


def test_narrow_chains_are_widened_and_outputs_stay_the_same_to_the_bit():
    writer = NetworkWriter(SHAPE)
    first = chain(writer, writer.input, 6)
    model = writer.finish(writer.add(first, chain(writer, first, 20)), chain(writer, first, 5, slopes=False))
    wide = widen_network(model, 16)
    assert widths(model) == [6, 6, 4, 20, 20, 4, 5, 5, 4] and widths(wide) == [16, 16, 4, 20, 20, 4, 16, 16, 4]
    x = np.concatenate([rand(*SHAPE), rand(*SHAPE) - 1])
    for found, expected in zip(LiteNetwork(wide)(x), LiteNetwork(model)(x), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert widen_network(wide, 16) is wide and widen_network(model, 5) is model


def test_channels_that_others_see_are_not_widened():
    writer = NetworkWriter(SHAPE)
    seen, ending, pooled = (writer.convolve(writer.input, WIDE.transpose(1, 0, 2, 3), rand(6)) for _ in range(3))
    ending = writer.convolve_depthwise(ending, rand(6, 1, 3, 3), rand(6))
    pooled = writer.convolve(writer.max_pool(pooled, 2), WIDE, rand(4))
    one_slope = writer.prelu(writer.convolve(writer.input, WIDE.transpose(1, 0, 2, 3), rand(6)), rand(1))
    one_slope = writer.convolve(one_slope, WIDE, rand(4))
    model = writer.finish(seen, writer.convolve(seen, WIDE, rand(4)), ending, pooled, one_slope)
    assert widen_network(model, 16) is model


@pytest.mark.parametrize("lanes", [1, 16])
def test_the_landmark_network_is_the_same_on_every_processor(lanes):
    raw = read_entry(find_model(), LANDMARKS)
    wide = widen_network(raw, lanes)
    assert widths(raw).count(8) == 8 and widths(wide).count(8) == (8 if lanes == 1 else 0)
    x = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
    for found, expected in zip(LiteNetwork(wide)(x), LiteNetwork(raw)(x), strict=True):
        np.testing.assert_array_equal(found, expected)
