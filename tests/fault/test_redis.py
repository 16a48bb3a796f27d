"""What people see of a Redis that fails: nothing but latency within the soft
limit.  Real processes, real HTTP, a real server behind a proxy."""
import time

from tests.harness.process import wait_until
from tests.harness.proxy import Freeze, Garbage, Proxy
from tests.harness.redis import Redis, WithRedis
from tests.integration.stack import OnStack

SOFT_S = 0.05   # REDIS_SOFT_TIMEOUT_MS
SLACK_S = 1.5   # of a machine that has other things to do
SHARED = 2      # services that keep something there: content, gdpr
ASKED = 40      # of each route while a fault holds
LINES_MAX = 16  # of cache.remote.* in one fault, however much is asked


def topics(n):
    return {"topic": f"Wells {n % 5}", "subtopics_count": 5}


class OnFailingRedis(OnStack):
    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.addClassCleanup(cls.redis.stop)
        cls.proxy = Proxy(cls.redis.port)
        cls.addClassCleanup(cls.proxy.stop)
        cls.env = {"REDIS_URL": f"redis://127.0.0.1:{cls.proxy.port}",
                   "REDIS_CONNECT_TIMEOUT": "1", "REDIS_TIMEOUT": "1"}
        super().setUpClass()
        cls.wait_in_step()

    @classmethod
    def figures(cls, name):
        text = cls.stack.admin("knowalledge", "/metrics").raw.decode()
        return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                if line.startswith(name) and not line.startswith("#")]

    @classmethod
    def wait_in_step(cls):
        def all_in_step():
            states = cls.figures("kae_cache_remote_state")
            return states.count(2) >= SHARED and \
                sum(cls.figures("kae_cache_remote_pending")) == 0
        wait_until(all_in_step, 30, what="the shared tier in step")

    def lines(self):
        return [e for p in self.stack.processes.values() for e in p.events()
                if e["event"].startswith("cache.remote.")]

    def ask_through(self, me, name):
        """All kinds of routes that go through the cache, read and written."""
        slowest = 0.0
        for n in range(ASKED):
            for ask in (lambda: me.get("/api/gamification/stats"),
                        lambda: me.post("/api/quiz/submit", {
                            "topic": "Wells", "subtopic": f"{name} {n}",
                            "score": 1, "total": 1}),
                        lambda: me.post("/api/create_subtopics", topics(n))):
                began = time.monotonic()
                answer = ask()
                slowest = max(slowest, time.monotonic() - began)
                self.assertEqual(answer.status, 200, answer.raw)
        self.assertLess(slowest, SOFT_S + SLACK_S, name)

    def go_through(self, name, fault, mend):
        _, me = self.stack.register("redis-" + name)
        before = len(self.lines())
        fault()
        try:
            self.ask_through(me, name)
        finally:
            mend()
        self.wait_in_step()
        said = self.lines()[before:]
        self.assertLessEqual(len(said), LINES_MAX, said)
        # Well again: what is read is what was written.
        total = len(me.get("/api/progress").json)
        self.assertEqual(total, ASKED)

    def test_every_fault_costs_only_latency(self):
        r, p = self.redis, self.proxy
        faults = (
            ("killed", r.kill, r.start),
            ("frozen", r.freeze, r.thaw),
            ("silent", lambda: p.fault_both(Freeze()), p.mend),
            ("garbage", lambda: p.fault(down=Garbage()), p.mend),
            ("refused", p.refuse, p.mend),
            ("reset", p.reset, lambda: None),
            ("full", lambda: r.do("CONFIG", "SET", "maxmemory", 1),
             lambda: r.do("CONFIG", "SET", "maxmemory", 0)),
            ("replica", lambda: r.do("REPLICAOF", "127.0.0.1", 1),
             lambda: r.do("REPLICAOF", "NO", "ONE")),
            ("emptied", lambda: r.do("FLUSHALL"), lambda: None),
            ("paused", lambda: r.do("CLIENT", "PAUSE", 1500), lambda: None),
            ("forbidden", lambda: (r.do("CONFIG", "SET", "requirepass", "x"),
                                   p.reset()),
             lambda: r.do("-a", "x", "CONFIG", "SET", "requirepass", "")),
        )
        for name, fault, mend in faults:
            with self.subTest(fault=name):
                self.go_through(name, fault, mend)

    def test_no_password_or_key_reaches_the_log(self):
        text = self.stack.text()
        self.assertNotIn("kae:1:", text)
        self.assertNotIn("Wells", text)


class OnAnotherInstance(WithRedis, OnStack):
    """A service that begins with an empty memory finds in Redis what was made before."""
    layout = "ipc"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls.stack.api(key=cls.stack.admin_key)

    def times_of(self, request):
        return wait_until(lambda: (lambda r: r.status == 200 and r.json["timings_ms"])(
            self.admin.get(f"/api/admin/explain/{request}")), 10)

    def in_step(self):
        said = self.stack.admin("content", "/metrics").raw.decode()
        return "\nkae_cache_remote_state{service=\"content\"} 2" in said

    def test_what_is_there_is_answered_without_a_worker(self):
        _, me = self.stack.register("reader")
        topic = {"topic": "Shared glaciers"}
        made = me.post("/api/create_subtopics", topic)
        self.assertIn("fwd=miss; stored", made.headers["cache-status"])
        self.stack.processes["content"].stop()
        self.stack.start_one("content")
        self.stack.wait_ready()
        wait_until(self.in_step, 30, what="the shared tier in step")
        found = me.post("/api/create_subtopics", topic, headers={"X-Request-ID": "far.1"})
        self.assertRegex(found.headers["cache-status"], "^kae-content; hit; .*detail=remote")
        self.assertEqual(found.json["subtopics"], made.json["subtopics"])
        t = self.times_of("far.1")
        self.assertEqual((t["lane"], t["database"]), (0, 0))
        self.assertGreater(t["cache"], 0)
        self.assertLessEqual(t["cache"], t["handler"])
        near = me.post("/api/create_subtopics", topic)
        self.assertIn("detail=memory", near.headers["cache-status"])
