"""The product as people run it: real processes, real HTTP, three layouts.

one   knowalledge: everything in one process, SQLite
ipc   four programs over ipc, SQLite
tcp   four programs over tcp with BUS_KEY, PostgreSQL
"""
import dataclasses
import http.client
import json
import os
import pathlib
import secrets
import shutil
import tempfile
import time
import unittest

from tests.harness.postgres import Postgres
from tests.harness.process import Process, free_port, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KAE_BIN", ROOT / "build" / "release" / "bin"))
SHORT = bool(os.environ.get("KAE_SHORT"))
LAYOUTS = ("one", "ipc", "tcp")
SERVICES = ("auth", "content", "gdpr")
KEPT_S = 3  # idle for longer, and the gateway may be closing it (KEEP_ALIVE_S)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict  # names in lower case
    raw: bytes

    @property
    def json(self):
        return json.loads(self.raw)


class Api:
    """A client of the HTTP API, with or without a credential; tls: a context."""

    def __init__(self, port, token=None, key=None, timeout=60, tls=None):
        self.port, self.token, self.key, self.timeout = port, token, key, timeout
        self.tls = tls
        self.connection, self.used = None, 0.0

    def ask(self, method, path, body=None, headers=None, raw=None):
        head = dict(headers or {})
        data = raw
        if body is not None:
            data = json.dumps(body, ensure_ascii=False).encode()
        if data is not None:
            head.setdefault("Content-Type", "application/json")
        if self.token:
            head.setdefault("Authorization", f"Bearer {self.token}")
        if self.key:
            head.setdefault("X-API-Key", self.key)
        if self.used and time.monotonic() - self.used > KEPT_S:
            self.close()
        for again in (False, True):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPSConnection(
                    "127.0.0.1", self.port, timeout=self.timeout, context=self.tls) \
                    if self.tls else http.client.HTTPConnection(
                        "127.0.0.1", self.port, timeout=self.timeout)
            try:
                self.connection.request(method, path, data, head)
                r = self.connection.getresponse()
                raw_answer = r.read()
                self.used = time.monotonic()
                if r.getheader("Connection") == "close":
                    self.close()
                return Answer(r.status, {k.lower(): v for k, v in r.getheaders()},
                              raw_answer)
            except (http.client.HTTPException, ConnectionError):
                self.close()
                # A kept connection may have been closed while it was idle;
                # then nothing was executed.
                if fresh or again or method != "GET":
                    raise
        raise AssertionError("unreachable")

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    __del__ = close

    def get(self, path, **kw):
        return self.ask("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.ask("POST", path, body=body, **kw)

    def delete(self, path, **kw):
        return self.ask("DELETE", path, **kw)


class Stack:
    def __init__(self, layout, tls=None, **env):
        self.layout, self.bin, self.tls = layout, BIN, tls
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kae-", dir="/tmp"))
        self.port, self.postgres = free_port(), None
        self.admin_ports = {name: free_port() for name in ("gateway", *SERVICES)}
        self.admin_key = "sk_test_" + secrets.token_hex(24)
        self.processes = {}
        self.past = []  # processes that have ended
        self.env_of = {}  # what one program has beyond, or instead of, env
        self.env = {
            "ENVIRONMENT": "development", "DATA_DIR": str(self.dir / "data"),
            "BIND": "127.0.0.1", "PORT": str(self.port),
            "ADMIN_API_KEY": self.admin_key, "LOG_LEVEL": "info",
            "RATE_LIMIT_ENABLED": "false",  # tests hurry; test_limits has them on
        }
        if layout == "ipc":
            for s in SERVICES:
                self.env[f"BUS_{s.upper()}"] = f"ipc://{self.dir}/run/{s}.sock"
        if layout == "tcp":
            for s in SERVICES:
                self.env[f"BUS_{s.upper()}"] = f"tcp://127.0.0.1:{free_port()}"
            self.env["BUS_KEY"] = secrets.token_hex(32)
            self.postgres = Postgres()
            self.env["DATABASE_URL"] = self.postgres.url
        self.env.update(env)

    def names(self):
        return ("knowalledge",) if self.layout == "one" else ("gateway", *SERVICES)

    def start_one(self, name):
        program = "knowalledge" if name == "knowalledge" else f"kae-{name}"
        port = self.admin_ports["gateway" if name == "knowalledge" else name]
        if name in self.processes:
            self.past.append(self.processes[name])
        self.processes[name] = Process(
            [self.bin / program],
            {**self.env, **self.env_of.get(name, {}), "ADMIN_PORT": str(port)}, cwd=self.dir)

    def start(self):
        for name in self.names():
            self.start_one(name)
        self.wait_ready()
        return self

    def admin(self, name, path):
        """GET on a program's admin port; None while nothing listens."""
        if name == "knowalledge":
            name = "gateway"
        c = http.client.HTTPConnection("127.0.0.1", self.admin_ports[name], timeout=5)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        except OSError:
            return None
        finally:
            c.close()

    def wait_ready(self, timeout=60):
        def ready():
            for name, p in self.processes.items():
                if not p.running():
                    raise AssertionError(f"{name} ended with {p.wait()}:\n{p.text()[-4000:]}")
                answer = self.admin(name, "/readyz")
                if answer is None or answer.status != 200:
                    return False
            return all(self.api().get(p).status != 503 for p in (
                "/.well-known/jwks.json", "/api/gamification/achievements", "/ready"))
        try:
            wait_until(ready, timeout, what="readiness")
        except AssertionError:
            for name, p in self.processes.items():
                print(f"--- {name}\n{p.text()[-3000:]}")
            raise

    def api(self, **kw):
        return Api(self.port, tls=self.tls, **kw)

    def register(self, handle):
        """A new person: (api key, client with a bearer token)."""
        r = self.api().post("/api/auth/register", {"user_id": handle})
        if r.status != 201:
            raise AssertionError(f"register {handle}: {r.status} {r.raw}")
        key = r.json["api_key"]
        r = self.api().post("/api/auth/login", {"api_key": key})
        if r.status != 200:
            raise AssertionError(f"login {handle}: {r.status} {r.raw}")
        return key, self.api(token=r.json["token"])

    def text(self):
        return "\n".join(p.text() for p in [*self.past, *self.processes.values()])

    def stop(self):
        statuses = {}
        for name in reversed(self.names()):
            if name in self.processes:
                statuses[name] = self.processes[name].stop()
                self.past.append(self.processes.pop(name))
        return statuses

    def close(self):
        """Stops what runs.  A stop that is not clean fails the test, and so does
        a sanitizer's report of any process that ever ran."""
        try:
            for name, p in self.processes.items():
                if p.running() and p.stop() != 0:
                    raise AssertionError(f"{name} ended with {p.wait()}:\n{p.text()[-8000:]}")
            for p in [*self.past, *self.processes.values()]:
                if "Sanitizer" in p.text() or "runtime error:" in p.text():
                    raise AssertionError(p.text()[-8000:])
        finally:
            if self.postgres:
                self.postgres.stop()
            shutil.rmtree(self.dir, ignore_errors=True)


class OnStack(unittest.TestCase):
    """A test class that shares one running stack."""
    layout = "one"
    env = {}
    tls = None

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(cls.layout, cls.tls, **cls.env)
        cls.addClassCleanup(cls.stack.close)
        cls.stack.start()
        cls.api = cls.stack.api()

    def assertProblem(self, answer, status, code=None):
        """The error shape of design D31."""
        self.assertEqual(answer.status, status, answer.raw)
        self.assertEqual(answer.headers["content-type"], "application/problem+json")
        body = answer.json
        for member in ("type", "title", "status", "detail", "instance", "error",
                       "message", "error_code", "request_id"):
            self.assertIn(member, body)
        self.assertEqual(body["status"], status)
        self.assertEqual(body["error"], body["title"])
        self.assertEqual(body["message"], body["detail"])
        self.assertEqual(body["request_id"], answer.headers["x-request-id"])
        if code:
            self.assertEqual(body["error_code"], code)
        return body


def load_on(layouts, *classes):
    """A load_tests() that runs each class once per layout; under sanitizers
    only on the first."""
    def load_tests(loader, _tests, _pattern):
        suite = unittest.TestSuite()
        for cls in classes:
            for layout in layouts[:1] if SHORT else layouts:
                named = type(f"{cls.__name__}_{layout}", (cls,), {
                    "layout": layout, "__module__": cls.__module__})
                suite.addTests(loader.loadTestsFromTestCase(named))
        return suite
    return load_tests
