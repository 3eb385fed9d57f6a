"""A headless Chromium driven over plain HTTP, for tests that look at pages as a reader does."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

NEEDED = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs a Chromium binary (chromium, chromium-browser or google-chrome)"
    ),
    pytest.mark.skipif(DRIVER is None, reason="needs chromedriver, which comes with Chromium"),
]


class Browser:
    """A headless Chromium, driven by the WebDriver protocol over plain HTTP."""

    def __init__(self, profile: Path, size: tuple[int, int] = (1366, 768), flags: tuple[str, ...] = ()) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for line in self.driver.stdout:  # it says when it is ready
            if b"started successfully" in line:
                break
        options = {
            "binary": CHROMIUM,
            "args": [*FLAGS, *flags, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        try:
            session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self.end_driver()
            raise
        self.root += f"/session/{session['sessionId']}"

    def call(self, method: str, path: str, body: dict | None = None):
        """Return the value of a WebDriver answer."""
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        with closing(urllib.request.urlopen(request, timeout=60)) as answer:
            return json.loads(answer.read())["value"]

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a file afresh."""
        self.call("POST", "/url", {"url": "about:blank"})
        self.call("POST", "/url", {"url": page.as_uri() + fragment})

    def run(self, script: str, *arguments):
        """Run JavaScript in the page; promises are awaited."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """Return what an element says."""
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def log(self, kind: str) -> list[dict]:
        """Return and forget what the browser logged: ``browser`` (console) or ``performance`` (network)."""
        return self.call("POST", "/se/log", {"type": kind})

    def point(self, x: float, y: float, *, click: bool) -> None:
        """Move the mouse to a place in the window, and click."""
        acts = [{"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}]
        if click:
            acts += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": acts}]})

    def key(self, *keys: str) -> None:
        """Press keys, one after the other."""
        acts = [{"type": kind, "value": k} for k in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": acts}]})

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            self.call("DELETE", "")
        finally:
            self.end_driver()

    def end_driver(self) -> None:
        """End the driver."""
        self.driver.terminate()
        self.driver.wait(timeout=20)
        self.driver.stdout.close()


def requests(browser: Browser) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith(("data:", "about:"))]
