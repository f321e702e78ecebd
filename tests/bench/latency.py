"""How long a verdict takes: capture -> sinks beside bare inference, and capture -> MQTT delivery on loopback.

Real processes and a real mosquitto, one 640x480 camera at 10 frames/s, the default bundle. Bare inference is paced at
10 a second too, before and after, since a CPU that sleeps between two frames is slower than one that does not.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.capture.picture import prepare
from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.inspect.counters import quantile
from tests.bench.footprint import write_pictures
from tests.bench.gateway import default_model, folder, pause, running, write_config
from tests.bench.report import Options, Progress, run_bench
from tests.fakes.broker import Broker

FPS = 10.0
WARM_UP = 30


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    seconds = 15.0 if options.quick else 60.0
    bare = _bare(seconds / 2)
    with folder() as place, Broker(place / "broker") as broker:
        write_pictures(place / "pictures")
        config = write_config(place, url=broker.url, source=f"folder:{place / 'pictures'}?loop=1", fps=FPS)
        heard = _Heard(broker.port)
        with running(config, "sync"), running(config, "inspect"):
            for second in range(int(seconds)):
                pause(1.0)
                progress("seconds", second + 1, int(seconds))
        heard.close()
    bare += _bare(seconds / 2)
    sink = sorted(total for total, _ in heard.rows[WARM_UP:])
    mqtt = sorted(delivery for _, delivery in heard.rows[WARM_UP:])
    bare.sort()
    bare_p99, sink_p99 = quantile(bare, 0.99) or 0.0, quantile(sink, 0.99) or 0.0
    return {
        "sink_p99_over_raw_p99": round(sink_p99 / bare_p99, 2),
        "mqtt_p50_ms": round(quantile(mqtt, 0.50) or 0.0, 1),
        "mqtt_p99_ms": round(quantile(mqtt, 0.99) or 0.0, 1),
        "sink_ms": {"p50": round(quantile(sink, 0.50) or 0.0, 2), "p99": round(sink_p99, 2)},
        "raw_ms": {"p50": round(quantile(bare, 0.50) or 0.0, 2), "p99": round(bare_p99, 2)},
        "runs": len(sink),
    }


def _bare(seconds: float) -> list[float]:
    """Milliseconds of each bare inference, ten a second."""
    model = default_model()
    line = SyntheticLine("lyon", 1, defect_share=0.15)
    pictures = [prepare(line.part(index).image, model.encoder.input_px) for index in range(16)]
    took = []
    due_s = time.monotonic()
    for index in range(int(seconds * FPS)):
        started_s = time.perf_counter()
        model.encoder.encode(pictures[index % len(pictures)])
        took.append((time.perf_counter() - started_s) * 1e3)
        due_s += 1 / FPS
        pause(max(0.0, due_s - time.monotonic()))
    return took[5:]


class _Heard:
    """Subscribes to inspections: (capture to sinks in ms, capture to delivery in ms) of each."""

    def __init__(self, port: int) -> None:
        self.rows: list[tuple[float, float]] = []
        ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(10)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        now_s = time.time()
        if "/insp/" in message.topic:
            payload = json.loads(message.payload)
            captured_s = dt.datetime.fromisoformat(payload["ts"].replace("Z", "+00:00")).timestamp()
            self.rows.append((payload["latency_ms"]["total"], (now_s - captured_s) * 1e3))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


if __name__ == "__main__":
    run_bench("latency", measure)
