"""A PostgreSQL that is the wrong one of two, or answers that it cannot."""
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

from tests.fault.pool import (GRACE_MS, SCHEMA, OnPostgres, Pool, address, check_ledger,
                              names_of)
from tests.harness.postgres import Postgres, free_port
from tests.harness.process import wait_until
from tests.harness.proxy import Freeze, Proxy

READ_WRITE = "?target_session_attrs=read-write"


class Failover(unittest.TestCase):
    """Two servers, the second a standby that has all the first acknowledged."""

    def setUp(self):
        self.first = Postgres(settings={"synchronous_commit": "remote_apply"})
        self.addCleanup(self.first.stop)
        self.first.sql(SCHEMA)
        self.second = Postgres(copy_of=self.first)
        self.addCleanup(self.second.stop)
        self.first.set("synchronous_standby_names", "'*'")
        wait_until(lambda: self.first.sql(
            "SELECT sync_state FROM pg_stat_replication") == [["sync"]], 20)

    def pool(self, *args, **kw):
        p = Pool(address(*args, **kw))
        self.addCleanup(lambda: p.running() and p.close())
        return p

    def test_writes_go_on_at_the_promoted_server_and_none_is_lost(self):
        pool = self.pool(self.first.port, self.second.port, options=READ_WRITE)
        pool.start("write", 6, 3000)
        wait_until(lambda: pool.stats()["borrows"] > 50, 10)
        self.first.kill()
        time.sleep(0.3)
        self.second.promote()
        before = pool.stats()["borrows"]
        wait_until(lambda: pool.stats()["borrows"] > before + 50, 10)
        load = pool.stop_load()
        self.assertLessEqual(names_of(load), {"DATABASE", "PEER_LOST"})
        self.assertLess(load["longest_ms"], 3000 + GRACE_MS)
        check_ledger(self, self.second, load)

    def test_a_first_server_that_fell_silent_costs_its_share_once(self):
        with Proxy(self.first.port) as proxy:
            pool = self.pool(proxy.port, self.second.port, options=READ_WRITE)
            self.assertEqual(pool.once("write")[0], "OK")
            proxy.silence()
            self.second.promote()
            error, ms = pool.once("write", 6000)
            self.assertLess(ms, 6000 + GRACE_MS)
            for _ in range(3):
                error, ms = pool.once("write", 6000)
                self.assertEqual(error, "OK", pool.text()[-2000:])
                self.assertLess(ms, 5000)
            error, ms = pool.once("write", 6000)
            self.assertEqual((error, ms < 500), ("OK", True))
            pool.start("hold", 4, 6000, 50)  # opens more: silence is remembered
            time.sleep(0.5)
            load = pool.stop_load()
            self.assertEqual(load["failed"], [])
            self.assertLess(load["longest_ms"], 1000)

    def test_a_standby_is_passed_over_for_a_server_that_takes_writes(self):
        pool = self.pool(self.second.port, self.first.port, options=READ_WRITE)
        for what in ("write", "read"):
            self.assertEqual(pool.once(what)[0], "OK", pool.text()[-2000:])
        self.assertEqual(self.first.sql("SELECT count(*) FROM public.ledger"), [["1"]])

    def test_a_standby_alone_reads_and_says_why_it_does_not_write(self):
        pool = self.pool(self.second.port)
        self.assertEqual(pool.once("read")[0], "OK")
        error, ms = pool.once("write", 3000)
        self.assertEqual(error, "DATABASE")
        self.assertLess(ms, 3000)
        self.assertIn("25006", {e["sqlstate"] for e in pool.events("db.failed")})
        self.assertEqual(pool.once("read")[0], "OK")
        self.second.promote()
        self.assertEqual(pool.once("write")[0], "OK")

    def test_hosts_by_name_and_hosts_that_are_none(self):
        url = (f"postgresql://kae@no-such-host.invalid:1,localhost:{self.first.port},"
               f"127.0.0.1:{free_port()}/postgres")
        pool = Pool(url)
        self.addCleanup(lambda: pool.running() and pool.close())
        self.assertEqual(pool.once("write")[0], "OK", pool.text()[-2000:])
        pool = Pool("postgresql://kae@no-such-host.invalid/postgres")
        self.addCleanup(lambda: pool.running() and pool.close())
        self.assertEqual(pool.once("write")[0], "DATABASE")
        self.assertIn("no such host", pool.events("db.cannot_connect")[0]["message"])


class ReadOnly(OnPostgres):
    def test_a_server_made_read_only_refuses_writes_until_it_is_not(self):
        pool = self.pool()
        self.assertWorks(pool)
        self.server.set("default_transaction_read_only", "on")
        try:
            wait_until(lambda: self.server.sql(
                "SHOW default_transaction_read_only") == [["on"]], 5)
            error, ms = pool.once("write", 3000)
            self.assertEqual(error, "DATABASE")
            self.assertLess(ms, 3000)
            self.assertWorks(pool, "read")
        finally:
            self.server.sql("SET default_transaction_read_only = off; "
                            "ALTER SYSTEM RESET default_transaction_read_only")
            self.server.sql("SELECT pg_reload_conf()")
        wait_until(lambda: pool.once("write")[0] == "OK", 20)


class FullOfClients(OnPostgres):
    server_args = {"max_connections": 5, "settings": {
        "superuser_reserved_connections": 2, "max_wal_senders": 0}}
    settings = {"DB_POOL_SIZE": 10, "DB_MAX_OVERFLOW": 20}

    def setUp(self):
        super().setUp()
        self.server.sql("DROP ROLE IF EXISTS app; CREATE ROLE app LOGIN; "
                        "GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
        self.url = address(self.server.port, user="app")
        self.addCleanup(self.server.sql, "DROP OWNED BY app; DROP ROLE app")

    def pool(self, *args, **kw):
        p = super().pool(*args, **kw)
        self.addCleanup(lambda: p.running() and p.close())  # before the role goes
        return p

    def test_thirty_borrowers_share_the_three_connections_that_there_are(self):
        pool = self.pool(self.url)
        pool.start("write", 30, 10000)
        time.sleep(2)
        load = pool.stop_load()
        self.assertEqual(load["failed"], [])
        self.assertGreater(load["ops"], 100)
        check_ledger(self, self.server, load)

    def test_a_server_full_of_others_is_said_at_the_deadline_and_not_for_ever(self):
        other, pool = self.pool(self.url), self.pool(self.url)
        other.start("hold", 3, 20000, 3000)
        wait_until(lambda: self.server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") == [["3"]], 10)
        error, ms = pool.once("read", 1000)
        self.assertEqual(error, "DATABASE")
        self.assertGreaterEqual(ms, 900)
        self.assertLess(ms, 1000 + GRACE_MS)
        self.assertFalse(pool.stats()["usable"])
        other.stop_load()
        self.assertEqual(other.close(), 0)
        self.assertWorks(pool, "read")
        self.assertTrue(pool.stats()["usable"])


class Conflicts(OnPostgres):
    def trip(self, state, times, deferred=False):
        """The next writes fail with that state: nextval() survives a rollback."""
        self.server.sql(f"""
            DROP SEQUENCE IF EXISTS public.tries CASCADE;
            CREATE SEQUENCE public.tries;
            CREATE OR REPLACE FUNCTION public.trip() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('public.tries') <= {times} THEN
                    RAISE 'tripped' USING ERRCODE = '{state}';
                END IF;
                RETURN NEW;
            END $$;
            CREATE CONSTRAINT TRIGGER trip AFTER INSERT ON public.ledger
            {"DEFERRABLE INITIALLY DEFERRED" if deferred else ""}
            FOR EACH ROW EXECUTE FUNCTION public.trip()""")

    def test_serialization_failures_and_deadlocks_are_run_again(self):
        for state in ("40001", "40P01"):
            for deferred in (False, True):
                with self.subTest(state=state, at="commit" if deferred else "statement"):
                    self.server.sql(SCHEMA)
                    self.trip(state, 3, deferred)
                    pool = self.pool()
                    self.assertWorks(pool)
                    self.assertEqual(pool.stats()["conflicts"], 3)
                    self.assertEqual(self.server.sql("SELECT n FROM public.counter"), [["1"]])
                    pool.close()

    def test_a_conflict_that_does_not_end_is_told_as_one(self):
        self.trip("40001", 1000)
        pool = self.pool()
        self.assertEqual(pool.once("write", 5000)[0], "CONFLICT")
        self.assertEqual(self.server.sql("SELECT n FROM public.counter"), [["0"]])

    def test_out_of_memory_and_system_errors_of_the_server_are_its_being_away(self):
        for state in ("53200", "58030", "53100"):
            with self.subTest(state=state):
                self.server.sql(SCHEMA)
                self.trip(state, 1)
                pool = self.pool()
                self.assertEqual(pool.once("write")[0], "DATABASE")
                self.assertEqual(pool.events("db.failed")[0]["sqlstate"], state)
                self.assertWorks(pool)
                self.assertEqual(self.server.sql("SELECT n FROM public.counter"), [["1"]])
                pool.close()


@unittest.skipIf(os.geteuid(), "needs root: SKIP_MOUNT")
class DiskFull(unittest.TestCase):
    def small_disk(self, megabytes):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-disk-"))
        self.addCleanup(folder.rmdir)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777",
                           "tmpfs", str(folder)], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("cannot mount: SKIP_MOUNT")
        self.addCleanup(subprocess.run, ["umount", "-l", str(folder)], check=True)
        return folder

    def pool(self, server):
        p = Pool(server.url)
        self.addCleanup(lambda: p.running() and p.close())
        return p

    def test_a_full_table_space_refuses_writes_and_nothing_else(self):
        folder = self.small_disk(4)
        server = Postgres()
        self.addCleanup(server.stop)
        space = folder / "space"
        space.mkdir(mode=0o777)
        os.chown(space, server.data.stat().st_uid, -1)
        server.sql(SCHEMA)
        server.sql(f"CREATE TABLESPACE small LOCATION '{space}'")
        server.sql("CREATE TABLE public.big (b bytea) TABLESPACE small")
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(1 << 20))
        pool = self.pool(server)
        errors = [pool.once("fill", 5000, 200_000)[0] for _ in range(40)]
        kept = errors.count("OK")
        self.assertEqual(set(errors), {"OK", "DATABASE"})
        self.assertEqual({e["sqlstate"] for e in pool.events("db.failed")}, {"53100"})
        self.assertEqual(server.sql("SELECT count(*) FROM public.big"), [[str(kept)]])
        for what in ("read", "write"):
            self.assertEqual(pool.once(what)[0], "OK")
        ballast.unlink()
        self.assertEqual(pool.once("fill", 5000, 200_000)[0], "OK")

    def test_a_server_without_room_for_its_log_dies_and_keeps_what_it_acknowledged(self):
        folder = self.small_disk(110)
        server = Postgres(folder=folder, settings={"wal_level": "minimal",
                                                   "max_wal_senders": 0})
        self.addCleanup(server.stop)
        server.sql(SCHEMA)
        server.sql("CREATE TABLE public.big (b bytea)")
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(24 << 20))
        pool = self.pool(server)
        pool.start("write", 2, 3000)
        other = self.pool(server)
        errors = [other.once("fill", 3000, 500_000)[0] for _ in range(120)]
        load = pool.stop_load()
        self.assertGreater(errors.count("OK"), 5)
        self.assertIn("DATABASE", errors)
        self.assertLessEqual(set(errors), {"OK", "DATABASE", "PEER_LOST", "TIMEOUT"})
        self.assertLess(load["longest_ms"], 3000 + GRACE_MS)
        ballast.unlink()
        if server.popen.poll() is not None:
            server.start()
        for p, what in ((pool, "write"), (other, "read")):
            wait_until(lambda p=p, what=what: p.once(what)[0] == "OK", 30, what="recovery")
        check_ledger(self, server, load)


if __name__ == "__main__":
    unittest.main()
