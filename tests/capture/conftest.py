"""What tests of sources share."""

import threading

import pytest


@pytest.fixture
def opened():
    """A function that opens the source of an opener; all are closed at the end."""
    sources = []

    def start(opener):
        source = opener(threading.Event())
        sources.append(source)
        source.open()
        return source

    yield start
    for source in sources:
        source.close()
