"""Networks as TensorFlow Lite models: each operator gives what PyTorch's does."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional

from tclr.pipeline.system import SAME, LiteNetwork, NetworkWriter

SHAPE = (1, 6, 8, 4)


def rand(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def tensor(values):
    return torch.from_numpy(values)


WEIGHT, BIAS, SMALL, DEPTHWISE = rand(5, 4, 2, 2), rand(5), rand(3, 4, 3, 3), rand(4, 1, 3, 3)
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
