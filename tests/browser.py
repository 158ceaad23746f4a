"""Headless Chromium, driven through a pipe by the DevTools protocol; no package is needed for it."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-first-run"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars"),
)
# The browser reads commands from descriptor 3 and answers on 4.
REDIRECT = """
import fcntl, os, sys
there_in, there_out = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(there_in, 3)
os.dup2(there_out, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
TIMEOUT = 60.0  # seconds for an answer, on a machine that has other work


def chromium() -> str:
    found = next((path for name in COMMANDS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"Chromium is not installed: none of {', '.join(COMMANDS)}")
    return found


class Browser:
    """A browser process. A context manager, at whose end nothing of it is left."""

    def __init__(self, profile: Path) -> None:
        self._command = [chromium(), *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        (there_in, self._out), (self._in, there_out) = os.pipe(), os.pipe()
        # A session of its own: the command may be a shell script, whose end would leave the browser behind.
        self._process = subprocess.Popen(
            [sys.executable, "-c", REDIRECT, str(there_in), str(there_out), *self._command],
            pass_fds=(there_in, there_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (there_in, there_out):
            os.close(end)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while True:
            answer = self._receive(end)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]  # type: ignore[no-any-return]
            self.events.append(answer)

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready = select.select([self._in], [], [], max(end - time.monotonic(), 0))[0]
            data = os.read(self._in, 1 << 20) if ready else b""
            assert data, f"no answer within {TIMEOUT} s; the browser ended: {self._process.poll()}"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)  # type: ignore[no-any-return]


class Page:
    """A tab that shows a file, or the page at a URL."""

    def __init__(
        self,
        browser: Browser,
        file: Path | str,
        width: int,
        height: int,
        *,
        phone: bool = False,
        dark: bool = False,
        ready: str = "document.querySelector('#legend li')",
    ) -> None:
        self._browser, self.phone = browser, phone
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        url = file if isinstance(file, str) else file.absolute().as_uri()
        self._own = url if isinstance(file, str) else "file:"
        self.call("Page.navigate", url=url)
        self.wait_for(f"document.readyState === 'complete' && {ready}")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        end = time.monotonic() + TIMEOUT
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never: {condition}; {self.problems()}"
            time.sleep(0.05)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """left, top, width, height in the window, after scrolling to the element."""
        return tuple(  # type: ignore[return-value]
            self.evaluate(
                f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'nearest'}});"
                "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
            )
        )

    def click(self, selector: str, count: int = 1) -> None:
        """A click with the mouse, or a tap on a phone, in the middle of an element."""
        left, top, width, height = self.box(selector)
        self.click_at(left + width / 2, top + height / 2, count)

    def click_at(self, x: float, y: float, count: int = 1, modifiers: int = 0) -> None:
        """modifiers: of the keys that are held: 2 ctrl, 8 shift."""
        for number in range(1, count + 1):
            if self.phone:
                self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
                self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            else:
                mouse = {"x": x, "y": y, "button": "left", "clickCount": number, "modifiers": modifiers}
                self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
                self.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
                self.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse, or with a finger on a phone."""
        for step, kind in enumerate(("Pressed", "Moved", "Moved", "Released")):
            x, y = (a + (b - a) * min(step, 2) / 2 for a, b in zip(start, end, strict=True))
            if self.phone:
                kind = {"Pressed": "touchStart", "Moved": "touchMove", "Released": "touchEnd"}[kind]
                points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
                self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
            else:
                self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left", buttons=1)

    def move(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path | None = None) -> NDArray[np.uint8]:  # (H, W, 3)
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def problems(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and requests for anything but the page and its data."""
        self.evaluate("0")  # what was sent before has come
        out = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            kind, parameters = event["method"], event["params"]
            if kind == "Runtime.exceptionThrown":
                out.append(str(parameters["exceptionDetails"]))
            elif kind == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                if "(OpenGL, Performance" not in parameters["entry"]["text"]:  # of the emulated graphics card
                    out.append(parameters["entry"]["text"])
            elif kind == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                out.append(str(parameters["args"]))
            elif kind == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith((self._own, "data:", "blob:", "about:")):
                    out.append(f"a request to {url}")
        return out
