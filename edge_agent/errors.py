"""Error families: the family says what happens next, the message says what was found, expected and where.

    TransientError  back off and retry      (camera, broker, disk full)
    RefusedError    drop, record, no retry  (bad bundle, bad command, bad picture)
    FatalError      exit 78                 (configuration; systemd does not restart: RestartPreventExitStatus=78)

Anything else ends the process, and systemd or the supervisor starts it again.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE: hardware or an execution provider is missing
EXIT_TEMPORARY = 75  # EX_TEMPFAIL
EXIT_CONFIG = 78  # EX_CONFIG


class EdgeAgentError(Exception):
    """Whatever Edge Agent raises on purpose; `exit_code` is what a command line verb ends with."""

    exit_code = EXIT_FAULT


class TransientError(EdgeAgentError):
    """Not now, perhaps later: back off and retry."""

    exit_code = EXIT_TEMPORARY


class CameraError(TransientError):
    """A camera did not open, stalled, or gave no picture."""


class BrokerError(TransientError):
    """The broker could not be reached, or refused; `reason` keeps its words."""


class LineError(TransientError):
    """The line could not be reached, answered what it should not, or nothing: PLC, GPIO, unix socket."""


class InferenceError(TransientError):
    """The execution provider failed while running a model that it had accepted."""


class StorageFullError(TransientError):
    """The disk, or the share of it that we may use, is full."""


class StorageReadOnlyError(TransientError):
    """The state directory cannot be written."""


class RefusedError(EdgeAgentError):
    """This very thing will never be accepted: drop it, record why, do not retry."""


class BadPictureError(RefusedError):
    """Bytes that are not a picture we can decode, or a picture beyond the limits; `part` names the part where known."""

    def __init__(self, message: str, *, part: str | None = None) -> None:
        super().__init__(message)
        self.part = part


class BadBundleError(RefusedError):
    """A model bundle that is truncated, altered, hostile, or wrong on this device."""


class BadCommandError(RefusedError):
    """A command that is malformed, expired, unknown, or not allowed in this state."""


class BadMessageError(RefusedError):
    """A message that does not fit the envelope: oversize payload, illegal topic."""


class BadLabelError(RefusedError):
    """A label for a sample that is not there, of a class that is not known, or that contradicts what stands."""


class BadEvidenceError(RefusedError):
    """Something asked of the evidence store that it does not hold, or a picture in it that is damaged."""


class BadContributionError(RefusedError):
    """What was sent for a round and cannot be counted: damaged, hostile, of another base or shape."""


class SealedEvidenceError(RefusedError):
    """Learning reached for the sealed hold-out."""


class FatalError(EdgeAgentError):
    """A person has to change something before a start can succeed."""

    exit_code = EXIT_CONFIG


class ConfigError(FatalError):
    """The configuration is not valid; the message lists every fault with its place."""


class AlreadyRunningError(FatalError):
    """Another daemon owns this state directory."""


class ProviderError(FatalError):
    """An execution provider was asked for and is not really in use."""

    exit_code = EXIT_UNAVAILABLE


class CorruptStoreError(FatalError):
    """A file of ours that we must not replace by guessing is damaged."""
