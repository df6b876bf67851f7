import doctest

import pytest

from tclr.pipeline.pretraining import geometry, objective, optimisation, processes
from tclr.pipeline.pretraining.judging import validation


@pytest.mark.parametrize("module", [geometry, objective, optimisation, processes, validation])
def test_the_examples_of_a_module_do_what_they_say(module):
    failed, count = doctest.testmod(module)
    assert count > 0 and failed == 0
