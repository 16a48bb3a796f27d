"""What administrators see, and what they may have the services do."""
import unittest

from tests.harness.llm import Refusing
from tests.harness.process import wait_until
from tests.harness.redis import WithRedis
from tests.integration.stack import SERVICES, SHORT, OnStack, load_on

SERVED = ("database", "redis", "gemini_api", "quota", "identity", *SERVICES)
OF_A_PATH = ("calls", "avg_ms", "p50_ms", "p95_ms", "p99_ms", "min_ms", "max_ms")


class AdminRoutes(OnStack):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, cls.me = cls.stack.register("administrated")
        cls.admin = cls.stack.api(key=cls.stack.admin_key)
        # What svc-gdpr is told of a new person makes it forget; nothing else will.
        wait_until(lambda: cls.metrics()["cache"]["invalidations"] > 0, 20,
                   what="the person, known to svc-gdpr")

    @classmethod
    def metrics(cls):
        r = cls.admin.get("/api/metrics")
        if r.status != 200:
            raise AssertionError(r.raw)
        return r.json

    def test_the_dashboard_finds_every_member_that_it_reads(self):
        self.me.get("/api/gamification/leaderboard")
        self.me.get("/api/gamification/leaderboard")
        self.me.get("/nowhere")
        m = self.metrics()
        for member in ("hits", "misses", "hit_rate_percent", "total_requests", "sets",
                       "deletes", "invalidations", "avg_latency_ms", "keys", "max_size",
                       "type", "version", "cleanup_thread_alive"):
            self.assertIn(member, m["cache"])
        for member in ("total_requests", "requests_per_second", "error_rate_percent",
                       "error_count", "concurrent_users"):
            self.assertIsInstance(m[member], (int, float), member)
            if member != "requests_per_second":
                self.assertEqual(m[member], m["detailed_metrics"][member])
        self.assertRegex(m["uptime_formatted"], r"^\d+:\d\d:\d\d$")
        self.assertEqual(m["config"]["redis_enabled"], False)
        self.assertGreater(m["requests_per_second"], 0)
        path = m["endpoints"]["/api/gamification/leaderboard"]
        self.assertEqual(set(path), set(OF_A_PATH))
        self.assertGreaterEqual(path["calls"], 2)
        self.assertLessEqual(path["min_ms"], path["p50_ms"])
        self.assertLessEqual(path["p50_ms"], path["p95_ms"])
        self.assertLessEqual(path["p95_ms"], path["p99_ms"])
        self.assertLessEqual(path["p99_ms"], path["max_ms"])
        self.assertGreaterEqual(m["endpoints"]["unmatched"]["calls"], 1)
        self.assertGreaterEqual(m["status_codes"]["404"], 1)
        self.assertEqual(sum(m["status_codes"].values()), m["total_requests"])

    def test_every_replica_tells_its_figures(self):
        services = self.metrics()["services"]
        self.assertEqual(set(services), set(SERVICES))
        for name, replicas in services.items():
            self.assertEqual(len(replicas), 1, name)
            self.assertTrue(replicas[0]["answered"], name)
            self.assertEqual(replicas[0]["state"], "up")
            self.assertGreater(replicas[0]["db_pool_size"], 0)

    def test_a_cache_counts_hits_and_is_empty_after_a_clear(self):
        before = self.metrics()["cache"]

        def hit():  # entries are kept for half a second
            self.me.get("/api/gamification/leaderboard?limit=7")
            self.me.get("/api/gamification/leaderboard?limit=7")
            cache = self.metrics()["cache"]
            return cache if cache["hits"] > before["hits"] else None

        after = wait_until(hit, 20, what="a hit")
        self.assertGreater(after["keys"], 0)
        r = self.admin.post("/api/cache/clear")
        self.assertEqual(r.status, 200, r.raw)
        told = r.json["replicas"]
        self.assertEqual((told["asked"], told["acknowledged"], told["away"]), (3, 3, 0))
        self.assertGreaterEqual(told["with_cache"], 1)
        self.assertEqual(self.metrics()["cache"]["keys"], 0)
        self.me.get("/api/gamification/leaderboard?limit=7")
        self.assertGreater(self.metrics()["cache"]["misses"], after["misses"])

    def test_a_namespace_is_a_service_or_a_tag(self):
        for body, asked in (
                ({"namespace": "gdpr"}, 1), ({"namespace": "auth"}, 1),
                ({"namespace": "board"}, 3), ({"namespace": "no such tag"}, 3),
                ({"namespace": None}, 3), ({}, 3), (None, 3)):
            with self.subTest(body=body):
                before = self.metrics()["cache"]["invalidations"]
                r = self.admin.post("/api/cache/invalidate", body)
                self.assertEqual(r.status, 200, r.raw)
                self.assertEqual(r.json["replicas"]["asked"], asked)
                self.assertEqual(r.json["namespace"], (body or {}).get("namespace"))
                self.assertEqual(self.metrics()["cache"]["invalidations"],
                                 before + r.json["replicas"]["with_cache"])

    def test_a_namespace_that_is_none_is_refused(self):
        for bad in (7, "", "x" * 65, ["a"], {"a": 1}, True):
            with self.subTest(bad=bad):
                problem = self.assertProblem(
                    self.admin.post("/api/cache/invalidate", {"namespace": bad}), 400,
                    "VALIDATION_ERROR")
                self.assertEqual(problem["details"][0]["pointer"], "/namespace")
        self.assertProblem(self.admin.ask("POST", "/api/cache/invalidate", raw=b"{"), 400)
        self.assertProblem(self.admin.ask("POST", "/api/cache/invalidate", raw=b"[]"), 400)

    def test_stats_have_what_the_old_ones_had(self):
        s = self.admin.get("/api/stats").json
        self.assertEqual(set(s["cache"]), {"version", "l1", "l2", "overall"})
        self.assertLessEqual({"size", "max_size", "hits", "evictions"}, set(s["cache"]["l1"]))
        self.assertLessEqual(s["cache"]["overall"]["hit_rate"], 1)

    def test_each_service_has_a_breaker(self):
        for name in SERVICES:
            with self.subTest(name=name):
                r = self.admin.get(f"/api/circuit-breaker/{name}/state").json
                self.assertEqual((r["name"], r["state"]), (name, "closed"))
                self.assertGreater(r["success_count"], 0)
                r = self.admin.post(f"/api/circuit-breaker/{name}/reset", {})
                self.assertEqual((r.status, r.json["state"]), (200, "closed"))

    def test_what_is_not_there_has_no_breaker(self):
        for name in ("google_ai", "redis", "gateway", "AUTH", "x" * 200):
            with self.subTest(name=name):
                self.assertProblem(self.admin.get(f"/api/circuit-breaker/{name}/state"), 404)
                self.assertProblem(
                    self.admin.post(f"/api/circuit-breaker/{name}/reset", {}), 404)

    def explain(self, rid):
        return self.admin.get(f"/api/admin/explain/{rid}")

    def test_a_request_is_explained_by_its_id(self):
        r = self.me.get("/api/gamification/stats?secret=planted",
                        headers={"X-Request-ID": "explain.1"})
        self.assertEqual(r.status, 200)
        e = wait_until(lambda: (lambda x: x.json if x.status == 200 else None)(
            self.explain("explain.1")), 5, what="an explanation")
        self.assertEqual((e["status"], e["endpoint"], e["service"], e["attempts"], e["error"]),
                         (200, "/api/gamification/stats", "gdpr", 1, None))
        self.assertRegex(e["replica"], "^(inproc|ipc|tcp)://")
        self.assertEqual(e["limiter"]["refused"], False)
        self.assertEqual(e["cache"], r.headers.get("cache-status"))
        t = e["timings_ms"]
        self.assertGreater(t["service"], 0)
        self.assertLessEqual(sum(t[part] for part in (
            "received", "identity", "limits", "decode", "service", "reply")),
            t["total"] + 0.01)
        self.assertLessEqual(t["bus"] + t["lane"] + t["handler"], t["service"] + 0.01)
        self.assertLessEqual(t["database"], t["handler"])
        self.assertGreater(t["database"], 0)
        self.assertNotIn("planted", str(e))
        self.assertNotIn("administrated", str(e))

    def test_refusals_are_explained_and_what_is_unknown_is_404(self):
        self.api.get("/api/progress", headers={"X-Request-ID": "explain.2"})
        e = wait_until(lambda: (lambda x: x.json if x.status == 200 else None)(
            self.explain("explain.2")), 5, what="an explanation")
        self.assertEqual((e["status"], e["error"], e["attempts"], e["service"], e["user"]),
                         (401, "AUTH_REQUIRED", 0, None, None))
        for unknown, status in (("never", 404), ("explain", 404), ("x" * 129, 400),
                                ("a%20b", 400), ("%22", 400), ("%00", 400)):
            self.assertProblem(self.explain(unknown), status)
        self.assertProblem(self.api.get("/api/admin/explain/explain.1"), 401)
        self.assertProblem(self.me.get("/api/admin/explain/explain.1"), 403)

    def test_health_has_every_check_with_a_message(self):
        checks = self.api.get("/api/health").json["checks"]
        for name in SERVED:
            self.assertIn("status", checks[name])
            self.assertTrue(checks[name]["message"])

    def test_a_flood_of_unknown_paths_makes_no_series(self):
        def series():
            return {line.rsplit(" ", 1)[0]
                    for line in self.stack.admin("gateway", "/metrics").raw.decode().splitlines()
                    if line.startswith(("http_", "application_"))}

        def counted():
            """With the first one: it is counted behind its answer."""
            found = series()
            return found if any('endpoint="unmatched",status="404"' in s for s in found) else None

        self.api.get("/flood/first")
        before = wait_until(counted, 10, what="the first one's series")
        for i in range(300):
            self.api.get(f"/flood/{i}?x={i}")
        self.assertEqual(series(), before)


class OneAway(OnStack):
    layout = "ipc"

    def test_who_is_away_is_told_and_nothing_is_called_done_that_is_not(self):
        admin = self.stack.api(key=self.stack.admin_key)
        self.assertEqual(admin.post("/api/cache/clear").status, 200)
        self.stack.processes["content"].kill()
        state = wait_until(
            lambda: (lambda r: r if r["state"] == "open" else None)(
                admin.get("/api/circuit-breaker/content/state").json), 10, what="open")
        self.assertEqual(state["name"], "content")
        m = admin.get("/api/metrics").json
        self.assertEqual(m["circuit_breakers"]["content"], "open")
        self.assertFalse(m["services"]["content"][0]["answered"])
        told = admin.post("/api/cache/clear").json["replicas"]
        self.assertEqual((told["asked"], told["acknowledged"], told["away"]), (2, 2, 1))
        self.assertProblem(admin.post("/api/cache/invalidate", {"namespace": "content"}), 503)
        self.stack.start_one("content")
        self.stack.wait_ready()
        wait_until(lambda: admin.get("/api/circuit-breaker/content/state").json["state"]
                   == "closed", 10, what="closed")


class NoSuchReplica(OnStack):
    """Every address is asked; one that nobody listens at is told."""
    layout = "ipc"

    def test_a_clear_is_for_every_replica(self):
        self.stack.processes["gateway"].stop()
        second = f"ipc://{self.stack.dir}/run/gdpr-2.sock"
        self.stack.env_of["gateway"] = {"BUS_GDPR": f"{self.stack.env['BUS_GDPR']},{second}"}
        self.stack.start_one("gateway")
        self.stack.wait_ready()
        admin = self.stack.api(key=self.stack.admin_key)
        told = admin.post("/api/cache/clear").json["replicas"]
        self.assertEqual((told["asked"], told["acknowledged"], told["away"]), (3, 3, 1))
        state = admin.get("/api/circuit-breaker/gdpr/state").json
        self.assertEqual(state["state"], "half_open")
        replicas = admin.get("/api/metrics").json["services"]["gdpr"]
        self.assertEqual(sorted(r["answered"] for r in replicas), [False, True])


class OnRedis(WithRedis, OnStack):
    layout = "ipc"

    def test_its_breaker_is_told_and_closed_by_hand_and_a_clear_leaves_other_keys(self):
        admin = self.stack.api(key=self.stack.admin_key)

        def state():
            r = admin.get("/api/circuit-breaker/redis/state")
            return r.json["state"] if r.status == 200 else None

        wait_until(lambda: state() == "closed", 20, what="Redis, known and closed")
        self.assertTrue(admin.get("/api/metrics").json["config"]["redis_enabled"])
        self.redis.do("SET", "not-ours", "1")
        self.assertEqual(admin.post("/api/cache/clear").status, 200)
        self.assertEqual(self.redis.do("GET", "not-ours"), "1")
        r = admin.post("/api/circuit-breaker/redis/reset", {})
        self.assertEqual((r.status, r.json["state"]), (200, "closed"), r.raw)
        self.assertEqual(r.json["replicas"]["acknowledged"], 3)


class WithModel(OnStack):
    """A provider of a language model that nobody has asked yet."""
    layout = "ipc"
    env = Refusing().env()

    def test_its_breaker_and_its_health_are_told(self):
        admin = self.stack.api(key=self.stack.admin_key)

        def state():
            r = admin.get("/api/circuit-breaker/google_ai/state")
            return r.json if r.status == 200 else None

        told = wait_until(state, 20, what="the breaker")
        self.assertEqual(told, {"name": "google_ai", "state": "closed", "failure_count": 0,
                                "success_count": 0, "last_failure_time": None})
        self.assertEqual(admin.get("/api/metrics").json["circuit_breakers"]["google_ai"],
                         "closed")
        r = admin.post("/api/circuit-breaker/google_ai/reset", {})
        self.assertEqual((r.status, r.json["state"]), (200, "closed"), r.raw)
        self.assertEqual(r.json["replicas"]["acknowledged"], 1)
        self.assertEqual(admin.get("/api/health").json["checks"]["gemini_api"]["status"], "up")
        checks = self.stack.admin("content", "/readyz").json["parts"]["content"]["checks"]
        self.assertEqual((checks["llm"]["status"], checks["llm"]["critical"]), ("up", False))


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "tcp"), AdminRoutes)(loader, tests, pattern)
    for cls in () if SHORT else (OneAway, NoSuchReplica, OnRedis, WithModel):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite


if __name__ == "__main__":
    unittest.main()
