"""A real Chromium without a screen, told what to do over the DevTools protocol through a pipe: no port, no driver.

Chromium(folder) -> .person() -> Tab: go, press, type, click, evaluate, picture
"""

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from tests.waiting import until

DEADLINE_S = 20.0
# The protocol's pipe is file descriptors 3 and 4 of the browser.
AT_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Escape": {"key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27},
    " ": {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
}


class Chromium:
    """The browser; a person is a context of their own, with cookies of their own."""

    def __init__(self, folder):
        program = shutil.which("chromium") or shutil.which("google-chrome")
        assert program, "no chromium: apt install chromium"
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        words = [
            program,
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--lang=en-GB",
            f"--user-data-dir={folder}",
        ]
        environment = {**os.environ, "HOME": str(folder), "TZ": "UTC"}
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", AT_3_AND_4, str(to_read), str(to_write), *words],
                pass_fds=(to_read, to_write),
                stderr=log,
                stdout=log,
                env=environment,
            )
        os.close(to_read)
        os.close(to_write)
        self._numbers = iter(range(1, 1 << 30))
        self._answers = {}
        self._tabs = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def send(self, method, session=None, **parameters):
        """One command; its result."""
        number = next(self._numbers)
        answer = self._answers[number] = queue.Queue()
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        with self._lock:
            os.write(self._write, json.dumps(message).encode() + b"\0")
        try:
            found = answer.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise AssertionError(f"chromium did not answer {method} in {DEADLINE_S} s") from None
        finally:
            del self._answers[number]
        assert "error" not in found, f"{method}: {found['error']}"
        return found["result"]

    def person(self, *, width=1280, height=800, dark=False):
        """A tab of somebody's own."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session, context)
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            tab.send(f"{domain}.enable")
        tab.size(width, height)
        if dark:
            tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        return tab

    def close(self):
        with contextlib.suppress(AssertionError, OSError):
            self.send("Browser.close")
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(DEADLINE_S)
        os.close(self._write)
        os.close(self._read)

    def _listen(self):
        left = b""
        while content := os.read(self._read, 1 << 16):
            *messages, left = (left + content).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if message.get("id") in self._answers:
                    self._answers[message["id"]].put(message)
                elif message.get("sessionId") in self._tabs:
                    self._tabs[message["sessionId"]].heard(message)


@dataclass
class Tab:
    """One page in front of one person. `complaints` is what the browser's console had to say against us."""

    browser: Chromium
    session: str
    context: str
    complaints: list = field(default_factory=list)
    loads: int = 0

    def send(self, method, **parameters):
        return self.browser.send(method, self.session, **parameters)

    def heard(self, event):
        what = event["params"]
        match event["method"]:
            case "Runtime.exceptionThrown":
                self.complaints.append(what["exceptionDetails"])
            case "Runtime.consoleAPICalled" if what["type"] in ("error", "warning", "assert"):
                self.complaints.append(what["args"])
            case "Log.entryAdded" if what["entry"]["level"] in ("error", "warning"):
                self.complaints.append(what["entry"])
            case "Page.loadEventFired":
                self.loads += 1

    def size(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def go(self, address):
        """Open an address, and wait until it has loaded."""
        before = self.loads
        self.send("Page.navigate", url=address)
        self.wait_for_load(before)

    def wait_for_load(self, before):
        """Until a page has come since `loads` was `before`."""
        until(lambda: self.loads > before)

    def close(self):
        """The person has gone, with their cookies."""
        self.browser.send("Target.disposeBrowserContext", browserContextId=self.context)

    def evaluate(self, script):
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script):
        """The first true value of an expression."""
        return until(lambda: self.evaluate(script))

    def press(self, key):
        """One key, down and up."""
        plain = {"key": key, "text": key, "code": f"Key{key.upper()}", "windowsVirtualKeyCode": ord(key[0].upper())}
        words = KEYS.get(key, plain)
        self.send("Input.dispatchKeyEvent", type="keyDown", **words)
        self.send("Input.dispatchKeyEvent", type="keyUp", **{k: v for k, v in words.items() if k != "text"})

    def type(self, text):
        """Into whatever has the focus."""
        self.send("Input.insertText", text=text)

    def touch(self, selector):
        """In the middle of an element, as a finger would."""
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        point = [{"x": box[0], "y": box[1]}]
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=point)
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def picture(self, path, *, whole=False):
        """What the person sees, as a PNG."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def log_in(self, address, name, password):
        self.go(f"{address}/login")
        for selector, text in (("#name", name), ("#password", password)):
            self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
            self.type(text)
        before = self.loads
        self.press("Enter")
        self.wait_for_load(before)
