"""What was used of the language models, as administrators and people meet it."""
import csv
import io
import json
import sqlite3
import time

from tests.harness.process import wait_until
from tests.integration.stack import OnStack

USAGE = "/api/admin/usage"
DAY_MS = 86400000
ROWS = (  # sub, handle, route, model, requests, calls, in, out, micro-dollars
    ("u-1", "Usage.One", "create_presentation", "gemini/flash", 2, 9, 800, 2400, 1234567),
    ("u-1", "Usage.One", "quiz_generate", "offline/", 1, 0, 0, 0, 0),
    ("u-2", "=cmd", "create_subtopics", "llm/local", 5, 5, 100, 200, 50),
)


class Usage(OnStack):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls.stack.api(key=cls.stack.admin_key)
        _, cls.me = cls.stack.register("usage.me")
        now = time.time_ns() // 1000000
        if now % DAY_MS > DAY_MS - 60000:  # the tests are of one day
            day = now // DAY_MS
            wait_until(lambda: time.time_ns() // 1000000 // DAY_MS > day, 600, 0.5, "the next day")
            now = time.time_ns() // 1000000
        db = sqlite3.connect(cls.stack.dir / "data" / "knowalledge-content.db", timeout=30)
        with db:
            for sub, handle, route, model, *numbers in ROWS:
                db.execute("INSERT OR IGNORE INTO quota_people (sub, handle, tier, at) "
                           "VALUES (?, ?, 'free', ?)", (sub, handle, now))
                db.execute("INSERT INTO model_usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                           (sub, now // DAY_MS, route, model, *numbers, now))
        db.close()

    def get(self, path):
        r = self.admin.get(path)
        self.assertEqual(r.status, 200, r.raw)
        return r.json

    def test_the_list_is_sorted_as_asked(self):
        listed = self.get(f"{USAGE}?period=monthly&sort_by=requests")
        self.assertEqual([(u["user_id"], u["total_requests"]) for u in listed["top_users"]],
                         [("=cmd", 5), ("Usage.One", 3)])
        self.assertEqual(listed["totals"], {"users": 2, "requests": 8, "tokens": 3500,
                                            "cost": 1.2346})
        first = self.get(f"{USAGE}?limit=1")["top_users"]
        self.assertEqual([u["user_id"] for u in first], ["Usage.One"])
        self.assertEqual(json.loads(first[0]["endpoint_usage"])["quiz_generate"]["requests"], 1)

    def test_a_person_is_found_by_handle_or_sub(self):
        for name in ("usage.one", "u-1"):
            one = self.get(f"{USAGE}/user/{name}")
            self.assertEqual((one["user_id"], one["tier"]), ("Usage.One", "free"))
            self.assertEqual(one["daily"]["total_tokens"], 3200)
        nobody = self.get(f"{USAGE}/user/usage.nobody")
        self.assertEqual((nobody["daily"], nobody["monthly"], nobody["warnings"]),
                         (None, None, []))

    def test_the_file_is_an_attachment_that_runs_nothing(self):
        r = self.admin.get(f"{USAGE}/export?period=daily")
        self.assertEqual((r.status, r.headers["content-type"]),
                         (200, "text/csv; charset=utf-8"))
        self.assertRegex(r.headers["content-disposition"],
                         r'^attachment; filename="usage_daily_\d{8}\.csv"$')
        rows = list(csv.DictReader(io.StringIO(r.raw.decode(), newline="")))
        self.assertEqual([(x["user_id"], x["total_tokens"], x["total_cost"]) for x in rows],
                         [("Usage.One", "3200", "1.2346"), ("'=cmd", "300", "0.0001")])
        r = self.admin.get(f"{USAGE}/export?format=json")
        self.assertEqual(r.headers["content-type"], "application/json")
        self.assertIn(".json", r.headers["content-disposition"])
        self.assertEqual([x["user_id"] for x in r.json["records"]], ["Usage.One", "=cmd"])

    def test_days_and_routes_are_added_up(self):
        days = self.get(f"{USAGE}/trends?days=2")["trends"]
        self.assertEqual([d["requests"] for d in days], [0, 8])
        routes = self.get(f"{USAGE}/endpoint-breakdown")["endpoints"]
        self.assertEqual([x["endpoint"] for x in routes],
                         ["create_presentation", "create_subtopics", "quiz_generate"])

    def test_costs_name_the_route_that_costs_most(self):
        costs = self.get("/api/metrics/costs")
        self.assertEqual((costs["today"]["cost"], costs["last_7_days"]["cost"]),
                         (1.2346, 1.2346))
        self.assertIn("create_presentation", " ".join(costs["optimization_suggestions"]))
        self.assertEqual(costs["cost_breakdown"]["by_model"][0]["calls"], 9)

    def test_anyone_may_estimate_and_only_administrators_see_usage(self):
        r = self.me.post("/api/metrics/estimate", {"daily_requests": 200})
        self.assertEqual((r.status, r.json["daily_tokens"], r.json["quota"]["tier"]),
                         (200, 400000, "free"))
        for path in (USAGE, f"{USAGE}/user/usage.me", f"{USAGE}/export", f"{USAGE}/trends",
                     f"{USAGE}/endpoint-breakdown", "/api/metrics/costs"):
            self.assertProblem(self.me.get(path), 403, "ADMIN_REQUIRED")
            self.assertProblem(self.api.get(path), 401, "AUTH_REQUIRED")

    def test_what_is_asked_wrongly_is_named(self):
        for query, pointer in (("?period=yearly", "?period"), ("?sort_by=name", "?sort_by"),
                               ("?limit=0", "?limit"), ("/trends?days=91", "?days"),
                               ("/export?format=xml", "?format")):
            r = self.admin.get(USAGE + query)
            self.assertProblem(r, 400, "VALIDATION_ERROR")
            self.assertEqual([d["pointer"] for d in r.json["details"]], [pointer])
        for body in ({"daily_requests": 0}, {"avg_tokens_per_request": "many"},
                     {"daily_requests": 10**15}):
            self.assertProblem(self.me.post("/api/metrics/estimate", body), 400,
                               "VALIDATION_ERROR")


class Spent(OnStack):
    """Two requests a day, of whatever makes something."""
    env = {"RATE_LIMIT_ENABLED": "true", "QUOTA_FREE_RPD": "2"}

    def test_the_third_of_the_day_is_told_when_to_come_back(self):
        _, me = self.stack.register("spent")
        answers = [me.post("/api/create_subtopics", {"topic": t})
                   for t in ("Volcanoes", "Poems", "Bridges")]
        self.assertEqual([r.status for r in answers], [200, 200, 429], answers[-1].raw)
        body = self.assertProblem(answers[-1], 429, "QUOTA_EXCEEDED")
        self.assertEqual((body["period"], body["tier"], body["usage"], body["limit"]),
                         ("daily", "free", 2, 2))
        self.assertEqual(int(answers[-1].headers["retry-after"]), body["reset_in_seconds"])
        self.assertLessEqual(body["reset_in_seconds"], 86400)
        # What is remembered costs nothing, and neither does anything else.
        self.assertEqual(me.post("/api/create_subtopics", {"topic": "Poems"}).status, 200)
        self.assertEqual(me.get("/api/progress").status, 200)
        _, other = self.stack.register("thrifty")
        self.assertEqual(other.post("/api/create_subtopics", {"topic": "Bridges"}).status, 200)
