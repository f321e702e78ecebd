from __future__ import annotations

from edge_agent.config.migrate import rename
from edge_agent.config.reference import SMALLEST
from tests.config.samples import read, the_fault

# A version 0 as there might have been one: `source` was called `address`.
VERSION_0 = SMALLEST.replace("version: 1", "version: 0").replace("source:", "address:")
STEPS = {0: lambda tree: rename(tree, ("cameras", "*", "address"), "source")}


def test_an_older_file_is_read_as_it_is():
    assert read(VERSION_0, migrations=STEPS) == read(SMALLEST)


def test_faults_of_an_older_file_have_their_places_in_that_file():
    fault = the_fault(VERSION_0.replace("address: rtsp://10.0.0.12/stream1", "address: 5"), migrations=STEPS)
    assert (fault.line, fault.column) == (5, 14)
    assert fault.key == "cameras.press-3-top.source"


def test_a_newer_file_is_refused():
    fault = the_fault(SMALLEST.replace("version: 1", "version: 2"))
    assert (fault.key, fault.found, fault.expected) == ("version", "2", "1")
    assert "newer Edge Agent" in fault.hint


def test_a_file_too_old_to_read_is_refused():
    assert the_fault(VERSION_0).hint == "versions from 1 can be read"


def test_a_file_without_a_version_is_refused():
    assert "begin the file with version: 1" in the_fault(SMALLEST.replace("version: 1\n", "")).hint


def test_a_version_that_is_no_number_is_refused():
    assert the_fault(SMALLEST.replace("version: 1", "version: true")).found == "true"
