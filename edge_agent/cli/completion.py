"""Print a completion script for your shell.

bash:  edge-agent completion bash > /etc/bash_completion.d/edge-agent
zsh:   edge-agent completion zsh > "${fpath[1]}/_edge-agent"
tcsh:  edge-agent completion tcsh > ~/.edge-agent.completion.tcsh
"""

from __future__ import annotations

import argparse

SUMMARY = "print a completion script"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell to complete in")


def run(arguments: argparse.Namespace) -> int:
    import shtab

    from edge_agent.cli import build_parser

    print(shtab.complete(build_parser(), arguments.shell))
    return 0
