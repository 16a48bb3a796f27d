"""Likes without a login, and what the web analytics keep of whom: over HTTP."""
import json
import re
import threading
import unittest

from tests.harness.process import wait_until
from tests.harness.raw import exchange
from tests.integration.stack import OnStack, load_on

PLAIN, HOST = "kae_visitor", "__Host-kae_visitor"
APP = "https://app.example"
GRAPH = "/api/social/graphs/9316cd4d881e21d7"


class Site(OnStack):
    # With a proxy's word the same port is asked over HTTPS and from elsewhere.
    env = {"TRUSTED_PROXIES": "127.0.0.1", "FORCE_HTTPS": "false", "CORS_ORIGINS": APP}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key, cls.me = cls.stack.register("watcher")
        cls.admin = cls.stack.api(key=cls.stack.admin_key)

    def ask(self, method, path, body=None, raw=None, **headers):
        """Byte for byte; a header's name with _ for -."""
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else b""
        lines = {"Host": f"127.0.0.1:{self.stack.port}",
                 **{k.replace("_", "-"): v for k, v in headers.items() if v is not None}}
        if data:
            lines = {"Content-Type": "application/json", **lines,
                     "Content-Length": str(len(data))}
        head = "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        return exchange(self.stack.port,
                        f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)

    def stats(self, graph=GRAPH, **headers):
        r = self.ask("GET", graph + "/stats", **headers)
        self.assertEqual(r.status, 200, r.raw)
        self.assertNotIn("set-cookie", r.headers)
        return r.json["stats"], r.json["user_interaction"]

    def visitor(self, graph, **headers):
        """The cookie of a new one, who likes a graph."""
        r = self.ask("POST", graph + "/like", {}, **headers)
        self.assertEqual(r.status, 200, r.raw)
        return r.headers["set-cookie"], r.headers["set-cookie"].split(";")[0]

    # --- visitors

    def test_only_who_reacts_is_given_a_cookie_and_is_known_by_it(self):
        graph = "/api/social/graphs/00000000000000a1"
        for method, path, body in (("POST", "/api/social/graphs/id", {"topic": "Physics"}),
                                   ("GET", graph + "/stats", None),
                                   ("POST", graph + "/like", {"liked": False}),
                                   ("POST", graph + "/rate", {"rating": None}),
                                   ("GET", "/api/social/graphs/trending", None),
                                   ("POST", "/api/analytics", {"eventType": "fcp"})):
            r = self.ask(method, path, body)
            self.assertEqual(r.status, 200, r.raw)
            self.assertNotIn("set-cookie", r.headers, path)
        said, mine = self.visitor(graph)
        self.assertRegex(said, rf"^{PLAIN}=1\.[0-9a-f]{{32}}\.\d+\.[0-9a-f]{{32}}; Path=/; "
                               r"Max-Age=31536000; HttpOnly; SameSite=Lax$")
        self.assertNotIn(mine.split("=")[1], self.stack.text())
        own = f"http://127.0.0.1:{self.stack.port}"
        r = self.ask("POST", graph + "/rate", {"rating": 4}, Cookie=mine, Origin=own)
        self.assertEqual((r.status, r.json["total_ratings"]), (200, 1))
        self.assertNotIn("set-cookie", r.headers)
        self.assertNotIn("kae-visitor", r.headers)
        self.assertEqual(self.stats(graph, Cookie="a=b; " + mine)[1],
                         {"liked": True, "rating": 4})
        # Without a body at all it is a like, and again changes nothing.
        r = self.ask("POST", graph + "/like", Cookie=mine, Origin=own, Content_Length="0")
        self.assertEqual((r.status, r.json["likes"]), (200, 1), r.raw)
        r = self.ask("POST", graph + "/like", {"liked": False}, Cookie=mine, Origin=own)
        self.assertEqual(r.json, {"success": True, "liked": False, "likes": 0})

    def test_over_https_the_cookie_is_bound_to_the_host(self):
        graph = "/api/social/graphs/00000000000000a2"
        https = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
        said, mine = self.visitor(graph, **https)
        self.assertRegex(said, rf"^{HOST}=\S+; Path=/; Max-Age=31536000; HttpOnly; "
                               r"SameSite=Lax; Secure$")
        self.assertTrue(self.stats(graph, Cookie=mine, **https)[1]["liked"])
        self.assertFalse(self.stats(graph, Cookie=mine)[1]["liked"])
        plain = mine.replace(HOST, PLAIN)
        self.assertFalse(self.stats(graph, Cookie=plain, **https)[1]["liked"])

    def test_a_forged_cookie_is_as_none_and_is_replaced(self):
        graph = "/api/social/graphs/00000000000000a3"
        _, mine = self.visitor(graph)
        forged = (mine[:-1] + ("0" if mine[-1] != "0" else "1"), f"{PLAIN}=1.x.2.y",
                  f"{PLAIN}=" + "a" * 4000, f"{PLAIN}=", f"{mine}; {mine}",
                  re.sub(r"\.\d{10}\.", ".9999999999.", mine))
        for n, cookie in enumerate(forged):
            with self.subTest(cookie=cookie[:60]):
                self.assertFalse(self.stats(graph, Cookie=cookie)[1]["liked"])
                r = self.ask("POST", graph + "/like", {}, Cookie=cookie, Sec_Fetch_Site="same-origin")
                self.assertEqual((r.status, r.json["likes"]), (200, n + 2), r.raw)
                self.assertIn("SameSite=Lax", r.headers["set-cookie"])

    def test_a_page_of_another_site_makes_nobody_react(self):
        graph = "/api/social/graphs/00000000000000a4"
        _, mine = self.visitor(graph)
        own = f"http://127.0.0.1:{self.stack.port}"
        token = self.ask("GET", "/api/csrf-token", Cookie=mine).json["csrf_token"]
        for want, cookie, site, origin, brings in (
                (None, mine, "same-origin", None, None),
                (None, mine, None, own, None),
                (None, mine, "cross-site", APP, None),
                (None, mine, None, None, token),
                (None, None, None, None, None),
                (None, None, None, APP, None),
                ("CSRF_TOKEN_MISSING", mine, None, None, None),
                ("CSRF_TOKEN_INVALID", mine, "cross-site", "https://evil.example", token),
                ("CSRF_TOKEN_INVALID", mine, None, "null", None),
                ("CSRF_TOKEN_INVALID", None, "cross-site", "https://evil.example", None),
                ("CSRF_TOKEN_INVALID", None, "cross-site", None, None)):
            for path, body in ((graph + "/like", {"liked": True}), (graph + "/share", {})):
                with self.subTest(path=path, cookie=cookie, site=site, origin=origin):
                    r = self.ask("POST", path, body, Cookie=cookie, Sec_Fetch_Site=site,
                                 Origin=origin, X_CSRF_Token=brings)
                    if want:
                        self.assertProblem(r, 403, want)
                        self.assertNotIn("set-cookie", r.headers)
                    else:
                        self.assertEqual(r.status, 200, r.raw)
        # A token is a credential that no page has without being given it.
        r = self.ask("POST", graph + "/like", {}, Authorization=f"Bearer {self.me.token}",
                     Sec_Fetch_Site="cross-site", Origin="https://evil.example")
        self.assertEqual(r.status, 200, r.raw)

    def test_who_is_logged_in_is_known_by_any_credential(self):
        graph = "/api/social/graphs/00000000000000a5"
        r = self.ask("POST", "/api/auth/login", {"api_key": self.key, "session": "cookie"})
        session = r.headers["set-cookie"].split(";")[0]
        _, visitor = self.visitor(graph)
        likes = self.ask("POST", graph + "/like", {}, Sec_Fetch_Site="same-origin",
                         Cookie=f"{session}; {visitor}")
        self.assertEqual((likes.status, likes.json["likes"]), (200, 1))  # of them alone
        self.assertNotIn("set-cookie", likes.headers)
        for who in ({"Authorization": f"Bearer {self.me.token}"}, {"X-API-Key": self.key},
                    {"Cookie": session}):
            self.assertTrue(self.stats(graph, **who)[1]["liked"])
        self.assertFalse(self.stats(graph, Cookie=visitor)[1]["liked"])
        # A stale credential is as none; a key that may only read does not write.
        self.assertFalse(self.stats(graph, Authorization="Bearer a.b.c")[1]["liked"])
        reader = self.me.post("/api/auth/keys", {"name": "r", "scopes": ["read"]}).json["api_key"]
        self.assertProblem(self.ask("POST", graph + "/like", {}, X_API_Key=reader), 403)
        self.assertTrue(self.stats(graph, X_API_Key=reader)[1]["liked"])

    def test_many_at_once_count_once_each(self):
        graph = "/api/social/graphs/00000000000000a6"
        people = [self.stack.register(f"crowd.{n}")[1] for n in range(4)]
        failed = []

        def press(me):
            for n in range(8):
                r = me.post(graph + "/like", {"liked": n % 2 == 0}) if n != 7 else \
                    me.post(graph + "/like")
                failed.extend([] if r.status == 200 else [r.raw])
        threads = [threading.Thread(target=press, args=(self.stack.api(token=p.token),))
                   for p in people for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        liked = sum(p.get(graph + "/stats").json["user_interaction"]["liked"] for p in people)
        self.assertEqual(self.stats(graph)[0]["likes"], liked)

    def test_bad_input_is_named(self):
        for rating in (0, 5.5, True, "5", [], {}):
            r = self.assertProblem(self.me.post(GRAPH + "/rate", {"rating": rating}), 400)
            self.assertEqual(r["details"][0]["pointer"], "/rating")
        self.assertProblem(self.me.post(GRAPH + "/rate", {}), 400)
        for graph in ("x", "9316CD4D881E21D7", "9316cd4d881e21d7a", "%2e%2e"):
            self.assertProblem(self.api.get(f"/api/social/graphs/{graph}/stats"), 404)
        for query in ("trending?limit=0", "trending?limit=101", "top-rated?limit=x",
                      "top-rated?min_ratings=-1"):
            self.assertProblem(self.api.get("/api/social/graphs/" + query), 400)
        r = self.api.post("/api/social/graphs/id", {"topic": "Machine Learning"})
        self.assertEqual(r.json["graph_id"], "9316cd4d881e21d7")

    # --- analytics

    def tell(self, who=None, kind="interaction", headers=None, **data):
        r = (who or self.api).post("/api/analytics", {"eventType": kind, "data": data},
                                   headers=headers)
        self.assertEqual((r.status, r.json["success"]), (200, True), r.raw)
        return r.json.get("reason", "stored")

    def total(self, kind=""):
        return self.admin.get(f"/api/analytics/export?event_type={kind}").json["total_events"]

    def test_consent_decides_what_is_kept_of_a_person(self):
        _, me = self.stack.register("Agreeing.One")
        journey = "/api/analytics/user-journey?user_id=agreeing.one"
        self.assertEqual(self.tell(me), "no_consent")
        me.post("/api/user/consent", {"type": "analytics", "given": True})
        wait_until(lambda: self.tell(me, sessionId="s") == "stored", 20, what="the consent")
        for name in ("Sec-GPC", "DNT"):
            self.assertEqual(self.tell(me, headers={name: "1"}), "tracking_refused")
        self.assertEqual(self.tell(headers={"Sec-GPC": "1"}), "tracking_refused")
        r = self.admin.get(journey)
        self.assertEqual((r.status, r.json["total_events"], len(r.json["journey"])), (200, 1, 1))
        export = me.get("/api/user/export").json["stores"]["content"]
        self.assertEqual(len(export["site_events"]), 1)
        wait_until(lambda: any(e["event_type"] == "data_access" for e in
                               me.get("/api/user/audit-logs").json["audit_logs"]), 20,
                   what="the look in their log")
        # The cookie category is a door to the same thing; what is kept goes.
        me.post("/api/user/consent", {"cookie_preferences": {"analytics": False}})
        wait_until(lambda: self.tell(me) == "no_consent", 20, what="the withdrawal")
        self.assertProblem(self.admin.get(journey), 404)

    def test_a_strange_event_is_dropped_and_a_bad_one_refused(self):
        before = self.total()
        self.assertEqual(self.tell(kind="nonsense"), "unknown_event_type")
        self.assertEqual(self.total(), before)
        for body in ({}, {"eventType": 7}, {"eventType": "fcp", "data": "x"}):
            self.assertProblem(self.api.post("/api/analytics", body), 400)
        self.assertProblem(self.ask("POST", "/api/analytics", raw=b"{", Accept="*/*"), 400)
        big = {"eventType": "error", "data": {"message": "x" * 70000}}
        self.assertProblem(self.api.post("/api/analytics", big), 413)

    def test_only_administrators_read(self):
        for what in ("web/summary", "errors", "funnel", "performance", "cohorts", "segments",
                     "realtime", "export", "user-journey?user_id=watcher"):
            path = "/api/analytics/" + what
            self.assertProblem(self.api.get(path), 401)
            self.assertProblem(self.me.get(path), 403)
        self.assertProblem(self.me.post("/api/analytics/cleanup"), 403)
        for query in ("funnel?days=0", "funnel?days=366", "errors?days=x", "cohorts?period=day",
                      "export?format=xml", "export?event_type=x", "user-journey"):
            self.assertProblem(self.admin.get("/api/analytics/" + query), 400)
        self.assertProblem(self.admin.post("/api/analytics/cleanup?days=0", {}), 400)
        r = self.admin.post("/api/analytics/cleanup?days=1", {})
        self.assertEqual((r.status, r.json["deleted"]), (200, 0))

    def test_a_table_is_a_file_that_runs_nothing(self):
        self.tell(kind="error", message="=cmd|' /C calc'!A0")
        for ask in ({"path": "/api/analytics/export?format=csv"},
                    {"path": "/api/analytics/export", "headers": {"Accept": "text/csv"}}):
            r = self.admin.ask("GET", **ask)
            self.assertEqual((r.status, r.headers["content-type"]),
                             (200, "text/csv; charset=utf-8"))
            self.assertEqual(r.headers["content-disposition"],
                             'attachment; filename="analytics.csv"')
            self.assertNotIn("kae-form", r.headers)
            self.assertIn("Accept", r.headers["vary"])
            lines = r.raw.decode().split("\r\n")
            self.assertTrue(lines[0].startswith("timestamp,event_type,session_id"))
            self.assertIn(",\"'=cmd|' /C calc'!A0\",", r.raw.decode())
        r = self.admin.get("/api/analytics/export?format=json", headers={"Accept": "text/csv"})
        self.assertEqual(r.headers["content-type"], "application/json")
        self.assertProblem(self.admin.get("/api/analytics/export",
                                          headers={"Accept": "image/png"}), 406)

    def test_what_a_browser_measured_is_taken_and_forgotten(self):
        for kind, raw in (("application/json", b'{"metrics":{}}'), ("text/plain", b"{"),
                          (None, b"")):
            r = self.ask("POST", "/api/metrics/performance", raw=raw, Content_Type=kind,
                         Content_Length=None if raw else "0")
            self.assertEqual((r.status, r.raw), (204, b""))
        r = self.api.post("/api/metrics/performance", {"x": "y" * 70000})
        self.assertProblem(r, 413)

    def test_a_learners_summary(self):
        _, me = self.stack.register("learner.of.figures")
        s = me.get("/api/analytics/summary").json
        self.assertEqual((s["success"], len(s["summary"]), s["summary"]["study_time_hours"],
                          s["summary"]["exam_readiness"], s["summary"]["best_study_day"]),
                         (True, 10, 0, "Needs More Preparation", None))
        self.assertEqual(me.post("/api/quiz/submit", {"topic": "Optics", "subtopic": "Light",
                                                      "score": 3, "total": 3}).status, 200)
        s = me.get("/api/analytics/summary?days=1").json["summary"]
        self.assertEqual((s["sessions_completed"], s["concepts_mastered"], s["average_score"],
                          s["exam_readiness"], s["active_gaps"]), (1, 1, 100, "Ready", 0))
        for days in ("0", "366", "x"):
            self.assertProblem(me.get("/api/analytics/summary?days=" + days), 400)


class Limited(OnStack):
    env = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_VISITOR_PER_MINUTE": "3"}

    def test_visitors_of_an_address_are_counted_and_people_are_not_theirs(self):
        _, me = self.stack.register("not.a.visitor")
        answers = [self.api.post("/api/analytics", {"eventType": "fcp"}) for _ in range(3)]
        self.assertEqual([r.status for r in answers], [200] * 3)
        r = self.api.post(GRAPH + "/like", {})
        self.assertProblem(r, 429)
        self.assertIn("retry-after", r.headers)
        self.assertEqual(me.post(GRAPH + "/like", {}).status, 200)


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "tcp"), Site)(loader, tests, pattern)
    suite.addTests(load_on(("one",), Limited)(loader, tests, pattern))
    return suite


if __name__ == "__main__":
    unittest.main()
