"""Headers for browsers and caches: security, Cache-Control, ETag, gzip."""
import gzip
import re

from tests.harness.raw import exchange
from tests.integration.stack import OnStack
from tests.integration.test_routes import filled, table

CATALOGUE = "/api/gamification/achievements"
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "geolocation=(), microphone=(), camera=(), payment=()",
    "x-permitted-cross-domain-policies": "none",
}


class Headers(OnStack):
    def test_every_answer_has_the_security_headers_and_a_strict_policy(self):
        for method, path, status in (
                ("GET", "/health", 200), ("GET", "/nothing", 404), ("GET", CATALOGUE, 200),
                ("POST", "/health", 405), ("GET", "/api/progress", 401), ("HEAD", "/", 200),
                ("OPTIONS", "/health", 204), ("POST", "/api/auth/login", 400)):
            with self.subTest(method=method, path=path):
                r = self.api.ask(method, path, body={} if method == "POST" else None)
                self.assertEqual(r.status, status)
                for name, value in SECURITY.items():
                    self.assertEqual(r.headers.get(name), value)
                policy = r.headers["content-security-policy"]
                self.assertEqual(set(policy.split("; ")), {
                    "default-src 'none'", "object-src 'none'", "base-uri 'none'",
                    "form-action 'none'", "frame-ancestors 'none'"})
                self.assertNotIn("unsafe", policy)
                # Nobody said that this host has TLS.
                self.assertNotIn("strict-transport-security", r.headers)

    def has_what_every_answer_has(self, r):
        for name, value in SECURITY.items():
            self.assertEqual(r.headers.get(name), value)
        policy = r.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        for directive in ("object-src", "base-uri", "frame-ancestors"):
            self.assertIn(f"{directive} 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertIn("Origin", r.headers["vary"])
        self.assertRegex(r.headers["x-request-id"], r"^[A-Za-z0-9._-]+$")
        self.assertIn(r.headers["cache-control"], ("no-store", "public, max-age=300"))

    def test_every_route_has_them_whoever_asks_and_whatever_comes_of_it(self):
        statuses = set()
        nobody = self.api
        _, user = self.stack.register("walker")
        admin = self.stack.api(key=self.stack.admin_key)
        rows = table()
        # What may end the login of who asks comes last.
        for verb, path, access, *_ in sorted(rows, key=lambda r: "logout" in r[1]):
            for who in (nobody, user, admin):
                for body in (None, {}) if verb in ("POST", "PUT", "PATCH") else (None,):
                    with self.subTest(verb=verb, path=path, body=body):
                        r = who.ask(verb, filled(path), body=body)
                        statuses.add(r.status)
                        self.has_what_every_answer_has(r)
                        if r.headers["cache-control"] != "no-store":
                            self.assertEqual((access, r.status), ("anyone", 200))
        self.assertLessEqual({200, 400, 401, 403, 404, 501}, statuses)

    def test_pages_and_refusals_have_them_too(self):
        takes_html = {"Accept": "text/html"}
        known = {"If-None-Match": self.api.get(CATALOGUE).headers["etag"]}
        for path, headers, status in (
                ("/docs", takes_html, 200), ("/docs/style.css", {}, 200),
                ("/problems/NOT_FOUND", takes_html, 200), ("/problems/NOT_FOUND", {}, 200),
                (CATALOGUE, known, 304), ("/docs", {"Accept": "image/png"}, 406),
                ("/health", {"Content-Length": "70000"}, 413),
                ("/health?" + "a&" * 80, {}, 400), ("/" + "x" * 5000, {}, 414),
                ("/health", {"X-Large": "x" * 9000}, 431), ("/health", {"Expect": "magic"}, 417)):
            with self.subTest(path=path[:20], status=status):
                lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
                r = exchange(self.stack.port, (f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}"
                                               "\r\n").encode(), head=status == 304)
                self.assertEqual(r.status, status)
                self.has_what_every_answer_has(r)

    def test_what_is_private_or_failed_is_stored_by_nobody(self):
        _, api = self.stack.register("keeper")
        for r in (api.get("/api/auth/validate"), api.get("/nothing"), self.api.get("/health"),
                  self.api.get("/problems/NO_SUCH"), api.get("/api/auth/keys")):
            self.assertEqual(r.headers["cache-control"], "no-store")
            self.assertNotIn("etag", r.headers)

    def test_a_public_answer_is_asked_for_once(self):
        first = self.api.get(CATALOGUE)
        tag = first.headers["etag"]
        self.assertRegex(tag, r'^"[0-9a-f]{32}"$')
        self.assertEqual(first.headers["cache-control"], "public, max-age=300")
        self.assertEqual(self.api.get(CATALOGUE).headers["etag"], tag)
        for had in (tag, "W/" + tag, '"other", ' + tag, "*"):
            for method in ("GET", "HEAD"):
                with self.subTest(had=had, method=method):
                    r = self.api.ask(method, CATALOGUE, headers={"If-None-Match": had})
                    self.assertEqual((r.status, r.raw), (304, b""))
                    for name in ("etag", "cache-control", "vary", "content-length"):
                        self.assertEqual(r.headers[name], first.headers[name])
        for had in ('"other"', tag[:-1], tag[1:-1], "", "W/*"):
            with self.subTest(had=had):
                r = self.api.get(CATALOGUE, headers={"If-None-Match": had})
                self.assertEqual((r.status, r.raw), (200, first.raw))

    def test_a_larger_answer_is_compressed_for_who_takes_it(self):
        plain = self.api.get(CATALOGUE)
        self.assertGreater(len(plain.raw), 1024)
        self.assertIn("Accept-Encoding", plain.headers["vary"])
        self.assertNotIn("content-encoding", plain.headers)
        for takes in ("gzip", "br;q=0.9, gzip;q=0.8", "*"):
            with self.subTest(takes=takes):
                r = self.api.get(CATALOGUE, headers={"Accept-Encoding": takes})
                self.assertEqual(r.headers["content-encoding"], "gzip")
                self.assertIn("Accept-Encoding", r.headers["vary"])
                self.assertEqual(gzip.decompress(r.raw), plain.raw)
                self.assertLess(len(r.raw), len(plain.raw) // 2)
                # Other bytes have another name, and are known by it.
                self.assertNotEqual(r.headers["etag"], plain.headers["etag"])
                again = self.api.get(CATALOGUE, headers={
                    "Accept-Encoding": takes, "If-None-Match": r.headers["etag"]})
                self.assertEqual((again.status, again.raw), (304, b""))
                self.assertEqual(again.headers["etag"], r.headers["etag"])
        head = self.api.ask("HEAD", CATALOGUE, headers={"Accept-Encoding": "gzip"})
        self.assertEqual(head.headers["content-encoding"], "gzip")
        for takes in ("", "identity", "gzip;q=0", "br", "gzip;q=0.5, identity"):
            with self.subTest(takes=takes):
                r = self.api.get(CATALOGUE, headers={"Accept-Encoding": takes})
                self.assertNotIn("content-encoding", r.headers)
                self.assertEqual(r.raw, plain.raw)

    def test_small_answers_errors_and_secrets_are_never_compressed(self):
        key, api = self.stack.register("packer")
        takes = {"Accept-Encoding": "gzip"}
        answers = [self.api.get("/health", headers=takes), api.get("/nothing", headers=takes),
                   self.api.post("/api/auth/login", {"api_key": key}, headers=takes)]
        for _ in range(12):  # a list of svc-auth that would be worth it
            api.post("/api/auth/keys", {"name": "k"})
        keys = api.get("/api/auth/keys", headers=takes)
        if len(keys.raw) > 1024:
            answers.append(keys)
        for r in answers:
            self.assertNotIn("content-encoding", r.headers)
            self.assertIsNone(re.search("accept-encoding", r.headers["vary"], re.I))
