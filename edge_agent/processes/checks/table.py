"""All checks in the order they are run and shown, and what their results mean for the exit code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from edge_agent.errors import EXIT_CONFIG, EXIT_FAULT, EXIT_OK, EdgeAgentError
from edge_agent.processes.checks import (
    broker,
    cameras,
    configuration,
    line,
    machine,
    model,
    moment,
    permissions,
    storage,
)
from edge_agent.processes.checks.finding import Check, Context, Finding, Level, error

CHECKS: tuple[Check, ...] = (
    *configuration.CHECKS,
    *machine.CHECKS,
    *cameras.CHECKS,
    *line.CHECKS,
    *model.CHECKS,
    *broker.CHECKS,
    *storage.CHECKS,
    *moment.CHECKS,
    *permissions.CHECKS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finding and the check that made it."""

    check: Check
    finding: Finding


def run_checks(context: Context, checks: Iterable[Check], dont_run: Collection[str] = ()) -> Iterator[Result]:
    """The results one by one, as they come. A check that needs settings is skipped while there are none."""
    for check in checks:
        if check.id in dont_run:
            continue
        if check.needs_settings and context.settings is None:
            skipped = Finding(level=Level.SKIPPED, text="needs a valid configuration")
            yield Result(check=check, finding=skipped)
            continue
        try:
            findings = check.run(context)
        except EdgeAgentError as fault:
            findings = (error(str(fault)),)
        yield from (Result(check=check, finding=finding) for finding in findings)


def exit_code(context: Context, results: Collection[Result], *, warnings_as_errors: bool) -> int:
    """0 when a start would succeed, 78 when the configuration is not valid, else 1."""
    if context.faults:
        return EXIT_CONFIG
    bad = {Level.ERROR, Level.WARNING} if warnings_as_errors else {Level.ERROR}
    return EXIT_FAULT if any(result.finding.level in bad for result in results) else EXIT_OK
