"""What every test of data ends with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ganvas.data.stream import Feed


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No feed reads or decodes on into the next test, whose patches and warnings it would meet."""
    feeds: list[Feed] = []
    start = Feed.__init__

    def started(feed: Feed, *arguments: Any, **more: Any) -> None:
        start(feed, *arguments, **more)
        feeds.append(feed)

    monkeypatch.setattr(Feed, "__init__", started)
    yield
    for feed in feeds:
        feed.close()
    for feed in feeds:
        feed._reader.shutdown()
        feed._decoders.shutdown()
