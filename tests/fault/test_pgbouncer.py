"""Behind pgbouncer in transaction mode: each transaction may meet another server
connection, and statements prepared on one are not on the next."""
import os
import re
import subprocess
import time
import unittest

from tests.fault.pool import BIN, FULL, GRACE_MS, ROOT, OnPostgres, check_ledger, names_of
from tests.harness.pgbouncer import PgBouncer, version
from tests.harness.process import wait_until
from tests.integration.stack import Stack

# The store tests limit this role to two connections; a pooler is told so.
USERS = {"test_db_few": "max_user_connections=2"}
# These count pipelines, which are more and smaller where answers come later; and one
# ends the connection of another, which behind a pooler may be its own.
NOT_BEHIND = ("what_fails_fails_alone", "what_is_asked_together_goes_out_as_one_pipeline",
              "a_connection_that_died_idle_is_not_used")
SHORT = ("test_db", "test_migrate")  # the others take minutes
PREPARING = (1, 21)  # the first that knows prepared statements in this mode


def newer_pgbouncer():
    """Debian 13's: the machine's own, or out of a root made beside the build: it
    runs with its own loader and libraries, so that nothing else of that root is
    needed."""
    if version() >= PREPARING:
        return BehindPgBouncer.command
    root = ROOT / "build" / "trixie-pgbouncer"
    if not (root / "usr/sbin/pgbouncer").exists():
        uri = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"],
                             stdout=subprocess.PIPE, check=True).stdout.decode()
        subprocess.run(["debootstrap", "--variant=minbase", "--include=pgbouncer",
                        "trixie", str(root), uri.splitlines()[0]], check=True,
                       stdout=subprocess.DEVNULL)
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return (str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries),
            str(root / "usr/sbin/pgbouncer"))


class BehindPgBouncer(OnPostgres):
    command = ("/usr/sbin/pgbouncer",)
    pooler_settings = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cls.pooler_settings and version(cls.command) >= PREPARING:
            cls.pooler_settings = {"max_prepared_statements": 0}  # as the older ones
        cls.pooler = PgBouncer(cls.server, cls.command, USERS, **cls.pooler_settings)
        cls.addClassCleanup(cls.pooler.stop)

    def pool(self, **settings):
        return super().pool(self.pooler.url, **settings)

    def run_store_tests(self, prepare, only=("test_",), but=()):
        """All output of the programs, whose tests must all pass, but for some."""
        output = []
        for source in sorted((ROOT / "tests" / "store").glob("test_*.c")):
            if not source.stem.startswith(tuple(only)):
                continue
            with self.subTest(program=source.stem):
                done = subprocess.run(
                    [BIN.parent / "store" / source.stem], cwd=ROOT, timeout=300,
                    env={**os.environ, "KAE_TEST_DATABASE_URL": self.pooler.url,
                         "KAE_TEST_DB_PREPARE": prepare},
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                output.append(done.stdout.decode(errors="replace"))
                failed = set(re.findall(r"^\[  FAILED  \] ([a-z]\w+)$", output[-1], re.M))
                self.assertEqual(failed - {*but, *NOT_BEHIND}, set(), output[-1][-4000:])
                self.assertIn(done.returncode, (0, len(failed)), output[-1][-4000:])
        self.assertTrue(output)
        return "\n".join(output)


class Unprepared(BehindPgBouncer):
    def test_the_store_s_tests_pass_with_prepare_off(self):
        said = self.run_store_tests("off", ("test_",) if FULL else SHORT)
        self.assertNotIn("db.prepare_off", said)

    def test_with_prepare_on_the_driver_notices_and_goes_on_without(self):
        said = self.run_store_tests("on", SHORT)
        self.assertIn("db.prepare_off", said)
        pool = self.pool(DB_PREPARE="true")
        pool.start("write", 8, 5000)
        time.sleep(1)
        load = pool.stop_load()
        self.assertEqual(load["failed"], [])
        self.assertEqual(len(pool.events("db.prepare_off")), 1)
        check_ledger(self, self.server, load)

    def test_the_whole_product_runs_behind_it(self):
        stack = Stack("tcp")
        self.addCleanup(stack.close)
        with PgBouncer(stack.postgres, default_pool_size=8) as pooler:
            stack.env.update(DATABASE_URL=pooler.url, DB_PREPARE="off")
            stack.start()
            _, me = stack.register("pooled")
            quiz = {"topic": "Pools", "subtopic": "Water", "score": 1, "total": 1}
            self.assertEqual(me.post("/api/quiz/submit", quiz).status, 200)
            wait_until(lambda: me.get("/api/gamification/stats").json["stats"]["progress"][
                "total_quizzes_completed"] == 1, 10, what="the event")
            self.assertNotIn("db.prepare_off", stack.text())
            stack.stop()


class Faults(BehindPgBouncer):
    settings = {"DB_PREPARE": "off"}

    def test_a_pooler_that_dies_and_returns_loses_nothing(self):
        pool = self.pool()
        pool.start("write", 6, 3000)
        time.sleep(0.3)
        self.pooler.kill()
        time.sleep(0.2)
        self.pooler.start()
        time.sleep(0.5)
        load = pool.stop_load()
        self.assertLessEqual(names_of(load), {"DATABASE", "PEER_LOST"})
        self.assertEqual(pool.once("write")[0], "OK")
        check_ledger(self, self.server, load)

    def test_a_server_that_dies_behind_the_pooler_is_an_error_in_time(self):
        pool = self.pool()
        pool.start("write", 6, 2000)
        time.sleep(0.3)
        self.server.kill()
        time.sleep(0.5)
        self.server.start()
        time.sleep(0.5)
        load = pool.stop_load()
        self.assertLessEqual(names_of(load), {"DATABASE", "PEER_LOST", "TIMEOUT"})
        self.assertLess(load["longest_ms"], 2000 + GRACE_MS)
        wait_until(lambda: pool.once("read")[0] == "OK", 10, what="recovery")
        self.assertEqual(pool.once("write")[0], "OK")
        check_ledger(self, self.server, load)

    def test_backends_terminated_behind_the_pooler_cost_no_read(self):
        pool = self.pool()
        pool.start("ask", 6, 5000)
        for _ in range(20):
            self.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
            time.sleep(0.05)
        load = pool.stop_load()
        self.assertEqual(load["failed"], [])
        self.assertGreater(load["ops"], 50)

    def test_more_clients_than_connections_wait_their_turn(self):
        pool = self.pool()
        pool.start("write", 30, 10000)  # four connections behind the pooler
        time.sleep(1)
        load = pool.stop_load()
        self.assertEqual(load["failed"], [])
        check_ledger(self, self.server, load)

    def test_the_pooler_keeps_its_connections_when_ours_come_and_go(self):
        # Overflow connections are closed on return; one closed before the end
        # of its COMMIT would cost the pooler a connection to the server.
        before = len(self.pooler.log)
        pool = self.pool(DB_POOL_SIZE=1, DB_MAX_OVERFLOW=20)
        pool.start("read", 8, 5000)
        time.sleep(1)
        pool.stop_load()
        pool.close()
        self.assertNotIn("client disconnect while server was not ready",
                         self.pooler.log[before:])


@unittest.skipIf(os.geteuid(), "debootstrap needs root: SKIP_PGBOUNCER_NEW")
class Prepared(BehindPgBouncer if FULL else object):  # no test in the short form
    """One that knows prepared statements: they stay on."""
    pooler_settings = {"max_prepared_statements": 200}

    @classmethod
    def setUpClass(cls):
        cls.command = newer_pgbouncer()
        super().setUpClass()

    def test_prepared_statements_stay_on_and_every_store_test_passes(self):
        self.assertGreaterEqual(version(self.command), PREPARING)
        # One sends DEALLOCATE ALL to be as a pooler that prepares nothing; this
        # one ends the connection over it.
        said = self.run_store_tests("on", but=(
            "a_server_that_forgot_costs_prepared_statements",))
        self.assertNotIn("db.prepare_off", said)
        pool = self.pool(DB_PREPARE="true")
        pool.start("write", 12, 5000)
        time.sleep(2)
        load = pool.stop_load()
        self.assertEqual(load["failed"], [])
        self.assertEqual(pool.events("db.prepare_off"), [])
        check_ledger(self, self.server, load)


if __name__ == "__main__":
    unittest.main()
