"""What people may ask of us: consent, correction, restriction, breaches; and that
what is too old goes by itself."""
import pathlib
import re
import sqlite3
import time
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import LAYOUTS, ROOT, OnStack, Stack, load_on

DAY_MS = 86400000


def metric(text, name):
    """The value of one line of /metrics, or None."""
    m = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(m.group(1)) if m else None


class Rights(OnStack):
    def submit(self, me, subtopic, attempt=None):
        return me.post("/api/quiz/submit", attempt or {
            "topic": "Optics", "subtopic": subtopic, "score": 3, "total": 3})

    def xp(self, me):
        return me.get("/api/gamification/stats").json["stats"]["progress"]["total_xp"]

    def on_board(self, handle):
        board = self.api.get("/api/gamification/leaderboard").json["leaderboard"]
        return handle in [row["user_id"] for row in board]

    def test_consent_is_given_seen_and_taken_back(self):
        _, me = self.stack.register("consenting")
        before = me.get("/api/user/consent").json
        self.assertFalse(before["consent_given"])
        r = me.post("/api/user/consent", {"given": True,
                                          "cookie_preferences": {"analytics": True}})
        self.assertEqual(r.status, 200, r.raw)
        self.assertEqual(r.json["consent"]["consent_type"], "terms_of_service")
        now = me.get("/api/user/consent").json
        self.assertTrue(now["consents"]["terms_of_service"]["given"])
        self.assertEqual(now["cookie_preferences"], {
            "necessary": True, "functional": False, "analytics": True, "performance": False})
        self.assertEqual(now["consent_given_at"], r.json["consent"]["timestamp"])
        self.assertEqual(me.post("/api/user/consent", {}).status, 200)  # given=false
        self.assertIsNone(me.get("/api/user/consent").json["consent_given_at"])
        history = me.get("/api/user/consent/history?limit=2").json
        self.assertEqual([(h["type"], h["given"]) for h in history["history"]],
                         [("terms_of_service", False), ("analytics", True)])
        rest = me.get(f"/api/user/consent/history?before={history['next_before']}").json
        self.assertEqual([h["type"] for h in rest["history"]], ["terms_of_service"])
        self.assertEqual(rest["history"][0]["network"], "127.0.0.0/24")
        refused = self.assertProblem(me.post("/api/user/consent", {"type": "spam"}), 400)
        self.assertIn("privacy_policy", refused["details"][0]["message"])
        refused = self.assertProblem(me.post("/api/user/consent", {
            "cookie_preferences": {"necessary": False}}), 400)
        self.assertEqual(refused["details"][0]["pointer"], "/cookie_preferences/necessary")

    def test_what_may_be_corrected_and_what_not(self):
        _, me = self.stack.register("corrected")
        _, other = self.stack.register("also.corrected")
        updates = {"email": "Ada@Example.org", "display_name": " Ada ",
                   "preferences": {"theme": "dark", "language": "de", "notifications": False}}
        r = me.ask("PATCH", "/api/user/rectify", body={"updates": updates})
        self.assertEqual(r.status, 200, r.raw)
        self.assertEqual(r.json["updated_fields"], ["email", "display_name", "preferences"])
        self.assertEqual(r.json["profile"], {**updates, "display_name": "Ada"})
        r = me.ask("PATCH", "/api/user/rectify", body={
            "updates": {"preferences": {"language": None, "theme": "light"}}})
        self.assertEqual(r.json["profile"]["preferences"],
                         {"theme": "light", "notifications": False})
        self.assertEqual(r.json["profile"]["email"], "Ada@Example.org")
        r = me.ask("PATCH", "/api/user/rectify", body={
            "updates": {"role": "admin", "sub": "x", "display_name": "Eve"}})
        refused = self.assertProblem(r, 400)
        self.assertEqual({d["pointer"] for d in refused["details"]},
                         {"/updates/role", "/updates/sub"})
        self.assertEqual(me.get("/api/auth/validate").json["role"], "user")
        r = other.ask("PATCH", "/api/user/rectify",
                      body={"updates": {"email": "ada@example.ORG"}})
        self.assertProblem(r, 409, "ALREADY_EXISTS")

    def test_restricted_data_is_kept_and_not_used(self):
        _, me = self.stack.register("restricted")
        _, other = self.stack.register("unrestricted")
        for api in (me, other):
            self.assertEqual(self.submit(api, "Lenses").status, 200)
            wait_until(lambda api=api: self.xp(api) >= 200, 20, what="XP")
        self.submit(me, "Mirrors")
        wait_until(lambda: self.on_board("restricted"), 20, what="a place on the board")
        wait_until(lambda: self.xp(me) >= 400, 20, what="XP of two quizzes")
        rank = me.get("/api/gamification/leaderboard/rank").json["rank"]

        r = me.post("/api/user/restriction", {"restricted": True, "reason": "it is wrong"})
        self.assertEqual((r.status, r.json["restricted"]), (200, True), r.raw)
        self.assertEqual(me.post("/api/user/restriction", {"restricted": True}).json, r.json)
        wait_until(lambda: not self.on_board("restricted"), 10, what="a board without them")
        self.assertTrue(self.on_board("unrestricted"))
        self.assertProblem(me.get("/api/gamification/leaderboard/rank"), 404)
        # svc-content is told by an event.
        wait_until(lambda: self.submit(me, f"Prisms {time.monotonic_ns()}").status == 403, 20,
                   what="a refusal")
        self.assertProblem(self.submit(me, "Prisms"), 403, "PROCESSING_RESTRICTED")
        quiz = me.post("/api/quiz/generate", {"topic": "Optics", "subtopic": "Lenses",
                                              "count": 1})
        self.assertEqual(quiz.status, 200, quiz.raw)
        self.assertProblem(self.submit(me, "", {
            "attempt_id": quiz.json[0]["attempt_id"], "answers": [{
                "question_id": quiz.json[0]["question_id"], "option": 0}]}),
            403, "PROCESSING_RESTRICTED")
        shown = me.get("/api/progress").json
        self.assertIn("Lenses", {p["subtopic"] for p in shown})  # their own, to see
        kept = self.xp(me)

        self.assertEqual(me.post("/api/user/restriction", {"restricted": False}).status, 200)
        again = me.get("/api/gamification/leaderboard/rank").json["rank"]
        self.assertEqual(again["rank"], rank["rank"])
        self.assertGreaterEqual(again["total_xp"], kept)  # more, if one was under way
        wait_until(lambda: self.on_board("restricted"), 10, what="their place on the board")
        wait_until(lambda: self.submit(me, "Mirages").status == 200, 20, what="a taken quiz")

    def test_a_breach_reaches_those_affected(self):
        admin = self.stack.api(key=self.stack.admin_key)
        _, me = self.stack.register("breached")
        _, other = self.stack.register("unharmed")
        body = {"breach_type": "stolen laptop", "affected_data": ["XP", "consents"],
                "user_ids": ["Breached"], "description": "It was on a train."}
        self.assertProblem(me.post("/api/user/breach/notify", body), 403)
        told = []
        wait_until(lambda: told.append(admin.post("/api/user/breach/notify", body)) or
                   told[-1].status == 200, 20, what="a breach")
        entry = told[-1].json
        self.assertRegex(entry["breach_id"], r"^[0-9a-f]{16}$")
        self.assertEqual(entry["notified_users"], 1)
        self.assertEqual(admin.post("/api/user/breach/notify", body).json, entry)  # the same
        mine = me.get("/api/user/breaches").json
        self.assertEqual((mine["count"], mine["unacknowledged"]), (1, 1))
        self.assertEqual(mine["breaches"][0]["affected_data"], ["XP", "consents"])
        self.assertEqual(mine["breaches"][0]["severity"], "high")
        self.assertEqual(other.get("/api/user/breaches").json["count"], 0)
        path = f"/api/user/breaches/{entry['breach_id']}/acknowledge"
        self.assertProblem(other.post(path, {}), 404)
        first = me.post(path, {})
        self.assertEqual(first.status, 200, first.raw)
        self.assertEqual(me.post(path, {}).json, first.json)
        self.assertEqual(me.get("/api/user/breaches").json["unacknowledged"], 0)
        refused = self.assertProblem(admin.post("/api/user/breach/notify", {
            **body, "user_ids": ["breached", "no.such.person"]}), 400)
        self.assertEqual([d["pointer"] for d in refused["details"]], ["/user_ids/1"])

        at = "knowalledge" if self.layout == "one" else "gdpr"
        def left():
            return metric(self.stack.admin(at, "/metrics").raw.decode(),
                          "kae_breach_deadline_seconds")
        wait_until(lambda: left() is not None, 30, what="the deadline among the metrics")
        self.assertLess(left(), 72 * 3600)
        self.assertGreater(left(), 71 * 3600)
        row = next(b for b in admin.get("/api/admin/breaches").json["breaches"]
                   if b["breach_id"] == entry["breach_id"])
        self.assertEqual((row["acknowledged_users"], row["overdue"], row["reported_at"]),
                         (1, False, None))
        for b in admin.get("/api/admin/breaches").json["breaches"]:
            r = admin.post(f"/api/admin/breaches/{b['breach_id']}/reported", {})
            self.assertEqual(r.status, 200, r.raw)
        wait_until(lambda: left() is None, 30, what="no deadline any more")


class Retention(unittest.TestCase):
    """SQLite, so that the test can put old rows beside the running program's."""

    def rows(self, file, sql):
        db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            return db.execute(sql).fetchone()[0]
        finally:
            db.close()

    def test_what_is_old_goes_and_a_kill_in_the_middle_does_not_matter(self):
        stack = Stack("one", RETENTION_EVERY_S="1", RETENTION_ACTIVITY_LOG_DAYS="1")
        self.addCleanup(stack.close)
        stack.start()
        _, me = stack.register("reader")
        me.post("/api/quiz/generate", {"topic": "Optics", "subtopic": "Lenses", "count": 1})
        self.assertEqual(stack.processes["knowalledge"].stop(), 0)
        stack.past.append(stack.processes.pop("knowalledge"))
        file = pathlib.Path(stack.env["DATA_DIR"]) / "knowalledge-content.db"
        now = int(time.time() * 1000)
        db = sqlite3.connect(file)
        db.executemany(
            "INSERT INTO attempts (id, sub, topic_key, topic, subtopic_key, subtopic, total, "
            "created_at) VALUES (?, 'old', 'a', 'a', 'b', 'b', 1, ?)",
            [(f"old-{i}", now - 2 * DAY_MS) for i in range(20000)])
        db.commit()
        db.close()
        stack.start_one("knowalledge")
        wait_until(lambda: self.rows(file, "SELECT COUNT(*) FROM attempts") < 20001, 60,
                   what="the first batch")
        stack.processes["knowalledge"].kill()
        self.assertGreaterEqual(self.rows(file, "SELECT COUNT(*) FROM attempts"), 1)
        stack.start_one("knowalledge")
        stack.wait_ready()
        wait_until(lambda: self.rows(file, "SELECT COUNT(*) FROM attempts") == 1, 60,
                   what="the rest")
        name = 'kae_retention_last_success_timestamp_seconds{service="content"}'

        def metrics():
            return stack.admin("knowalledge", "/metrics").raw.decode()
        wait_until(lambda: metric(metrics(), name), 60, what="a run that got through")
        self.assertGreaterEqual(metric(metrics(), name), now // 1000 - 1)
        # What was handed out a moment ago is still there to be handed in.
        self.assertEqual(self.rows(file, "SELECT sub <> 'old' FROM attempts"), 1)

    def test_the_page_has_the_table(self):
        page = (ROOT / "docs" / "rights.md").read_text()
        for name, days in re.findall(r'^CATEGORY\(\w+, +"(\w+)", +(\d+),',
                                     (ROOT / "common/service/retention.def").read_text(), re.M):
            self.assertRegex(page, rf"(?m)^\| `{name}` \| {days} \|")
        for service in ("auth", "content", "gdpr"):
            for table in re.findall(r'^KEEP\(\w+, +"(\w+)"',
                                    (ROOT / f"svc-{service}/retention.def").read_text(), re.M):
                self.assertIn(f"`{table}`", page)


class Reauthentication(OnStack):
    env = {"STEP_UP_MAX_AGE_S": "1"}

    def test_another_address_asks_who_it_is_and_a_name_does_not(self):
        key, me = self.stack.register("stale")
        body = {"updates": {"email": "stale@example.org"}}

        def refused():
            r = me.ask("PATCH", "/api/user/rectify", body={"updates": {
                "email": f"s{time.monotonic_ns()}@example.org"}})
            return r.status == 401
        wait_until(refused, 20, what="a login that is too old")
        self.assertProblem(me.ask("PATCH", "/api/user/rectify", body=body), 401,
                           "REAUTH_REQUIRED")
        r = me.ask("PATCH", "/api/user/rectify",
                   body={"updates": {"display_name": "Stale"}})
        self.assertEqual(r.status, 200, r.raw)
        r = me.ask("PATCH", "/api/user/rectify", body={**body, "api_key": key})
        self.assertEqual(r.status, 200, r.raw)


def load_tests(loader, tests, pattern):
    suite = load_on(LAYOUTS, Rights)(loader, tests, pattern)
    for cls in (Retention, Reauthentication):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite


if __name__ == "__main__":
    unittest.main()
