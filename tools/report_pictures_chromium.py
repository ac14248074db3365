"""Drives a headless Chromium over its DevTools pipe, with the standard library alone.

with Chromium() as browser:
    page = browser.open("file:///tmp/report.html", width=400, height=800, dark=True)
    page.value("document.title")
    page.messages()     # console errors, exceptions, requests that leave the machine
    page.screenshot()   # bytes of a PNG
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


def find_chromium():
    """The path of a Chromium, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    return None


class Page:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def value(self, expression):
        """The value of a JavaScript expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression, seconds=60):
        end = time.time() + seconds
        while not self.value(expression):
            if time.time() > end:
                raise TimeoutError(f"{expression}; messages: {self.messages()}")
            time.sleep(0.05)

    def media(self, dark=False, print_=False):
        self.call(
            "Emulation.setEmulatedMedia",
            media="print" if print_ else "",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def size(self, width, height, scale=1):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def screenshot(self, clip=None):
        """A PNG of the whole page, or of its rectangle (x, y, width, height)."""
        box = {}
        if clip:
            box["clip"] = dict(zip(("x", "y", "width", "height"), clip), scale=1)
        return base64.b64decode(
            self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, **box)["data"]
        )

    def messages(self):
        """(kind, text) of everything that a clean offline page would not do."""
        result = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            method, p = event["method"], event["params"]
            if method == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
                result.append((p["type"], " ".join(str(a.get("value", a.get("description"))) for a in p["args"])))
            elif method == "Runtime.exceptionThrown":
                details = p["exceptionDetails"]
                result.append(("exception", details.get("exception", {}).get("description", details["text"])))
            elif method == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
                result.append(("log", p["entry"]["text"]))
            elif method == "Network.requestWillBeSent":
                url = p["request"]["url"]
                if not url.startswith(("data:", "blob:")) and url != p.get("documentURL"):
                    result.append(("request", url))
        return result


class Chromium:
    def __enter__(self):
        program = find_chromium()
        if not program:
            raise FileNotFoundError("there is no chromium on the PATH; apt-get install chromium, or start by ./bazelw")
        read_in, self.write = os.pipe()  # Chromium reads commands from its descriptor 3
        self.read, write_out = os.pipe()  # and answers on 4
        self.profile = tempfile.TemporaryDirectory()
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--user-data-dir=" + self.profile.name, "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip

        def descriptors():
            a, b = os.dup(read_in), os.dup(write_out)  # so that they do not collide with 3 and 4
            os.dup2(a, 3)
            os.dup2(b, 4)

        environment = dict(os.environ, HOME=self.profile.name)
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=descriptors, close_fds=False,
            env=environment,
        )  # fmt: skip
        os.close(read_in)
        os.close(write_out)
        self.buffer, self.events, self.count = b"", [], 0
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
        except (EOFError, TimeoutError, OSError):
            pass
        self.process.kill()
        self.process.wait()
        os.close(self.write)
        os.close(self.read)
        for _ in range(20):
            try:
                self.profile.cleanup()
                break
            except OSError:
                time.sleep(0.1)

    def _message(self, end):
        while b"\0" not in self.buffer:
            if not select.select([self.read], [], [], max(0, end - time.time()))[0]:
                raise TimeoutError("chromium does not answer")
            data = os.read(self.read, 1 << 16)
            if not data:
                raise EOFError("chromium ended")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, timeout=60, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        end = time.time() + timeout
        while True:
            answer = self._message(end)
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, url, width=1200, height=900, dark=False, ready="document.readyState == 'complete'", scale=1):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(domain + ".enable")
        page.size(width, height, scale)
        page.media(dark)
        page.call("Page.navigate", url=url)
        page.wait(ready)
        return page
