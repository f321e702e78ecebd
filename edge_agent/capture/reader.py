"""One generation of reading a camera: a thread that opens, reads and delivers, and that may hang in the driver.

    open -> read -> intake (which makes it a numbered frame)         fault: wait on the doorstep, open again, for ever

A blocking read cannot be ended from outside. So a reader can be abandoned: whatever it still brings is discarded.
"""

from __future__ import annotations

import threading
from typing import Protocol

from edge_agent.capture.intake import Intake, Wiring
from edge_agent.capture.knock import Doorstep
from edge_agent.capture.source import Source
from edge_agent.capture.states import CameraEvent
from edge_agent.errors import BadPictureError, CameraError
from edge_agent.records import CameraIdentity

WHY_OPENED = {CameraEvent.RETRY: "opening again", CameraEvent.BACK: "it answers again"}


class Report(Protocol):
    """Where a reader's news go."""

    def __call__(self, reader: Reader, event: CameraEvent, reason: str) -> float | None:
        """Seconds to back off after a fault, else 0; None when this reader's words no longer count."""


class Reader:
    """See the module's first lines. Used once."""

    def __init__(self, wiring: Wiring, report: Report, *, delay_s: float) -> None:
        self.allowance_s = wiring.plan.first_frame_s
        self._wiring = wiring
        self._report = report
        self._stop = threading.Event()
        self._intake = Intake(wiring, self._stop)
        self._doorstep = Doorstep(wiring.knock, wiring.clock, self._stop)
        self._due_s: float | None = None  # when patience ends; None while nothing is expected
        self._thread = threading.Thread(
            target=self._run, args=(delay_s,), name=f"camera-{wiring.plan.name}", daemon=True
        )

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self._thread.is_alive()

    @property
    def device(self) -> CameraIdentity | None:
        """The camera that answered last, as far as it says."""
        return self._intake.device

    def start(self) -> None:
        """Start reading after the delay."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end, but not for longer than this."""
        self._thread.join(timeout_s)

    def abandon(self) -> None:
        """When this returns, nothing more of this reader will be queued, whenever its read comes back."""
        self._intake.close()

    def patience_left_s(self) -> float:
        """Seconds until this reader is silent for too long; 0 or less when it is."""
        due_s = self._due_s
        return self._wiring.plan.stall_s if due_s is None else due_s - self._wiring.clock.mono_s()

    def _run(self, delay_s: float) -> None:
        source = self._wiring.make_source(self._stop)
        next_s: float | None = delay_s
        while next_s is not None and (event := self._doorstep.wait(next_s)) is not None:
            if self._report(self, event, WHY_OPENED[event]) is None:
                return
            next_s = self._session(source)

    def _session(self, source: Source) -> float | None:
        """From open to close; seconds until the next session, None when there is to be none."""
        try:
            self._expect_within(self._wiring.plan.first_frame_s)
            if self._doorstep.absent is not None:
                raise CameraError(f"{source.description}: did not open: {self._doorstep.absent}")
            source.open()
            self._read_on(source)
        except CameraError as error:
            return self._report(self, CameraEvent.FAULT, str(error))
        finally:
            self._due_s = None
            self._intake.forsake()
            source.close()
        self._report(self, CameraEvent.END, "no more pictures")
        return None

    def _read_on(self, source: Source) -> None:
        """Deliver until the source ends or nobody wants more.

        Raises:
            CameraError: the source failed, or a live one ended.
        """
        live = source.live
        up = not live and self._came_up(source, "open")
        while not self._stop.is_set() and (live or self._intake.await_turn()):
            try:
                picture = source.read()
            except BadPictureError as error:
                self._intake.bad(error, live=live)
                continue
            if picture is None:
                if live:
                    raise CameraError(f"{source.description}: the stream ended")
                return
            self._expect_within(self._wiring.plan.stall_s)
            up = up or self._came_up(source, "streaming")
            if source.identity != self._intake.device:  # said only now: it was asked beside the stream
                self._identify(source)
            self._intake.take(picture, live=live)

    def _came_up(self, source: Source, reason: str) -> bool:
        how = f"{reason}, {source.decoding}" if source.decoding else reason
        if self._report(self, CameraEvent.UP, how) is None:
            return False
        self._wiring.on_unheld(self._wiring.plan.name, source.unheld)
        self._identify(source)
        return True

    def _identify(self, source: Source) -> None:
        self._intake.device = source.identity
        self._wiring.on_identity(self._wiring.plan.name, source.identity)

    def _expect_within(self, allowance_s: float) -> None:
        self.allowance_s = allowance_s
        self._due_s = self._wiring.clock.mono_s() + allowance_s
