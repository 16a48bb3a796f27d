"""Which pages of other origins may read what we answer: byte for byte."""
import re
import subprocess
import tempfile
import unittest

from tests.harness.process import free_port, wait_until
from tests.harness.raw import Raw, exchange
from tests.integration.stack import BIN, OnStack, Stack
from tests.integration.test_routes import filled, table

METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
REQUEST_HEADERS = ("content-type", "authorization", "x-api-key", "x-csrf-token",
                   "accept-language", "x-user-id", "x-request-id", "x-timestamp", "x-signature",
                   "x-encrypted-request", "idempotency-key", "traceparent", "last-event-id")
EXPOSED = ("x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
           "ratelimit", "ratelimit-policy", "quota-warning", "retry-after", "idempotent-replayed")
STRANGERS = (
    "null", "", "http://localhost", "http://localhost:5175", "https://localhost:5173",
    "http://localhost:5173/", "http://localhost:5173.evil.example", "http://evil-localhost:5173",
    "http://localhost:51730", "http://127.0.0.1:5173", "http://user@localhost:5173",
    "http://localhost:5173, http://evil.example", "http://localhost:5173 http://localhost:3000",
    "localhost:5173", "file://", "*", "http://[::1]:5173", "http://localhost:05173",
    "javascript:alert(1)")


def names(value):
    return {n.strip().lower() for n in value.split(",")}


def cors(answer):
    return {k for k in answer.headers if k.startswith("access-control-")}


class Cors(OnStack):
    def ask(self, method, path, origin, more="", body=""):
        return exchange(self.stack.port, (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode("latin-1"))

    def assertLetIn(self, r, origin):
        self.assertEqual(r.headers.get("access-control-allow-origin"), origin, r)
        self.assertEqual(r.headers["access-control-allow-credentials"], "true")
        self.assertIn("origin", names(r.headers["vary"]))

    def test_the_four_of_development_are_let_in(self):
        for port in (3000, 5173, 5174, 8080):
            origin = f"http://localhost:{port}"
            r = self.ask("GET", "/health", origin)
            self.assertLetIn(r, origin)
            self.assertEqual(names(r.headers["access-control-expose-headers"]), set(EXPOSED))

    def test_the_case_of_scheme_and_host_does_not_count(self):
        for origin in ("HTTP://LOCALHOST:5173", "Http://LocalHost:5173"):
            # The browser compares byte for byte, so its own form comes back.
            self.assertLetIn(self.ask("GET", "/health", origin), origin)

    def test_strangers_get_no_cors_header_at_all(self):
        for origin in STRANGERS:
            for path in ("/health", "/nope", "/api/progress"):
                with self.subTest(origin=origin, path=path):
                    r = self.ask("GET", path, origin)
                    self.assertEqual(cors(r), set())
                    self.assertIn("origin", names(r.headers["vary"]))
            with self.subTest(origin=origin, preflight=True):
                r = self.ask("OPTIONS", "/api/progress", origin,
                             "Access-Control-Request-Method: GET\r\n")
                self.assertEqual(cors(r), set())

    def test_two_origins_are_no_origin(self):
        r = exchange(self.stack.port, b"GET /health HTTP/1.1\r\nHost: x\r\n"
                     b"Origin: http://localhost:5173\r\nOrigin: http://evil.example\r\n\r\n")
        self.assertEqual(r.status, 400)

    def test_vary_says_origin_also_to_who_sends_none(self):
        for path in ("/health", "/nope", "/api/progress", "/problems/NOT_FOUND", "/docs"):
            r = exchange(self.stack.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertIn("origin", names(r.headers["vary"]), path)
            self.assertEqual(cors(r), set())

    def test_a_preflight_of_every_route_is_let_through(self):
        for method, path, who, *_ in table():
            if who == "internal":
                continue
            with self.subTest(method=method, path=path):
                r = self.ask("OPTIONS", filled(path), "http://localhost:5173",
                             f"Access-Control-Request-Method: {method}\r\n"
                             "Access-Control-Request-Headers: authorization,x-user-id\r\n")
                self.assertEqual((r.status, r.raw), (204, b""))
                self.assertLetIn(r, "http://localhost:5173")
                self.assertEqual(r.headers["access-control-allow-methods"], METHODS)
                self.assertEqual(names(r.headers["access-control-allow-headers"]),
                                 set(REQUEST_HEADERS))
                self.assertEqual(r.headers["access-control-max-age"], "3600")
                self.assertIn(method, r.headers["allow"])

    def test_options_without_a_preflight_tells_the_methods(self):
        r = self.ask("OPTIONS", "/api/auth/login", "http://localhost:5173")
        self.assertEqual((r.status, r.headers["allow"]), (204, "POST, OPTIONS"))
        self.assertNotIn("access-control-max-age", r.headers)

    def test_a_stranger_is_not_refused_only_unread(self):
        """CORS protects readers in browsers; it is not access control."""
        r = self.ask("POST", "/api/auth/login", "http://evil.example",
                     "Content-Type: application/json\r\n", '{"api_key": "sk_wrong"}')
        self.assertEqual((r.status, cors(r)), (401, set()))


class Listed(OnStack):
    """Origins of our own choice, as in production."""
    env = {"ENVIRONMENT": "testing", "KEY_ENCRYPTION_KEY": "k" * 40,
           "CORS_ORIGINS": "https://Learn.Example, https://app.example:8443,,"}

    def test_the_list_holds_instead_of_the_defaults(self):
        for origin, let_in in (("https://learn.example", True), ("https://app.example:8443", True),
                               ("https://app.example", False), ("http://learn.example", False),
                               ("https://learn.example:443", False),
                               ("https://sub.learn.example", False),
                               ("https://learn.example.evil.example", False),
                               ("https://evillearn.example", False),
                               ("http://localhost:5173", False)):
            with self.subTest(origin=origin):
                r = self.api.get("/health", headers={"Origin": origin})
                self.assertEqual(r.headers.get("access-control-allow-origin"),
                                 origin if let_in else None)


class NoList(OnStack):
    env = {"ENVIRONMENT": "testing", "KEY_ENCRYPTION_KEY": "k" * 40}

    def test_without_a_list_only_pages_of_our_own_origin_read(self):
        for origin in ("http://localhost:5173", f"http://127.0.0.1:{self.stack.port}", "null"):
            r = self.api.get("/health", headers={"Origin": origin})
            self.assertEqual((r.status, cors(r)), (200, set()))


class SwitchedOff(unittest.TestCase):
    def test_it_is_told_once_and_lets_nobody_in(self):
        stack = Stack("one", CORS_ENABLED="false", GATEWAY_THREADS="3",
                      CORS_ORIGINS="https://learn.example")
        self.addCleanup(stack.close)
        stack.start()
        for origin in ("https://learn.example", "http://localhost:5173"):
            r = stack.api().get("/health", headers={"Origin": origin})
            self.assertEqual((r.status, cors(r)), (200, set()))
        gateway = stack.processes["knowalledge"]
        told = [e for e in gateway.events("gateway.cors_off")]
        self.assertEqual([e["level"] for e in told], ["warn"])


class AnyOrigin(unittest.TestCase):
    def start(self, program, **env):
        with tempfile.TemporaryDirectory(prefix="kae-", dir="/tmp") as folder:
            return subprocess.run(
                [str(BIN / program)], capture_output=True, text=True, timeout=60, check=False,
                cwd=folder, env={"PATH": "/usr/bin:/bin", "DATA_DIR": folder, "PORT": "0",
                                 "ADMIN_PORT": str(free_port()), "KEY_ENCRYPTION_KEY": "k" * 40,
                                 "BUS_KEY": "b" * 40, **env})

    def test_it_refuses_to_start_outside_development(self):
        for program in ("knowalledge", "kae-gateway"):
            for env in ("testing", "staging", "production"):
                for origins in ("*", "https://learn.example, *"):
                    with self.subTest(program=program, env=env, origins=origins):
                        got = self.start(program, ENVIRONMENT=env, CORS_ORIGINS=origins)
                        self.assertEqual(got.returncode, 2)
                        lines = got.stderr.strip().splitlines()
                        self.assertEqual(len(lines), 1, got.stderr)
                        self.assertRegex(lines[0], r"CORS_ORIGINS.*\* is refused")

    def test_in_development_it_gives_no_credentials(self):
        stack = Stack("one", CORS_ORIGINS="*")
        self.addCleanup(stack.close)
        stack.start()
        r = stack.api().get("/health", headers={"Origin": "https://anybody.example"})
        self.assertEqual(r.headers["access-control-allow-origin"], "*")
        self.assertNotIn("access-control-allow-credentials", r.headers)
        self.assertIn("origin", names(r.headers["vary"]))
        r = stack.api().get("/health", headers={"Origin": "null"})
        self.assertEqual(cors(r), set())

    def test_what_is_no_origin_refuses_to_start(self):
        for origins in ("learn.example", "https://learn.example/", "https://*.example",
                        "https://a.example:port", "null", "https://u:p@a.example"):
            with self.subTest(origins=origins):
                got = self.start("kae-gateway", ENVIRONMENT="development", CORS_ORIGINS=origins)
                self.assertEqual(got.returncode, 2)
                self.assertIn("CORS_ORIGINS", got.stderr)


if __name__ == "__main__":
    unittest.main()
