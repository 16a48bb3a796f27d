"""Memory, descriptors and threads are flat at constant load, for an hour (make test-full).

All in one process on SQLite, and four programs over tcp on PostgreSQL, at the same time:
RATE requests a second each of a fixed set of people and topics, one in eight of them an
error. Of the time after the first quarter, in which caches fill, the medians of the
second and of the last half are compared, of every program by itself. A gateway's table
of credentials has a bound that tokens of RATE would come to only in hours, a page of
memory at a time: it is filled first.

    KAE_FULL=1 KAE_SOAK_S=600 python3 -m unittest -v tests.fault.test_soak
"""
import itertools
import json
import os
import pathlib
import random
import re
import statistics
import sys
import threading
import time
import unittest

from tests.integration.stack import Stack

SECONDS = int(os.environ.get("KAE_SOAK_S", 3600))
RATE = int(os.environ.get("KAE_SOAK_RATE", 60))
PEOPLE, TOPICS, SUBTOPICS, CLIENTS = 20, 20, 10, 2
SAMPLE_S = 1
TOKENS = 60_000  # more than fill the sets of gateway/credcache.h
# More than pages that come and go; a leak of 30 bytes a request would be more in an
# hour, as would one descriptor or thread a minute.
GROWTH_KB, GROWTH = 2048, 0.03
GROWTH_COUNT = 3

WORDS = ("music", "history", "physics", "gardens", "rivers", "bridges", "planets", "whales",
         "bread", "poetry", "glass", "maps", "clocks", "trees", "volcanoes", "insects",
         "rockets", "painting", "steam", "numbers")


def reads(path, *also):
    return lambda api, rnd: (api.get(path), (200, *also))


def subtopics(api, rnd):
    return api.post("/api/create_subtopics", {"topic": WORDS[rnd.randrange(TOPICS)]}), (200,)


def submit(api, rnd):
    total = rnd.randrange(5, 20)
    return api.post("/api/quiz/submit", {
        "topic": WORDS[rnd.randrange(TOPICS)], "subtopic": f"part {rnd.randrange(SUBTOPICS)}",
        "score": rnd.randrange(total + 1), "total": total, "difficulty": "medium"}), (200,)


def wrong_field(api, rnd):
    return api.post("/api/quiz/submit", {"topic": 7}), (400, 422)


def no_json(api, rnd):
    return api.ask("POST", "/api/create_subtopics", raw=b'{"topic": "a'), (400,)


def not_there(api, rnd):
    return api.get(f"/api/nothing/{rnd.randrange(1000)}"), (404,)


def no_credential(api, rnd):
    return api.get("/api/progress",
                   headers={"Authorization": f"Bearer x.{rnd.randrange(1 << 60)}.y"}), (401,)


def new_connection(api, rnd):
    api.close()
    return api.get("/api/gamification/achievements"), (200,)


# What is asked, and how often among the others.
MIX = (
    (reads("/api/gamification/stats"), 8), (reads("/api/gamification/leaderboard?limit=50"), 4),
    (reads("/api/gamification/leaderboard/rank", 404), 4), (reads("/api/progress"), 6),
    (reads("/api/auth/validate"), 4), (reads("/api/health"), 2), (subtopics, 6), (submit, 6),
    (new_connection, 4), (wrong_field, 2), (no_json, 2), (not_there, 1), (no_credential, 1),
)


class Load:
    """A stack with people who ask; failed: what was not as it should be."""

    def __init__(self, layout):
        self.stack = Stack(layout, CONNECTIONS_PER_IP="1000")
        self.done, self.failed, self.samples = itertools.count(), [], []
        self.asked, self.logins = 0, 0

    def start(self):
        self.stack.start()
        self.people = [self.stack.register(f"soak-{i}") for i in range(PEOPLE)]

    def fill(self):
        """What has a bound, to the bound: tokens that nobody has seen."""
        api = self.stack.api()
        for i in range(TOKENS):
            answer = api.get("/api/progress", headers={"Authorization": f"Bearer x.{i}.y"})
            if answer.status != 401:
                raise AssertionError(f"{answer.status} {answer.raw[:300]!r}")

    def begin(self, end):
        self.threads = [threading.Thread(target=self.work, args=(i, end)) for i in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def work(self, number, end):
        rnd = random.Random(number)
        acts, weights = zip(*MIX)
        due = time.monotonic()
        while due < end and len(self.failed) < 10:
            time.sleep(max(0, due - time.monotonic()))
            due += CLIENTS / RATE
            key, api = self.people[rnd.randrange(PEOPLE // CLIENTS) * CLIENTS + number]
            act = rnd.choices(acts, weights)[0]
            try:
                answer, good = act(api, rnd)
                self.asked = next(self.done)
                if answer.status not in good:
                    self.failed.append(f"{answer.status} {answer.raw[:300]!r}")
                if self.asked % 1000 == 999:
                    self.log_in(key)
            except Exception as e:  # a thread that dies would be load that is missing
                self.failed.append(repr(e))

    def log_in(self, key):
        answer = self.stack.api().post("/api/auth/login", {"api_key": key})
        self.logins += 1
        if answer.status != 200:
            self.failed.append(f"login: {answer.status} {answer.raw[:300]!r}")

    def sample(self):
        row = {}
        for name, p in self.stack.processes.items():
            folder = pathlib.Path(f"/proc/{p.pid}")
            status = (folder / "status").read_text()
            row[name] = {"rss_kb": int(re.search(r"VmRSS:\s+(\d+)", status)[1]),
                         "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
                         "descriptors": len(os.listdir(folder / "fd"))}
        self.samples.append(row)


def grown(samples, name, what):
    """Medians of the earlier and of the later half."""
    v = [row[name][what] for row in samples]
    return statistics.median(v[:len(v) // 2]), statistics.median(v[len(v) // 2:])


def problems(layout, samples, requests=0):
    """What has grown, of each program of one stack; figures go to standard error."""
    found = []
    for name in samples[0]:
        for what in ("rss_kb", "threads", "descriptors"):
            before, after = grown(samples[len(samples) // 4:], name, what)
            print(json.dumps({"scenario": "soak", "server": layout, "program": name,
                              "what": what, "before": before, "after": after,
                              "requests": requests, "seconds": SECONDS}), file=sys.stderr)
            bound = max(GROWTH_KB, before * GROWTH) if what == "rss_kb" else GROWTH_COUNT
            if after > before + bound:
                found.append(f"{layout} {name}: {what} grew from {before} to {after}")
    return found


class Judge(unittest.TestCase):
    """That what grows is found; the hour itself is the long form."""

    @staticmethod
    def of(leak, what, warm=0):
        def row(i):
            flat = {"rss_kb": 40000 + i % 7, "threads": 12, "descriptors": 30 + i % 2}
            return {"a": dict(flat), "b": flat | {what: flat[what] + leak * i +
                                                  (0 if i >= 100 else warm * i)}}
        return problems("test", [row(i) for i in range(400)])

    def test_what_is_flat_after_it_was_warm_is_well(self):
        self.assertEqual(self.of(0, "rss_kb", warm=1000), [])

    def test_a_leak_is_told_with_its_program(self):
        for leak, what in ((20, "rss_kb"), (0.05, "threads"), (0.05, "descriptors")):
            with self.subTest(what=what):
                [found] = self.of(leak, what)
                self.assertIn(f"test b: {what} grew", found)


class Soak(unittest.TestCase if os.environ.get("KAE_FULL") else object):
    def test_nothing_grows(self):
        loads = [Load(layout) for layout in ("one", "tcp")]
        for load in loads:
            self.addCleanup(load.stack.close)
            load.start()
            load.fill()
        end = time.monotonic() + SECONDS
        for load in loads:
            load.begin(end)
        while time.monotonic() < end and not any(load.failed for load in loads):
            time.sleep(SAMPLE_S)  # a sample is of a moment; nothing is waited for
            for load in loads:
                load.sample()
        for load in loads:
            for t in load.threads:
                t.join()
            self.assertEqual(load.failed, [])
            # Most of what was to be asked was: else the load was not what is said.
            self.assertGreater(load.asked, SECONDS * RATE / 4)
        self.assertEqual([p for load in loads for p in
                          problems(load.stack.layout, load.samples, load.asked)], [])


if __name__ == "__main__":
    unittest.main()
