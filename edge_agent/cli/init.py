"""Detect this device and its cameras and write a commented agent.yaml to begin with.

Cameras are found by names that last (/dev/v4l/by-id or by-path). Where there is none, a drawn one stands in, so that
everything can be tried at once. Network cameras are not searched for unless asked: --discover lists what answers, on
USB, over ONVIF and as GenICam, with the lines that the file needs for it, and writes nothing.

Examples:
  edge-agent init --discover                            which cameras there are
  edge-agent init                                       ./agent.yaml, its state beside it
  sudo edge-agent init --output /etc/edge-agent/agent.yaml --enterprise acme --plant lyon --broker mqtts://broker:8883
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_agent.config.template import Draft
    from edge_agent.device.detect import Choice
    from edge_agent.device.video import VideoDevice

SUMMARY = "write a commented agent.yaml for this machine"
NO_CAMERA = "No camera was found here: this one is drawn, so that everything can be tried. Replace its source."
STAND_IN = "synthetic:scratches"
PLAIN = re.compile(r"[a-z][\w:/.@%-]*")  # what YAML takes without quotes for text


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", "--config", metavar="FILE", type=Path, default=Path("agent.yaml"), help="default: ./agent.yaml"
    )
    parser.add_argument(
        "--discover",
        metavar="HOST[:PORT]",
        nargs="?",
        const="",
        help="list the cameras that answer (all of them, or ONVIF at one address) and end; writes nothing",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file where it exists")
    parser.add_argument("--enterprise", default="my-company", help="first level of every topic")
    parser.add_argument("--plant", default="my-plant", help="second level of every topic")
    parser.add_argument("--gateway", help="name of this gateway (default: the host's name)")
    parser.add_argument("--broker", metavar="URL", default="mqtt://localhost:1883", help="address of the MQTT broker")


def run(arguments: argparse.Namespace) -> int:
    import platform

    from edge_agent.config.settings import loads
    from edge_agent.config.template import render
    from edge_agent.device.detect import choose, detect
    from edge_agent.device.profile import profiles
    from edge_agent.device.video import stable_cameras
    from edge_agent.storage import replace_file

    if arguments.discover is not None:
        return _discover(arguments.discover)
    output: Path = arguments.output
    if output.exists() and not arguments.force:
        print(f"edge-agent init: {output} exists; --force overwrites it, --output FILE names another", file=sys.stderr)
        return 1
    machine = platform.machine()
    choice = choose(detect(Path("/"), machine), profiles())
    cameras = stable_cameras(Path("/dev/v4l"))
    text = render(_draft(arguments, platform.node(), choice, cameras))
    # What we write must load: a name or address given on the command line is checked like any other.
    loads(text.encode(), file=output)
    replace_file(output, text.encode())
    print(f"device   {choice.profile.title}\n         profile {choice.profile.name}: {choice.reason}")
    for text in choice.warnings:
        print(f"         warning: {text}")
    for camera in cameras:
        print(f"camera   {camera.link} ({camera.node})")
    if not cameras:
        print(f"camera   none found; {STAND_IN} stands in")
    print(f"wrote    {output}\nnext     edge-agent check --config {output}")
    return 0


def _discover(target: str) -> int:
    from edge_agent.capture.onvif.discovery import MULTICAST
    from edge_agent.clock import SystemClock
    from edge_agent.processes.discovery import look_around

    host, _, port = target.partition(":")
    if port and not 0 < int(port if port.isdigit() else 0) < 65_536:
        print(f"edge-agent init: --discover {target}: expected HOST or HOST:PORT", file=sys.stderr)
        return 2
    asked = (host, int(port or MULTICAST[1])) if target else MULTICAST
    outlook = look_around(SystemClock(), target=asked)
    for sight in outlook.sights:
        print(f"{sight.kind:8} {sight.where}\n         {sight.what}")
    if not outlook.sights:
        print("no camera answers")
    for remark in outlook.remarks:
        print(f"note     {remark}")
    if outlook.sights:
        print("\ncameras:")
    for number, sight in enumerate(outlook.sights, start=1):
        print(f"  camera-{number}:")
        for key, value in sight.keys.items():
            print(f"    {key}: {value if PLAIN.fullmatch(value) else json.dumps(value)}")
    return 0


def _draft(arguments: argparse.Namespace, host: str, choice: Choice, cameras: tuple[VideoDevice, ...]) -> Draft:
    from edge_agent.config.locate import INSTALLED
    from edge_agent.config.template import Draft

    sources = {f"camera-{number}": f"v4l2:{camera.link}" for number, camera in enumerate(cameras, start=1)}
    remarks = {} if sources else {"camera-1": NO_CAMERA}
    remarks["device"] = f"Detected: {choice.profile.title} (profile {choice.profile.name}: {choice.reason})."
    # Beside a file of one's own, its state: /var/lib belongs to the installed daemon.
    installed = arguments.output.absolute().parent == INSTALLED.parent
    storage: dict[str, Any] = {} if installed else {"state_dir": "state", "runtime_dir": "run"}
    return Draft(
        site={
            "enterprise": arguments.enterprise,
            "plant": arguments.plant,
            "gateway": arguments.gateway or gateway_name(host),
        },
        cameras={name: {"source": source} for name, source in (sources or {"camera-1": STAND_IN}).items()},
        mqtt={"url": arguments.broker},
        storage=storage,
        remarks=remarks,
    )


def gateway_name(host: str) -> str:
    """A host's name as the name of a gateway: lower case, and - for everything that may not be in it."""
    return re.sub(r"[^a-z0-9]+", "-", host.lower().partition(".")[0]).strip("-")[:64] or "gateway"
