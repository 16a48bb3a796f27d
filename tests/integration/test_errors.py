"""Each status with the bytes that yield it, from the product as people run it;
what a page of another origin can read of it; and HEAD beside GET."""
import re
import signal
import threading
import unittest

from tests.harness.process import wait_until
from tests.harness.raw import Raw, exchange
from tests.integration.stack import OnStack, load_on
from tests.integration.test_routes import filled, table

ORIGIN = "http://localhost:5173"
# What differs from one answer to the next.
PASSING = {"date", "x-request-id", "content-length", "etag", "cache-status", "ratelimit",
           "x-ratelimit-remaining", "x-ratelimit-reset"}
JSON = {"Content_Type": "application/json"}


def request(method, path, body=None, **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Origin: {ORIGIN}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode("latin-1")


class Told(OnStack):
    env = {"REQUEST_READ_S": "1"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key, cls.me = cls.stack.register("error.maker")
        cls.login = {"X_API_Key": cls.key}

    def assertTold(self, r, status, code):
        """The whole shape, and the headers that let a page see it."""
        self.assertIsNotNone(r, "no answer")
        body = self.assertProblem(r, status, code)
        self.assertEqual(body["type"], f"/problems/{code}")
        self.assertEqual(self.api.get(body["type"]).json["status"], status)
        self.assertEqual(r.headers.get("access-control-allow-origin"), ORIGIN)
        self.assertEqual(r.headers.get("access-control-allow-credentials"), "true")
        self.assertIn("Retry-After", r.headers["access-control-expose-headers"])
        self.assertIn("Origin", r.headers["vary"])
        self.assertEqual(r.headers["cache-control"], "no-store")
        self.assertEqual(str(body.get("retry_after", "")), r.headers.get("retry-after", ""))
        self.assertEqual(status == 401, "www-authenticate" in r.headers)
        self.assertEqual(status == 405, "allow" in r.headers)
        return body


class Statuses(Told):
    def cases(self):
        once = {**self.login, **JSON, "Idempotency_Key": "the-very-same-key"}
        sent = exchange(self.stack.port, request("POST", "/api/auth/keys", '{"name": "a"}', **once))
        self.assertEqual(sent.status, 201, sent)
        return (
            (400, "INVALID_FORMAT", request("POST", "/api/auth/login", "{", **JSON)),
            (400, "VALIDATION_ERROR", request("POST", "/api/auth/login", "[]", **JSON)),
            (400, "INVALID_INPUT", request("GET", "/health?a=%00")),
            (401, "AUTH_REQUIRED", request("GET", "/api/progress")),
            (401, "INVALID_API_KEY", request("GET", "/api/progress", X_API_Key="sk_wrong")),
            (401, "INVALID_TOKEN", request("GET", "/api/progress", Authorization="Bearer x.y.z")),
            (403, "ADMIN_REQUIRED", request("GET", "/api/stats", **self.login)),
            (403, "INSUFFICIENT_PERMISSIONS",
             request("GET", "/api/progress?user_id=other", **self.login)),
            (404, "NOT_FOUND", request("GET", "/nope")),
            (405, "METHOD_NOT_ALLOWED", request("DELETE", "/health")),
            (406, "NOT_ACCEPTABLE", request("GET", "/health", Accept="text/html, image/*;q=0.5")),
            (409, "ALREADY_EXISTS", request("POST", "/api/auth/register",
                                            '{"user_id": "error.maker"}', **JSON)),
            (411, "LENGTH_REQUIRED", request("POST", "/api/auth/login", **JSON)),
            (413, "REQUEST_TOO_LARGE", request("POST", "/api/auth/login", "x" * 8193, **JSON)),
            (414, "URI_TOO_LONG", request("GET", "/" + "a" * 4090)),
            (415, "UNSUPPORTED_MEDIA_TYPE",
             request("POST", "/api/auth/login", "{}", Content_Type="text/plain")),
            (417, "EXPECTATION_FAILED",
             request("POST", "/api/auth/login", "{}", Expect="tea", **JSON)),
            (422, "IDEMPOTENCY_KEY_REUSED",
             request("POST", "/api/auth/keys", '{"name": "b"}', **once)),
            (431, "HEADERS_TOO_LARGE", request("GET", "/health", X_Long="a" * 8190)),
            (501, "NOT_IMPLEMENTED", request("GET", "/api/study-tools/notes", **self.login)),
        )

    def test_each_status_has_its_request(self):
        for status, code, sent in self.cases():
            with self.subTest(status=status, code=code):
                self.assertTold(exchange(self.stack.port, sent), status, code)

    def test_a_body_that_does_not_come_is_408_by_our_own_timer(self):
        with Raw(self.stack.port) as c:
            c.send(request("POST", "/api/auth/login", **JSON, Content_Length="9") + b"{")
            self.assertTold(c.answer(), 408, "REQUEST_TIMEOUT")
            self.assertFalse(c.more())

    def test_only_a_route_that_needs_a_body_asks_for_its_length(self):
        """tests/unit/test_gateway_status.c goes over every row."""
        for sent in (request("POST", "/api/auth/logout", **self.login),
                     request("GET", "/api/progress", **self.login),
                     request("DELETE", "/api/auth/keys/none", **self.login)):
            self.assertNotEqual(exchange(self.stack.port, sent).status, 411)

    def test_an_error_at_a_stranger_s_page_carries_no_cors_header(self):
        for status, code, sent in self.cases():
            with self.subTest(status=status, code=code):
                r = exchange(self.stack.port, sent.replace(
                    ORIGIN.encode(), b"http://localhost:5173.evil.example"))
                self.assertEqual(r.status, status)
                self.assertFalse({k for k in r.headers if k.startswith("access-control-")})

    def test_head_has_status_and_headers_of_get_and_no_body(self):
        admin = {"X_API_Key": self.stack.admin_key}
        for method, path, who, *_ in table():
            if method != "GET" or who == "internal":
                continue
            login = {"anyone": {}, "user": self.login, "admin": admin}[who]
            with self.subTest(path=path), Raw(self.stack.port) as c:
                answers = []
                for verb in ("GET", "HEAD"):
                    c.send(request(verb, filled(path), **login))
                    answers.append(c.answer(verb == "HEAD"))
                got, head = answers
                self.assertEqual(head.status, got.status)
                self.assertEqual({k: v for k, v in head.headers.items() if k not in PASSING},
                                 {k: v for k, v in got.headers.items() if k not in PASSING})
                self.assertEqual("content-length" in head.headers, "content-length" in got.headers)
                # Nothing came behind the head: the next answer begins at once.
                c.send(request("GET", "/health"))
                self.assertEqual(c.answer().status, 200)

    def test_head_of_what_has_no_get_is_405(self):
        r = exchange(self.stack.port, request("HEAD", "/api/auth/login"), head=True)
        self.assertEqual((r.status, r.headers["allow"]), (405, "POST, OPTIONS"))


class Away(Told):
    """What only a service that is away, frozen or killed yields."""
    layout = "ipc"

    def test_a_service_that_is_away_is_503(self):
        self.assertEqual(self.stack.processes["content"].stop(), 0)
        try:
            r = exchange(self.stack.port, request("GET", "/api/progress", **self.login))
            body = self.assertTold(r, 503, "SERVICE_UNAVAILABLE")
            self.assertGreaterEqual(body["retry_after"], 1)
        finally:
            self.stack.start_one("content")
            self.stack.wait_ready()

    def in_background(self, sent):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(
            exchange(self.stack.port, sent)), daemon=True)
        thread.start()

        def answer():
            thread.join(20)
            return answers[0]
        return answer

    def test_a_frozen_service_is_504_by_the_deadline(self):
        frozen = self.stack.processes["auth"]
        frozen.freeze()
        try:
            late = self.in_background(request("POST", "/api/auth/login", '{"api_key": "sk_x"}',
                                              **JSON))
            self.assertTold(late(), 504, "GATEWAY_TIMEOUT")
        finally:
            frozen.signal(signal.SIGCONT)
        wait_until(lambda: self.api.post("/api/auth/login", {"api_key": self.key}).status == 200,
                   30, what="the thaw")

    def test_what_may_have_been_done_by_a_service_that_died_is_502(self):
        frozen = self.stack.processes["auth"]
        frozen.freeze()
        lost = self.in_background(request("POST", "/api/auth/register", '{"user_id": "who.knows"}',
                                          **JSON))
        sent = re.compile(r'^kae_bus_in_flight\{[^}]*service="auth"[^}]*\} [1-9]', re.M)
        wait_until(lambda: sent.search(self.stack.admin("gateway", "/metrics").raw.decode()), 10,
                   what="the request at the service")
        frozen.kill()
        self.assertTold(lost(), 502, "BAD_GATEWAY")
        self.stack.start_one("auth")
        self.stack.wait_ready()


class Counted(Told):
    """What only a limit yields; tests/integration/test_limits.py has its rules."""
    env = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_LOGIN_PER_MINUTE": "3"}

    def test_who_asks_too_often_is_429(self):
        wrong = request("POST", "/api/auth/login", '{"api_key": "sk_wrong"}', **JSON)
        answers = [exchange(self.stack.port, wrong) for _ in range(4)]
        body = self.assertTold(answers[-1], 429, "RATE_LIMIT_EXCEEDED")
        self.assertGreaterEqual(body["retry_after"], 1)
        exposed = answers[-1].headers["access-control-expose-headers"].lower().split(", ")
        for name in ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
                     "ratelimit", "ratelimit-policy", "retry-after"):
            self.assertIn(name, answers[-1].headers)
            self.assertIn(name, exposed)


load_statuses = load_on(("one", "tcp"), Statuses)


def load_tests(loader, tests, pattern):
    suite = load_statuses(loader, tests, pattern)
    for cls in (Away, Counted):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite


if __name__ == "__main__":
    unittest.main()
