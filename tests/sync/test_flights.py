from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sync.flights import STRIKES_MAX, Flight, Flights
from edge_agent.sync.messages import Message, Priority


def flight(number):
    message = Message(topic_tail="insp/a", payload=b"x", qos=1, retain=False, priority=Priority.PASS)
    return Flight(message=message, seq=number)


class Line:
    """A broker that takes everything but one message, over which it closes the connection."""

    def __init__(self, waiting, poison, *, says_so):
        self.flights, self.waiting, self.poison, self.says_so = Flights(), list(waiting), poison, says_so
        self.taken, self.parked, self.connects = [], [], 0

    def connect_once(self, window):
        self.connects += 1
        self.flights.begin(window)
        sent = []
        while True:
            while self.flights.free and len(sent) < len(self.waiting):
                sent.append(self.waiting[len(sent)])
                self.flights.add(sent[-1], flight(sent[-1]))
            if not sent:
                return
            if self.poison in sent:
                # What was sent before it may have been answered; here the worst case: nothing was.
                culprit = self.flights.lose(over_a_message=self.says_so)
                if culprit is not None:
                    self.parked.append(culprit.seq)
                    self.waiting.remove(culprit.seq)
                return
            number = sent.pop(0)
            self.flights.land(number)
            self.taken.append(number)
            self.waiting.remove(number)


@given(number=st.integers(1, 40), window=st.integers(1, 20), says_so=st.booleans(), data=st.data())
def test_a_message_that_kills_connections_is_found_alone_and_all_others_arrive(number, window, says_so, data):
    poison = data.draw(st.integers(0, number - 1))
    line = Line(range(number), poison, says_so=says_so)

    while line.waiting and line.connects < 10 * STRIKES_MAX:
        line.connect_once(window)

    assert line.parked == [poison]
    assert sorted(line.taken) == [other for other in range(number) if other != poison]


@given(window=st.integers(1, 100), in_flight=st.integers(0, 100))
def test_a_line_that_breaks_after_some_success_blames_nobody(window, in_flight):
    flights = Flights()
    flights.begin(window)
    for number in range(min(in_flight, window)):
        flights.add(number, flight(number))
    flights.land(0)

    assert flights.lose(over_a_message=False) is None
    assert flights.free == 0


@given(st.integers(1, 50))
def test_the_window_is_never_exceeded(window):
    flights = Flights()
    flights.begin(window)
    sent = 0
    while flights.free:
        flights.add(sent, flight(sent))
        sent += 1

    assert sent == window


def test_an_answer_to_something_that_is_not_in_flight_is_nobodys():
    flights = Flights()
    flights.begin(5)

    assert flights.land(77) is None
