"""What came in clear: led to HTTPS, refused, or exempt.  The proxy is the test."""
import unittest

from tests.harness.process import free_port
from tests.harness.raw import Raw, exchange
from tests.integration.stack import OnStack, Stack
from tests.integration.test_start import call

FAR = {"X-Forwarded-For": "203.0.113.9"}
HTTPS = {"X-Forwarded-Proto": "https"}
HSTS = "strict-transport-security"


class Forced(OnStack):
    env = {"TRUSTED_PROXIES": "127.0.0.1"}

    def test_a_plain_page_is_led_to_https(self):
        for target, host, want in (
                ("/docs", "learn.example", "https://learn.example/docs"),
                ("/docs?a=b&c=%20", "learn.example:80", "https://learn.example/docs?a=b&c=%20"),
                ("/nothing", "Learn.Example:5000", "https://Learn.Example/nothing"),
                ("/", "[2001:db8::1]:80", "https://[2001:db8::1]/"),
                ("/docs?", "203.0.113.1", "https://203.0.113.1/docs?"),
                ("//evil.example/x", "learn.example", "https://learn.example//evil.example/x"),
                ("/a\"<b>", "learn.example", "https://learn.example/a%22%3Cb%3E"),
                ("http://other.example/docs", "learn.example", "https://learn.example/docs")):
            for method in ("GET", "HEAD"):
                with self.subTest(method=method, target=target):
                    r = exchange(self.stack.port, (
                        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"
                        "X-Forwarded-For: 203.0.113.9\r\n\r\n").encode(), head=method == "HEAD")
                    self.assertEqual((r.status, r.headers["location"], r.raw), (308, want, b""))
                    self.assertEqual(r.headers["cache-control"], "no-store")
                    self.assertNotIn(HSTS, r.headers)
                    self.assertFalse(r.closed)

    def test_what_carries_something_is_refused(self):
        login = {"api_key": "sk_" + "x" * 40}
        for method, path, more, body in (
                ("POST", "/api/auth/login", {}, login),
                ("POST", "/nothing", {}, login),
                ("DELETE", "/api/auth/keys/1", {}, None),
                ("OPTIONS", "/docs", {}, None),
                ("GET", "/api/progress", {}, None),
                ("GET", "/api/gamification/leaderboard", {}, None),
                ("GET", "/api/progress", {"Authorization": "Bearer x"}, None),
                ("GET", "/docs", {"X-API-Key": "sk_x"}, None),
                ("GET", "/docs", {}, login),
                ("HEAD", "/api/progress", {"Authorization": "Bearer x"}, None)):
            with self.subTest(method=method, path=path, more=more):
                r = self.api.ask(method, path, body=body, headers={**FAR, **more})
                self.assertEqual(r.status, 403)
                self.assertNotIn("location", r.headers)
                if method != "HEAD":
                    self.assertProblem(r, 403, "HTTPS_REQUIRED")

    def test_a_host_that_no_address_can_be_made_of_leads_nowhere(self):
        for host in ("a b", "evil.example/x", "u@evil.example", "[::1", "[::1]x", ":80",
                     "a\\b", "x" * 300, "ex%41mple", "[zz]"):
            with self.subTest(host=host):
                r = exchange(self.stack.port, (
                    f"GET /docs HTTP/1.1\r\nHost: {host}\r\n"
                    "X-Forwarded-For: 203.0.113.9\r\n\r\n").encode())
                self.assertEqual(r.status, 403)
                self.assertNotIn("location", r.headers)
        r = exchange(self.stack.port, b"GET /docs HTTP/1.0\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
        self.assertEqual(r.status, 403)

    def test_a_refused_body_is_read_to_its_end(self):
        with Raw(self.stack.port) as client:
            for _ in range(2):
                client.send(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\n"
                            b"X-Forwarded-For: 203.0.113.9\r\nContent-Type: application/json\r\n"
                            b"Content-Length: 2\r\n\r\n{}")
                r = client.answer()
                self.assertEqual((r.status, r.closed), (403, False))

    def test_what_a_trusted_proxy_had_by_https_passes_and_learns_hsts(self):
        for more in (HTTPS, {"Forwarded": "for=203.0.113.9;proto=https"}):
            for method, path, status in (
                    ("GET", "/docs", 200), ("GET", "/nothing", 404), ("GET", "/health", 200),
                    ("POST", "/api/auth/login", 400), ("OPTIONS", "/docs", 204)):
                with self.subTest(more=more, path=path):
                    r = self.api.ask(method, path, body={} if method == "POST" else None,
                                     headers={**FAR, **more})
                    self.assertEqual(r.status, status)
                    self.assertEqual(r.headers[HSTS], "max-age=31536000; includeSubDomains")

    def test_health_is_told_in_clear_and_without_hsts(self):
        for path in ("/health", "/ready", "/api/health", "/api/ready"):
            r = self.api.get(path, headers=FAR)
            self.assertEqual(r.status, 200, path)
            self.assertNotIn(HSTS, r.headers)
        self.assertEqual(self.api.get("/", headers=FAR).status, 308)

    def test_only_a_client_on_this_machine_is_exempt_not_who_says_so(self):
        self.assertEqual(self.api.get("/docs").status, 200)
        for host in ("localhost", "127.0.0.1", "localhost:5000"):
            r = self.api.get("/docs", headers={**FAR, "Host": host})
            self.assertEqual(r.status, 308, host)


class Untrusted(OnStack):
    """Everybody is somebody else than the proxy."""
    env = {"TRUSTED_PROXIES": "10.0.0.0/8"}

    def test_a_client_cannot_claim_https(self):
        r = self.api.get("/docs", headers=HTTPS)
        self.assertEqual(r.status, 200)  # from this machine
        self.assertNotIn(HSTS, r.headers)


class Setting(unittest.TestCase):
    def test_off_is_off(self):
        stack = Stack("one", TRUSTED_PROXIES="127.0.0.1", FORCE_HTTPS="false")
        self.addCleanup(stack.close)
        api = stack.start().api()
        self.assertEqual(api.get("/docs", headers=FAR).status, 200)
        self.assertNotIn(HSTS, api.get("/docs", headers={**FAR, **HTTPS}).headers)

    def test_on_where_nothing_could_comply_is_refused(self):
        got = call("kae-gateway", FORCE_HTTPS="true", PORT=str(free_port()),
                   ADMIN_PORT=str(free_port()))
        self.assertEqual(got.returncode, 2)
        self.assertIn("FORCE_HTTPS: needs SSL_CERTFILE or TRUSTED_PROXIES", got.stderr)


if __name__ == "__main__":
    unittest.main()
