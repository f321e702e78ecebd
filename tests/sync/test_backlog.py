from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sync.backlog import Backlog, Entry
from edge_agent.sync.messages import EVICTION_ORDER, Message, Priority

entries = st.lists(
    st.tuples(st.sampled_from(Priority), st.integers(0, 300), st.sampled_from([None, None, "slot-a", "slot-b"])),
    max_size=60,
)


def filled(rows, limit_bytes):
    backlog = Backlog(limit_bytes)
    messages = []
    for number, (priority, size, slot) in enumerate(rows):
        # A slot belongs to a class, as in the messages that we make.
        key = None if slot is None else f"{slot}-{priority.name}"
        message = Message(topic_tail="t", payload=b"x" * size, qos=1, retain=False, priority=priority, slot=key)
        backlog.add(Entry(ticket=number, message=message, on_durable=None))
        messages.append(message)
    return backlog, messages


@given(entries, st.integers(200, 5000))
def test_what_came_in_is_taken_replaced_or_counted_as_dropped(rows, limit_bytes):
    backlog, messages = filled(rows, limit_bytes)

    taken = backlog.take(1000)

    assert len(taken) + backlog.dropped.total() + backlog.replaced.total() == len(messages)
    assert [entry.ticket for entry in taken] == sorted(entry.ticket for entry in taken)
    assert backlog.size_bytes == 0


@given(entries, st.integers(200, 5000))
def test_it_never_holds_more_bytes_than_it_may(rows, limit_bytes):
    backlog, _ = filled(rows, limit_bytes)

    assert backlog.size_bytes <= limit_bytes


@given(entries, st.integers(200, 5000))
def test_a_class_loses_something_only_when_no_lesser_class_has_anything_left(rows, limit_bytes):
    order = [*EVICTION_ORDER, Priority.ALARM]
    for number in range(1, len(rows) + 1):
        before, _ = filled(rows[: number - 1], limit_bytes)
        after, _ = filled(rows[:number], limit_bytes)
        newly_lost = after.dropped - before.dropped
        left = {entry.message.priority for entry in after.take(1000)}

        for priority in newly_lost:
            assert left.isdisjoint(order[: order.index(priority)])


@given(entries, st.integers(0, 60))
def test_what_is_given_back_is_taken_again_in_the_same_order(rows, number):
    backlog, _ = filled(rows, 10**6)
    before = backlog.take(1000)
    backlog.give_back(before)

    first = backlog.take(number)
    backlog.give_back(first)

    assert backlog.take(1000) == before


def test_a_newer_message_of_the_same_slot_replaces_one_that_is_given_back():
    backlog = Backlog(10_000)
    old, new = (
        Message(topic_tail="tm", payload=text, qos=0, retain=False, priority=Priority.TELEMETRY, slot="tm")
        for text in (b"old", b"new")
    )
    backlog.add(Entry(ticket=1, message=old, on_durable=None))
    taken = backlog.take(10)
    backlog.add(Entry(ticket=2, message=new, on_durable=None))

    backlog.give_back(taken)

    assert [entry.message.payload for entry in backlog.take(10)] == [b"new"]
    assert backlog.replaced[Priority.TELEMETRY] == 1
