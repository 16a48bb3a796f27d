"""GET /api/admin/explain/{request_id} says where the time of a request went."""
import contextlib
import re
import sqlite3
import subprocess
import threading
import time
import unittest

from tests.harness.collector import CLIENT, SERVER, Collector
from tests.harness.postgres import bin_dir
from tests.harness.process import Process, free_port, wait_until
from tests.integration.stack import OnStack, load_on

HELD_S = 0.5
QUIZ = {"topic": "Locks", "subtopic": "Rows", "score": 1, "total": 1}


@contextlib.contextmanager
def locked(stack):
    """Nobody else gets at content's mastery."""
    if stack.postgres is None:
        db = sqlite3.connect(stack.dir / "data" / "knowalledge-content.db", timeout=30,
                             isolation_level=None)
        with contextlib.closing(db):
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")
        return
    psql = subprocess.Popen([bin_dir() / "psql", "-XqAt", stack.postgres.url], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        psql.stdin.write("BEGIN; LOCK TABLE content.mastery; SELECT 'held';\n")
        psql.stdin.flush()
        if psql.stdout.readline() != "held\n":
            raise AssertionError("no lock")
        yield
    finally:
        psql.communicate("ROLLBACK;\n", timeout=30)


class Asks(OnStack):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls.stack.api(key=cls.stack.admin_key)
        _, cls.me = cls.stack.register("explained")

    def explain(self, rid):
        """A request is remembered when it has ended, which its client cannot see."""
        def told():
            r = self.admin.get(f"/api/admin/explain/{rid}")
            return r.json if r.status == 200 else None
        return wait_until(told, 10, what=f"an explanation of {rid}")

    def busy(self, program):
        """Workers of content's database lane that are at a request."""
        text = self.stack.admin(program, "/metrics").raw.decode()
        m = re.search(r'^kae_lane_busy\{service="content",lane="db"\} (\S+)$', text, re.M)
        return m and float(m[1])

    def behind_lock(self, ask, meanwhile):
        """The answer to a request that waits for a lock while meanwhile() runs."""
        answers = []
        asker = threading.Thread(target=lambda: answers.append(ask()))
        try:
            with locked(self.stack):
                asker.start()
                meanwhile()
                self.assertEqual(answers, [])
        finally:
            asker.join()
        return answers[0]


class Explained(Asks):
    def test_a_slow_database_is_where_the_time_went(self):
        program = "knowalledge" if self.layout == "one" else "content"
        held_ms = 0

        def hold():
            nonlocal held_ms
            wait_until(lambda: self.busy(program), 20, what="a busy worker")
            seen = time.monotonic()
            held_ms = 1e3 * wait_until(
                lambda: (lambda s: s > HELD_S and s)(time.monotonic() - seen), 20)
        r = self.behind_lock(lambda: self.me.post(
            "/api/quiz/submit", QUIZ, headers={"X-Request-ID": "slow.1"}), hold)
        self.assertEqual(r.status, 200, r.raw)
        t = self.explain("slow.1")["timings_ms"]
        self.assertGreaterEqual(t["database"], held_ms - 1)
        self.assertLessEqual(t["database"], t["handler"])
        self.assertLessEqual(t["lane"] + t["handler"] + t["bus"], t["service"] + 0.01)
        self.assertLessEqual(t["service"], t["total"])
        self.assertEqual(t["cache"], 0)

    def test_an_answer_out_of_a_cache_names_its_tier_and_no_database(self):
        def hit():
            r = self.api.get("/api/gamification/leaderboard?limit=9",
                             headers={"X-Request-ID": "cached.1"})
            return "detail=memory" in r.headers.get("cache-status", "")
        wait_until(hit, 10, what="a hit")
        e = wait_until(lambda: (lambda e: "memory" in (e["cache"] or "") and e)(
            self.explain("cached.1")), 10)
        self.assertRegex(e["cache"], r"^kae-gdpr; hit; .*detail=memory")
        t = e["timings_ms"]
        self.assertEqual((t["database"], t["cache"], t["lane"]), (0, 0, 0))
        self.assertEqual((e["attempts"], e["tried"][0]["outcome"]), (1, "ANSWERED"))

    def test_a_load_is_told_as_the_cache_s_time_or_the_database_s(self):
        self.me.post("/api/create_subtopics", {"topic": "Explained glaciers"},
                     headers={"X-Request-ID": "loaded.1"})
        e = self.explain("loaded.1")
        self.assertIn("fwd=", e["cache"])
        self.assertGreater(e["timings_ms"]["cache"], 0)
        self.assertLessEqual(e["timings_ms"]["cache"], e["timings_ms"]["handler"])

    def test_the_trace_is_named_so_that_its_spans_can_be_found(self):
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        self.api.get("/health", headers={
            "X-Request-ID": "traced.1", "traceparent": f"00-{trace}-00f067aa0ba902b7-00"})
        self.assertEqual(self.explain("traced.1")["trace_id"], trace)

    def test_what_the_services_say_of_themselves_stays_inside(self):
        r = self.me.get("/api/progress")
        self.assertEqual(r.status, 200)
        self.assertNotIn("server-timing", r.headers)
        self.assertFalse([h for h in r.headers if "kae" in h or "timing" in h])


class Limited(Asks):
    env = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_WRITE_PER_MINUTE": "2"}

    def test_a_refusal_names_the_policy_that_refused(self):
        for n in range(3):
            r = self.me.post("/api/quiz/submit", {**QUIZ, "subtopic": f"n{n}"},
                             headers={"X-Request-ID": f"limited.{n}"})
        self.assertEqual(r.status, 429, r.raw)
        e = self.explain("limited.2")
        self.assertEqual((e["status"], e["limiter"]["refused"], e["limiter"]["policy"],
                          e["limiter"]["quota"], e["limiter"]["left"]),
                         (429, True, "write", 2, 0))
        self.assertEqual((e["attempts"], e["tried"], e["service"]), (0, [], None))
        let_in = self.explain("limited.1")["limiter"]
        self.assertEqual((let_in["refused"], let_in["policy"], let_in["left"]),
                         (False, "write", 0))
        self.assertEqual({p["policy"] for p in let_in["policies"]}, {"address", "write"})


class Retried(Asks):
    layout = "tcp"

    @classmethod
    def setUpClass(cls):
        cls.collector = Collector()
        cls.addClassCleanup(cls.collector.close)
        cls.env = {"OTEL_EXPORTER_OTLP_ENDPOINT": cls.collector.url,
                   "OTEL_TRACES_SAMPLER": "always_off"}
        super().setUpClass()

    def test_both_attempts_of_a_request_that_was_moved_are_told(self):
        first = self.stack.env["BUS_CONTENT"]
        second = f"tcp://127.0.0.1:{free_port()}"
        # The gateway knows both; who of them is asked is its own choice.
        self.stack.processes["gateway"].stop()
        self.stack.env["BUS_CONTENT"] = f"{first},{second}"
        self.stack.env["OTEL_TRACES_SAMPLER"] = "parentbased_always_on"
        self.stack.admin_ports["twin"] = free_port()
        twin = Process([self.stack.bin / "kae-content"], {
            **self.stack.env, "BUS_LISTEN": second,
            "ADMIN_PORT": str(self.stack.admin_ports["twin"])}, cwd=self.stack.dir)
        self.stack.processes["twin"] = twin
        self.stack.start_one("gateway")
        self.stack.wait_ready()
        self.admin.close()
        self.me.close()

        urls = {"content": first, "twin": second}
        killed = None

        def kill_who_has_it():
            nonlocal killed
            killed = wait_until(lambda: next(
                (p for p in urls if self.busy(p)), None), 20, what="a busy worker")
            self.stack.processes[killed].kill()
            other, = set(urls) - {killed}
            del self.stack.processes[killed]
            wait_until(lambda: self.busy(other), 20, what="the other one's turn")
        trace, span = "5bf92f3577b34da6a3ce929d0e0e4737", "00f067aa0ba902b7"
        r = self.behind_lock(lambda: self.me.get("/api/progress", headers={
            "X-Request-ID": "moved.1", "traceparent": f"00-{trace}-{span}-01"}),
            kill_who_has_it)
        self.assertEqual(r.status, 200, r.raw)
        e = self.explain("moved.1")
        other, = set(urls) - {killed}
        self.assertEqual((e["attempts"], e["replica"]), (2, urls[other]))
        self.assertEqual([(t["replica"], t["outcome"]) for t in e["tried"]],
                         [(urls[killed], "PEER_LOST"), (urls[other], "ANSWERED")])

        def enough():
            spans = self.collector.of(trace)
            kinds = [(s.kind, s.service) for s in spans]
            return spans if {(SERVER, "gateway"), (SERVER, "content")} <= set(kinds) else None
        spans = wait_until(enough, 20, what="the spans")
        tries = sorted((s for s in spans if s.kind == CLIENT and s.service == "gateway" and
                        s.name == "content.progress"), key=lambda s: s.attributes["kae.attempt"])
        self.assertEqual([(s.attributes["kae.attempt"], s.failed, s.attributes["server.port"])
                          for s in tries],
                         [(1, True, int(urls[killed].rsplit(":", 1)[1])),
                          (2, False, int(urls[other].rsplit(":", 1)[1]))])
        self.assertEqual(tries[0].attributes["error.type"], "PEER_LOST")
        served, = (s for s in spans if s.kind == SERVER and s.service == "content")
        self.assertEqual(served.parent, tries[1].id)


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "tcp"), Explained)(loader, tests, pattern)
    for cls in (Limited, Retried):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite


if __name__ == "__main__":
    unittest.main()
