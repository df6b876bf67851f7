"""The examples in docstrings of schemas and system do what they say."""

import doctest
import importlib

import pytest

MODULES = ["schemas.action_units", "schemas.config", "schemas.features", "schemas.predictions"]
MODULES += ["pipeline.system.outcome", "pipeline.system.text", "pipeline.system.threads"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_run(name):
    done = doctest.testmod(importlib.import_module(f"tclr.{name}"), optionflags=doctest.ELLIPSIS)
    assert done.attempted and not done.failed
