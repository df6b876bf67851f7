"""Threads that share a network: those that wait are served by one call, each with the outputs of its own inputs."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tclr.pipeline.faces import find_model
from tclr.pipeline.faces.landmarker.bundle import LANDMARKS
from tclr.pipeline.faces.landmarker.shared_network import SharedNetwork, shared_network


class Gated:
    """A network that doubles; its calls wait for ``gate``."""

    def __init__(self):
        self.gate, self.sizes = threading.Event(), []

    def __call__(self, values):
        self.sizes.append(len(values))
        assert self.gate.wait(30)
        if (values < 0).any():
            raise ValueError("negative")
        return [2 * values, values.sum(axis=1, keepdims=True)]


def ask_while_it_runs(network, gated, questions):
    """Ask with one row of ones; while that runs, ask all questions at once. Return the answers, errors included."""
    with ThreadPoolExecutor(len(questions) + 1) as pool:
        first = pool.submit(network, np.ones((1, 2)))
        while not gated.sizes:
            time.sleep(0.001)
        asked = [pool.submit(network, question) for question in questions]
        while len(network._waiting) < len(questions):
            time.sleep(0.001)
        gated.gate.set()
        return [one.exception() or one.result() for one in (first, *asked)]


def test_all_that_wait_are_one_call_and_each_gets_its_own():
    gated = Gated()
    questions = [np.full((n, 2), float(n)) for n in (3, 1, 2, 4)]
    answers = ask_while_it_runs(SharedNetwork(gated), gated, questions)
    assert gated.sizes == [1, 10]
    for question, (double, total) in zip([np.ones((1, 2)), *questions], answers, strict=True):
        np.testing.assert_array_equal(double, 2 * question)
        np.testing.assert_array_equal(total, 2 * question[:, :1])


def test_an_error_reaches_all_of_its_call_and_no_later_one():
    gated = Gated()
    network = SharedNetwork(gated)
    first, *others = ask_while_it_runs(network, gated, [np.ones((1, 2)), np.full((1, 2), -1.0)])
    assert isinstance(first, list) and [str(error) for error in others] == ["negative"] * 2
    np.testing.assert_array_equal(network(np.ones((1, 2)))[0], [[2, 2]])
    with pytest.raises(ValueError, match="negative"):
        network(np.full((1, 2), -1.0))


def test_an_interrupted_call_tells_those_who_wait():
    gated = Gated()

    def interrupted(values):
        if len(values) == 1:
            return gated(values)
        raise KeyboardInterrupt

    _, *others = ask_while_it_runs(SharedNetwork(interrupted), gated, [np.ones((2, 2)), np.ones((3, 2))])
    assert sorted(type(error).__name__ for error in others) == ["KeyboardInterrupt", "RuntimeError"]


def test_a_process_has_one_network_per_device():
    opened = {id(shared_network(find_model(), LANDMARKS, "cpu")) for _ in range(2)}
    assert len(opened) == 1
