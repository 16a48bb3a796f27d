"""Nobody calls what is not for them: the table, the live routes, and floods of
credentials that are none."""
import base64
import json
import pathlib
import re
import secrets
import subprocess
import time
import unittest

from tests.harness.process import wait_until
from tests.harness.raw import Raw, exchange
from tests.integration.stack import BIN, SHORT, OnStack
from tests.integration.test_routes import filled, table

# What may be open at all; a route for anyone outside of these is a finding.
FAMILIES = {
    "root": r"GET /",
    "health": r"GET (/api)?/(health|ready)",
    "CSRF token": r"GET /api/csrf-token",
    "register, login, refresh": r"POST /api/auth/(register|login|refresh)",
    "JWKS": r"GET /\.well-known/jwks\.json",
    "documents": r"GET (/openapi\.json|/docs|/docs/style\.css|/api/docs|/problems/\{code\})",
    "static files": r"GET (/static/\{path\}|/assets/\{path\}|/favicon\.ico)",
    "proof of an erasure": r"GET /api/user/erasure(-keys|/\{receipt_id\})",
    "web-analytics ingest": r"POST (/api/analytics|/api/metrics/performance)",
    "open-graph image": r"(GET /api/og/graphs/\{id\}/og-image"
                        r"|POST /api/og/graphs/og-image/generate)",
    "social reads": r"(POST /api/social/graphs/id"
                    r"|GET /api/social/graphs/(\{id\}/stats|trending|top-rated))",
    "reactions of visitors": r"POST /api/social/graphs/\{id\}/(like|rate|share)",
    "gamification catalogues": r"GET /api/gamification/(achievements|skills|challenges"
                               r"|leaderboard)",
}
FLOOD = 2_000 if SHORT else 20_000
BATCH = 200


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token_with_kid(kid):
    """As well-formed as a token can be that nobody signed."""
    head = {"alg": "ES256", "typ": "JWT", "kid": kid}
    return ".".join((b64(json.dumps(head).encode()), b64(b'{"sub":"x"}'),
                     b64(secrets.token_bytes(64))))


def resident_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)[1])


class Table(unittest.TestCase):
    def test_the_audit_finds_nothing(self):
        got = subprocess.run([str(BIN / "kae-gateway"), "--audit-auth"], capture_output=True,
                             text=True, timeout=60, check=False)
        self.assertEqual(got.returncode, 0, got.stdout)
        self.assertNotIn("FAULT", got.stdout)
        self.assertRegex(got.stdout.splitlines()[-1], r"^\d+ routes: .* 0 faults$")
        for method, path, who, *_, reason in table():
            if who == "anyone":
                self.assertRegex(got.stdout, rf"(?m)^{method} +{re.escape(path)} +\S")
                self.assertTrue(reason)

    def test_what_is_open_belongs_to_what_may_be_open(self):
        used = set()
        for method, path, who, *_ in table():
            if who != "anyone":
                continue
            family = [name for name, pattern in FAMILIES.items()
                      if re.fullmatch(pattern, f"{method} {path}")]
            self.assertEqual(len(family), 1, f"{method} {path} is for anyone")
            used.update(family)
        self.assertEqual(used, set(FAMILIES))


class Live(OnStack):
    def test_no_spelling_of_a_closed_path_lets_anybody_in(self):
        closed = [(m, filled(p)) for m, p, who, *_ in table() if who in ("user", "admin")]
        for method, path in closed:
            mangled = path.replace("/api/", "/api/%2e/"), path.replace("/api", "/API", 1)
            for target in (path, path + "/", "/" + path, path + "?user_id=admin",
                           path + ";user=admin", path + "#x", "/health/.." + path,
                           "http://127.0.0.1" + path, path + "%20", path + ".json", *mangled):
                with self.subTest(method=method, target=target):
                    r = exchange(self.stack.port, (
                        f"{method} {target} HTTP/1.1\r\nHost: x\r\nX-User-ID: admin\r\n"
                        "X-Forwarded-User: admin\r\nContent-Length: 0\r\n\r\n").encode())
                    # 405: it has become another path, such as one with a {parameter}.
                    self.assertIn(r.status, (401, 404, 405, 400), r)

    def test_no_header_makes_another_method_of_one(self):
        for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
            r = exchange(self.stack.port, (
                f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\n{name}: GET\r\n"
                "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}").encode())
            self.assertEqual(r.status, 400)
            self.assertEqual(r.json["error_code"], "VALIDATION_ERROR")

    def test_every_method_of_every_path_asks_who_it_is(self):
        who_of = {(m, filled(p)): who for m, p, who, *_ in table()}
        for path in {p for _, p in who_of}:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT",
                           "PROPFIND"):
                row = who_of.get(("GET" if method == "HEAD" else method, path))
                with self.subTest(method=method, path=path):
                    r = exchange(self.stack.port,
                                 f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
                                 "Content-Length: 0\r\n\r\n".encode(), method == "HEAD")
                    if row in ("user", "admin"):
                        self.assertEqual(r.status, 401)
                    elif row is None or row == "internal":
                        self.assertIn(r.status, (404, 405))


class Flood(OnStack):
    layout = "ipc"
    env = {"AUTH_CACHE_ENTRIES": "4096", "GATEWAY_THREADS": "1"}

    def metric(self, name):
        text = self.stack.admin("gateway", "/metrics").raw.decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.M)[1])

    def ask(self, connection, header, values):
        """How often each status came."""
        connection.send(b"".join(
            f"GET /api/auth/validate HTTP/1.1\r\nHost: x\r\n{header}{v}\r\n\r\n".encode()
            for v in values))
        statuses = {}
        for _ in values:
            status = connection.answer().status
            statuses[status] = statuses.get(status, 0) + 1
        return statuses

    def flood(self, header, make):
        pid = self.stack.processes["gateway"].pid
        statuses, started = {}, time.monotonic()
        with Raw(self.stack.port, 60) as c:
            # The first tenth fills buffers and spares, once and for all.
            for n in range(FLOOD // BATCH):
                if n == FLOOD // BATCH // 10:
                    before = resident_kb(pid)
                for status, count in self.ask(c, header, [make() for _ in range(BATCH)]).items():
                    statuses[status] = statuses.get(status, 0) + count
        self.assertLessEqual(set(statuses), {401, 503}, statuses)
        grown = resident_kb(pid) - before
        # The cache itself: 4096 entries, most of which were not touched yet.
        self.assertLess(grown, 8192 if not SHORT else 65536, f"{grown} KiB for {FLOOD}")
        self.assertLessEqual(self.metric("kae_identity_entries"), 4096)
        return time.monotonic() - started

    def assertStillServed(self, me):
        self.assertEqual(me.get("/api/auth/validate").status, 200)

    def test_random_keys_tokens_and_kids_cost_bounded_memory(self):
        _, me = self.stack.register("flooded")
        self.assertStillServed(me)
        for what, header, make in (
                ("API keys", "X-API-Key: ", lambda: "sk_" + secrets.token_urlsafe(32)),
                ("words", "Authorization: Bearer ", lambda: secrets.token_urlsafe(32)),
                ("tokens", "Authorization: Bearer ", lambda: token_with_kid("nobody"))):
            with self.subTest(what=what):
                self.flood(header, make)
                self.assertStillServed(me)

    def test_unknown_kids_fetch_the_keys_once_per_cooldown(self):
        _, me = self.stack.register("kid.flooded")
        name, before = "kae_identity_key_fetches_total", None

        def asked_for():
            self.stack.api(token=token_with_kid(secrets.token_hex(8))).get("/api/auth/validate")
            return self.metric(name) > before

        before = self.metric(name)
        wait_until(asked_for, 20, what="the first look for an unknown kid")
        before = self.metric(name)
        took = self.flood("Authorization: Bearer ", lambda: token_with_kid(secrets.token_hex(8)))
        time.sleep(0.3)  # figures are renewed four times a second
        self.assertLessEqual(self.metric(name) - before, (took + 0.3) / 5 + 1)
        self.assertStillServed(me)


if __name__ == "__main__":
    unittest.main()
