#!/usr/bin/env python3
"""Goodput under overload: what is answered in time while far too much is asked.

    KAE_BIN=build/release/bin python3 tests/bench/overload.py [seconds]

Four programs over ipc, SQLite, limits of clients switched off.  wrk asks for
/api/progress (a read of the database) over 64 and 128 connections: the better of
the two is the peak.  Then over 1024: a refused client asks again at once, so that what is asked is a
multiple of what can be done (the factor is printed).  Goodput is answers of 2xx;
health is asked beside it, one after another, over connections of its own.
"""
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.integration.stack import Api, Stack  # noqa: E402

PATH = "/api/progress"


def wrk(port, key, connections, seconds):
    """(2xx a second, all answers a second)"""
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"X-API-Key: {key}",
         f"http://127.0.0.1:{port}{PATH}"],
        check=True, capture_output=True, text=True).stdout
    total = int(re.search(r"(\d+) requests in", out)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    took = float(re.search(r"requests in ([\d.]+)s", out)[1])
    return (total - int(refused[1] if refused else 0)) / took, total / took


class Health(threading.Thread):
    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.took, self.failed, self.stop = port, [], 0, threading.Event()
        self.start()

    def run(self):
        while not self.stop.wait(0.02):
            began = time.monotonic()
            api = Api(self.port, timeout=10)
            try:
                self.failed += api.get("/health").status != 200
            except OSError:
                self.failed += 1
            api.close()
            self.took.append((time.monotonic() - began) * 1000)


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    stack = Stack("ipc", ENVIRONMENT="production", CONNECTIONS_PER_IP="0", LOG_LEVEL="warn",
                  KEY_ENCRYPTION_KEY="k" * 48, DB_ECHO="false")
    try:
        stack.start()
        key, _ = stack.register("bench")
        wrk(stack.port, key, 16, 2)
        peaks, floods = [], []
        health = Health(stack.port)
        for _ in range(3):
            peaks.append(max(wrk(stack.port, key, c, seconds)[0] for c in (64, 128)))
            floods.append(wrk(stack.port, key, 1024, seconds))
        health.stop.set()
        health.join()
    finally:
        stack.close()
    peak = statistics.median(peaks)
    good = statistics.median(f[0] for f in floods)
    asked = statistics.median(f[1] for f in floods)
    print(f"peak {peak:.0f}/s; asked {asked:.0f}/s = {asked / peak:.1f} times; "
          f"goodput {good:.0f}/s = {100 * good / peak:.0f} % of the peak")
    print(f"health: {len(health.took)} asked, {health.failed} failed, "
          f"p50 {statistics.median(health.took):.1f} ms, max {max(health.took):.1f} ms")


if __name__ == "__main__":
    main()
