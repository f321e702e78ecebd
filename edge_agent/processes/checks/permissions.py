"""Permissions: keys and secrets are private, files can be read, cameras can be opened by this user."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

from edge_agent.config.secrets import SECRETS_FILE
from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok, warning

VIDEO_GROUP = "video"


def private(context: Context) -> tuple[Finding, ...]:
    """A private key, or a file of secrets, that others may read is no secret."""
    found = [("secrets", context.config_file.absolute().parent / SECRETS_FILE)]
    key_file = context.valid.mqtt.key_file
    found = [(name, path) for name, path in found if path.exists()]
    if key_file is not None:
        found.append(("key_file", key_file))
    return tuple(_private(name, path) for name, path in found) or (ok("no secrets on this disk"),)


def _private(name: str, path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as fault:
        return error(f"{path}: {fault.strerror}", f"mqtt.{name} must name a file", name)
    if not os.access(path, os.R_OK):
        return error(f"{path} cannot be read", "give it to the daemon's user or group (chgrp edge-agent)", name)
    if mode & stat.S_IRWXO:
        return warning(f"{path} has permissions {mode:04o}, open to everyone", f"chmod 640 {path}", name)
    return ok(f"{path} ({mode:04o})", name)


def readable(context: Context) -> tuple[Finding, ...]:
    keys = context.valid.mqtt
    files = [(name, path) for name, path in (("ca_file", keys.ca_file), ("cert_file", keys.cert_file)) if path]
    findings = []
    for name, path in files:
        if os.access(path, os.R_OK):
            findings.append(ok(str(path), name))
        else:
            reason = "cannot be read" if path.exists() else "is not there"
            findings.append(error(f"{path} {reason}", f"mqtt.{name} must name a file of the daemon's", name))
    return tuple(findings) or (ok("none are configured"),)


def video_group(context: Context) -> tuple[Finding, ...]:
    """V4L2 cameras belong to the group video."""
    if not any(camera.source.startswith("v4l2:") for camera in context.valid.cameras.values()):
        return (ok("no V4L2 camera is configured"),)
    if os.geteuid() == 0:
        return (ok("root may open every camera; the daemon's user needs the group video"),)
    try:
        member = grp.getgrnam(VIDEO_GROUP).gr_gid in os.getgroups()
    except KeyError:
        member = False
    if member:
        return (ok("this user is in the group video"),)
    advice = f"sudo usermod -aG {VIDEO_GROUP} USER, then log in again"
    return (warning("this user is not in the group video", advice),)


CHECKS = (
    Check(id="permissions-private", group="permissions", title="secrets", run=private),
    Check(id="permissions-readable", group="permissions", title="certificates", run=readable),
    Check(id="permissions-video", group="permissions", title="group video", run=video_group),
)
