"""What people see of a PostgreSQL that is killed or loses its backends: real
processes, real HTTP."""
import threading
import time
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import Api, OnStack

BACKENDS = ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
QUIZ = {"topic": "Wells", "score": 1, "total": 1}


class Asker(threading.Thread):
    """Asks again and again; (status, seconds) of each answer."""

    def __init__(self, port, token, ask):
        super().__init__(daemon=True)
        self.api, self.ask = Api(port, token=token), ask
        self.answers, self.stop = [], threading.Event()
        self.start()

    def run(self):
        n = 0
        while not self.stop.is_set():
            n += 1
            started = time.monotonic()
            answer = self.ask(self.api, n)
            self.answers.append((answer.status, time.monotonic() - started))
            if answer.status != 200:
                self.stop.wait(0.05)

    def end(self):
        self.stop.set()
        self.join(30)
        return self.answers


def read(api, _n):
    return api.get("/api/progress")


def submit(api, n):
    return api.post("/api/quiz/submit", {**QUIZ, "subtopic": f"Part {n}"})


class OnFailingPostgres(OnStack):
    layout = "tcp"

    def begin(self, me, *asks):
        askers = [Asker(self.stack.port, me.token, ask) for ask in asks]
        for a in askers:
            self.addCleanup(a.end)
        return askers

    def kept(self, me):
        return {p["subtopic"] for p in me.get("/api/progress").json}

    def test_terminated_backends_cost_no_read_and_only_honest_writes(self):
        _, me = self.stack.register("terminated")
        readers = self.begin(me, read, read, read)
        writer, = self.begin(me, submit)
        for _ in range(25):
            self.stack.postgres.sql(BACKENDS)
            time.sleep(0.1)
        for r in readers:
            answers = r.end()
            self.assertGreater(len(answers), 20)
            self.assertEqual({s for s, _ in answers}, {200})
        statuses = [s for s, _ in writer.end()]
        self.assertGreater(len(statuses), 10)
        self.assertLessEqual(set(statuses), {200, 502})
        acknowledged = {f"Part {i}" for i, s in enumerate(statuses, 1) if s == 200}
        unsure = {f"Part {i}" for i, s in enumerate(statuses, 1) if s == 502}
        kept = self.kept(me)
        self.assertLessEqual(acknowledged, kept)
        self.assertLessEqual(kept, acknowledged | unsure)

        def counted():
            return me.get("/api/gamification/stats").json["stats"]["progress"][
                "total_quizzes_completed"]
        wait_until(lambda: counted() == len(kept), 30, what="each quiz counted once")

    def test_a_dead_server_is_503_by_the_deadline_and_the_first_request_after_succeeds(self):
        _, me = self.stack.register("restarted")
        self.assertEqual(submit(me, 1).status, 200)
        pids = {name: p.pid for name, p in self.stack.processes.items()}
        readers = self.begin(me, read, read)
        writer, = self.begin(me, submit)
        self.stack.postgres.kill()
        time.sleep(1.5)
        answers = [a for r in (*readers, writer) for a in r.end()]
        self.assertLessEqual({s for s, _ in answers}, {200, 502, 503})
        self.assertIn(503, {s for s, _ in answers})
        self.assertLess(max(t for _, t in answers), 11)
        self.stack.postgres.start()
        self.assertEqual(read(me, 0).status, 200)
        self.assertEqual(submit(me, 1000).status, 200)
        self.assertIn("Part 1", self.kept(me))
        self.assertEqual({name: p.pid for name, p in self.stack.processes.items()}, pids)


if __name__ == "__main__":
    unittest.main()
