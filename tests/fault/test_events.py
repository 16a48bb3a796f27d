"""Events between real processes that are killed at the worst moments.

Each test ends with the books: what svc-content has committed against what
svc-gdpr has made of it, read from both databases.
"""
import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import OnStack, load_on

FULL = bool(os.environ.get("KAE_FULL"))
STORM_S = 120 if FULL else 4
BACKLOG = 5000 if FULL else 300


class OnBooks(OnStack):
    """Reads and writes the databases behind the services' backs."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, cls.me = cls.stack.register("book.keeper")
        cls.submitted = 0

    def sql(self, service, text):
        """@ stands before the name of a table, as in our own statements."""
        if self.stack.postgres:
            ask = self.stack.postgres.sql if ";" in text else self.stack.postgres.rows
            return ask(text.replace("@", f"{service}."))
        path = self.stack.dir / "data" / f"knowalledge-{service}.db"
        db = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            return [[str(v) for v in row]
                    for row in db.execute(text.replace("@", ""))]
        finally:
            db.close()

    def number(self, service, text):
        return int(self.sql(service, text)[0][0])

    def submit(self, n=1):
        for _ in range(n):
            type(self).submitted += 1
            r = self.me.post("/api/quiz/submit", {
                "topic": "Books", "subtopic": f"Page {self.submitted}",
                "score": 1, "total": 1})
            self.assertEqual(r.status, 200, r.raw)

    def waiting(self):
        return self.number("content", "SELECT count(*) FROM @outbox")

    def applied(self):
        return self.number("gdpr", "SELECT count(*) FROM @ledger WHERE kind = 'quiz'")

    def kill(self, name):
        self.stack.processes[name].kill()

    def start(self, name):
        self.stack.start_one(name)

    def check_books(self, what="the outbox to drain"):
        """Every event applied once, in order; ledger sum = balance."""
        for service in ("auth", "content"):
            wait_until(lambda s=service: self.number(
                s, "SELECT count(*) FROM @outbox") == 0, 60, every=0.1, what=what)
        causes = self.sql("content", "SELECT sub, count(*) FROM @results GROUP BY sub "
                                     "ORDER BY sub")
        effects = self.sql("gdpr", "SELECT sub, count(*) FROM @ledger "
                                   "WHERE kind = 'quiz' GROUP BY sub ORDER BY sub")
        self.assertEqual(sorted(causes), sorted(effects))
        told = "SELECT sub, seq FROM @{} WHERE {} ORDER BY sub"
        for service in ("auth", "content"):
            self.assertEqual(
                sorted(self.sql(service, told.format("outbox_seq", "target = 'gdpr'"))),
                sorted(self.sql("gdpr", told.format("inbox", f"source = '{service}'"))))
        self.assertEqual(self.number(
            "gdpr", "SELECT count(*) FROM @person AS p WHERE total_xp <> coalesce("
                    "(SELECT sum(xp) FROM @ledger AS l WHERE l.sub = p.sub), 0)"), 0)
        if self.stack.postgres:
            # Transactions that were applied later, with earlier causes.
            self.assertEqual(self.number(
                "gdpr", "SELECT count(*) FROM @ledger AS a JOIN @ledger AS b "
                        "ON a.sub = b.sub AND a.at < b.at "
                        "AND a.xmin::text::bigint > b.xmin::text::bigint"), 0)
        self.assertEqual(self.stack.text().count('"event.gap"'), 0)


class Killed(OnBooks):
    def test_a_sender_killed_between_commit_and_send_sends_after_its_start(self):
        self.kill("gdpr")
        self.submit(20)
        self.assertEqual(self.waiting(), 20)
        self.kill("content")
        self.assertEqual(self.waiting(), 20)
        self.start("content")
        self.start("gdpr")
        self.check_books()

    def test_a_repeat_is_acknowledged_and_changes_nothing(self):
        self.kill("gdpr")
        self.submit(10)
        kept = self.sql("content", "SELECT id, target, sub, seq, shard, type, at FROM @outbox")
        self.start("gdpr")
        self.check_books()
        before = self.applied()
        for row in kept:
            self.sql("content", "INSERT INTO @outbox (id, target, sub, seq, shard, type, at, "
                                "body) VALUES ('{}', '{}', '{}', {}, {}, '{}', {}, {})".format(
                                    *row, r"'\x80'::bytea" if self.stack.postgres else "x'80'"))
        self.check_books("the repeats to be acknowledged")
        self.assertEqual(self.applied(), before)

    def test_an_outage_of_the_receiver_drains_when_it_is_back(self):
        self.kill("gdpr")
        self.submit(BACKLOG)
        self.assertEqual(self.waiting(), BACKLOG)
        metrics = wait_until(lambda: self.metrics("content", f"kae_outbox_backlog{{"
                                                  f'service="content"}} {BACKLOG}'),
                             10, what="the backlog in the metrics")
        self.assertNotIn('kae_outbox_calls_failed_total{service="content"} 0\n', metrics)
        self.start("gdpr")
        self.check_books()

    def metrics(self, name, line):
        text = self.stack.admin(name, "/metrics").raw.decode()
        return text if line in text else None

    def test_kills_at_random_lose_and_double_nothing(self):
        people = [self.stack.register(f"storm.{i}")[1] for i in range(3)]
        over = threading.Event()
        done = []

        def work(api, number):
            n = 0
            while not over.is_set():
                n += 1
                try:
                    done.append(api.post("/api/quiz/submit", {
                        "topic": f"Storm {number}", "subtopic": f"Gust {n}",
                        "score": 1, "total": 1}).status)
                except OSError:
                    api.close()

        threads = [threading.Thread(target=work, args=(api, i), daemon=True)
                   for i, api in enumerate(people)]
        chance = random.Random(1)
        end = time.monotonic() + STORM_S
        for t in threads:
            t.start()
        while time.monotonic() < end:
            name = chance.choice(("content", "gdpr"))
            time.sleep(chance.uniform(0.05, 0.7))
            self.kill(name)
            self.start(name)
        over.set()
        for t in threads:
            t.join(60)
        self.stack.wait_ready()
        self.assertIn(200, done)
        self.check_books()


class KilledInTheMiddle(OnBooks):
    """Where locks of PostgreSQL hold a process at a place of our choice."""

    def test_a_receiver_killed_between_effect_and_acknowledgement(self):
        pg = self.stack.postgres
        self.submit(1)
        self.check_books()
        before = self.applied()
        # A commit that takes two seconds, and goes on when its client is dead.
        pg.sql("CREATE FUNCTION gdpr.doze() RETURNS trigger LANGUAGE plpgsql AS "
               "$$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;"
               "CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON gdpr.ledger "
               "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gdpr.doze()")
        try:
            self.submit(1)
            wait_until(lambda: self.number(
                "gdpr", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
                       10, what="the commit")
            self.kill("gdpr")
            wait_until(lambda: self.applied() == before + 1, 10, what="the effect")
            self.assertEqual(self.waiting(), 1)
        finally:
            pg.sql("DROP TRIGGER doze ON gdpr.ledger; DROP FUNCTION gdpr.doze()")
        self.start("gdpr")
        self.check_books()
        self.assertEqual(self.applied(), before + 1)

    def hold_outbox(self):
        """Nobody can delete until the backend is ended."""
        with contextlib.suppress(RuntimeError):
            self.stack.postgres.sql("BEGIN; LOCK TABLE content.outbox IN SHARE MODE; "
                                    "SELECT pg_sleep(30)")

    def test_a_sender_killed_between_acknowledgement_and_delete(self):
        pg = self.stack.postgres
        receiver = self.stack.processes["gdpr"]
        receiver.freeze()
        try:
            before = self.applied()
            self.submit(5)
            holder = threading.Thread(target=self.hold_outbox, daemon=True)
            holder.start()
            wait_until(lambda: self.number(
                "content", "SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' "
                           "AND relation = 'content.outbox'::regclass AND granted"),
                       10, what="the lock")
        finally:
            receiver.signal(signal.SIGCONT)
        wait_until(lambda: self.applied() == before + 5, 20, what="the effects")
        self.assertEqual(self.waiting(), 5)
        self.kill("content")
        pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
               "WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()")
        holder.join(30)
        self.start("content")
        self.check_books()
        self.assertEqual(self.applied(), before + 5)


def load_tests(loader, tests, pattern):
    suite = load_on(("ipc", "tcp"), Killed)(loader, tests, pattern)
    suite.addTests(load_on(("tcp",), KilledInTheMiddle)(loader, tests, pattern))
    return suite


if __name__ == "__main__":
    unittest.main()
