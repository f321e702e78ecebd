"""What a PLC's trigger cell means, look after look."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import LineError
from edge_agent.line.addresses import ModbusTrigger
from edge_agent.line.handshake import MOST_MISSED, Handshake, said, spans
from edge_agent.line.modbus import Cells, Table, text_registers

HOLDING = Table.HOLDING


def looks(values, **kind):
    handshake = Handshake(**{"counter": False, "acked": False, **kind})
    return [handshake.look(value) for value in values]


def parts(values, **kind):
    return [look.parts for look in looks(values, **kind)]


def test_an_edge_is_a_part_and_a_level_is_not():
    assert parts([0, 1, 1, 0, 7, 0, 1]) == [0, 1, 0, 0, 1, 0, 1]


def test_a_trigger_that_was_set_before_we_looked_is_said_to_be_missed():
    first, second, *_ = looks([1, 1])

    assert first.parts == 0
    assert "not judged" in first.note
    assert second.note is None


def test_with_an_acknowledgement_a_trigger_found_set_is_a_part_that_still_waits():
    assert [(look.parts, look.ack, look.note) for look in looks([1, 1, 0], acked=True)] == [
        (1, 1, None),
        (0, None, None),
        (0, 0, None),
    ]


def test_an_acknowledgement_that_an_earlier_run_left_behind_is_taken_back():
    assert looks([0], acked=True)[0].ack == 0


def test_every_step_of_a_counter_is_a_part_also_over_its_end():
    assert parts([65_534, 65_535, 0, 0, 3], counter=True) == [0, 1, 1, 0, 3]


def test_a_counter_acknowledgement_repeats_the_counter():
    assert [look.ack for look in looks([5, 5, 6], counter=True, acked=True)] == [5, None, 6]


def test_a_counter_that_starts_over_is_no_hundred_parts():
    look = looks([900, 0], counter=True)[1]

    assert look.parts == 0
    assert "started over" in look.note


@settings(deadline=None)
@given(st.lists(st.integers(0, MOST_MISSED), max_size=50), st.integers(0, 65_535))
def test_no_step_of_a_counter_is_lost_however_seldom_we_look(steps, start):
    values, total = [start], start
    for step in steps:
        total += step
        values.append(total % 65_536)

    assert sum(parts(values, counter=True)) == sum(steps)


def address(**cells):
    return ModbusTrigger(host="plc", port=502, cell=Cells(table=HOLDING, start=10), **cells)


def test_what_lies_together_is_read_together():
    near = address(part=Cells(table=HOLDING, start=20, count=8), recipe=Cells(table=HOLDING, start=2, count=4))
    far = address(part=Cells(table=HOLDING, start=500, count=8), recipe=Cells(table=Table.INPUT, start=2, count=4))

    assert spans(near) == (Cells(table=HOLDING, start=2, count=26),)
    assert spans(far) == (Cells(table=HOLDING, start=10, count=1), far.part, far.recipe)


@settings(deadline=None)
@given(st.data())
def test_part_and_recipe_are_found_in_whatever_spans_were_read(data):
    def some(count):
        table = data.draw(st.sampled_from([HOLDING, Table.INPUT]))
        return Cells(table=table, start=data.draw(st.integers(0, 200)), count=count)

    where = address(part=some(4), recipe=some(2))
    memory = {}
    for cells, text in ((where.recipe, "B7"), (where.part, "PART-123")):
        values = text_registers(text, cells.count)
        memory.update({(cells.table, cells.start + place): value for place, value in enumerate(values)})
    read = {
        span: tuple(memory.get((span.table, number), 0) for number in range(span.start, span.stop))
        for span in spans(where)
    }

    assert said(where.part, read) == "PART-123"


def test_what_is_no_text_is_said_and_a_number_is_read_as_one():
    cells = Cells(table=HOLDING, start=0, count=2)
    with pytest.raises(LineError, match="printable"):
        said(cells, {cells: (0x0102, 0)})
    number = Cells(table=HOLDING, start=0, count=2, number=True)
    assert said(number, {number: (1, 2)}) == "65538"
    assert said(None, {}) is None
