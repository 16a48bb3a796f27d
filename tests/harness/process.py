"""Starts and stops programs by their own pid, and reads their log lines."""
import collections
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time


# Below those that the system gives to clients: one of thousands of connections
# would have it next.
FIRST_PORT, PORTS = 20000, 12000
# Each process of tests begins elsewhere, and gives no port twice before it has
# been round: a port is free until the program that it is for listens.
next_port = itertools.count(os.getpid() * 1009)


def free_port():
    """A TCP port that nobody listened on a moment ago, nobody else's here."""
    for _ in range(PORTS):
        port = FIRST_PORT + next(next_port) % PORTS
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError("no free port")


def free_ports_in_a_row(n):
    """The first of n free ports, below those that the system hands out to
    others meanwhile."""
    for base in random.sample(range(FIRST_PORT, FIRST_PORT + PORTS - n, n), 200):
        held = []
        try:
            for port in range(base, base + n):
                held.append(socket.create_server(("127.0.0.1", port)))
            return base
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise AssertionError(f"no {n} free ports in a row")


def wait_until(claim, timeout=10.0, every=0.02, what="the claim"):
    """The first true value of claim(); AssertionError when none comes in time."""
    end = time.monotonic() + timeout
    while True:
        got = claim()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {timeout} s")
        time.sleep(every)


class Process:
    """A program with its output kept; JSON lines become events."""

    def __init__(self, command, env, cwd=None, stdin=subprocess.DEVNULL):
        self.command = [str(c) for c in command]
        base = {k: v for k, v in os.environ.items()
                if k in ("PATH", "HOME", "LANG") or k.endswith("SAN_OPTIONS")}
        self.lines = collections.deque(maxlen=200_000)
        self.popen = subprocess.Popen(
            self.command, env={**base, **env}, cwd=cwd,
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.popen.stdout:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))

    @property
    def pid(self):
        return self.popen.pid

    def text(self):
        return "\n".join(list(self.lines))

    def events(self, name=None):
        found = []
        for line in list(self.lines):
            if line.startswith("{"):
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if name is None or event.get("event") == name:
                    found.append(event)
        return found

    def running(self):
        return self.popen.poll() is None

    def signal(self, sig):
        if self.running():
            self.popen.send_signal(sig)

    def freeze(self):
        """SIGSTOP, and waits until every thread has really stopped."""
        self.signal(signal.SIGSTOP)
        tasks = pathlib.Path(f"/proc/{self.pid}/task")

        def stopped():
            states = [t.joinpath("stat").read_text().rpartition(")")[2].split()[0]
                      for t in tasks.iterdir()]
            return set(states) == {"T"}

        wait_until(stopped, 10, what="the freeze")

    def wait(self, timeout=30):
        """The exit status, after all output has been read."""
        status = self.popen.wait(timeout)
        self.reader.join(5)
        return status

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait()

    def stop(self, timeout=30):
        """SIGTERM; SIGKILL when that is not enough.  The exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"{self.command[0]} did not stop in {timeout} s:\n"
                + self.text()[-4000:]) from None
