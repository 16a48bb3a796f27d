"""The pool on a PostgreSQL that stops, kills, falls silent, fills up or is the
wrong one of two. The server is real; what is between may be tests/harness/proxy."""
import subprocess
import time
import unittest

from tests.fault.pool import (FULL, GRACE_MS, SCHEMA, OnPostgres, address, check_ledger,
                              names_of)
from tests.harness.process import wait_until
from tests.harness.proxy import Cut, Drip, Edit, Freeze, Garbage, Proxy

MY_BACKENDS = "FROM pg_stat_activity WHERE application_name = 'content'"


class StoppedAndKilled(OnPostgres):
    def test_requests_while_the_server_is_away_fail_soon_and_the_next_succeeds(self):
        pool = self.pool()
        self.assertWorks(pool)
        for how in (self.server.kill, self.server.shutdown):
            with self.subTest(how=how.__name__):
                pool.start("ask" if how == self.server.kill else "read", 4, 3000)
                how()
                time.sleep(0.3)
                load = pool.stop_load()
                self.assertEqual(names_of(load), {"DATABASE"})
                self.assertLess(load["longest_ms"], 3000 + GRACE_MS)
                error, ms = pool.once("write", 3000)
                self.assertEqual(error, "DATABASE")
                self.assertLess(ms, 500, "a refusal needs no waiting")
                self.assertFalse(pool.stats()["usable"])
                self.server.start()
                self.assertWorks(pool, "read")
                self.assertWorks(pool, "write")
                self.assertTrue(pool.stats()["usable"])

    def test_a_crash_under_load_loses_nothing_that_was_acknowledged(self):
        pool = self.pool()
        pool.start("write", 8, 5000)
        for _ in range(2):
            time.sleep(0.3)
            self.server.kill()
            self.server.start()
        time.sleep(0.3)
        load = pool.stop_load()
        self.assertLessEqual(names_of(load), {"DATABASE", "PEER_LOST"})
        self.assertGreater(load["ops"], 100)
        check_ledger(self, self.server, load)

    def kill_often(self, seconds, every, least):
        """For so long, and until more than least have been: a busy machine is
        slow at it."""
        end = time.monotonic() + seconds
        killed = 0
        while time.monotonic() < end or (killed <= least and time.monotonic() < end + 30):
            killed += len(self.server.sql(
                f"SELECT pg_terminate_backend(pid) {MY_BACKENDS}"))
            time.sleep(every)
        return killed

    def test_no_read_fails_because_backends_are_terminated(self):
        # In a transaction of its own, and as one of a pipeline of many.
        for what, least in (("read", 20), ("ask", 5)):
            with self.subTest(what=what):
                pool = self.pool()
                pool.start(what, 8, 5000)
                killed = self.kill_often(20 if FULL else 2, 0.05, least)
                load = pool.stop_load()
                self.assertGreater(killed, least)
                self.assertGreater(load["ops"], 100)
                self.assertEqual(load["failed"], [])

    def test_a_write_fails_only_where_nobody_can_know_and_none_is_done_twice(self):
        pool = self.pool()
        pool.start("write", 8, 5000)
        killed = self.kill_often(20 if FULL else 2, 0.05, 20)
        load = pool.stop_load()
        self.assertGreater(killed, 20)
        self.assertGreater(load["ops"], 100)
        self.assertLessEqual(names_of(load), {"PEER_LOST"})
        check_ledger(self, self.server, load)

    def test_a_server_that_is_starting_up_is_waited_for(self):
        # It says 57P03 while it recovers; a proxy stands in, so that it does
        # so for as long as the test wants.
        fatal = error_response("FATAL", "57P03", "the database system is starting up")
        with Proxy(self.server.port) as proxy:
            pool = self.pool(address(proxy.port, options="?sslmode=disable"))
            proxy.fault(up=greet_with(fatal))
            error, ms = pool.once("read", 700)
            self.assertEqual(error, "DATABASE")
            self.assertGreaterEqual(ms, 650)
            self.assertLess(ms, 700 + GRACE_MS)
            self.assertFalse(pool.stats()["usable"])
            pool.start("read", 2, 5000)
            time.sleep(0.5)
            proxy.mend()
            wait_until(lambda: pool.stats()["borrows"] > 10, 20)
            self.assertEqual(pool.stop_load()["failed"], [])


def error_response(severity, state, message):
    """As a server, or a pooler, sends it."""
    body = b"".join(f"{k}{v}".encode() + b"\0" for k, v in (
        ("S", severity), ("V", severity), ("C", state), ("M", message))) + b"\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body


def greet_with(message):
    def edit(_data, link):
        link.answer(message)
        return None
    return Edit(edit)


class Silence(OnPostgres):
    def setUp(self):
        super().setUp()
        self.proxy = Proxy(self.server.port)
        self.addCleanup(self.proxy.stop)

    def faults(self):
        yield "frozen answers", lambda: self.proxy.fault(down=Freeze())
        yield "frozen requests", lambda: self.proxy.fault(up=Freeze())
        yield "silent network", self.proxy.silence

    def test_no_operation_outlasts_its_deadline_and_the_pool_recovers(self):
        for what, (name, begin) in zip(("write", "ask", "write"), self.faults()):
            with self.subTest(fault=name):
                pool = self.pool(address(self.proxy.port))
                pool.start(what, 6, 1000)
                time.sleep(0.2)
                begin()
                time.sleep(2.5)
                self.proxy.mend()
                time.sleep(0.3)
                load = pool.stop_load()
                self.assertLessEqual(names_of(load),
                                     {"DATABASE", "TIMEOUT", "PEER_LOST"})
                self.assertTrue(load["failed"])
                self.assertLess(load["longest_ms"], 1000 + GRACE_MS)
                for what in ("read", "ask", "write"):
                    self.assertWorks(pool, what)
                self.assertEqual(pool.stats()["in_use"], 0)
                check_ledger(self, self.server, load)
                pool.close()
                self.server.sql(SCHEMA)

    def test_a_pool_of_silent_connections_costs_one_ping_not_a_deadline_each(self):
        pool = self.pool(address(self.proxy.port))
        pool.start("hold", 8, 5000, 200)
        wait_until(lambda: pool.stats()["in_use"] == 8, 20)
        pool.stop_load()
        self.proxy.fault_both(Freeze())
        self.assertIn(pool.once("read", 500)[0], ("TIMEOUT", "DATABASE"))
        # The old connections stay dumb, as behind a NAT that forgot them; new
        # ones work.
        self.assertGreaterEqual(self.proxy.open, 7)
        self.proxy.mend_new()
        error, ms = pool.once("read", 5000)
        self.assertEqual(error, "OK")
        self.assertLess(ms, 2500)
        error, ms = pool.once("read", 5000)
        self.assertEqual(error, "OK")
        self.assertLess(ms, 500, "the others were closed unasked")

    def test_a_server_that_answers_slowly_or_not_in_protocol_is_an_error_in_time(self):
        for name, fault in (("garbage", Garbage()), ("drip", Drip(1, 0.1)),
                            ("cut", Cut(after=20)), ("cut at once", Cut())):
            with self.subTest(fault=name):
                pool = self.pool(address(self.proxy.port))
                self.assertWorks(pool)
                self.proxy.fault(down=fault)
                for what in ("read", "ask", "write", "read"):
                    error, ms = pool.once(what, 800)
                    self.assertIn(error, ("DATABASE", "TIMEOUT", "PEER_LOST"))
                    self.assertLess(ms, 800 + GRACE_MS)
                self.proxy.mend()
                self.assertWorks(pool, "read")
                self.assertWorks(pool)
                pool.close()

    def test_an_answer_cut_after_any_byte_is_never_a_wrong_one(self):
        # Of a connection that is there: another takes over, and it is seen
        # whether a write that had been committed was run again.
        pool = self.pool(address(self.proxy.port))
        loads, errors = [], []
        for n in range(0, 2000, 1 if FULL else 3):
            self.assertWorks(pool, "read")
            opened = pool.stats()["opened"]
            self.proxy.fault(down=Cut(after=n, reset=n % 2 == 0))
            self.proxy.mend_new()
            got = pool.ask("once write 2000")
            errors.append(got["error"])
            loads.append({"first": got["id"], "last": got["id"], "failed":
                          [] if got["error"] == "OK" else [[got["id"], got["error"], 0]]})
            self.proxy.mend()
            if got["error"] == "OK" and pool.stats()["opened"] == opened:
                break  # past the last byte
        self.assertGreater(len(errors), 20)
        self.assertEqual(set(errors), {"OK", "PEER_LOST"})
        self.assertLess(errors.count("PEER_LOST"), errors.count("OK"))
        check_ledger(self, self.server, *loads)

    def test_keepalives_and_the_user_timeout_are_ours_unless_the_url_has_them(self):
        for options, want in (("", True), ("?keepalives=0", False)):
            with self.subTest(options=options):
                pool = self.pool(address(self.proxy.port, options=options))
                self.assertWorks(pool)
                said = subprocess.run(
                    ["ss", "-tnoH", "state", "established", "dport", "=",
                     f":{self.proxy.port}"], stdout=subprocess.PIPE).stdout.decode()
                self.assertTrue(said)
                self.assertEqual("timer:(keepalive," in said, want, said)
                pool.close()


if __name__ == "__main__":
    unittest.main()
