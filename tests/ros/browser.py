"""A headless Chromium, controlled by its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
# WebGL on the CPU: no machine that tests has a screen.
OPTIONS = (
    '--headless=new',
    '--no-sandbox',
    '--use-gl=angle',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--remote-debugging-port=0',
    '--no-first-run',
    '--disable-dev-shm-usage',
    '--window-size=800,500',
    '--hide-scrollbars',
)
TIMEOUT_S = 60.0


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        # The browser and its page are on this machine, whatever proxy the machine uses.
        self._socket = connect(address, max_size=None, proxy=None)
        self._numbers = itertools.count(1)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({'id': number, 'method': method, 'params': parameters}))
        while (answer := json.loads(self._socket.recv(TIMEOUT_S))).get('id') != number:
            pass
        assert 'error' not in answer, answer
        return answer['result']

    def open(self, address: str) -> None:
        self.call('Page.navigate', url=address)

    def text(self) -> str:
        return self.evaluate('document.body ? document.body.innerText : ""')

    def evaluate(self, script: str) -> Any:
        return self.call('Runtime.evaluate', expression=script)['result'].get('value')

    def screenshot(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        data = base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    profile = folder / 'browser'
    with (folder / 'browser.log').open('w') as log:
        process = subprocess.Popen(
            [find_browser(), *OPTIONS, f'--user-data-dir={profile}', 'about:blank'],
            stdout=log,
            stderr=log,
        )
    try:
        port_file = profile / 'DevToolsActivePort'
        deadline = time.monotonic() + TIMEOUT_S
        while not (port_file.exists() and port_file.read_text().count('\n')):
            assert time.monotonic() < deadline, (folder / 'browser.log').read_text()
            time.sleep(0.1)
        port = port_file.read_text().splitlines()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f'http://127.0.0.1:{port}/json') as answer:
            pages = [page for page in json.load(answer) if page['type'] == 'page']
        browser = Browser(pages[0]['webSocketDebuggerUrl'])
        yield browser
        browser.close()
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
