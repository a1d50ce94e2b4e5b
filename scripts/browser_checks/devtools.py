"""A browser by its DevTools protocol: enough of it to use a page as a person does, and to hear what goes wrong."""
import base64
import json
import pathlib
import subprocess
import time
import urllib.parse

import websocket

PATIENCE = 60


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, program, folder):
        self.profile = pathlib.Path(folder) / "profile"
        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0",
             "--remote-allow-origins=*", f"--user-data-dir={self.profile}", "--hide-scrollbars", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port, path = self.address()
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=PATIENCE)
        self.number = 0
        self.session = None
        self.errors = []
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def address(self):
        file = self.profile / "DevToolsActivePort"
        for _ in range(600):
            if file.exists() and len(file.read_text().split()) == 2:
                return file.read_text().split()
            if self.process.poll() is not None:
                raise SystemExit(f"the browser ended with {self.process.returncode}")
            time.sleep(0.1)
        raise SystemExit("the browser did not start")

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait()

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.hear(answer)

    def hear(self, event):
        """Keeps what a console shows in red: exceptions, refused content, files that are not there."""
        name, params = event.get("method"), event.get("params", {})
        if name == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif name == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(one.get("value")) for one in params["args"]))
        elif name == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif name in ("Page.loadEventFired", "Browser.downloadProgress", "Network.responseReceived",
                      "Network.eventSourceMessageReceived"):
            self.events.append((name, params))

    def run(self, script):
        """The value of a script, awaited."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise AssertionError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, what, script, patience=PATIENCE):
        """Looks until a script's value is something. Pages may change while it looks."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                value = self.run(script)
            except AssertionError as error:
                if "context" not in str(error).lower():
                    raise
                value = None
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come at {self.run('location.href')}: {self.run('document.body.innerText')[:2000]}")

    def go(self, address):
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.loaded()
        # the event may have been that of the page before
        path = json.dumps(urllib.parse.urlsplit(address).path or "/")
        self.until(address, f"document.readyState === 'complete' && location.pathname === {path}")

    def loaded(self):
        end = time.monotonic() + PATIENCE
        while not any(name == "Page.loadEventFired" for name, _ in self.events):
            if time.monotonic() > end:
                raise AssertionError("the page did not load")
            self.hear(json.loads(self.socket.recv()))

    def fill(self, selector, text):
        self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.value = {json.dumps(text)};"
                 " e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()")

    def choose_files(self, selector, files):
        node = self.run_object(f"document.querySelector({json.dumps(selector)})")
        self.call("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=node)

    def run_object(self, script):
        return self.call("Runtime.evaluate", expression=script)["result"]["objectId"]

    def click(self, selector):
        """A click where a person would click: it needs no script on the page."""
        node = self.run_object(f"document.querySelector({json.dumps(selector)})")
        self.call("DOM.scrollIntoViewIfNeeded", objectId=node)
        quad = self.call("DOM.getContentQuads", objectId=node)["quads"][0]
        place = {"x": sum(quad[0::2]) / 4, "y": sum(quad[1::2]) / 4}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def press(self, key, code):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def look(self, scheme, width):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)

    def shoot(self, file):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        pathlib.Path(file).write_bytes(base64.b64decode(data))
