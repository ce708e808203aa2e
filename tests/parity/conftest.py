"""Every golden file becomes a test case of the module of its family (`FAMILY`); see golden.py."""

import pytest
from golden import Fixture, check_file, files, parity_dir

__all__ = ["Fixture", "check_file", "files", "parity_dir"]

ARGUMENTS = {"fixture_file": ".safetensors", "keys_file": ".json"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, suffix in ARGUMENTS.items():
        if argument in metafunc.fixturenames:
            found = files(metafunc.module.FAMILY, suffix)
            metafunc.parametrize(argument, found, ids=[path.stem for path in found])
