"""A scripted model that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.opencode.model import Model, model_server


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with model_server() as model:
        yield model
