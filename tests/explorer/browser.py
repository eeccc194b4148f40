"""A headless browser for tests, spoken to over WebDriver with the standard library."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
KEYS = {"Left": "\ue012", "Right": "\ue014", "Home": "\ue011", "End": "\ue010"}
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window of headless Chromium.

    Parameters
    ----------
    folder : Path
        For its profile.
    wide, high : int
        Size of the window, in pixels.
    """

    def __init__(self, folder: Path, wide: int = 1280, high: int = 900) -> None:
        assert CHROMIUM is not None
        assert DRIVER is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._base = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            [DRIVER, f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        options = {
            "binary": CHROMIUM,
            "args": [
                *_FLAGS,
                f"--user-data-dir={folder}",
                f"--window-size={wide},{high}",
            ],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        try:
            self._wait()
            made = self._call(
                "POST", "/session", {"capabilities": {"alwaysMatch": wanted}}
            )
        except BaseException:
            self._driver.kill()
            raise
        self._base += f"/session/{made['sessionId']}"

    def _wait(self) -> None:
        for _ in range(200):
            try:
                self._call("GET", "/status")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError("chromedriver does not answer")

    def _call(self, verb: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._base + path,
            data=data,
            method=verb,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from None

    def open(self, path: Path) -> None:
        """Load a file."""
        self._call("POST", "/url", {"url": path.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """Run a script's body in the page; return what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.run(f"return document.querySelector({selector!r}).innerText"))

    def press(self, selector: str, keys: str) -> None:
        """Send keys to an element."""
        found = self._call(
            "POST", "/element", {"using": "css selector", "value": selector}
        )
        self._call("POST", f"/element/{found[_ELEMENT]}/value", {"text": keys})

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        found = self._call(
            "POST", "/element", {"using": "css selector", "value": selector}
        )
        self._call("POST", f"/element/{found[_ELEMENT]}/click", {})

    def resize(self, wide: int, high: int) -> None:
        """Give the page another width, as a phone has."""
        metrics = {
            "width": wide,
            "height": high,
            "deviceScaleFactor": 1,
            "mobile": True,
        }
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        """Send a command of the DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        return self._call("POST", "/goog/cdp/execute", body)

    def errors(self) -> list[str]:
        """Return what the console has complained of."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [str(e["message"]) for e in entries if e["level"] == "SEVERE"]

    def screenshot(self, path: Path) -> None:
        """Write the whole page as a picture."""
        shot = self.devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the window and its driver."""
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(timeout=20)
