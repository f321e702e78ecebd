"""Collect what support needs into one archive: status, effective configuration, versions, models, queue, journal.

Never in it: pictures, features, keys, passwords, the secrets file. Credentials in addresses are hidden. The archive's
MANIFEST lists every part with its size and why a part is missing, so that you can look before you send it.

Example:
  edge-agent support-bundle --output /tmp/gw-07.tar.gz
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    parser.add_argument("--output", metavar="FILE", help="archive to write (default: edge-agent-support-<time>.tar.gz)")


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from edge_agent.clock import SystemClock, rfc3339
    from edge_agent.config.locate import locate
    from edge_agent.processes.support import collect, write_archive

    clock = SystemClock()
    stamp = rfc3339(clock.utc_s())
    target = Path(arguments.output or f"edge-agent-support-{stamp[:19].replace(':', '')}Z.tar.gz")
    parts = collect(locate(arguments.config), stamp)
    write_archive(target, parts)
    for part in parts:
        print(f"  {part.name:28} {len(part.content):>9} bytes" + (f"  ({part.note})" if part.note else ""))
    print(f"wrote {target}; look at it before you send it: tar -tzf {target}")
    return 0
