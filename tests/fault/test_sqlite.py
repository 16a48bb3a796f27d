"""SQLite under a running product: the file locked by somebody else, the disk full,
the file taken away.  What was acknowledged is there; what was not is an honest
error; what is mended works again without a restart."""
import os
import pathlib
import sqlite3
import subprocess
import threading
import time
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import Stack

FULL = bool(os.environ.get("KAE_FULL"))


def submit(me, subtopic):
    return me.post("/api/quiz/submit", {"topic": "Disks", "subtopic": subtopic,
                                        "score": 1, "total": 1})


def kept(me):
    return {p["subtopic"] for p in me.get("/api/progress").json}


class OnSqlite(unittest.TestCase):
    def setUp(self):
        self.stack = Stack("one")
        self.addCleanup(self.stack.close)
        self.data = self.stack.dir / "data"
        self.prepare()
        self.stack.start()
        self.file = self.data / "knowalledge-content.db"
        _, self.me = self.stack.register("librarian")
        self.assertEqual(submit(self.me, "First").status, 200)

    def prepare(self):
        """Before anything runs."""

    def events(self, name):
        return self.stack.processes["knowalledge"].events(name)

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.stack.processes['knowalledge'].pid}/stat") \
            .read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def assertRefused(self, answer):
        self.assertEqual(answer.status, 503, answer.raw)
        self.assertEqual(answer.json["error_code"], "DATABASE_ERROR")
        self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        self.assertNotIn(str(self.data).encode(), answer.raw)


class Locked(OnSqlite):
    def hold(self, seconds):
        db = sqlite3.connect(self.file, timeout=30, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            self.held.set()
            time.sleep(seconds)
            db.execute("COMMIT")
        finally:
            db.close()

    def storm(self, bursts):
        for seconds in bursts:
            self.hold(seconds)
            time.sleep(0.05)

    def start_storm(self, *bursts):
        self.held = threading.Event()
        storm = threading.Thread(target=self.storm, args=(bursts,))
        storm.start()
        self.addCleanup(storm.join)
        self.assertTrue(self.held.wait(10))
        return storm

    def test_writes_wait_reads_go_on_and_nothing_is_lost(self):
        storm = self.start_storm(1.5, 1.0, 0.5, 1.0)
        used, acknowledged, slowest, n = self.cpu_s(), {"First"}, 0, 0
        while storm.is_alive():
            n += 1
            name = f"Part {n}"
            writer = threading.Thread(
                target=lambda name=name: acknowledged.add(name)
                if submit(self.stack.api(token=self.me.token), name).status == 200 else None)
            writer.start()
            while writer.is_alive():
                started = time.monotonic()
                self.assertEqual(self.me.get("/api/progress").status, 200)
                slowest = max(slowest, time.monotonic() - started)
                time.sleep(0.02)
            writer.join()
        storm.join()
        self.assertEqual(len(acknowledged), n + 1, "a write within its deadline failed")
        self.assertEqual(kept(self.me), acknowledged)
        self.assertLess(slowest, 1, "a read waited for the lock of writers")
        self.assertLess(self.cpu_s() - used, 2, "it burns CPU while it waits")
        self.assertTrue(self.events("db.locked"))

    if FULL:  # a deadline of ten seconds passes
        def test_a_write_that_waits_in_vain_ends_at_its_deadline(self):
            storm = self.start_storm(13)
            started = time.monotonic()
            r = submit(self.me, "Late")
            self.assertIn(r.status, (503, 504), r.raw)
            self.assertLess(time.monotonic() - started, 12)
            storm.join()
            self.assertEqual(submit(self.me, "After").status, 200)
            self.assertEqual(kept(self.me), {"First", "After"})


class DiskFull(OnSqlite):
    def prepare(self):
        self.data.mkdir(mode=0o700)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs",
                               str(self.data)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode:
            self.skipTest("a file system of its own needs the right to mount")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.data)], check=True)

    def fill(self):
        """Leaves not one page."""
        with open(self.data / "filler", "wb", buffering=0) as f:
            for size in (1 << 20, 4096):
                try:
                    while f.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def test_writes_are_refused_until_there_is_room_again(self):
        acknowledged, refused = {"First"}, None
        self.fill()
        # What the WAL has room for already is still taken.
        for n in range(2000):
            r = submit(self.me, f"Part {n}")
            if r.status != 200:
                refused = r
                break
            acknowledged.add(f"Part {n}")
        self.assertIsNotNone(refused, "the disk never became full")
        self.assertRefused(refused)
        self.assertEqual(kept(self.me), acknowledged)
        self.assertTrue(any("full" in e["message"] for e in self.events("db.failed")))
        self.assertEqual(self.me.get("/api/auth/validate").status, 200)
        self.assertEqual(self.stack.admin("knowalledge", "/livez").status, 200)
        (self.data / "filler").unlink()
        self.assertEqual(submit(self.me, "Room").status, 200)
        self.assertEqual(kept(self.me), acknowledged | {"Room"})
        wait_until(lambda: self.stack.admin("knowalledge", "/readyz").status == 200, 30,
                   what="readiness")


class Gone(OnSqlite):
    def test_a_file_taken_away_is_told_not_made_again_and_may_come_back(self):
        away = self.file.with_suffix(".away")
        self.file.rename(away)
        self.assertRefused(submit(self.me, "Nowhere"))
        wait_until(lambda: self.me.get("/api/progress").status == 503, 10,
                   what="a refused read")
        self.assertFalse(self.file.exists(), "an empty database hides the loss")
        self.assertTrue(self.events("db.file_changed"))
        wait_until(lambda: self.stack.admin("knowalledge", "/readyz").status == 503, 30,
                   what="not ready")
        # The others have files of their own.
        self.assertEqual(self.me.get("/api/auth/validate").status, 200)
        away.rename(self.file)
        self.assertEqual(submit(self.me, "Back").status, 200)
        self.assertEqual(kept(self.me), {"First", "Back"})
        wait_until(lambda: self.stack.admin("knowalledge", "/readyz").status == 200, 30,
                   what="ready again")


if __name__ == "__main__":
    unittest.main()
