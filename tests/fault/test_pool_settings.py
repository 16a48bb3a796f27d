"""Every setting of the pool does what docs/config.md says."""
import time
import unittest

from tests.fault.pool import GRACE_MS, OnPostgres, address
from tests.harness.process import wait_until
from tests.harness.proxy import Freeze, Proxy
from tests.integration.stack import Stack

BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'content'"


class Settings(OnPostgres):
    server_args = {"settings": {"log_min_duration_statement": 0}}

    def backends(self):
        return int(self.server.sql(BACKENDS)[0][0])

    def test_the_defaults_are_10_20_30_and_an_hour(self):
        stats = self.pool().stats()
        self.assertEqual((stats["size"], stats["ceiling"]), (10, 30))

    def test_connections_open_on_demand_up_to_size_and_overflow_and_fall_back_to_size(self):
        pool = self.pool(DB_POOL_SIZE=2, DB_MAX_OVERFLOW=3)
        self.assertEqual(self.backends(), 0)
        self.assertWorks(pool)
        self.assertEqual(self.backends(), 1)
        pool.start("hold", 8, 20000, 1000)
        wait_until(lambda: pool.stats()["in_use"] == 5, 10)
        stats = pool.stats()
        self.assertEqual((stats["overflow"], stats["waiters"]), (3, 3))
        self.assertEqual(self.backends(), 5)
        self.assertEqual(pool.stop_load()["failed"], [])
        stats = pool.stats()
        self.assertEqual((stats["in_use"], stats["overflow"]), (0, 0))
        wait_until(lambda: self.backends() == 2, 20)

    def test_a_borrower_gives_up_after_the_pool_s_timeout(self):
        pool = self.pool(DB_POOL_SIZE=1, DB_MAX_OVERFLOW=0, DB_POOL_TIMEOUT=1)
        pool.start("hold", 2, 20000, 2500)
        load = pool.stop_load()
        self.assertEqual([e for _, e, _ in load["failed"]], ["DATABASE"])
        self.assertGreaterEqual(load["failed"][0][2], 1000)
        self.assertLess(load["failed"][0][2], 1000 + GRACE_MS)
        self.assertEqual(pool.stats()["timeouts"], 1)

    def test_a_connection_is_replaced_when_it_is_old(self):
        pool = self.pool(DB_POOL_RECYCLE=1)
        for _ in range(3):
            self.assertWorks(pool, "read")
        self.assertEqual(pool.stats()["opened"], 1)
        time.sleep(1.1)
        self.assertWorks(pool, "read")
        stats = pool.stats()
        self.assertEqual((stats["opened"], stats["recycled"]), (2, 1))

    def test_a_connection_that_idled_is_asked_before_it_is_lent(self):
        with Proxy(self.server.port) as proxy:
            on = self.pool(address(proxy.port))
            off = self.pool(address(proxy.port), DB_POOL_PRE_PING="false")
            for pool in (on, off):
                self.assertWorks(pool)
            time.sleep(5.1)  # before that a server is believed
            proxy.fault_both(Freeze())
            proxy.mend_new()
            error, ms = on.once("read", 4000)
            self.assertEqual(error, "OK")
            self.assertEqual(on.stats()["failed_pings"], 1)
            error, ms = off.once("read", 1000)
            self.assertEqual(error, "TIMEOUT")
            self.assertEqual(off.stats()["failed_pings"], 0)
            self.assertWorks(off, "read")

    def test_statements_are_prepared_or_not(self):
        for prepare, named in (("true", True), ("false", False)):
            with self.subTest(prepare=prepare):
                before = len(self.server.log)
                pool = self.pool(DB_PREPARE=prepare)
                for _ in range(2):
                    self.assertWorks(pool, "read")
                pool.close()
                log = self.server.log[before:]
                self.assertEqual("execute fault.read/" in log, named, log[-2000:])
                self.assertEqual("execute <unnamed>" in log, not named, log[-2000:])
                self.assertEqual(log.count("parse fault.read/"), 1 if named else 0)

    def test_statements_are_echoed_in_development_with_name_and_time(self):
        for environment, settings, echoed in (
                ("development", {}, True), ("production", {}, False),
                ("development", {"DB_ECHO": "false"}, False),
                ("production", {"DB_ECHO": "true"}, True)):
            with self.subTest(environment=environment, **settings):
                pool = self.pool(ENVIRONMENT=environment, **settings)
                self.assertEqual(pool.once("write")[0], "OK")
                pool.close()
                events = pool.events("db.statement")
                self.assertEqual([e["name"] for e in events],
                                 ["fault.record", "fault.bump"] if echoed else [])
                for e in events:
                    self.assertEqual(e["result"], "OK")
                    self.assertGreater(e["us"], 0)


class Figures(unittest.TestCase):
    def test_the_pool_s_figures_are_on_the_metrics_page(self):
        stack = Stack("tcp", DB_POOL_SIZE="3", DB_MAX_OVERFLOW="4")
        self.addCleanup(stack.close)
        stack.start()
        stack.register("counted")
        page = stack.admin("auth", "/metrics").raw.decode()
        figures = dict(line.rsplit(" ", 1) for line in page.splitlines()
                       if line and not line.startswith("#"))
        label = '{service="auth"}'
        self.assertEqual(figures["db_pool_size" + label], "3")
        self.assertEqual(figures["kae_db_pool_ceiling" + label], "7")
        for name in ("db_connections_in_use", "db_pool_overflow", "kae_db_pool_waiters",
                     "kae_db_connections_recycled_total", "kae_db_pings_failed_total",
                     "kae_db_pool_timeouts_total"):
            self.assertIn(name + label, figures)
        name = "kae_db_pool_wait_seconds"
        self.assertIn(f"# TYPE {name} histogram", page)
        counts = [int(v) for k, v in figures.items() if k.startswith(f"{name}_bucket")]
        self.assertEqual(len(counts), 13)
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], int(figures[f"{name}_count" + label]))
        self.assertGreaterEqual(counts[-1], int(figures["kae_db_borrows_total" + label]))
        self.assertGreater(float(figures[f"{name}_sum" + label]), 0)


if __name__ == "__main__":
    unittest.main()
