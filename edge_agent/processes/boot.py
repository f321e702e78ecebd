"""How every process of ours begins: settings, log, directories, signals."""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from edge_agent.clock import Clock, SystemClock
from edge_agent.config.keys import AddressBook
from edge_agent.config.settings import Settings, load
from edge_agent.processes.logs import configure_logging
from edge_agent.storage import storage_faults

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a process starts with.

    `stop` is set by SIGTERM and SIGINT, `reload` by SIGHUP, `broken` when a thread ended by an error nobody expected:
    then the process must end too, and be started again, rather than live on without that thread.
    """

    settings: Settings
    config_file: Path
    clock: Clock
    stop: threading.Event
    reload: threading.Event
    broken: threading.Event


def boot(
    process: str,
    config_file: Path,
    *,
    secrets_of: tuple[str, ...] | None = None,
    addresses: AddressBook | None = None,
) -> Boot:
    """Read the configuration, start the log, make the directories, catch the signals. Main thread only.

    `secrets_of` names the sections whose secrets this process may have; under systemd each unit is given only its own.

    Raises:
        ConfigError: the configuration has faults.
        StorageReadOnlyError, StorageFullError: the state or runtime directory cannot be made.
    """
    settings = load(config_file, addresses=addresses, secrets_of=secrets_of)
    clock = SystemClock()
    begin_log(process, settings, clock)
    make_directories(settings)
    stop, reload, broken = threading.Event(), threading.Event(), threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    def again(_number: int, _frame: FrameType | None) -> None:
        reload.set()

    def give_up(found: threading.ExceptHookArgs) -> None:
        fault = (found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback)
        log.critical("thread=%s event=died", found.thread.name if found.thread else "unknown", exc_info=fault)
        broken.set()
        # Wakes the main thread from whatever it waits for.
        signal.raise_signal(signal.SIGTERM)

    threading.excepthook = give_up
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, again)
    return Boot(settings=settings, config_file=config_file, clock=clock, stop=stop, reload=reload, broken=broken)


def begin_log(process: str, settings: Settings, clock: Clock) -> None:
    """Log as these settings say from now on: at the start, and again when a reload changed them."""
    keys = settings.logging
    configure_logging(level=keys.level, form=keys.format, repeat_s=keys.repeat_s, process=process, clock=clock)


def make_directories(settings: Settings) -> None:
    """Make the state and runtime directories, private to our user and group.

    Raises:
        StorageReadOnlyError, StorageFullError, TransientError.
    """
    for directory in (settings.storage.state_dir, settings.storage.runtime_dir):
        with storage_faults(directory):
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
