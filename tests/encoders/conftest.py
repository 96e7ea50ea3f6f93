from __future__ import annotations

from collections.abc import Iterator

import pytest
from embeddings_server import Server, running


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as found:
        yield found
