"""A browser's session in a cookie, and what other sites' pages cannot do with it."""
import json
import re
import unittest

from tests.harness.process import wait_until
from tests.harness.raw import exchange
from tests.integration.stack import ROOT, OnStack, load_on

PLAIN, HOST = "kae_session", "__Host-kae_session"
AWAY = {"X-Forwarded-For": "203.0.113.7"}
HTTPS = {**AWAY, "X-Forwarded-Proto": "https"}
APP = "https://app.example"


class Cookie(OnStack):
    # With a proxy's word the same port is asked over HTTPS and from elsewhere.
    env = {"TRUSTED_PROXIES": "127.0.0.1", "FORCE_HTTPS": "false", "CORS_ORIGINS": APP}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key, cls.me = cls.stack.register("cookie.monster")
        cls.other_key, cls.other = cls.stack.register("other.person")

    def ask(self, method, path, body=None, **headers):
        """Byte for byte; a header's name with _ for -."""
        data = json.dumps(body).encode() if body is not None else b""
        lines = {"Host": f"127.0.0.1:{self.stack.port}",
                 **{k.replace("_", "-"): v for k, v in headers.items() if v is not None}}
        if data:
            lines |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        head = "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        return exchange(self.stack.port,
                        f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)

    def enter(self, key=None, **headers):
        """(Set-Cookie, what it holds) of a new login."""
        r = self.ask("POST", "/api/auth/login",
                     {"api_key": key or self.key, "session": "cookie"}, **headers)
        self.assertEqual(r.status, 200, r.raw)
        said = r.headers["set-cookie"]
        return said, said.split(";")[0].split("=", 1)[1], r

    def test_a_login_sets_it_and_shows_no_token(self):
        said, value, r = self.enter()
        self.assertRegex(said, rf"^{PLAIN}=[\w.-]+; Path=/; Max-Age=86400; HttpOnly; "
                               r"SameSite=Strict$")
        for member in ("token", "access_token", "refresh_token", "usage_instructions"):
            self.assertNotIn(member, r.json)
        self.assertEqual((r.json["session"], r.json["user_id"]), ("cookie", "cookie.monster"))
        self.assertNotIn(value, r.raw.decode())
        self.assertNotIn("kae-session", r.headers)
        self.assertIn("no-store", r.headers["cache-control"])
        self.assertNotIn(value, self.stack.text())
        tokens = self.api.post("/api/auth/login", {"api_key": self.key})
        self.assertNotIn("set-cookie", tokens.headers)

    def test_over_https_it_is_bound_to_the_host_and_elsewhere_there_is_none(self):
        said, value, _ = self.enter(**HTTPS)
        self.assertRegex(said, rf"^{HOST}=[\w.-]+; Path=/; Max-Age=86400; HttpOnly; "
                               r"SameSite=Strict; Secure$")
        for status, headers in (
                (200, {"Cookie": f"{HOST}={value}", **HTTPS}),
                (401, {"Cookie": f"{PLAIN}={value}", **HTTPS}),
                (200, {"Cookie": f"{PLAIN}={value}"}),
                (401, {"Cookie": f"{HOST}={value}"}),
                (401, {"Cookie": f"{PLAIN}={value}", **AWAY})):
            with self.subTest(headers=headers):
                self.assertEqual(self.ask("GET", "/api/auth/validate", **headers).status, status)
        r = self.ask("POST", "/api/auth/login", {"api_key": self.key, "session": "cookie"},
                     **AWAY)
        self.assertProblem(r, 403, "HTTPS_REQUIRED")
        self.assertNotIn("set-cookie", r.headers)

    def test_it_serves_until_the_logout_which_takes_it_away(self):
        _, value, _ = self.enter()
        cookie = f"theme=dark; {PLAIN}={value}; lang=de"
        for bearer in (None, "Bearer null", "Bearer undefined", "Bearer "):
            r = self.ask("GET", "/api/auth/validate", Cookie=cookie, Authorization=bearer)
            self.assertEqual((r.status, r.json["user_id"]), (200, "cookie.monster"))
        r = self.ask("POST", "/api/auth/logout", {}, Cookie=cookie, Sec_Fetch_Site="same-origin")
        self.assertEqual(r.status, 200, r.raw)
        self.assertIn(f"{PLAIN}=; Path=/; Max-Age=0", r.headers["set-cookie"])
        # Within a second on every gateway; ten times the margin.
        wait_until(lambda: self.ask("GET", "/api/auth/validate", Cookie=cookie).status == 401,
                   10, what="the end of the session")
        gone = self.ask("GET", "/api/auth/validate", Cookie=cookie)
        self.assertIn("Max-Age=0", gone.headers["set-cookie"])
        # Who has none is told nothing of cookies.
        _, me = self.stack.register("cookie.less")
        self.assertNotIn("set-cookie", me.post("/api/auth/logout", {}).headers)

    def test_two_credentials_are_both_good_and_of_one_person(self):
        _, mine, _ = self.enter()
        bad = mine[:-2] + ("AA" if mine[-2:] != "AA" else "BB")
        for status, cookie, headers in (
                (200, mine, {"Authorization": f"Bearer {self.me.token}"}),
                (403, mine, {"Authorization": f"Bearer {self.other.token}"}),
                (403, mine, {"X-API-Key": self.other_key}),
                (200, mine, {"X-API-Key": self.key}),
                (401, mine, {"Authorization": "Bearer a.b.c"}),
                (401, bad, {"Authorization": f"Bearer {self.me.token}"}),
                (401, f"{mine}; {PLAIN}={mine}", {}),
                (401, "", {})):
            with self.subTest(headers=list(headers), cookie=cookie[-10:]):
                r = self.ask("GET", "/api/auth/validate", Cookie=f"{PLAIN}={cookie}", **headers)
                self.assertEqual(r.status, status, r.raw)
        r = self.ask("GET", "/api/auth/validate", Cookie=f"{PLAIN}={mine}\r\nCookie: a=b")
        self.assertProblem(r, 400)

    def token(self, value):
        r = self.ask("GET", "/api/csrf-token", Cookie=f"{PLAIN}={value}" if value else None)
        self.assertEqual(r.status, 200, r.raw)
        self.assertEqual(r.json["header_name"], "X-CSRF-Token")
        self.assertRegex(r.json["csrf_token"], r"^[0-9a-f]{64}\.[0-9a-f]{64}$")
        self.assertIn("no-store", r.headers["cache-control"])
        return r.json["csrf_token"]

    def test_forged_requests_change_nothing(self):
        _, mine, _ = self.enter()
        _, theirs, _ = self.enter(self.other_key)
        own = f"http://127.0.0.1:{self.stack.port}"
        good, invented = self.token(mine), "ab" * 32
        count = len(self.me.get("/api/auth/keys").json["keys"])
        for want, site, origin, token in (
                (None, "same-origin", None, None),
                (None, "same-origin", own, invented),
                (None, None, own, None),
                (None, None, APP, None),
                (None, "cross-site", APP, None),
                (None, None, None, good),
                ("CSRF_TOKEN_MISSING", None, None, None),
                ("CSRF_TOKEN_INVALID", None, None, invented),
                ("CSRF_TOKEN_MISMATCH", None, None, self.token(theirs)),
                ("CSRF_SESSION_INVALID", None, None, self.token(None)),
                ("CSRF_TOKEN_INVALID", "cross-site", None, good),
                ("CSRF_TOKEN_INVALID", "same-site", None, good),
                ("CSRF_TOKEN_INVALID", "none", None, good),
                ("CSRF_TOKEN_INVALID", None, "null", good),
                ("CSRF_TOKEN_INVALID", None, "https://evil.example", good),
                ("CSRF_TOKEN_INVALID", "cross-site", "https://evil.example", good),
                ("CSRF_TOKEN_INVALID", None, own + ".evil.example", good),
                ("CSRF_TOKEN_INVALID", None, own.replace("http", "https"), good)):
            with self.subTest(site=site, origin=origin, token=token):
                r = self.ask("POST", "/api/auth/keys", {"name": "forged?"},
                             Cookie=f"{PLAIN}={mine}", Sec_Fetch_Site=site, Origin=origin,
                             X_CSRF_Token=token)
                if want:
                    self.assertProblem(r, 403, want)
                else:
                    self.assertEqual(r.status, 201, r.raw)
                    count += 1
                self.assertEqual(len(self.me.get("/api/auth/keys").json["keys"]), count)

    def test_nobody_else_is_asked_where_they_come_from(self):
        evil = {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}
        _, mine, _ = self.enter()
        for headers in ({"Authorization": f"Bearer {self.me.token}"},
                        {"X_API_Key": self.key},
                        {"Authorization": f"Bearer {self.me.token}",
                         "Cookie": f"{PLAIN}={mine}"}):
            r = self.ask("DELETE", "/api/auth/keys/00000000-0000-7000-8000-000000000000",
                         **headers, **evil)
            self.assertProblem(r, 404)
        # Reading needs no proof: the answer is not for another origin's eyes.
        r = self.ask("GET", "/api/auth/validate", Cookie=f"{PLAIN}={mine}", **evil)
        self.assertEqual(r.status, 200)
        self.assertNotIn("access-control-allow-origin", r.headers)
        r = self.ask("GET", "/api/auth/validate", Cookie=f"{PLAIN}={mine}", Origin=APP)
        self.assertEqual((r.headers["access-control-allow-origin"],
                          r.headers["access-control-allow-credentials"]), (APP, "true"))

    def test_every_route_that_changes_something_asks(self):
        _, mine, _ = self.enter()
        paths = re.findall(r'^ROUTE\((\w+), +"([^"]+)", +(\w+), +\w+, +\d+, +\w+, +\d+, +(\w+),',
                           (ROOT / "gateway/routes.def").read_text(), re.M)
        asked = 0
        for method, path, who, csrf in paths:
            if method == "GET" or who not in ("USER", "ADMIN"):
                continue
            with self.subTest(method=method, path=path):
                self.assertEqual(csrf, "COOKIE")
                r = self.ask(method, re.sub(r"\{\w+\}", "x", path), {},
                             Cookie=f"{PLAIN}={mine}", Origin="https://evil.example")
                if r.status == 413:  # it takes no body
                    r = self.ask(method, re.sub(r"\{\w+\}", "x", path),
                                 Cookie=f"{PLAIN}={mine}", Origin="https://evil.example")
                self.assertProblem(r, 403, "CSRF_TOKEN_INVALID")
                asked += 1
        self.assertGreater(asked, 40)


load_tests = load_on(("one", "tcp"), Cookie)


if __name__ == "__main__":
    unittest.main()
