"""A person is erased: everywhere, for ever, whatever dies meanwhile.

What is left is looked for by this file's own means: every row of every table, the
bytes of the SQLite files, every key of Redis.
"""
import base64
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
import unittest
import uuid

from tests.fault.test_events import OnBooks
from tests.harness.process import wait_until
from tests.harness.redis import WithRedis
from tests.integration.stack import BIN, SERVICES, load_on
from tests.integration.test_routes import filled, table

FULL = bool(os.environ.get("KAE_FULL"))
ROUNDS = 20 if FULL else 1
# Who is stopped meanwhile, and how many of the saga's six steps are waited for:
# it asks auth first and then content, and stands where one does not answer.
STEPS = ([("auth", 0), ("content", 1), *((None, n) for n in range(7))] if FULL
         else [("content", 1), (None, 4)])
TOPIC = "Zyxomarkers"


def part(token, n):
    text = token.split(".")[n]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


class OnErasure(WithRedis, OnBooks):
    def person(self, name):
        """Somebody who has left something in every table: (handle, sub, key, client)."""
        handle = f"mark.{name}.{self.layout}"
        key, me = self.stack.register(handle)
        sub = part(me.token, 1)["sub"]
        topic = f"{TOPIC} {name}"
        for path, body in (
                ("/api/create_subtopics", {"topic": topic}),
                ("/api/create_presentation", {
                    "topic": topic, "focus": ["Start"], "educationLevel": "college",
                    "levelOfDetail": "medium"}),
                ("/api/quiz/generate", {"topic": topic, "subtopic": "Start", "count": 1}),
                ("/api/quiz/submit", {"topic": topic, "subtopic": "Start",
                                      "score": 1, "total": 1})):
            r = me.post(path, body, headers={"Idempotency-Key": str(uuid.uuid4())})
            self.assertLess(r.status, 300, r.raw)
        wait_until(lambda: me.get("/api/gamification/leaderboard/rank").status == 200, 30,
                   what="a rank")
        me.get("/api/gamification/stats")
        me.get("/api/gamification/leaderboard")
        return handle, sub, key, me

    # --- looking ---------------------------------------------------------------

    def rows(self):
        """(service, table, row as text in lower case) of everything."""
        for service in SERVICES:
            if self.stack.postgres:
                names = self.sql(service, "SELECT table_name FROM information_schema.tables "
                                 f"WHERE table_schema = '{service}'")
                # Bytes are written as escapes, so that text in them is text.
                for name, row in self.stack.postgres.rows(
                        " UNION ALL ".join(f"SELECT '{name}', t::text FROM {service}.{name} AS t"
                                           for name, in names),
                        self.stack.postgres.url + "?options=-cbytea_output%3Descape"):
                    yield service, name, row.lower()
                continue
            path = self.stack.dir / "data" / f"knowalledge-{service}.db"
            db = sqlite3.connect(path, timeout=30)
            db.text_factory = bytes
            for name, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'"
                                    ).fetchall():
                for row in db.execute(f'SELECT * FROM "{name.decode()}"'):
                    yield service, name.decode(), " ".join(
                        v.decode("latin-1") if isinstance(v, bytes) else str(v)
                        for v in row).lower()
            db.close()

    def left(self, handle, sub, topic, files=True):
        """Where anything still names the person."""
        needles = [n.lower() for n in (handle, sub, topic)]
        found = {(service, name) for service, name, row in self.rows()
                 if any(n in row for n in needles)}
        keys = self.redis.do("--scan").splitlines()
        values = self.redis.do("MGET", *keys) if keys else ""
        if any(n in "\n".join([*keys, values]).lower() for n in needles):
            found.add(("redis", "\n".join([*keys, values])))
        if files and not self.stack.postgres:
            for f in (self.stack.dir / "data").rglob("*.db*"):
                data = f.read_bytes().lower()
                for n in needles:
                    # The revocation, which is a row as well.
                    if n.encode() in data and not (n == sub and "-auth" in f.name):
                        found.add((f.name, n))
        # By it gateways refuse tokens that are still out.
        return found - {("auth", "revocations")}

    def assertGone(self, handle, sub, topic, files=True):
        self.assertEqual(self.left(handle, sub, topic, files), set())
        broken = self.number("gdpr", "SELECT count(*) FROM @person AS p WHERE total_xp <> "
                             "coalesce((SELECT sum(xp) FROM @ledger AS l WHERE l.sub = p.sub), 0)")
        self.assertEqual(broken, 0)
        self.assertEqual(self.sql(
            "gdpr", "SELECT level, people FROM (SELECT n.level AS level, (SELECT "
                    "coalesce(sum(people), 0) FROM @rank_bucket AS b WHERE b.level = n.level) "
                    "+ (SELECT count(*) FROM @rank_move WHERE new_key >= 0) "
                    "- (SELECT count(*) FROM @rank_move WHERE old_key >= 0) "
                    "AS people FROM (SELECT 0 AS level UNION SELECT 1 UNION SELECT 2 UNION "
                    "SELECT 3 UNION SELECT 4 UNION SELECT 5) AS n) AS l WHERE people <> (SELECT count(*) FROM @person "
                    "WHERE rank_key IS NOT NULL)"), [])

    def complete(self, receipt, timeout=90):
        def done():
            r = self.stack.api().get(f"/api/user/erasure/{receipt}")
            return r.status == 200 and r.json["state"] == "complete" and r.json
        return wait_until(done, timeout, every=0.1, what="the erasure to complete")

    def erase(self, me, **body):
        return me.delete("/api/user/delete", body={"reason": "because", **body})

    def verify(self, text, *more):
        path = self.stack.dir / "receipt"
        path.write_text(text)
        env = {**os.environ, **self.stack.env} if not more else {"PATH": os.environ["PATH"]}
        program = "knowalledge" if self.layout == "one" else "kae-gdpr"
        return subprocess.run([BIN / program, "--verify-receipt", path, *map(str, more)],
                              env=env, cwd=self.stack.dir, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)


class Whole(OnErasure):
    def test_a_person_is_gone_from_everywhere(self):
        handle, sub, key, me = self.person("whole")
        topic = f"{TOPIC} whole"
        self.assertLessEqual({("auth", "users"), ("content", "mastery"), ("gdpr", "person")},
                             self.left(handle, sub, topic))
        r = self.erase(me)
        self.assertEqual(r.status, 200, r.raw)
        told = r.json
        self.assertIn("account", told["data_removed"])
        self.assertEqual(told["counts"]["auth"]["users"], 1)
        self.assertEqual(told["counts"]["gdpr"]["person"], 1)
        self.assertEqual(told["counts"]["content"]["mastery"], 1)
        self.assertGone(handle, sub, topic)

        with self.subTest("no way in"):
            wait_until(lambda: me.get("/api/auth/validate").status == 401, 10,
                       what="the token to be refused")
            for method, path, who, _, _, built, _ in table():
                if who == "user" and built == "built":
                    r = me.ask(method, filled(path), body=None if method == "GET" else {})
                    self.assertEqual(r.status, 401, (method, path, r.raw))
            r = self.stack.api().post("/api/auth/login", {"api_key": key})
            self.assertEqual(r.status, 401)
            self.assertEqual(self.stack.api(key=key).get("/api/auth/validate").status, 401)
        with self.subTest("the handle stays taken, and only that"):
            for name in (handle, handle.upper()):
                r = self.stack.api().post("/api/auth/register", {"user_id": name})
                self.assertEqual(r.status, 409, r.raw)
            admin = self.stack.api(key=self.stack.admin_key)
            r = admin.post("/api/auth/admin/generate-key", {"user_id": handle})
            self.assertEqual(r.status, 409, r.raw)
            _, again = self.stack.register(f"another.{self.layout}")
            self.assertNotEqual(part(again.token, 1)["sub"], sub)
            self.assertEqual(again.get("/api/progress").json, [])
        with self.subTest("the receipt"):
            self.receipt(told, sub, handle)
        self.assertGone(handle, sub, topic)
        self.assertEqual(self.stack.text().count('"erase.findings"'), 0)

    def receipt(self, told, sub, handle):
        status = self.stack.api().get(told["status_url"]).json
        self.assertEqual((status["state"], status["receipt"]), ("complete", told["receipt"]))
        said = part(told["receipt"], 1)
        self.assertEqual(said["receipt_id"], told["receipt_id"])
        self.assertEqual({s["name"] for s in said["stores"]}, set(SERVICES))
        for store in said["stores"]:
            self.assertEqual(store["scan"]["findings"], 0)
            self.assertGreater(store["scan"]["tables"], 5)
            self.assertGreaterEqual(store["scan"]["shared_cache_keys"], -1)
        for name in (sub, handle):
            self.assertNotIn(name, json.dumps(said))
        keys = self.stack.dir / "keys.json"
        keys.write_text(json.dumps(self.stack.api().get("/api/user/erasure-keys").json))
        head, body, sig = told["receipt"].split(".")
        forged = base64.urlsafe_b64encode(json.dumps(
            {**said, "subject": "0" * 64}).encode()).decode().rstrip("=")
        for more in ((), ("--key", keys)):
            done = self.verify(told["receipt"], *more)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout), said)
            self.assertEqual(self.verify(json.dumps(told), *more).returncode, 0)
            for bad in (f"{head}.{forged}.{sig}", f"{head}.{body}.{sig[:-4]}AAAA",
                        f"{head}.{body}", "nonsense", f"{head}.{body}.{sig}.x"):
                done = self.verify(bad, *more)
                self.assertEqual((done.returncode, done.stdout), (1, b""), bad)
        keys.write_text('{"keys": []}')
        self.assertEqual(self.verify(told["receipt"], "--key", keys).returncode, 1)

    def test_nothing_of_a_request_that_has_begun_comes_after(self):
        """A register's answer, kept for its key, is about the person, too."""
        key = str(uuid.uuid4())
        body = {"user_id": f"mark.replayed.{self.layout}"}
        head = {"Idempotency-Key": key}
        first = self.stack.api().post("/api/auth/register", body, headers=head)
        me = self.stack.api(key=first.json["api_key"])
        self.assertEqual(self.erase(me).status, 200)
        r = self.stack.api().post("/api/auth/register", body, headers=head)
        self.assertEqual((r.status, r.headers.get("idempotent-replayed")), (409, None), r.raw)

    def test_two_at_once_are_one_erasure(self):
        _, _, _, me = self.person("twice")
        others = [self.stack.api(token=me.token) for _ in range(4)]
        answers = [None] * 4

        def ask(i):
            answers[i] = self.erase(others[i])

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        good = [a for a in answers if a.status in (200, 202)]
        self.assertGreater(len(good), 0, [a.raw for a in answers])
        self.assertEqual(len({a.json["receipt_id"] for a in good}), 1)
        # One that came later found its token ended.
        self.assertLessEqual({a.status for a in answers}, {200, 202, 401})
        self.complete(good[0].json["receipt_id"])

    def test_who_it_is_is_asked_and_the_bootstrap_administrator_stays(self):
        r = self.erase(self.stack.api(key=self.stack.admin_key))
        self.assertProblem(r, 409, "CONFLICT")
        self.assertIn("administrator", r.json["detail"])
        self.assertEqual(self.stack.api(key=self.stack.admin_key).get(
            "/api/auth/validate").status, 200)
        self.assertProblem(self.erase(self.stack.api()), 401)
        self.assertProblem(self.stack.api().get("/api/user/erasure/" + str(uuid.uuid4())), 404)
        self.assertProblem(self.stack.api().get("/api/user/erasure/x"), 404)


class Killed(OnErasure):
    def test_what_is_away_is_erased_when_it_is_back(self):
        handle, sub, _, me = self.person("away")
        self.kill("content")
        r = self.erase(me)
        self.assertEqual(r.status, 202, r.raw)
        self.assertIn("content", r.json["pending"])
        self.assertIsNone(r.json["receipt"])
        state = self.stack.api().get(r.json["status_url"]).json
        self.assertEqual(state["state"], "pending")
        self.start("content")
        done = self.complete(r.json["receipt_id"])
        self.assertEqual(done["counts"]["content"]["mastery"], 1)
        self.assertGone(handle, sub, f"{TOPIC} away")

    def test_what_no_eraser_has_is_found_and_nothing_is_claimed(self):
        """A table that somebody forgot to list."""
        handle, sub, _, me = self.person("found")
        self.kill("content")
        self.sql("content", f"CREATE TABLE @forgotten (note TEXT); "
                            f"INSERT INTO @forgotten VALUES ('of {sub.upper()}')"
                 if self.stack.postgres else "CREATE TABLE forgotten (note TEXT)")
        if not self.stack.postgres:
            self.sql("content", f"INSERT INTO forgotten VALUES ('of {sub.upper()}')")
        self.start("content")
        self.stack.wait_ready()
        r = self.erase(me)
        self.assertEqual((r.status, r.json["receipt"]), (202, None), r.raw)
        self.assertEqual(r.json["pending"], ["content"])
        found = [e for p in self.stack.processes.values() for e in p.events("erase.findings")]
        self.assertEqual({(e["store"], e["where"]) for e in found},
                         {("content", '[["forgotten","note",1]]')})
        self.assertEqual(me.get("/api/auth/validate").status, 401)
        self.sql("content", "DELETE FROM @forgotten")
        self.complete(r.json["receipt_id"])
        self.assertGone(handle, sub, f"{TOPIC} found", files=False)

    def test_late_events_find_the_tombstone(self):
        handle, sub, _, me = self.person("late")
        self.kill("gdpr")
        for i in range(3):
            self.assertEqual(me.post("/api/quiz/submit", {
                "topic": "Late", "subtopic": f"{i}", "score": 1, "total": 1}).status, 200)
        kept = self.sql("content", "SELECT id, target, sub, seq, shard, type, at FROM @outbox")
        self.assertEqual(len(kept), 3)
        self.start("gdpr")
        self.stack.wait_ready()
        r = self.erase(me)
        self.complete(r.json["receipt_id"])
        for row in kept:
            self.sql("content", "INSERT INTO @outbox (id, target, sub, seq, shard, type, at, "
                                "body) VALUES ('{}', '{}', '{}', {}, {}, '{}', {}, {})".format(
                                    *row, r"'\x80'::bytea" if self.stack.postgres else "x'80'"))
        wait_until(lambda: self.waiting() == 0, 60, what="the late events to be acknowledged")
        # Those that were under way as well, if they came after the erasure.
        self.assertGreaterEqual(self.number("gdpr", "SELECT sum(dropped) FROM @erased"), 3)
        # What this test itself has written is in a log that nobody has cut.
        self.assertGone(handle, sub, f"{TOPIC} late", files=False)

    def test_it_goes_on_whoever_is_killed_when_auth_has_committed(self):
        for i in range(ROUNDS):
            for who in (("auth",), ("gdpr",), ("auth", "gdpr")):
                with self.subTest(round=i, who=who):
                    self.one_killed(f"{i}{''.join(who)}", who)

    def one_killed(self, name, who):
        handle, sub, _, me = self.person(name)
        before = self.number("auth", "SELECT count(*) FROM @erased")
        answer = []

        def ask():
            try:
                answer.append(self.erase(me).status)
            except OSError:
                answer.append(0)

        asker = threading.Thread(target=ask)
        asker.start()
        wait_until(lambda: self.number("auth", "SELECT count(*) FROM @erased") > before,
                   30, every=0.001, what="the tombstone")
        for program in who:
            self.kill(program)
        for program in who:
            self.start(program)
        asker.join(90)
        receipt, = self.sql("auth", "SELECT receipt FROM @erased ORDER BY at DESC LIMIT 1")[0]
        self.complete(receipt)
        self.stack.wait_ready()
        self.assertGone(handle, sub, f"{TOPIC} {name}")
        self.assertEqual(me.get("/api/auth/validate").status, 401)


class KilledAtEachStep(OnErasure):
    """On SQLite, which tells at once how far it is."""

    def steps(self, receipt):
        """How many of the six steps of the stores are done: erased, verified."""
        return sum({"pending": 0, "erased": 1, "verified": 2}[state] for state, in self.sql(
            "gdpr", f"SELECT state FROM @erasure_stores WHERE receipt = '{receipt}'"))

    def test_it_goes_on_from_any_step_that_svc_gdpr_is_killed_at(self):
        """STOPped, each other service holds the saga at a step of its own."""
        for held, done in STEPS:
            with self.subTest(held=held, done=done):
                self.killed_at(held, done)

    def killed_at(self, held, done):
        name = f"step{held}{done}"
        handle, sub, _, me = self.person(name)
        before = self.number("auth", "SELECT count(*) FROM @erased")
        asker = threading.Thread(target=self.asked, args=(me,))
        asker.start()
        wait_until(lambda: self.number("auth", "SELECT count(*) FROM @erased") > before,
                   30, every=0.001, what="the tombstone")
        receipt, = self.sql("auth", "SELECT receipt FROM @erased ORDER BY at DESC LIMIT 1")[0]
        if held:
            self.stack.processes[held].signal(signal.SIGSTOP)
        try:
            wait_until(lambda: self.steps(receipt) >= done, 30, every=0.001,
                       what=f"step {done}")
            self.kill("gdpr")
            reached = self.steps(receipt)
        finally:
            if held:
                self.stack.processes[held].signal(signal.SIGCONT)
        asker.join(90)
        self.start("gdpr")
        self.complete(receipt)
        self.stack.wait_ready()
        self.assertGone(handle, sub, f"{TOPIC} {name}")
        print(f"killed when {reached} of 6 steps were done")

    def asked(self, me):
        with contextlib.suppress(OSError):
            self.erase(me)


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "tcp"), Whole)(loader, tests, pattern)
    suite.addTests(load_on(("ipc", "tcp"), Killed)(loader, tests, pattern))
    suite.addTests(load_on(("ipc",), KilledAtEachStep)(loader, tests, pattern))
    return suite


if __name__ == "__main__":
    unittest.main()
