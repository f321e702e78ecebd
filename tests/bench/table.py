"""Run the benches one after another and write their figures into README.md, between its two marks.

    python -m tests.bench.table               all of them, an hour; let nothing else run meanwhile
    python -m tests.bench.table outbox        only these; the others keep their rows

The rows are kept in docs/benchmarks.json, with machine and versions, so that a figure can be traced to its run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock, rfc3339

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "benchmarks.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: python -m tests.bench.table -->", "<!-- /figures -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: what, where it stands in the bench's JSON, and what we aim for."""

    what: str
    value: Callable[[dict[str, Any]], str]
    target: str


ROWS: dict[str, tuple[Row, ...]] = {
    "inspect": (
        Row(
            what="whole pipeline beside a bare `session.run` loop, same model and threads",
            value=lambda r: f"{r['ratio']:.3f} ({r['pipeline_fps']:.0f} of {r['raw_fps']:.0f} frames/s, 1 thread)",
            target=">= .90",
        ),
        Row(
            what="prepare / encode / decide, median",
            value=lambda r: (
                " / ".join(f"{r['stage_ms'][s]['p50']:.2f}" for s in ("prepare_ms", "encode_ms", "decide_ms")) + " ms"
            ),
            target="report",
        ),
    ),
    "quantise": (
        Row(
            what="int8 beside fp32, 1 thread",
            value=lambda r: f"{r['speedup']:.2f}x ({r['fp32_ms']:.2f} -> {r['int8_ms']:.2f} ms)",
            target=">= 1.9",
        ),
        Row(
            what="macro-F1 fp32 -> int8 of a ridge head, test split",
            value=lambda r: ", ".join(
                f"{name} {r['f1_fp32'][name]:.4f} -> {r['f1_int8'][name]:.4f}" for name in r["f1_fp32"]
            ),
            target="drop <= .005",
        ),
    ),
    "footprint": (
        Row(what="exec to first committed verdict", value=lambda r: f"{r['cold_start_s']:.2f} s", target="<= 1.5 s"),
        Row(
            what="RSS inspect / sync",
            value=lambda r: f"{r['rss_inspect_mib']:.0f} / {r['rss_sync_mib']:.0f} MiB",
            target="130 / 45",
        ),
        Row(what="torch loaded", value=lambda r: str(r["torch_loaded"]).lower(), target="false"),
        Row(
            what="CPU at 10 frames/s beside the bare model; beside reading, preparing and running it",
            value=lambda r: (
                f"{r['cpu_ratio_10fps']:.2f}; {r['cpu_ratio_same_work']:.2f} "
                f"({r['cpu_share']['inspect']:.1%} of a core)"
            ),
            target="<= 1.3",
        ),
    ),
    "latency": (
        Row(
            what="capture to sinks, p99, beside bare inference p99 at 10 frames/s",
            value=lambda r: f"{r['sink_p99_over_raw_p99']:.2f} ({r['sink_ms']['p99']:.1f} ms)",
            target="<= 2.0",
        ),
        Row(what="capture to MQTT delivery, median", value=lambda r: f"{r['mqtt_p50_ms']:.0f} ms", target="<= 100 ms"),
    ),
    "outbox": (
        Row(
            what="inspections queued over an outage, then drained",
            value=lambda r: f"{r['queued']:,} queued, {r['lost']} lost, {r['duplicated_applied']} applied twice",
            target="0 lost",
        ),
        Row(what="drain on loopback", value=lambda r: f"{r['messages_per_s']:,.0f} messages/s", target=">= 1,000"),
    ),
    "trigger": (
        Row(
            what="PLC's trigger to the verdict in its registers, loopback Modbus TCP, polled every 5 ms",
            value=lambda r: (
                f"p50 {r['p50_ms']:.1f} ms, p99 {r['p99_ms']:.1f} ms; once durable "
                f"{r['durable']['p50_ms']:.0f} / {r['durable']['p99_ms']:.0f} ms"
            ),
            target="report",
        ),
    ),
    "cameras": (
        Row(
            what="1 / 4 / 8 cameras together, every picture judged, beside bare inference with the same thread",
            value=lambda r: (
                f"{r['efficiency']:.2f} at worst ("
                + " / ".join(f"{r[f'fps_{count}']:.0f}" for count in (1, 4, 8))
                + f" of {r['bare_fps']:.0f} frames/s; cameras that draw their parts {r['built_in_line']['efficiency']:.2f})"
            ),
            target=">= .85",
        ),
        Row(
            what="8 cameras that bring half as much again as can be judged: dropped, p99, least beside most judged, CPU",
            value=lambda r: (
                f"{r['overload']['8']['dropped_share']:.0%}, {r['overload']['8']['p99_ms']:.0f} ms, "
                f"{r['overload']['8']['least_over_most_judged']:.2f}, {r['overload']['8']['cpu_cores']:.1f} cores"
            ),
            target="report",
        ),
        Row(
            what="RTSP camera back after outages, worst, to the first committed verdict",
            value=lambda r: f"{r['recovery_s']:.1f} s (outages of {', '.join(r['recovery_s_after_outage_s'])} s)",
            target="<= 3 s",
        ),
        Row(
            what="memory a reconnect; threads before and after",
            value=lambda r: ", ".join(
                f"{found['reconnects']:,} by {kind}: {found['rss_slope_kib']:.2f} KiB, "
                f"{found['threads'][0]} -> {found['threads'][-1]}"
                for kind, found in r["reconnects"].items()
            ),
            target="no growth",
        ),
    ),
    "learn": (
        Row(
            what="head from sums of all plants, frozen int8 encoder, macro-F1 on the test split (95 % of draws)",
            value=lambda r: ", ".join(
                f"{name} {r['f1_pooled'][name]:.3f} ({low:.3f} to {high:.3f})"
                for name, (low, high) in r["f1_pooled_95"].items()
            ),
            target="steelmp >= .985, pcbmp >= .84",
        ),
        Row(
            what="the same from one plant's labels alone, least and best plant",
            value=lambda r: ", ".join(
                f"{name} {min(single.values()):.2f} to {max(single.values()):.2f}"
                for name, single in r["f1_single"].items()
            ),
            target="report",
        ),
        Row(
            what="recall of defects at 2 % false alarms; steelmp has no good parts",
            value=lambda r: ", ".join(
                f"{name} {recall:.3f}" for name, recall in r["recall_at_2pct_fa"].items() if recall is not None
            ),
            target="report",
        ),
        Row(
            what="AUROC of a defect class that was never labelled, mean over classes",
            value=lambda r: ", ".join(f"{name} {found['mean']:.2f}" for name, found in r["unknown_auroc"].items()),
            target="report",
        ),
        Row(
            what="encoder fine-tuned on the pooled train split, its int8, macro-F1 on the test split, median of seeds (all)",
            value=lambda r: _by_seed(r["f1_finetuned"]),
            target="pcbmp >= .94",
        ),
        Row(
            what="the same, recall of defects at 2 % false alarms; seconds an epoch, one thread",
            value=lambda r: f"{_by_seed(r['recall_finetuned'])}; {_medians(r['s_per_epoch'])} s",
            target="pcbmp >= .97",
        ),
        Row(
            what="one more label for 1,000: from the MQTT command to the new head in force; to a process that waits",
            value=lambda r: f"{r['label_to_head_s']:.1f} s; {r['label_to_head_warm_s']:.1f} s",
            target="<= 3 s",
        ),
    ),
    "drift": (
        Row(
            what="frames to alarm, median (docs/drift.md says by how much each changes)",
            value=lambda r: ", ".join(f"{kind} {frames:.0f}" for kind, frames in r["frames_to_alarm"].items()),
            target="report",
        ),
        Row(
            what="the right cause named, with and without something fixed in the picture",
            value=lambda r: ", ".join(f"{kind} {share:.0%}" for kind, share in r["attributed"].items()),
            target="report",
        ),
        Row(
            what="false alarms in 10,000 clean frames; where a day's light is four times as slow as what was learned",
            value=lambda r: (
                f"{r['false_alarms_per_10k']:.2f} ({r['clean_frames']:,} frames); {r['slow_day_alarms_per_10k']:.2f}"
            ),
            target="report",
        ),
    ),
    "interference": (
        Row(
            what="capture to sinks at 10 frames/s, p99, fine-tuning beside idle; without the right of way",
            value=lambda r: (
                f"{r['ratio']:.2f} ({r['p99_idle_ms']:.1f} -> {r['p99_training_ms']:.1f} ms); {r['ratios']['plain']:.2f}"
            ),
            target="<= 1.25",
        ),
        Row(
            what="frames without exactly one inspection while models change; the gap between verdicts",
            value=lambda r: f"{r['frames_lost_at_swap']}; {r['swap_gap_ms']:.0f} ms",
            target="0; report",
        ),
    ),
    "goodonly": (
        Row(
            what="good-only start, AUROC on the test split (recall at 2 % false alarms)",
            value=lambda r: ", ".join(
                f"{name} {found['auroc']:.3f} ({found['recall_at_2pct_fa']:.2f})" for name, found in r["sets"].items()
            ),
            target="report",
        ),
    ),
}


def _by_seed(found: Mapping[str, Mapping[str, float]]) -> str:
    """The median of each set, and what each seed gave."""
    return ", ".join(
        f"{name} {seeds['median']:.3f} ({', '.join(f'{seeds[seed]:.3f}' for seed in seeds if seed != 'median')})"
        for name, seeds in found.items()
    )


def _medians(found: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{seeds['median']:.0f}" for seeds in found.values())


def main() -> None:
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for bench in sys.argv[1:] or ROWS:
        print(f"{bench} ...", flush=True)
        done = subprocess.run([sys.executable, "-m", f"tests.bench.{bench}", "--json"], cwd=ROOT, check=True, stdout=-1)
        kept[bench] = json.loads(done.stdout.splitlines()[-1]) | {"run_at": rfc3339(SystemClock().utc_s())}
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    text = README.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{table(kept)}\n{END}{after}")


def table(kept: dict[str, Any]) -> str:
    """The figures as a Markdown table, with the machine below."""
    lines = ["| bench | what | measured | target |", "|---|---|---|---|"]
    for bench, rows in ROWS.items():
        if bench in kept:
            lines += [f"| `{bench}` | {row.what} | {row.value(kept[bench])} | {row.target} |" for row in rows]
    newest = max(kept.values(), key=lambda result: result["run_at"])
    machine, versions = newest["machine"], newest["versions"]
    lines += [
        "",
        (
            f"{machine['cores']} cores of {machine['cpu']} ({', '.join(machine['flags'])}), a shared virtual machine, "
            f"kernel {machine['kernel']}, Python {versions['python']}, ONNX Runtime {versions['onnxruntime']}, "
            f"{newest['run_at'][:10]}. Medians over several runs, ratios within one run."
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
