#!/usr/bin/env python3
"""Goodput under overload: what is answered in time while far too much is asked.

    make build/release/bench/openloop
    KAE_BIN=$PWD/build/release/bin python3 tests/bench/overload.py [seconds] [rounds]

Four programs, limits of clients switched off, /api/progress (a read of the
database), in two forms:

service  over PostgreSQL whose table takes SLEEP_MS to answer: the database is the
         bottleneck, as where it is far away or has too much to do
loop     over SQLite: the HTTP loop of the gateway is the bottleneck

The peak is the best that wrk gets over CONNECTIONS, where each client waits for
its answer.  Then openloop asks at a fixed rate of once and three times the peak,
whatever comes back, over up to 1024 connections.  Goodput is answers of 2xx
within a second of when the request was due; health is asked beside it, one after
another, over connections of its own.  Rounds are interleaved; medians are told.
"""
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.integration.stack import BIN, Api, Stack  # noqa: E402

PATH = "/api/progress"
CONNECTIONS = (16, 64, 128)
SLEEP_MS = 5
PATIENCE_MS = 1000
SLOW = f"""
ALTER TABLE content.mastery RENAME TO mastery_kept;
CREATE VIEW content.mastery AS SELECT * FROM content.mastery_kept
    WHERE (SELECT pg_sleep({SLEEP_MS} / 1000.0)::text) IS NOT NULL;
"""


def peak(port, key, seconds):
    """2xx a second, of clients that wait for their answers"""
    best = 0
    for connections in CONNECTIONS:
        out = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"X-API-Key: {key}",
             f"http://127.0.0.1:{port}{PATH}"],
            check=True, capture_output=True, text=True).stdout
        total = int(re.search(r"(\d+) requests in", out)[1])
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        took = float(re.search(r"requests in ([\d.]+)s", out)[1])
        best = max(best, (total - int(refused[1] if refused else 0)) / took)
    return best


def openloop(port, key, seconds, rate):
    out = subprocess.run(
        [str(BIN.parent / "bench" / "openloop"), str(port), str(int(rate)), str(seconds), "1024",
         str(PATIENCE_MS), "GET", PATH, f"X-API-Key: {key}"],
        check=True, capture_output=True, text=True).stdout.split()
    return {name: float(value) for name, value in zip(out[::2], out[1::2])}


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


def median(rounds, name):
    return statistics.median(r[name] for r in rounds)


def measure(name, stack, seconds, rounds):
    key, _ = stack.register("bench")
    peak(stack.port, key, 1)
    health, peaks, floods = Health(stack.port), [], {1: [], 3: []}
    for _ in range(rounds):
        peaks.append(peak(stack.port, key, seconds))
        for times, flood in floods.items():
            flood.append(openloop(stack.port, key, seconds, times * peaks[-1]))
            flood[-1]["share"] = 100 * flood[-1]["ok"] / peaks[-1]
    health.stop.set()
    health.join()
    print(f"{name}: peak {statistics.median(peaks):.0f}/s")
    for times, flood in floods.items():
        print(f"  {times} times that: offered {median(flood, 'offered'):.0f}, sent "
              f"{median(flood, 'sent'):.0f}, good {median(flood, 'ok'):.0f} = "
              f"{median(flood, 'share'):.0f} % of the peak ("
              + " ".join(f"{r['share']:.0f}" for r in flood) +
              f"), refused {median(flood, 'refused'):.0f}, unsent "
              f"{median(flood, 'unsent'):.0f}, late {median(flood, 'late'):.0f}, "
              f"failed {median(flood, 'failed'):.0f} a second; "
              f"p50 {median(flood, 'p50'):.0f} ms, p99 {median(flood, 'p99'):.0f} ms")
    print(f"  health: {len(health.took)} asked, {health.failed} failed, "
          f"p50 {statistics.median(health.took):.1f} ms, max {max(health.took):.1f} ms")


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for name, layout in (("service", "tcp"), ("loop", "ipc")):
        stack = Stack(layout, ENVIRONMENT="production", CONNECTIONS_PER_IP="0", LOG_LEVEL="warn",
                      KEY_ENCRYPTION_KEY="k" * 48, DB_ECHO="false")
        try:
            stack.start()
            if stack.postgres:
                stack.postgres.sql(SLOW)
            measure(name, stack, seconds, rounds)
        finally:
            stack.close()


if __name__ == "__main__":
    main()
