"""The OpenAPI document says what the tables say, and the product does it."""
import html.parser
import json
import re
import unittest

from tests.harness.schema import faults, read_yaml, resolve
from tests.harness.process import wait_until
from tests.harness.totp import totp
from tests.integration.stack import ROOT, OnStack, load_on
from tests.integration.test_routes import CREDENTIAL_IN_BODY, table

VERBS = ("get", "post", "put", "patch", "delete")


# Built, and 501 without a provider that can: test_images.py asks for them.
NEEDS_PROVIDER = {("POST", "/api/image2topic"), ("POST", "/api/generate_image")}


def operations(document):
    for path, verbs in document["paths"].items():
        for verb, op in verbs.items():
            assert verb in VERBS, verb
            yield verb.upper(), path, op


def method_tables():
    """call -> (caller, {(place, field): required}) of every methods.def."""
    out = {}
    for name in ("auth", "content", "gdpr"):
        text = (ROOT / f"svc-{name}" / "methods.def").read_text()
        rows = re.findall(r'^METHOD\((\w+), *"([\w.]+)", *\w+, *(\w+),'
                          r'|^FIELD\((\w+), *(\w+), *\w+, *(\w+), *(\w+),', text, re.M)
        calls = {}
        for ident, call, caller, owner, place, field, need in rows:
            if ident:
                calls[ident] = call
                out[call] = (caller, {})
            else:
                out[calls[owner]][1][(place.lower(), field)] = need == "REQUIRED"
    return out


def documented_fields(document, op):
    """{(place, field): required}, without what every operation of a kind has."""
    out = {}
    for p in op.get("parameters", ()):
        p = resolve(document, p)
        if p["in"] != "header":
            out[(p["in"], p["name"])] = p["required"]
    body = op.get("requestBody")
    if body:
        schema = next(iter(body["content"].values()))["schema"]
        for name in schema.get("properties", ()):
            out[("body", name)] = name in schema.get("required", ())
    return out


class Document(OnStack):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        answer = cls.api.get("/openapi.json")
        assert answer.status == 200, answer.raw
        cls.answer, cls.doc = answer, answer.json
        cls.ops = {(verb, path): op for verb, path, op in operations(cls.doc)}
        cls.rows = {r[:2]: r for r in table()}

    def assertValid(self, schema, value, what, strict=False):
        found = list(faults(self.doc, schema, value, strict=strict))
        self.assertEqual(found, [], f"{what}: {json.dumps(value, ensure_ascii=False)[:600]}")

    def test_it_is_public_json_and_the_yaml_page_is_the_same(self):
        self.assertEqual(self.answer.headers["content-type"], "application/json")
        self.assertIn("public", self.answer.headers["cache-control"])
        self.assertEqual(self.doc["openapi"], "3.1.0")
        self.assertEqual(self.doc["info"]["version"], (ROOT / "VERSION").read_text().strip())
        self.assertEqual(read_yaml((ROOT / "docs" / "openapi.yaml").read_text()), self.doc,
                         "run `make docs`")
        self.assertEqual(self.api.get("/api/docs").json, self.doc)

    def test_routes_and_operations_are_the_same_both_ways(self):
        public = {key for key, r in self.rows.items() if r[2] != "internal"}
        self.assertEqual(set(self.ops), public)
        for key, op in self.ops.items():
            _, _, who, service, _, built, _ = self.rows[key]
            with self.subTest(operation=key):
                self.assertEqual(op.get("security") == [], who == "anyone")
                self.assertEqual(op.get("x-role") == "admin", who == "admin")
                self.assertEqual(op["tags"], [service])
                # 202 is 200 that comes later.
                done = [s for s in op["responses"] if s.startswith("2") and s != "202"]
                # Of events there may be none left.
                live = "text/event-stream" in op["responses"].get("200", {}).get("content", {})
                self.assertEqual(len(done), int(built == "built") + int(live))
                self.assertEqual("501" in op["responses"],
                                 built == "later" or key in NEEDS_PROVIDER)
                self.assertEqual("401" in op["responses"],
                                 who != "anyone" or key in CREDENTIAL_IN_BODY)
        ids = [op["operationId"] for op in self.ops.values()]
        self.assertEqual(len(ids), len(set(ids)))

    def test_fields_of_methods_and_operations_are_the_same_both_ways(self):
        methods, seen = method_tables(), set()
        for key, op in self.ops.items():
            call, built = self.rows[key][4:6]
            with self.subTest(operation=key):
                path = {("path", name): True for name in re.findall(r"\{(\w+)\}", key[1])}
                said = documented_fields(self.doc, op)
                if call in methods:
                    seen.add(call)
                    self.assertEqual(said, {**path, **methods[call][1]})
                else:
                    self.assertEqual(said, path)
                    self.assertFalse(built == "built" and "." in call)
        # gateway/noted.c and events.c ask these of their own accord.
        own = {"auth.audit", "content.job_events"}
        for call, (caller, _) in methods.items():
            self.assertEqual(call in seen, caller != "SERVICE" and call not in own, call)

    def test_every_reference_leads_somewhere(self):
        def walk(v):
            if isinstance(v, dict):
                if "$ref" in v:
                    resolve(self.doc, v)
                for each in v.values():
                    walk(each)
            elif isinstance(v, list):
                for each in v:
                    walk(each)
        walk(self.doc)

    def test_every_built_operation_is_told_whole(self):
        """local/operations.json: what no table knows."""
        for key, op in self.ops.items():
            if self.rows[key][5] != "built":
                continue
            with self.subTest(operation=key):
                self.assertNotRegex(op["summary"], r"^\w+\.\w+$|Not built")
                for status, answer in op["responses"].items():
                    if "content" in answer:
                        first = next(iter(answer["content"].values()))
                        self.assertIn("example", first, status)
                        self.assertTrue(first["schema"], status)
                body = op.get("requestBody")
                if body:
                    self.assertIn("example", next(iter(body["content"].values())))

    def test_every_example_is_of_its_schema(self):
        n = 0
        places = [(key, op.get("requestBody", {})) for key, op in self.ops.items()]
        places += [(key, a) for key, op in self.ops.items() for a in op["responses"].values()]
        places += list(self.doc["components"]["responses"].items())
        for key, place in places:
            for content in place.get("content", {}).values():
                each = [content["example"]] if "example" in content else [
                    e["value"] for e in content.get("examples", {}).values()]
                for example in each:
                    n += 1
                    self.assertValid(content["schema"], example, key, strict=True)
        for key, op in self.ops.items():
            for p in op.get("parameters", ()):
                p = resolve(self.doc, p)
                if "example" in p:
                    self.assertValid(p["schema"], p["example"], key)
        self.assertGreater(n, 80)

    def test_problems_are_those_of_the_table_of_errors(self):
        rows = re.findall(r'^ERR\(\w+, *([1-9]\d+), *[01], *"(\w+)"',
                          (ROOT / "common/base/err.def").read_text(), re.M)
        schema = self.doc["components"]["schemas"]["Problem"]
        self.assertEqual(set(schema["properties"]["error_code"]["enum"]),
                         {code for _, code in rows})
        shown = self.doc["components"]["responses"]
        self.assertEqual(set(shown) - {"Problem"}, {status for status, _ in rows})
        for status, code in rows:
            examples = shown[status]["content"]["application/problem+json"]["examples"]
            self.assertIn(code, {e["value"]["error_code"] for e in examples.values()})
            page = self.api.get(f"/problems/{code}")
            self.assertEqual((page.status, page.json["error_code"]), (200, code))

    def test_refusals_are_documented_where_they_happen(self):
        _, me = self.stack.register("refused")
        for (verb, path), op in self.ops.items():
            target = re.sub(r"\{\w+\}", "x", path)
            for what, api, kw in (
                    ("no login", self.api, {}), ("a form that there is not", me,
                                                 {"headers": {"Accept": "image/png"}}),
                    ("an expectation", me, {"headers": {"Expect": "tea"}}),
                    ("another content type", me, {"raw": b"x", "headers": {
                        "Content-Type": "text/plain"}})):
                with self.subTest(operation=(verb, path), what=what):
                    r = api.ask(verb, target, **kw)
                    if r.status < 400 or "problem" not in r.headers["content-type"]:
                        continue
                    self.assertIn(str(r.status), op["responses"])
                    self.assertValid(self.doc["components"]["schemas"]["Problem"], r.json,
                                     what, strict=True)


class Answers(OnStack):
    """Every operation that is built, as the document says to call it."""

    def asked(self, who, verb, path, body=None, target=None):
        r = who.ask(verb, target or path, body=body)
        answer = self.ops[(verb, path)]["responses"].get(str(r.status))
        self.assertTrue(answer and ("content" in answer) == (r.status != 204),
                        f"{verb} {path}: {r.status} is not documented: {r.raw[:300]}")
        if r.status == 204:
            self.done.add((verb, path))
            return None
        form = r.headers["content-type"].split(";")[0]
        schema = answer["content"][form]["schema"]
        value = r.json if form == "application/json" else r.raw.decode()
        found = list(faults(self.doc, schema, value, strict=True))
        self.assertEqual(found, [], f"{verb} {path}: {r.raw[:600]}")
        self.done.add((verb, path))
        return value

    def example(self, verb, path):
        body = self.ops[(verb, path)]["requestBody"]
        return body["content"]["application/json"]["example"]

    def post(self, who, path, **instead):
        return self.asked(who, "POST", path, {**self.example("POST", path), **instead})

    def learn(self, me):
        self.post(me, "/api/create_subtopics")
        shown = self.post(me, "/api/create_presentation")
        self.assertEqual(shown["success_count"], 1)
        quiz = self.post(me, "/api/quiz/generate")
        self.post(me, "/api/quiz/submit", attempt_id=quiz[0]["attempt_id"],
                  answers=[{"question_id": q["question_id"], "option": q["correct_answer"]}
                           for q in quiz])
        self.asked(me, "POST", "/api/quiz/submit", {"topic": "Photosynthesis", "subtopic": "x",
                                                    "score": 1, "total": 3})
        self.post(me, "/api/recommendations")

    def rights(self, me, admin):
        self.post(me, "/api/user/consent")
        self.post(me, "/api/user/restriction", restricted=True)
        self.post(me, "/api/user/restriction", restricted=False)
        path = "/api/user/rectify"
        self.asked(me, "PATCH", path, self.example("PATCH", path))
        told = self.post(admin, "/api/user/breach/notify", user_ids="all")["breach_id"]
        for who, path in ((me, "/api/user/breaches/{breach_id}/acknowledge"),
                          (admin, "/api/admin/breaches/{breach_id}/reported")):
            self.asked(who, "POST", path, target=path.replace("{breach_id}", told))

    def watched(self, me, admin):
        graph = "/api/social/graphs/"
        name = self.post(me, graph + "id")["graph_id"]
        for what in ("like", "rate", "share"):
            path = f"{graph}{{id}}/{what}"
            self.asked(me, "POST", path, self.example("POST", path), f"{graph}{name}/{what}")
        self.asked(me, "GET", graph + "{id}/stats", target=f"{graph}{name}/stats")
        self.post(self.api, "/api/metrics/performance")
        me.post("/api/user/consent", {"type": "analytics", "given": True})
        wait_until(lambda: self.post(me, "/api/analytics")["stored"], 20, what="the consent")
        journey = "/api/analytics/user-journey"
        handle = me.get("/api/auth/validate").json["user_id"]
        self.asked(admin, "GET", journey, target=f"{journey}?user_id={handle}")
        self.post(admin, "/api/analytics/cleanup")

    def guard(self):
        _, me = self.stack.register("two.factors")
        secret = self.asked(me, "POST", "/api/auth/factors/totp", {})["secret"]
        codes = self.post(me, "/api/auth/factors/totp/confirm",
                          code=totp(secret))["recovery_codes"]
        codes = self.post(me, "/api/auth/factors/recovery-codes",
                          code=codes[0])["recovery_codes"]
        self.asked(me, "DELETE", "/api/auth/factors/totp", {"code": codes[0]})

    def test_every_answer_is_of_its_schema(self):
        self.doc, self.done = self.api.get("/openapi.json").json, set()
        self.ops = {(verb, path): op for verb, path, op in operations(self.doc)}
        admin = self.stack.api(key=self.stack.admin_key)
        made = self.post(self.api, "/api/auth/register")
        login = self.post(self.api, "/api/auth/login", api_key=made["api_key"])
        me = self.stack.api(token=login["token"])
        # Before there is anything, and after.
        built = [k for k, op in self.ops.items() if any(s[0] == "2" for s in op["responses"])]
        reads = [path for verb, path in built if verb == "GET" and "{" not in path
                 and not path.endswith(("/rank", "/user-journey"))]

        def read(path):
            for_admins = self.ops[("GET", path)].get("x-role") == "admin"
            self.asked(admin if for_admins else me, "GET", path)

        for path in reads:
            read(path)
        self.learn(me)
        wait_until(lambda: me.get("/api/gamification/leaderboard/rank").status == 200, 10,
                   what="a rank")
        wait_until(lambda: me.get("/api/gamification/achievements/user").json["unlocked"] or
                   me.get("/api/gamification/stats").json["stats"]["progress"]["total_xp"], 10,
                   what="XP")
        self.watched(me, admin)
        self.rights(me, admin)
        for path in [*reads, "/api/gamification/leaderboard/rank"]:
            read(path)
        self.asked(self.api, "GET", "/problems/{code}", target="/problems/NOT_FOUND")
        key = self.post(me, "/api/auth/keys")["key_id"]
        self.asked(me, "DELETE", "/api/auth/keys/{key_id}", target=f"/api/auth/keys/{key}")
        self.post(self.api, "/api/auth/refresh", refresh_token=login["refresh_token"])
        spare = self.api.post("/api/auth/login", {"api_key": made["api_key"]}).json["token"]
        here = next(s["id"] for s in self.stack.api(token=spare).get(
            "/api/auth/sessions").json["sessions"] if s["current"])
        self.asked(me, "DELETE", "/api/auth/sessions/{session_id}",
                   target=f"/api/auth/sessions/{here}")
        self.guard()
        change = self.example("POST", "/api/auth/change-password")
        mailed = self.asked(self.api, "POST", "/api/auth/register", {
            "email": "ada@example.org", "password": change["current_password"]})
        self.post(self.stack.api(token=mailed["token"]), "/api/auth/change-password")
        self.post(admin, "/api/auth/admin/generate-key", user_id="made.by.admin")
        person = "/api/admin/users/{user_id}"
        subject = "/api/admin/users/made.by.admin"
        self.asked(admin, "GET", person, target=subject)
        self.asked(admin, "GET", "/api/admin/usage/user/{user_id}",
                   target="/api/admin/usage/user/ada.lovelace")
        self.post(me, "/api/metrics/estimate")
        self.asked(admin, "PATCH", person, self.example("PATCH", person), target=subject)
        for act in ("/disable", "/enable"):
            self.asked(admin, "POST", person + act, {}, target=subject + act)
        for path in ("/api/cache/clear", "/api/cache/invalidate"):
            self.post(admin, path)
        for verb, what in (("GET", "state"), ("POST", "reset")):
            self.asked(admin, verb, f"/api/circuit-breaker/{{name}}/{what}",
                       target=f"/api/circuit-breaker/gdpr/{what}")
        me.get("/api/gamification/stats", headers={"X-Request-ID": "told.1"})
        self.asked(admin, "GET", "/api/admin/explain/{request_id}",
                   target="/api/admin/explain/told.1")
        self.post(me, "/api/auth/logout")
        for path in ("/api/user/delete", "/api/user/account"):
            _, other = self.stack.register("goes." + path[10:])
            receipt = self.asked(other, "DELETE", path, {})["receipt_id"]
            self.asked(self.api, "GET", "/api/user/erasure/{receipt_id}",
                       target=f"/api/user/erasure/{receipt}")
        read("/api/user/erasure-keys")
        # Which needs STATIC_DIR: test_front.py asks for it.
        self.assertEqual(set(built) - self.done - NEEDS_PROVIDER, {("GET", "/static/{path}")})


class Tags(html.parser.HTMLParser):
    VOID = {"meta", "link", "br", "hr", "img", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids, self.attributes, self.names = [], [], [], set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another"


class Page(OnStack):
    def test_the_page_is_whole_and_needs_nothing_from_elsewhere(self):
        r = self.api.get("/docs", headers={
            "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"})
        self.assertEqual((r.status, r.headers["content-type"]), (200, "text/html; charset=utf-8"))
        text = r.raw.decode()
        tags = Tags(text)
        self.assertEqual(tags.open, [])
        self.assertFalse(tags.names & {"script", "style", "iframe", "img", "object"})
        self.assertFalse({a for a in tags.attributes if a == "style" or a.startswith("on")})
        self.assertEqual(len(tags.ids), len(set(tags.ids)))
        for link in set(tags.links):
            with self.subTest(link=link):
                if link.startswith("#"):
                    self.assertIn(link[1:], tags.ids)
                else:
                    self.assertTrue(link.startswith("/") and not link.startswith("//"))
                    self.assertEqual(self.api.get(link).status, 200)
        document = self.api.get("/openapi.json").json
        for verb, path, op in operations(document):
            self.assertIn(op["operationId"], tags.ids)
            self.assertIn(f"<code>{path}</code>", text)
        self.assertIn("style-src 'self'", r.headers["content-security-policy"])
        self.assertNotIn("unsafe", r.headers["content-security-policy"])

    def test_its_style_is_ours(self):
        r = self.api.get("/docs/style.css", headers={"Accept": "text/css,*/*;q=0.1"})
        self.assertEqual((r.status, r.headers["content-type"]), (200, "text/css; charset=utf-8"))
        self.assertNotIn(b"url(", r.raw)
        self.assertNotIn(b"@import", r.raw)

    def test_the_catalogue_of_problems_has_pages_too(self):
        for row in re.findall(r'^ERR\(\w+, *[1-9]\d+, *[01], *"(\w+)"',
                              (ROOT / "common/base/err.def").read_text(), re.M):
            r = self.api.get(f"/problems/{row}", headers={"Accept": "text/html"})
            self.assertEqual((r.status, r.headers["content-type"]),
                             (200, "text/html; charset=utf-8"))
            self.assertEqual(Tags(r.raw.decode()).open, [])
        self.assertProblem(self.api.get("/problems/%3Cscript%3E",
                                        headers={"Accept": "text/html"}), 404)


load_answers = load_on(("one", "tcp"), Answers)


def load_tests(loader, tests, pattern):
    suite = load_answers(loader, tests, pattern)
    for cls in (Document, Page):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite


if __name__ == "__main__":
    unittest.main()
