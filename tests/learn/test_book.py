"""The statistics book: any history of labels ends in the book that its last state alone would give, to the bit."""

import resource

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import RefusedError, StorageFullError
from edge_agent.learn.book import Entry, counts, new_book, part, put, relabel, withdraw
from edge_agent.learn.book_file import UnusableBookError, from_bytes, read_book, to_bytes, write_book
from edge_agent.learn.statistics import merge, present, sums

DIMENSION, VIEWS = 4, 2
CODER = "a" * 64

samples = st.sampled_from([f"part-{number}" for number in range(6)])
labels = st.sampled_from(["ok", "pit", "crack"])
sources = st.sampled_from(["anna", "bela", "import"])
blocks = st.sampled_from(["2026-11-23", "2026-11-24"])
entries = st.builds(Entry, sample=samples, label=labels, source=sources, block=blocks)


def code_of(sample):
    """A sample's features do not change with its label."""
    return np.random.default_rng(int(sample.rsplit("-", 1)[1])).integers(-127, 128, (VIEWS, DIMENSION), dtype=np.int8)


def with_entries(book, chosen):
    codes = np.array([code_of(entry.sample) for entry in chosen], np.int8).reshape(-1, VIEWS, DIMENSION)
    return put(book, chosen, codes)


def book_of(chosen):
    return with_entries(new_book(CODER, DIMENSION, VIEWS), chosen)


def some(count=5):
    return [
        Entry(sample=f"part-{n}", label=("ok", "pit")[n % 2], source=("anna", "bela")[n % 3 == 0], block=f"day-{n % 2}")
        for n in range(count)
    ]


changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(entries, max_size=4, unique_by=lambda entry: entry.sample)),
        st.tuples(st.just("relabel"), st.tuples(samples, labels, sources)),
        st.tuples(st.just("withdraw"), st.sets(samples, max_size=3)),
    ),
    max_size=12,
)


@given(history=changes)
@settings(max_examples=150)
def test_any_history_ends_in_the_bytes_of_its_last_state_alone(history):
    book, state = new_book(CODER, DIMENSION, VIEWS), {}
    for change, what in history:
        if change == "put":
            book = with_entries(book, what)
            state |= {entry.sample: entry for entry in what}
        elif change == "relabel" and what[0] in state:
            sample, label, source = what
            book = relabel(book, [what])
            state[sample] = Entry(sample=sample, label=label, source=source, block=state[sample].block)
        elif change == "withdraw":
            book = withdraw(book, what)
            state = {sample: entry for sample, entry in state.items() if sample not in what}
    afresh = book_of(list(state.values()))
    assert to_bytes(book) == to_bytes(afresh)
    assert book.entries == tuple(sorted(state.values()))
    assert book.total.classes == tuple(sorted({entry.label for entry in state.values()}))


@given(chosen=st.lists(entries, min_size=1, max_size=6, unique_by=lambda entry: entry.sample))
@settings(max_examples=50)
def test_the_parts_by_source_and_by_block_add_up_to_the_whole(chosen):
    book = book_of(chosen)
    by_source = [part(book, sources={source}) for source in {entry.source for entry in chosen}]
    by_block = [part(book, blocks={block}) for block in {entry.block for entry in chosen}]
    for parts in (by_source, by_block, [part(book)]):
        whole = merge(parts)
        assert whole.classes == book.total.classes
        np.testing.assert_array_equal(whole.gram, book.total.gram)
        np.testing.assert_array_equal(whole.cross, book.total.cross)
    assert sum(sum(labels.values()) for labels in counts(book).values()) == len(chosen)


def test_a_changed_label_moves_the_sample_to_its_new_class_and_no_gram_moves():
    book = book_of(some())
    changed = relabel(book, [("part-1", "dent", "bela")])
    assert changed.total.classes == ("dent", "ok", "pit")
    np.testing.assert_array_equal(changed.total.gram, book.total.gram)
    np.testing.assert_array_equal(changed.total.cross[:, 0], code_of("part-1").sum(axis=0, dtype=int))
    assert to_bytes(relabel(changed, [("part-1", "pit", "anna")])) == to_bytes(book)


def test_the_last_sample_of_a_class_takes_the_class_with_it():
    book = withdraw(book_of(some()), {"part-1", "part-3"})
    assert book.total.classes == ("ok",)
    assert to_bytes(withdraw(book, {entry.sample for entry in book.entries})) == to_bytes(
        new_book(CODER, DIMENSION, VIEWS)
    )


def test_labels_for_samples_that_are_not_there_are_refused_and_withdrawing_them_is_nothing():
    book = book_of(some(2))
    with pytest.raises(RefusedError, match="part-9"):
        relabel(book, [("part-9", "ok", "anna")])
    assert to_bytes(withdraw(book, {"part-9"})) == to_bytes(book)


def test_two_labels_for_one_sample_in_one_change_are_refused():
    one, other = (Entry(sample="part-1", label=label, source="anna", block="day") for label in ("ok", "pit"))
    with pytest.raises(RefusedError, match="come twice"):
        with_entries(book_of([]), [one, other])
    with pytest.raises(RefusedError, match="come twice"):
        relabel(book_of(some()), [("part-1", "ok", "anna"), ("part-1", "pit", "bela")])


@pytest.mark.parametrize("name", ["sample", "label", "source", "block"])
@pytest.mark.parametrize("text", ["", "x" * 257])
def test_an_entry_without_a_text_or_with_an_endless_one_is_refused(name, text):
    with pytest.raises(RefusedError, match=name):
        Entry(**({"sample": "s", "label": "l", "source": "s", "block": "b"} | {name: text}))


def test_a_refused_change_leaves_the_book_as_it_was():
    book = book_of(some())
    before = to_bytes(book)
    with pytest.raises(RefusedError):
        put(book, some(1), np.zeros((1, VIEWS, DIMENSION + 1), np.int8))
    with pytest.raises(RefusedError):
        put(book, some(2), np.zeros((1, VIEWS, DIMENSION), np.int8))
    with pytest.raises(RefusedError, match=r"expected \[n, 2, 4\]"):
        put(book, some(1), np.zeros((1, DIMENSION), np.int8))
    assert to_bytes(book) == before


# --- the file -------------------------------------------------------------------------------------------------------


@given(chosen=st.lists(entries, max_size=6, unique_by=lambda entry: entry.sample))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_book_comes_back_from_its_file(tmp_path, chosen):
    book = book_of(chosen)
    write_book(tmp_path / "book", book)
    back = read_book(tmp_path / "book", CODER)
    assert to_bytes(back) == to_bytes(book)
    assert (back.entries, back.coder, back.total.classes) == (book.entries, book.coder, book.total.classes)
    # It goes on as if it had never been away.
    assert to_bytes(withdraw(back, {"part-1"})) == to_bytes(withdraw(book, {"part-1"}))


def test_a_truncated_book_is_unusable_wherever_it_ends():
    content = to_bytes(book_of(some()))
    for length in range(len(content)):
        with pytest.raises(UnusableBookError):
            from_bytes(content[:length])
    with pytest.raises(UnusableBookError):
        from_bytes(content + b"\0")


def test_a_book_with_any_bit_turned_is_unusable():
    content = to_bytes(book_of(some()))
    good = from_bytes(content)
    for place in range(len(content)):
        turned = bytearray(content)
        turned[place] ^= 1 << place % 8
        try:
            back = from_bytes(bytes(turned))
        except UnusableBookError:
            continue
        # A blank in the header's JSON may be turned into another blank: then the book must be the same.
        assert to_bytes(back) == to_bytes(good)


def test_a_book_of_another_encoder_is_unusable_and_names_both(tmp_path):
    write_book(tmp_path / "book", book_of(some()))
    with pytest.raises(UnusableBookError, match=r"aaaaaaaaaaaa.*bbbbbbbbbbbb"):
        read_book(tmp_path / "book", "b" * 64)


def test_no_book_yet_is_unusable_too(tmp_path):
    with pytest.raises(UnusableBookError, match="no statistics book yet"):
        read_book(tmp_path / "book", CODER)


def test_a_book_of_a_newer_program_is_unusable():
    tensors = safetensors.numpy.load(to_bytes(book_of(some())))
    with pytest.raises(UnusableBookError, match="another program"):
        from_bytes(safetensors.numpy.save(tensors | {"weights": np.zeros(3, np.float32)}))


def test_a_full_disk_leaves_the_old_book(tmp_path):
    write_book(tmp_path / "book", book_of(some(2)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # The kernel then refuses every byte beyond, as a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(StorageFullError):
            write_book(tmp_path / "book", book_of(some(3)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(read_book(tmp_path / "book", CODER).entries) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["book"]


def test_the_sums_of_a_book_are_those_of_its_codes():
    book = book_of(some())
    again = present(sums(book.codes.reshape(-1, DIMENSION), np.repeat(book.labels, VIEWS).tolist()))
    assert book.total.classes == again.classes
    np.testing.assert_array_equal(book.total.gram, again.gram)
