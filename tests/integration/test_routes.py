"""Every row of the route table answers as its columns say."""
import re
import subprocess
import unittest

from tests.integration.stack import BIN, ROOT, OnStack


def printed(program, *args):
    return subprocess.run([str(BIN / program), *args], capture_output=True, text=True,
                          timeout=60, check=True).stdout


def table():
    """(method, path, who, service, call, built, reason) of every route."""
    rows = []
    for line in printed("kae-gateway", "--routes").splitlines():
        row = re.match(r"(\S+) +(\S+) +(anyone|user|admin|internal) +(\S+) +(\S+) +"
                       r"(built|later)(?: +# (.*))?$", line)
        if row:
            rows.append(row.groups())
    return rows


def filled(path):
    return re.sub(r"\{[^}]+\}", "some-id", path)


# Anyone may call them, and yet not just anyone gets an answer.
CREDENTIAL_IN_BODY = {("POST", "/api/auth/refresh")}


class Routes(OnStack):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, cls.me = cls.stack.register("route.walker")
        cls.admin = cls.stack.api(key=cls.stack.admin_key)
        cls.rows = table()

    def test_the_table_is_whole(self):
        self.assertGreater(len(self.rows), 115)
        self.assertEqual(len({r[:2] for r in self.rows}), len(self.rows))

    def test_anyone_always_has_a_reason(self):
        for method, path, who, _, _, _, reason in self.rows:
            if who == "anyone":
                self.assertTrue(reason, f"{method} {path}")

    def test_a_login_is_asked_for_first(self):
        for method, path, who, *_ in self.rows:
            with self.subTest(method=method, path=path):
                r = self.api.ask(method, filled(path), raw=b"" if method != "GET" else None)
                if who in ("user", "admin"):
                    self.assertProblem(r, 401, "AUTH_REQUIRED")
                elif who == "internal":
                    self.assertProblem(r, 404)
                elif (method, path) in CREDENTIAL_IN_BODY:
                    self.assertProblem(r, 401)
                else:
                    self.assertNotEqual(r.status, 401)

    def test_admin_routes_refuse_users(self):
        for method, path, who, *_ in self.rows:
            if who == "admin":
                with self.subTest(method=method, path=path):
                    self.assertProblem(self.me.ask(method, filled(path)), 403)

    def test_what_is_not_built_says_so(self):
        later = 0
        for method, path, who, _, _, built, _ in self.rows:
            if built == "later" and who != "internal":
                with self.subTest(method=method, path=path):
                    api = {"anyone": self.api, "user": self.me, "admin": self.admin}[who]
                    r = api.ask(method, filled(path), body={} if method != "GET" else None)
                    self.assertProblem(r, 501, "NOT_IMPLEMENTED")
                later += 1
        self.assertGreater(later, 50)

    def test_another_method_is_405_with_what_is_allowed(self):
        known = {}
        for method, path, who, *_ in self.rows:
            if who != "internal":
                known.setdefault(filled(path), set()).add(method)
        for path, methods in known.items():
            other = next(m for m in ("PATCH", "PUT", "DELETE", "POST", "GET")
                         if m not in methods)
            with self.subTest(path=path, method=other):
                r = self.me.ask(other, path)
                self.assertProblem(r, 405)
                allowed = {m.strip() for m in r.headers["allow"].split(",")}
                self.assertLessEqual(methods, allowed)
                self.assertNotIn(other, allowed)

    def test_head_works_wherever_get_does(self):
        for method, path, who, _, _, built, _ in self.rows:
            if method == "GET" and built == "built" and who != "internal":
                with self.subTest(path=path):
                    api = {"anyone": self.api, "user": self.me, "admin": self.admin}[who]
                    got = api.ask("GET", filled(path))
                    head = api.ask("HEAD", filled(path))
                    self.assertEqual((head.status, head.raw), (got.status, b""))

    def test_an_unknown_path_is_404_and_the_catalogue_explains(self):
        for path in ("/nope", "/api", "/api/", "/api/auth", "/api/auth/login/", "//", "/..",
                     "/api/%61uth/nope", "/metrics"):
            with self.subTest(path=path):
                problem = self.assertProblem(self.api.get(path), 404)
                r = self.api.get(problem["type"])
                self.assertEqual(r.status, 200)
        self.assertProblem(self.api.get("/problems/NO_SUCH_CODE"), 404)

    def test_health_answers_without_pinging_anybody(self):
        r = self.api.get("/health").json
        self.assertEqual(r["status"], "alive")
        self.assertIn("uptime_seconds", r)
        ready = self.api.get("/ready")
        self.assertEqual((ready.status, ready.json["ready"]), (200, True))
        whole = self.api.get("/api/health")
        self.assertEqual(whole.status, 200)
        self.assertIn(whole.json["status"], ("healthy", "healthy_with_warnings"))

    def test_cors_is_for_exact_origins(self):
        for origin, allowed in (("http://localhost:5173", True), ("http://localhost:3000", True),
                                ("http://localhost:5175", False), ("null", False),
                                ("https://localhost:5173", False),
                                ("http://localhost:5173.evil.example", False)):
            for path in ("/health", "/nope", "/api/auth/validate"):
                with self.subTest(origin=origin, path=path):
                    r = self.api.get(path, headers={"Origin": origin})
                    self.assertEqual(r.headers.get("access-control-allow-origin"),
                                     origin if allowed else None)
                    self.assertIn("origin", r.headers["vary"].lower())
        r = self.api.ask("OPTIONS", "/api/quiz/submit", headers={
            "Origin": "http://localhost:5173", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-csrf-token"})
        self.assertEqual(r.status, 204)
        self.assertIn("POST", r.headers["access-control-allow-methods"])
        self.assertIn("x-csrf-token", r.headers["access-control-allow-headers"].lower())


class Documents(unittest.TestCase):
    def test_the_documents_are_what_the_tables_say(self):
        for program, name, path in (("kae-gateway", "config", "docs/config.md"),
                                    ("kae-gateway", "gone", "docs/migrating-settings.md"),
                                    ("kae-gateway", "env", ".env.example"),
                                    ("kae-gateway", "errors", "docs/errors.md"),
                                    ("knowalledge", "openapi", "docs/openapi.yaml"),
                                    ("knowalledge", "privacy", "docs/privacy.md"),
                                    ("knowalledge", "export",
                                     "docs/export.schema.json")):
            with self.subTest(path=path):
                self.assertEqual((ROOT / path).read_text(), printed(program, "--doc", name),
                                 "run `make docs`")

    def test_openapi_and_the_route_table_name_the_same_operations(self):
        text = (ROOT / "docs" / "openapi.yaml").read_text()
        documented, path = set(), None
        for line in text[text.index("\npaths:"):].splitlines():
            at = re.match(r'  "?(/[^":]*)"?:$', line)
            verb = re.match(r"    (get|post|put|patch|delete):$", line)
            if at:
                path = at.group(1)
            elif verb:
                documented.add((verb.group(1).upper(), path))
            elif re.match(r"\S", line) and not line.startswith("paths:"):
                break
        public = {r[:2] for r in table() if r[2] != "internal"}
        self.assertEqual(documented, public)


if __name__ == "__main__":
    unittest.main()
