"""What every field on the wire means, with its unit: for the schemas and the reference. Pure.

A name means the same wherever it stands; the few that do not are given as `payload.field`.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.records import HoldReason

MEANINGS: Mapping[str, str] = {
    "v": "Version of this payload's format.",
    "ts": "When this was said, RFC 3339 UTC with milliseconds.",
    "inspection.ts": "When the frame was captured, RFC 3339 UTC with milliseconds.",
    "last.ts": "When that frame was captured, RFC 3339 UTC with milliseconds.",
    "state": "State; see the payload.",
    "session": "ULID of this run of the sync process; another one means a restart in between.",
    "version": "Version of Edge Agent.",
    "reason": "Why, in words; null or empty where there is nothing to say.",
    "inspection.reason": "Why the part is held: " + ", ".join(reason.value for reason in HoldReason) + ".",
    "gateway": "Name of the gateway, as in the topic.",
    "profile": "Firmware profile in use.",
    "hardware": "Short facts about the machine by name.",
    "cameras": "The cameras as configured.",
    "name": "Name.",
    "source": "Where pictures come from; credentials removed.",
    "model": "sha256 of the bundle that judged; null when none took part.",
    "camera_info.model": "Name of the model that is configured.",
    "digest": "sha256 of the bundle in force; null when there is none.",
    "id": "ULID of the inspection: deliveries may repeat, the same id is the same inspection.",
    "alarm.id": "Name of the alarm, as in the topic.",
    "ack.id": "Id of the command.",
    "camera": "Name of the camera, as in the topic.",
    "sequence": "Number of the frame; from 1, without gaps, per camera and run of the inspect process.",
    "part": "Number of the part, where a trigger gave one.",
    "recipe": "Recipe that the trigger named; null where it named none.",
    "triggered": "When the line asked for the picture, RFC 3339 UTC; null where the camera runs freely.",
    "device": "The camera that took the picture, as far as it says; null where it says nothing.",
    "vendor": "Who made the camera.",
    "device.model": "Model of the camera.",
    "serial": "Serial number of the camera.",
    "firmware": "Firmware of the camera.",
    "verdict": "PASS, FAIL, or HOLD: unsure, late, or never judged.",
    "label": "Most likely class; null when nothing was judged.",
    "score": "Calibrated probability of a defect, 0 to 1.",
    "threshold": "Score from which a part fails, 0 to 1.",
    "where": "Box around what was found; null where nothing was.",
    "finding.reason": "Why this model holds the part, as in the inspection's `reason`.",
    "detections": "What a detector found, surest first, at most 32; empty where no detector judged.",
    "defect": "Whether this class speaks against the part.",
    "detection.score": "How sure the detector is, 0 to 1.",
    "findings": "One entry for each model where several judged; empty where one did.",
    "finding.name": "Name of the model.",
    "latency_ms": "Milliseconds from frame complete in memory to verdict, by stage.",
    "x": "Left edge, fraction of the picture's width.",
    "y": "Top edge, fraction of the picture's height.",
    "width": "Fraction of the picture's width.",
    "height": "Fraction of the picture's height.",
    "queue": "Waiting to be judged, ms.",
    "prepare": "Cutting, turning, scaling, ms.",
    "encode": "The network, ms.",
    "decide": "Head and rules, ms.",
    "total": "All of it, ms.",
    "since": "Since when, RFC 3339 UTC.",
    "captured": "Frames captured = passed + failed + held + in_flight.",
    "passed": "Parts with verdict PASS.",
    "failed": "Parts with verdict FAIL.",
    "held": "Parts with verdict HOLD, dropped frames included.",
    "held_by_reason": "`held`, by reason.",
    "in_flight": "Frames captured and not judged yet.",
    "yield_fraction": "passed / (passed + failed), 0 to 1; null before the first.",
    "fps": "Frames judged per second, lately.",
    "picture": "What its pictures are like as pictures: off (not checked), learning n/of, healthy, or what is wrong.",
    "drift": "What changes in the long run: off, learning n/of, steady, or light, focus, moved, product, model.",
    "last": "The newest inspection, in short.",
    "severity": "How urgently a person is needed.",
    "code": "One of the alarm codes below.",
    "subject": "Camera, model, topic or part that it concerns.",
    "text": "What was found, in words.",
    "by": "Who orders it: a person or a program; it is logged.",
    "args": "Arguments; see the table of commands.",
    "exp": "When the order is no longer wanted, RFC 3339; null for never.",
    "type": "Type of the command.",
    "result": "What was asked for (`counters`), else null.",
    "hash": "sha256 of the effective configuration, secrets left out.",
    "loaded": "When it was loaded, RFC 3339 UTC.",
    "refused": "Why a newer file was refused; null when none was.",
    "models": "The named models.",
    "camera_info.models": "Names of the further models that judge this camera, beside `model` or for a recipe.",
    "active": "sha256 of the bundle in force; null when there is none.",
    "epoch": "Which pass over the pictures, from 1.",
    "epochs": "How many passes there are.",
    "step": "Steps taken.",
    "steps": "Steps of the whole run; 0 while it does not train.",
    "loss": "Loss of the last step; null before the first.",
    "eta_s": "Seconds that are left at the present pace; null where nobody can say.",
    "opens": "When its window opens, RFC 3339 UTC; null where it waits for nothing of that kind.",
    "last_result": "How the last run ended; null before the first.",
    "last_ended": "When that was, RFC 3339 UTC.",
    "previous": "sha256 of the bundle before it, to which a roll-back goes.",
}


def meaning(payload: str, field: str) -> str:
    """What `field` of `payload` means.

    Raises:
        KeyError: nobody wrote it down.
    """
    return MEANINGS.get(f"{payload}.{field}") or MEANINGS[field]
