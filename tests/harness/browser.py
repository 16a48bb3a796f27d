"""A headless Chromium, told what to do by the DevTools protocol over a pair of pipes:
nothing has to wait for the end of a page that asks for itself again and has none. It
knows no host but 127.0.0.1.

A picture is an ordinary list of rows, each a list of (red, green, blue).
"""
import base64
import fcntl
import json
import os
import pathlib
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import zlib

from tests.harness.process import wait_until

PROGRAM = "chromium-headless-shell"  # Debian 12 and 13: half the size of chromium
FLAGS = (
    "--remote-debugging-pipe", "--no-sandbox",  # which root, as in CI, has not
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--force-color-profile=srgb", "--disable-lcd-text",  # colours are what the page says
)
ANSWER_S = 120  # on a machine that does everything at once


def pixels(png):
    """Of a PNG with 8 bits a channel, not interlaced, as Chromium makes them."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n", png[:8]
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        chunk = png[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, *form = struct.unpack(">IIBBBBB", chunk)
            assert form in ([8, 2, 0, 0, 0], [8, 6, 0, 0, 0]), form
            each = 3 if form[1] == 2 else 4
        if kind == b"IDAT":
            data += chunk
        at += 12 + size
    data, line = zlib.decompress(data), width * each
    rows, above = [], bytearray(line)
    for y in range(height):
        start = y * (line + 1)
        above = unfiltered(data[start], bytearray(data[start + 1:start + 1 + line]), above, each)
        rows.append(list(zip(above[0::each], above[1::each], above[2::each])))
    return rows


def unfiltered(kind, row, above, each):
    """A row of a PNG (RFC 2083, section 6) as it was; each: bytes of a pixel."""
    for i in range(len(row) if kind else 0):
        left = row[i - each] if i >= each else 0
        if kind == 1:
            add = left
        elif kind == 2:
            add = above[i]
        elif kind == 3:
            add = (left + above[i]) // 2
        else:
            corner = above[i - each] if i >= each else 0
            p = left + above[i] - corner
            add = min((abs(p - left), 0, left), (abs(p - above[i]), 1, above[i]),
                      (abs(p - corner), 2, corner))[2]
        row[i] = (row[i] + add) & 255
    return row


def pipe():
    """Both ends above 9: Chromium reads 3 and writes 4, and a shell puts them there."""
    low = os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in low]
    for fd in low:
        os.close(fd)
    return high


class Refused(AssertionError):
    pass


class Browser:
    """One page."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kae-", dir="/tmp"))
        self.to, self.of, self.popen = self._start()
        self.heard, self.asked, self.events, self.session = b"", 0, [], None
        try:
            page = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=page,
                                     flatten=True)["sessionId"]
            self.call("Page.enable")
        except BaseException:
            self.close()
            raise

    def _start(self):
        read, to = pipe()
        of, write = pipe()
        with open(self.dir / "log", "wb") as log:
            popen = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "bash", PROGRAM, *FLAGS,
                 f"--user-data-dir={self.dir}/profile"],
                pass_fds=(read, write), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, "HOME": str(self.dir)})
        os.close(read)
        os.close(write)
        return to, of, popen

    def close(self):
        """Ends it with all its processes: they are one group, and of nobody else."""
        os.close(self.to)
        os.close(self.of)
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _message(self, end):
        while b"\0" not in self.heard:
            ready = select.select([self.of], [], [], max(0, end - time.monotonic()))[0]
            more = os.read(self.of, 1 << 20) if ready else b""
            if not more:
                raise AssertionError(f"{PROGRAM} {'ended' if ready else 'says nothing'}:\n"
                                     + (self.dir / "log").read_text(errors="replace")[-4000:])
            self.heard += more
        message, self.heard = self.heard.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        """The result of a method of the protocol."""
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        try:
            os.write(self.to, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            pass  # it has ended, and its log says why
        end = time.monotonic() + ANSWER_S
        while True:
            told = self._message(end)
            if told.get("id") == self.asked:
                break
            self.events.append(told)
        if "error" in told:
            raise Refused(f"{method}: {told['error']}")
        return told["result"]

    def wait_event(self, method):
        """Until it is told of something that happens after this call or the last."""
        end = time.monotonic() + ANSWER_S
        while True:
            told = self.events.pop(0) if self.events else self._message(end)
            if told.get("method") == method:
                return told["params"]

    def look(self, width, height, dark=False):
        """The window's size, and what the person prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, url):
        self.events.clear()
        told = self.call("Page.navigate", url=url)
        if "errorText" in told:
            raise AssertionError(f"{url}: {told['errorText']}")
        self.wait_event("Page.loadEventFired")

    def hold(self):
        """The page as it is: it asks for itself no more.  For after open(), or a picture
        that is asked for while the next page comes may never be told."""
        self.call("Page.stopLoading")

    def value(self, expression):
        """Of JavaScript, as JSON has it; the page's own policy does not bind it."""
        def told():
            try:
                return self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            except Refused as why:  # there is none between a page and the next
                if "navigated" in str(why) or "context" in str(why):
                    return None
                raise
        got = wait_until(told, ANSWER_S, what=expression)
        if "exceptionDetails" in got:
            raise AssertionError(f"{expression}: {got['exceptionDetails']}")
        return got["result"].get("value")

    def picture(self, **clip):
        """A PNG of the window; clip: x, y, width, height and scale of a part."""
        part = {"clip": {"scale": 1, **clip}} if clip else {}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **part)["data"])
