"""Services stop, die and come back; what was acknowledged is there, once."""
import signal
import threading
import time
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import SERVICES, SHORT, Api, OnStack, load_on


class ServiceAway(OnStack):
    def test_a_stopped_service_is_503_with_a_time_to_wait_and_comes_back(self):
        _, me = self.stack.register("waiter")
        for name, ask in (
                ("content", lambda: me.post("/api/create_subtopics", {"topic": "Music"})),
                ("gdpr", lambda: me.get("/api/gamification/achievements/user"))):
            with self.subTest(service=name):
                self.assertEqual(ask().status, 200)
                self.assertEqual(self.stack.processes[name].stop(), 0)
                started = time.monotonic()
                r = ask()
                took = time.monotonic() - started
                self.assertProblem(r, 503)
                self.assertGreaterEqual(int(r.headers["retry-after"]), 1)
                self.assertLess(took, 12)
                # The others do not notice.
                self.assertEqual(me.get("/api/auth/validate").status, 200)
                self.stack.start_one(name)
                wait_until(lambda: ask().status == 200, 30, what=f"{name}'s return")

    def test_a_frozen_service_is_an_error_by_the_deadline(self):
        _, me = self.stack.register("frozen.out")
        me.get("/api/gamification/achievements/user")
        frozen = self.stack.processes["gdpr"]
        frozen.freeze()
        try:
            started = time.monotonic()
            r = me.get("/api/gamification/achievements/user")
            self.assertIn(r.status, (502, 503, 504), r.raw)
            self.assertLess(time.monotonic() - started, 15)
        finally:
            frozen.signal(signal.SIGCONT)
        wait_until(lambda: me.get("/api/gamification/achievements/user").status == 200, 30,
                   what="the thaw")

    def test_the_gateway_is_ready_only_with_its_services(self):
        self.stack.processes["content"].kill()
        wait_until(lambda: b'"content"' in self.stack.admin("gateway", "/readyz").raw, 10)
        wait_until(lambda: self.stack.api().get("/health").status == 200, 10)
        self.stack.start_one("content")
        self.stack.wait_ready()


class DatabaseAway(OnStack):
    """Only where the database is a server of its own."""

    def health(self):
        return self.stack.api().get("/api/health")

    def assertTold(self, answer, me, quiz):
        """What everybody may read names what is away, and no address of it."""
        checks = answer.json["checks"]
        self.assertEqual(answer.json["status"], "unhealthy")
        self.assertEqual(checks["database"]["status"], "down")
        self.assertIn("content", checks["database"]["message"])
        ready = self.stack.api().get("/ready")
        self.assertEqual((ready.status, ready.json["ready"]), (503, False))
        for raw in (answer.raw, ready.raw, me.post("/api/quiz/submit", quiz).raw):
            self.assertNotIn(str(self.stack.postgres.port).encode(), raw)
            self.assertNotIn(b"127.0.0.1", raw)

    def test_a_dead_database_is_told_everywhere_and_comes_back_by_itself(self):
        _, me = self.stack.register("dry.well")
        quiz = {"topic": "Wells", "subtopic": "Water", "score": 1, "total": 1}
        self.assertEqual(me.post("/api/quiz/submit", quiz).status, 200)
        wait_until(lambda: self.health().json["status"] == "healthy", 30, what="health")
        pids = {name: p.pid for name, p in self.stack.processes.items()}
        self.stack.postgres.kill()
        try:
            started = time.monotonic()
            r = me.post("/api/quiz/submit", {**quiz, "subtopic": "Lost"})
            self.assertProblem(r, 503)
            self.assertGreaterEqual(int(r.headers["retry-after"]), 1)
            self.assertLess(time.monotonic() - started, 12)
            told = wait_until(lambda: self.health().status == 503 and self.health(), 10,
                              what="an unhealthy answer")
            self.assertTold(told, me, quiz)
            self.assertEqual(self.stack.api().get("/health").status, 200)
            for name in SERVICES:
                wait_until(lambda name=name: self.stack.admin(name, "/readyz").status == 503,
                           30, what=f"{name} not ready")
                self.assertEqual(self.stack.admin(name, "/livez").status, 200)
        finally:
            self.stack.postgres.start()
        for name in SERVICES:
            wait_until(lambda name=name: self.stack.admin(name, "/readyz").status == 200, 30,
                       what=f"{name} ready again")
        wait_until(lambda: self.health().json["status"] == "healthy", 30, what="recovery")
        self.assertEqual(self.stack.api().get("/ready").status, 200)
        self.assertEqual(me.post("/api/quiz/submit", {**quiz, "subtopic": "Rain"}).status, 200)
        kept = {p["subtopic"] for p in me.get("/api/progress").json}
        self.assertLessEqual({"Water", "Rain"}, kept)
        self.assertEqual({name: p.pid for name, p in self.stack.processes.items()}, pids)
        self.assertTrue(all(p.running() for p in self.stack.processes.values()))


class Submitter(threading.Thread):
    """Submits quizzes one after another; remembers what was acknowledged."""

    def __init__(self, port, key, token, number):
        super().__init__(daemon=True)
        self.port, self.key, self.token, self.number = port, key, token, number
        self.acknowledged, self.unsure = [], []
        self.stop = threading.Event()

    def run(self):
        api = Api(self.port, token=self.token, timeout=30)
        n = 0
        while not self.stop.is_set():
            n += 1
            body = {"topic": f"Topic {self.number}", "subtopic": f"Part {n}",
                    "score": 1, "total": 1}
            try:
                r = api.post("/api/quiz/submit", body)
                if r.status == 200:
                    self.acknowledged.append(body["subtopic"])
                else:
                    self.unsure.append(body["subtopic"])
                    self.stop.wait(0.05)
            except OSError:
                self.unsure.append(body["subtopic"])
                self.stop.wait(0.05)


class KillEach(OnStack):
    def test_what_was_acknowledged_survives_kill_9_of_every_program_once(self):
        people = [self.stack.register(f"submitter.{i}") for i in range(3)]
        threads = [Submitter(self.stack.port, key, api.token, i)
                   for i, (key, api) in enumerate(people)]
        for t in threads:
            t.start()
        for name in self.stack.names():
            wait_until(lambda: all(len(t.acknowledged) for t in threads), 30)
            seen = [len(t.acknowledged) for t in threads]
            self.stack.processes[name].kill()
            self.stack.start_one(name)
            self.stack.wait_ready()
            wait_until(lambda: all(len(t.acknowledged) > n + 5
                                   for t, n in zip(threads, seen)), 60,
                       what=f"submits after the death of {name}")
        for t in threads:
            t.stop.set()
        for t in threads:
            t.join(60)
        for t, (_, me) in zip(threads, people):
            kept = [p["subtopic"] for p in me.get("/api/progress").json]
            self.assertEqual(len(kept), len(set(kept)))
            self.assertLessEqual(set(t.acknowledged), set(kept), "an acknowledged submit is lost")
            self.assertLessEqual(set(kept), set(t.acknowledged) | set(t.unsure))

            def told(me=me):
                return me.get("/api/gamification/stats").json["stats"]["progress"]

            # Every kept submit counts once: 200 XP each, and what they unlock.
            wait_until(lambda: told()["total_quizzes_completed"] == len(kept), 30,
                       what=f"{len(kept)} quizzes counted once")
            time.sleep(0.5)  # a repeat that comes late would show here
            progress = told()
            self.assertEqual(progress["total_quizzes_completed"], len(kept))
            rewards = 500 if len(kept) >= 25 else 0
            self.assertEqual(progress["total_xp"], 200 * len(kept) + rewards)


load_away = load_on(("ipc", "tcp"), ServiceAway)
load_database = load_on(("tcp",), DatabaseAway)
load_kill = load_on(("ipc",) if SHORT else ("one", "ipc", "tcp"), KillEach)


def load_tests(loader, tests, pattern):
    suite = load_away(loader, tests, pattern)
    suite.addTests(load_database(loader, tests, pattern))
    suite.addTests(load_kill(loader, tests, pattern))
    return suite


if __name__ == "__main__":
    unittest.main()
