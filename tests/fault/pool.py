"""tests/fault/pool_client as a Python object, and who checks its ledger."""
import json
import os
import pathlib
import subprocess
import unittest

from tests.harness.postgres import USER, Postgres
from tests.harness.process import Process, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KAE_BIN", ROOT / "build" / "release" / "bin"))
FULL = bool(os.environ.get("KAE_FULL"))
GRACE_MS = 1500  # past a deadline: the driver's 500 ms, and a busy machine

SCHEMA = """
DROP TABLE IF EXISTS public.ledger, public.counter;
CREATE TABLE public.ledger (id bigint NOT NULL);
CREATE TABLE public.counter (n bigint NOT NULL);
INSERT INTO public.counter VALUES (0);
"""


class Pool(Process):
    """A pool with the given settings, and operations on it."""

    def __init__(self, url, **settings):
        super().__init__([BIN.parent / "fault" / "pool_client"],
                         {"ENVIRONMENT": "production", "DATABASE_URL": url,
                          **{k: str(v) for k, v in settings.items()}},
                         stdin=subprocess.PIPE)
        self.answers = 0
        self.answer()

    def answer(self, timeout=60):
        """The next line that is an answer."""
        def found():
            if not self.running():
                raise AssertionError(f"the pool ended:\n{self.text()[-4000:]}")
            said = [l for l in list(self.lines) if l.startswith('{"answer":')]
            return len(said) > self.answers and said[self.answers]

        line = wait_until(found, timeout, every=0.005, what="the pool's answer")
        self.answers += 1
        return json.loads(line)

    def ask(self, line):
        self.tell(line)
        return self.answer()

    def tell(self, line):
        self.popen.stdin.write(line.encode() + b"\n")
        self.popen.stdin.flush()

    def once(self, what, deadline_ms=5000, number=0):
        """(error name, milliseconds it took)"""
        got = self.ask(f"once {what} {deadline_ms} {number}")
        return got["error"], got["ms"]

    def start(self, what, threads, deadline_ms=5000, number=0):
        return self.ask(f"start {what} {threads} {deadline_ms} {number}")

    def stop_load(self):
        return self.ask("stop")

    def stats(self):
        return self.ask("stats")

    def wait(self, timeout=30):
        status = super().wait(timeout)
        self.popen.stdin.close()
        self.popen.stdout.close()
        return status

    def close(self):
        """The exit status, after it has ended by itself."""
        self.popen.stdin.close()
        status = self.wait()
        if "Sanitizer" in self.text() or "runtime error:" in self.text():
            raise AssertionError(self.text()[-8000:])
        return status


def check_ledger(test, server, *loads):
    """What was acknowledged is there once; what failed is not, unless the
    answer was that nobody knows; and nothing is there twice."""
    rows = [int(r[0]) for r in server.sql("SELECT id FROM public.ledger")]
    kept = set(rows)
    test.assertEqual(len(rows), len(kept), "a write was done twice")
    test.assertEqual(int(server.sql("SELECT n FROM public.counter")[0][0]), len(rows))
    for load in loads:
        failed = {i: e for i, e, _ in load["failed"]}
        mine = set(range(load["first"], load["last"] + 1))
        acknowledged = mine - set(failed)
        test.assertLessEqual(acknowledged, kept, "an acknowledged write is lost")
        refused = {i for i, e in failed.items() if e != "PEER_LOST"}
        test.assertEqual(refused & kept, set(), "a write that failed was done")


class OnPostgres(unittest.TestCase):
    """A server per class, an empty ledger per test."""
    settings = {}  # of every pool
    server_args = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Postgres(**cls.server_args)
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.server.sql(SCHEMA)

    def pool(self, url=None, **settings):
        p = Pool(url or self.server.url, **{**self.settings, **settings})

        def end():
            if p.running():
                self.assertEqual(p.close(), 0)
        self.addCleanup(end)
        return p

    def assertWorks(self, pool, what="write"):
        self.assertEqual(pool.once(what)[0], "OK", pool.text()[-2000:])


def names_of(load):
    return {e for _, e, _ in load["failed"]}


def address(*ports, options="", user=USER):
    """A URL of servers on loopback."""
    hosts = ",".join(f"127.0.0.1:{p}" for p in ports)
    return f"postgresql://{user}@{hosts}/postgres{options}"
