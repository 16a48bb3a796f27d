"""What docs/operations.md says of backing up and restoring, done: while people
work, into an empty place, and they go on from there."""
import os
import shutil
import subprocess
import threading
import unittest

from tests.fault.test_events import OnBooks
from tests.harness.process import wait_until
from tests.integration.stack import BIN, SERVICES, load_on
from tests.integration.test_journey import Journey


class OnBackup(OnBooks):
    env = {"KEY_ENCRYPTION_KEY": "k" * 40}
    learn, stats, wait_xp = Journey.learn, Journey.stats, Journey.wait_xp

    def call(self, *command):
        done = subprocess.run([str(c) for c in command], env={**os.environ, **self.stack.env},
                              cwd=self.stack.dir, capture_output=True, text=True, timeout=120,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def data(self, service):
        return self.stack.dir / "data" / f"knowalledge-{service}.db"

    def back_up(self):
        if self.stack.postgres:
            self.call(self.stack.postgres.bin / "pg_dump", "--format=custom",
                      f"--file={self.stack.dir}/dump", self.stack.env["DATABASE_URL"])
        else:
            self.call(BIN / "knowalledge", "--backup", self.stack.dir / "copy")

    def lose_everything_and_restore(self):
        if self.stack.postgres:
            for s in SERVICES:
                self.stack.postgres.sql(f"DROP SCHEMA {s} CASCADE")
            self.call(self.stack.postgres.bin / "pg_restore", "--no-owner", "--exit-on-error",
                      f"--dbname={self.stack.env['DATABASE_URL']}", self.stack.dir / "dump")
            return
        for s in SERVICES:
            for end in ("", "-wal", "-shm"):
                self.data(s).with_name(self.data(s).name + end).unlink(missing_ok=True)
            shutil.copy(self.stack.dir / "copy" / f"{s}.db", self.data(s))


class Backup(OnBackup):
    def test_what_was_there_at_the_backup_is_there_again_and_goes_on(self):
        key, me = self.stack.register(f"keeper.{self.layout}")
        self.learn(me)
        self.wait_xp(me, 700)
        done = threading.Event()

        def hurry():
            while not done.is_set():
                self.submit()

        busy = threading.Thread(target=hurry)
        busy.start()
        try:
            wait_until(lambda: self.submitted > 20, 30, what="some work")
            self.back_up()
            then = self.submitted
            wait_until(lambda: self.submitted > then + 20, 30, what="more work")
        finally:
            done.set()
            busy.join(60)
        late, _ = self.stack.register(f"late.{self.layout}")
        self.stack.stop()
        self.lose_everything_and_restore()
        self.me.close()
        self.stack.start()

        me = self.stack.api(token=self.stack.api().post(
            "/api/auth/login", {"api_key": key}).json["token"])
        self.assertEqual(self.stats(me)["progress"]["total_xp"], 700)
        # What was under way at that moment is delivered, once.
        self.check_books("the outbox to drain after the restore")
        self.learn(me, "Volcanoes")
        self.wait_xp(me, 700 + 3 * 200 + 50)
        self.submit(3)
        self.check_books()
        program = BIN / ("knowalledge" if self.layout == "one" else "kae-gdpr")
        self.call(program, "--verify-audit")
        self.assertEqual(self.stack.api().post(
            "/api/auth/login", {"api_key": late}).status, 401)


class OfFiles(OnBackup):
    def test_a_backup_replaces_nothing(self):
        self.call(BIN / "knowalledge", "--backup", self.stack.dir / "twice")
        again = subprocess.run([BIN / "knowalledge", "--backup", self.stack.dir / "twice"],
                               env={**os.environ, **self.stack.env}, cwd=self.stack.dir,
                               capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("there is one already", again.stderr)


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "tcp"), Backup)(loader, tests, pattern)
    suite.addTests(load_on(("one",), OfFiles)(loader, tests, pattern))
    return suite


if __name__ == "__main__":
    unittest.main()
