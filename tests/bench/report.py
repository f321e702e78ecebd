"""What every benchmark shares: arguments, progress, the machine it ran on, one JSON object on the last line.

    def measure(options: Options, progress: Progress) -> dict[str, Any]: ...

    if __name__ == "__main__":
        run_bench("quantise", measure)

`measure` returns the keys of its bench (`runs` among them); machine, versions and seconds are added here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

DEFAULT_DATA = Path("../shared/data")
PACKAGES = ("edge-agent", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "paho-mqtt", "torch")
# What decides how quick int8 is.
CPU_FLAGS = ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")

Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for. `given` holds the arguments that a bench added itself."""

    quick: bool
    data: Path
    given: argparse.Namespace


Measure = Callable[[Options, Progress], dict[str, Any]]


def run_bench(name: str, measure: Measure, configure: Callable[[argparse.ArgumentParser], None] | None = None) -> None:
    """Parse the command line, measure, print. `configure` may add arguments."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{name}", description=sys.modules["__main__"].__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line instead of a table")
    parser.add_argument("--quick", action="store_true", help="at most a minute, with wider error")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of picture sets (default %(default)s)")
    if configure is not None:
        configure(parser)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    started_s = time.monotonic()
    with _bars() as progress:
        result = measure(Options(quick=given.quick, data=given.data, given=given), progress)
    result = {
        "bench": name,
        **result,
        "quick": given.quick,
        "machine": {**machine(), "load_at_start": round(load, 2)},
        "versions": versions(),
        "seconds": round(time.monotonic() - started_s, 1),
    }
    if given.json:
        print(json.dumps(result))
    else:
        Console().print(_table(name, result))


def machine() -> dict[str, Any]:
    """The machine, as far as it decides a figure."""
    cpuinfo = dict(_fields(Path("/proc/cpuinfo").read_text()))
    memory = dict(_fields(Path("/proc/meminfo").read_text()))
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    return {
        "cpu": cpuinfo.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "memory_mib": int(memory["MemTotal"].split()[0]) // 1024,
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Python and the packages that a figure may hang on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            yield key.strip(), value.strip()


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, Any] = {}
    with Bars(*columns, console=Console(stderr=True)) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _table(name: str, result: Mapping[str, Any]) -> Table:
    table = Table("key", "value", title=name)
    for key, value in _rows("", result):
        table.add_row(key, value)
    return table


def _rows(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", f"{value:.4g}" if isinstance(value, float) else str(value)
