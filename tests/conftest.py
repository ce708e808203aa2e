"""Models that all tests may use and none may change."""

import pytest

from longvie.models.models import Models
from small import longvie_models as make_longvie_models
from small import world_models


@pytest.fixture(scope="session")
def models() -> Models:
    return world_models()


@pytest.fixture(scope="session")
def longvie_models() -> Models:
    return make_longvie_models()
