# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium and one page in it, driven over the DevTools protocol through a pair of pipes."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time


class Browser:
    """`with Browser() as page:`. What goes wrong in the page, and whom it asks, is in `problems` and `asked`."""

    def __init__(self, width=1200, height=900):
        self.size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.problems, self.asked = [], []
        self.number, self.session = 0, None
        self.rest = b""

    @staticmethod
    def installed():
        return shutil.which("chromium") is not None

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="skerry-browser-")
        commands, self.to_browser = os.pipe()
        self.from_browser, answers = os.pipe()
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   "--disable-component-update", "--disable-sync", "--no-first-run", "--remote-debugging-pipe",
                   f"--user-data-dir={self.profile.name}", "about:blank"]

        def take_pipes():  # the protocol's are 3 and 4
            os.dup2(commands, 13)
            os.dup2(answers, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        self.process = subprocess.Popen(command, preexec_fn=take_pipes, pass_fds=(3, 4), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", **self.size)
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.call("Browser.close")
        except (OSError, EOFError):
            pass
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to_browser)
        os.close(self.from_browser)
        self.profile.cleanup()

    def read(self):
        while b"\0" not in self.rest:
            more = os.read(self.from_browser, 1 << 20)
            if not more:
                raise EOFError("the browser has ended")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def note(self, event):
        kind, about = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.problems.append(about["exceptionDetails"])
        if kind == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.problems.append(about["args"])
        if kind == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(about["entry"])
        if kind == "Network.requestWillBeSent":
            self.asked.append(about["request"]["url"])

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def evaluate(self, expression):
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, expression, seconds=60):
        """Waits until the expression is something; gives it. What takes longer is a failure."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.evaluate(f"""new Promise(done => {{
                let left = 40;
                const look = () => {{
                    const value = ({expression});
                    value || --left === 0 ? done(value) : setTimeout(look, 50);
                }};
                look();
            }})""")
            if value:
                return value
        raise AssertionError(f"never came: {expression}\n{self.evaluate('document.body.innerText')[:3000]}")

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def click(self, selector):
        self.evaluate(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        x, y = self.evaluate(f"""(box => [box.x + box.width / 2, box.y + box.height / 2])(
            document.querySelector({selector!r}).getBoundingClientRect())""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, text=None):
        code = {"Tab": 9}.get(key, ord(key[0].upper()))
        down = {"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code}
        if text is not None:
            down["text"] = text
        self.call("Input.dispatchKeyEvent", **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def scheme(self, which):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": which}])

    def screenshot(self, path):
        """The whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
