"""Run the gateway: inspect and sync as children of one supervisor, until Ctrl-C or SIGTERM; SIGHUP reloads.

On an installed gateway systemd runs the same processes as units: systemctl start edge-agent.target

Examples:
  edge-agent run                        with ./agent.yaml or /etc/edge-agent/agent.yaml
  edge-agent run --config line3.yaml    with another file
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")


def run(arguments: argparse.Namespace) -> int:
    from edge_agent.config.locate import locate
    from edge_agent.processes.addresses import Addresses
    from edge_agent.processes.boot import boot
    from edge_agent.processes.supervisor import FINETUNE_LOOK_S, Supervisor, gateway_children
    from edge_agent.storage import lock_file

    config_file = locate(arguments.config).absolute()
    started = boot("supervisor", config_file, addresses=Addresses())
    settings, clock = started.settings, started.clock

    def looks() -> int:
        """Another number every ten minutes, from 1 on; 0 where nobody wants it to look by itself."""
        return 1 + int(clock.mono_s() / FINETUNE_LOOK_S) if settings.learning.fine_tuning.enabled else 0

    with lock_file(settings.storage.state_dir / "supervisor.lock", "edge-agent run"):
        children = gateway_children(str(config_file), settings.storage.state_dir, finetune_looks=looks)
        supervisor = Supervisor(children, clock)
        return supervisor.run(started.stop, started.reload)
