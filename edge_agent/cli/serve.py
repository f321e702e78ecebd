"""Run one process of the gateway in the foreground: what the systemd units and the supervisor start."""

from __future__ import annotations

import argparse
import os

SUMMARY = "run one process of the gateway"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("process", choices=("inspect", "sync", "learn", "finetune", "review"), help="which process")
    parser.add_argument(
        "--linger", type=float, default=0.0, metavar="S", help="learn: stay so many seconds for the next label"
    )
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")


def run(arguments: argparse.Namespace) -> int:
    from edge_agent.config.locate import locate

    config_file = locate(arguments.config)
    # Before numpy loads: a second BLAS thread waits actively for a core that others use. A product of 0.3 ms then takes
    # milliseconds, and a head of 1,000 labels ten seconds instead of half a one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Each process imports only its own world: sync never sees numpy, inspect never sees paho.
    if arguments.process == "inspect":
        from edge_agent.processes.inspect import main as inspect

        return inspect(config_file)
    if arguments.process == "sync":
        from edge_agent.processes.sync import main as sync

        return sync(config_file)
    if arguments.process == "review":
        from edge_agent.cli.review import page

        return page(config_file)
    if arguments.process == "finetune":
        from edge_agent.processes.finetuning.process import main as finetune

        return finetune(config_file)
    from edge_agent.processes.learn import main as learn

    return learn(config_file, arguments.linger)
