"""A person gets everything that all services hold about them, or an error that says
what is missing; never a part, and nobody else's."""
import base64
import concurrent.futures
import html.parser
import http.client
import json
import re
import secrets
import socket
import sqlite3
import unittest

from tests.harness.process import wait_until
from tests.harness.schema import faults
from tests.integration.stack import ROOT, SHORT, OnStack, load_on

SCHEMA = json.loads((ROOT / "docs" / "export.schema.json").read_text())
ROWS = 5000 if SHORT else 100_000
GROWTH_KB = 32 << 10
AT_ONCE = 2
HOSTILE = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>",
           "</table></body>&lt;b&gt;", "abc\u202edcba\u2066x", "\u05d0\u05d1 a & b"]


def sub_of(me):
    part = me.token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["sub"]


def rows(document):
    """(store, table, row) of everything under `stores`."""
    for store, tables in document["stores"].items():
        for table, each in tables.items():
            for row in each:
                yield store, table, row


class Reader(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text += data


class Held:
    """A client that reads the head of an answer, and of its body what it is told to."""

    def __init__(self, me, path="/api/user/export"):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", me.port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                            f"{me.token}\r\nConnection: close\r\n\r\n".encode())
        self.answer = http.client.HTTPResponse(self.socket)
        self.answer.begin()

    def close(self):
        self.answer.close()
        self.socket.close()


class Export(OnStack):
    env = {"EXPORTS_AT_ONCE": str(AT_ONCE)}

    def person(self, name):
        return self.stack.register(f"{name}.{secrets.token_hex(4)}")[1]

    def learn(self, me, topic="Photosynthesis"):
        r = me.post("/api/quiz/submit", {"topic": topic, "subtopic": "Light", "score": 2,
                                         "total": 3})
        self.assertEqual(r.status, 200, r.raw)

    def xp(self, me):
        return me.get("/api/gamification/stats").json["stats"]["progress"]["total_xp"]

    def quizzes(self, me):
        return me.get("/api/gamification/stats").json["stats"]["progress"][
            "total_quizzes_completed"]

    def export(self, me, path="/api/user/export"):
        """A 200 that keeps what it promises."""
        r = me.get(path)
        self.assertEqual(r.status, 200, r.raw[:2000])
        self.assertEqual(int(r.headers["content-length"]), len(r.raw))
        found = list(faults(SCHEMA, SCHEMA, r.json, strict=True))
        self.assertEqual(found, [])
        self.assertEqual(r.json["export_info"]["total_records"], len(list(rows(r.json))))
        return r

    def past_the_api(self, sql):
        """Into the tables of svc-content; {t} is the prefix of a table."""
        if self.layout == "tcp":
            self.stack.postgres.sql(sql.replace("{t}", "content."))
            return
        db = sqlite3.connect(self.stack.dir / "data" / "knowalledge-content.db", timeout=30)
        with db:
            db.execute(sql.replace("{t}", ""))
        db.close()

    def insert(self, me, n):
        """n results of 300 characters each."""
        self.past_the_api(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) "
            "INSERT INTO {t}results (id, sub, topic_key, subtopic_key, score, total, "
            f"difficulty, earns, at) SELECT '{sub_of(me)}-' || i, '{sub_of(me)}', 't', 's', "
            f"1, 1, '{'x' * 300}', 0, 1767268800000 + i FROM n")

    # --- what is in it

    def test_everything_is_in_it_under_both_names(self):
        me = self.person("ada")
        key = me.post("/api/auth/keys", {"name": "my second key"}).json
        self.learn(me)
        self.learn(me, "Topic of mine")
        wait_until(lambda: self.quizzes(me) == 2, 20, what="XP of both")
        handle = me.get("/api/auth/validate").json["user_id"]
        today = None
        for path, prefix in (("/api/user/export", "data_export"),
                             ("/api/user/data", "KNOWALLEDGE_data_export")):
            r = self.export(me, path)
            name = re.fullmatch(r'attachment; filename="(\w+)_(.*)_(\d{8})\.json"',
                                r.headers["content-disposition"])
            self.assertTrue(name, r.headers)
            self.assertEqual(name.groups()[:2], (prefix, handle))
            today = name.group(3)
            self.assertEqual(r.headers["content-type"], "application/json")
            self.assertEqual(r.headers["cache-control"], "no-store")
            self.assertIn("sandbox", r.headers["content-security-policy"])
            self.assertIn("accept", r.headers["vary"].lower())
        doc = r.json
        self.assertEqual(doc["export_info"]["requested_at"][:10].replace("-", ""), today)
        self.assertEqual((doc["account"]["user_id"], doc["account"]["id"]),
                         (handle, sub_of(me)))
        self.assertEqual(doc["metadata"]["account_created"], doc["account"]["created_at"])
        self.assertEqual(doc["content"]["total_quizzes"], 2)
        self.assertEqual(doc["gamification"]["total_xp"], self.xp(me))
        self.assertEqual({r["topic"] for r in doc["stores"]["content"]["mastery"]},
                         {"Photosynthesis", "Topic of mine"})
        names = {r["name"] for r in doc["stores"]["auth"]["api_keys"]}
        self.assertIn("my second key", names)
        self.assertEqual(sum(r["xp"] for r in doc["stores"]["gdpr"]["ledger"]), self.xp(me))
        # What is not exported, and why, says docs/privacy.md.
        secret = key["api_key"].encode()
        self.assertNotIn(secret, r.raw)
        self.assertFalse(any("hash" in row for _, _, row in rows(doc)))

    def test_nobody_else_s_data_is_in_it(self):
        one, other = self.person("one"), self.person("other")
        for me in (one, other):
            for topic in ("Chemistry", "Chemistry of " + me.get("/api/auth/validate").json[
                    "user_id"]):
                self.learn(me, topic)
            wait_until(lambda me=me: self.xp(me) > 0, 20, what="XP")
        for me, them in ((one, other), (other, one)):
            r = self.export(me)
            theirs = them.get("/api/auth/validate").json["user_id"]
            self.assertNotIn(theirs.encode(), r.raw)
            self.assertNotIn(sub_of(them).encode(), r.raw)
            page = me.get("/api/user/export", headers={"Accept": "text/html"})
            self.assertNotIn(theirs.encode(), page.raw)

    def test_a_person_with_nothing_gets_the_account_and_empty_lists(self):
        me = self.person("new")
        doc = self.export(me).json
        self.assertEqual(doc["content"], {"topics": [], "total_topics": 0, "quizzes": [],
                                          "total_quizzes": 0})
        self.assertTrue(all(store in ("auth", "gdpr") for store, _, _ in rows(doc)))

    def test_a_page_to_read_shows_what_people_wrote_as_text(self):
        me = self.person("html")
        # The API refuses most of it; a row may be older, or of something else.
        for i, topic in enumerate(HOSTILE):
            quoted = topic.replace("'", "''")
            self.past_the_api(
                "INSERT INTO {t}mastery (sub, topic_key, subtopic_key, topic, subtopic, "
                f"level, at) VALUES ('{sub_of(me)}', 'k{i}', 'k', '{quoted}', 's', 1, 1)")
        doc = self.export(me).json
        kept = [row["topic"] for row in doc["stores"]["content"]["mastery"]]
        self.assertEqual(sorted(kept), sorted(HOSTILE))
        r = me.get("/api/user/export", headers={
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1"})
        self.assertEqual((r.status, r.headers["content-type"]),
                         (200, "text/html; charset=utf-8"), r.raw[:500])
        self.assertEqual(int(r.headers["content-length"]), len(r.raw))
        self.assertTrue(r.headers["content-security-policy"].startswith("sandbox; default-src"))
        self.assertRegex(r.headers["content-disposition"], r'inline; .*\.html"')
        page = r.raw.decode()
        read = Reader(page)
        self.assertEqual(set(read.tags) - {
            "html", "head", "meta", "title", "body", "h1", "h2", "h3", "p", "table", "tr",
            "th", "td", "bdi", "i"}, set())
        self.assertEqual(set(read.attributes), {"lang", "charset", "border"})
        for topic in kept:
            shown = re.sub("[\u202a-\u202e\u2066-\u2069]",
                           lambda m: f"U+{ord(m.group()):04X}", topic)
            self.assertIn(shown, read.text)
        self.assertFalse(re.search("[\u202a-\u202e\u2066-\u2069\u0000-\u0008]", page))

    def test_head_other_forms_and_conditions(self):
        me = self.person("forms")
        r = me.ask("HEAD", "/api/user/export")
        self.assertEqual((r.status, r.raw), (200, b""))
        self.assertGreater(int(r.headers["content-length"]), 500)
        wait_until(lambda: me.get("/api/user/export").status == 200, 20,
                   what="the end of the former")
        self.assertProblem(me.get("/api/user/export", headers={"Accept": "image/png"}), 406)
        r = me.get("/api/user/export", headers={"If-None-Match": "*"})
        self.assertEqual(r.status, 200)
        self.assertNotIn("etag", r.headers)
        self.assertProblem(self.api.get("/api/user/export"), 401)
        for verb in ("POST", "PUT", "DELETE"):
            self.assertProblem(me.ask(verb, "/api/user/export"), 405)

    # --- how much, how many

    def peak(self, reset=False):
        """Memory that the programs ever had, in KB."""
        total = 0
        for p in self.stack.processes.values():
            if reset:
                with open(f"/proc/{p.popen.pid}/clear_refs", "w") as f:
                    f.write("5")
            with open(f"/proc/{p.popen.pid}/status") as f:
                total += int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
        return total

    def test_a_hundred_thousand_rows_take_no_memory_and_a_slow_client_neither(self):
        me, two = self.person("much"), self.person("also")
        self.export(me)  # what is used for the first time
        self.insert(me, ROWS)
        before = self.peak(reset=True)
        r = me.get("/api/user/export")
        grown = self.peak() - before
        self.assertEqual(r.status, 200, r.raw[:500])
        self.assertGreater(len(r.raw), 500 * ROWS)
        self.assertEqual(int(r.headers["content-length"]), len(r.raw))
        self.assertEqual(len(r.json["stores"]["content"]["results"]), ROWS)
        if not SHORT:  # sanitizers keep what is freed
            self.assertLess(grown, GROWTH_KB)
        self.insert(two, ROWS // 3)
        if not SHORT:  # a short document is taken by the sockets, whoever reads it
            self.slow_clients_hold_their_places(me, two)
        self.killed_in_the_middle(two)

    def slow_clients_hold_their_places(self, *people):
        """While as many as may be exported do not read, as many more wait."""
        burst = [self.person("burst") for _ in range(20)]
        self.peak(reset=True)
        before = self.peak()
        held = [Held(me) for me in people[:AT_ONCE]]
        try:
            self.assertEqual([h.answer.status for h in held], [200] * AT_ONCE)
            busy = people[0].get("/api/gamification/stats")
            self.assertEqual(busy.status, 200)
            with concurrent.futures.ThreadPoolExecutor(len(burst)) as pool:
                asked = [pool.submit(me.get, "/api/user/export") for me in burst]

                def refused():
                    return [a.result() for a in asked if a.done()]
                try:
                    wait_until(lambda: len(refused()) >= len(burst) - AT_ONCE, 30,
                               what="the refusals of those beyond")
                    for r in refused():
                        self.assertProblem(r, 503, "SERVICE_UNAVAILABLE")
                        self.assertGreater(int(r.headers["retry-after"]), 0)
                    if not SHORT:
                        self.assertLess(self.peak() - before, GROWTH_KB)
                finally:
                    for h in held:
                        h.close()
                answers = [a.result() for a in asked]
            self.assertEqual(sorted(r.status for r in answers),
                             [200] * AT_ONCE + [503] * (len(burst) - AT_ONCE))
        finally:
            for h in held:
                h.close()
        for me in burst[:3]:
            wait_until(lambda me=me: me.get("/api/user/export").status == 200, 30,
                       what="a free place")

    def killed_in_the_middle(self, me):
        """A body that is shorter than its length: never a whole document."""
        name = "knowalledge" if self.layout == "one" else "gdpr"
        wait_until(lambda: me.get("/api/user/export").status == 200, 30, what="a free place")
        held = Held(me)
        self.assertEqual(held.answer.status, 200)
        begun = held.answer.read(1000)
        self.assertEqual(len(begun), 1000)
        self.stack.processes[name].kill()
        self.stack.processes[name].wait()
        with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
            held.answer.read()
        held.close()
        self.stack.past.append(self.stack.processes.pop(name))
        self.stack.start_one(name)
        self.stack.wait_ready()
        self.assertFalse(list((self.stack.dir / "data").glob(".export*")))
        self.assertEqual(self.person("after").get("/api/user/export").status, 200)


class Bound(OnStack):
    past_the_api, insert = Export.past_the_api, Export.insert
    env = {"EXPORT_MAX_BYTES": "65536"}

    def test_what_is_larger_than_may_be_is_no_export(self):
        _, me = self.stack.register("large")
        self.assertEqual(me.get("/api/user/export").status, 200)
        self.insert(me, 300)
        body = self.assertProblem(me.get("/api/user/export"), 503, "SERVICE_UNAVAILABLE")
        self.assertIn("EXPORT_MAX_BYTES", body["detail"])
        # The page is smaller than JSON, which says some of it twice, but no less whole.
        body = self.assertProblem(me.get("/api/user/export", headers={"Accept": "text/html"}),
                                  503, "SERVICE_UNAVAILABLE")
        self.assertIn("EXPORT_MAX_BYTES", body["detail"])


class Away(OnStack):
    """What cannot be read is named, and nothing is sent."""
    layout = "tcp"

    def assertMissing(self, me, store):
        for accept in ("application/json", "text/html"):
            r = me.get("/api/user/export", headers={"Accept": accept})
            body = self.assertProblem(r, 503, "SERVICE_UNAVAILABLE")
            self.assertIn(store, body["detail"])
            self.assertIn("retry-after", r.headers)

    def test_a_store_that_is_away_is_named(self):
        _, me = self.stack.register("away")
        self.assertEqual(me.get("/api/user/export").status, 200)
        for store in ("content", "auth"):
            with self.subTest(store=store):
                self.assertEqual(self.stack.processes[store].stop(), 0)
                self.assertMissing(me, store)
                self.stack.start_one(store)
                self.stack.wait_ready()
                wait_until(lambda: me.get("/api/user/export").status == 200, 20,
                           what="an export")
        # One store's tables alone, and then all of the database.
        sql = self.stack.postgres.sql
        for store, table in (("content", "content.mastery"), ("gdpr", "gdpr.ledger")):
            with self.subTest(table=table):
                sql(f"ALTER TABLE {table} RENAME TO hidden")
                self.assertMissing(me, f'"{store}"')
                sql(f"ALTER TABLE {store}.hidden RENAME TO {table.split('.')[1]}")
                self.assertEqual(me.get("/api/user/export").status, 200)
        self.stack.postgres.shutdown()
        try:
            r = me.get("/api/user/export")
            self.assertProblem(r, 503)
            self.assertNotIn(b"stores", r.raw)
        finally:
            self.stack.postgres.start()
        wait_until(lambda: me.get("/api/user/export").status == 200, 60, what="an export")


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "tcp"), Export)(loader, tests, pattern)
    suite.addTests(loader.loadTestsFromTestCase(Bound))
    if not SHORT:
        suite.addTests(loader.loadTestsFromTestCase(Away))
    return suite


if __name__ == "__main__":
    unittest.main()
