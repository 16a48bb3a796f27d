"""Replicas of every program over tcp, PostgreSQL and Redis under them and haproxy
before the gateways, as an operator would run them; each can be replaced by another
build of itself.

    with Fleet(BIN) as f:
        f.port                               # haproxy's
        f.replace("auth", 0, other_bin)      # as one pod of a rolling update
"""
import pathlib
import secrets
import shutil
import tempfile

from tests.harness.ask import get
from tests.harness.haproxy import Haproxy
from tests.harness.postgres import Postgres
from tests.harness.process import Process, free_port, wait_until
from tests.harness.redis import Redis

SERVICES = ("auth", "content", "gdpr")
PROGRAMS = ("gateway", *SERVICES)
READY_S = 60


class Replica:
    """One place of one program: its ports stay, what runs there may change."""

    def __init__(self, name):
        self.name = name
        self.port, self.admin_port = free_port(), free_port()
        self.process, self.past = None, []

    @property
    def url(self):
        return f"tcp://127.0.0.1:{self.port}"

    def ready(self):
        return self.admin("/readyz")[0] == 200

    def admin(self, path):
        return get(self.admin_port, path)


class Fleet:
    """Started when made; close() removes everything, and fails if a program did
    not end well."""

    def __init__(self, bin_dir, replicas=2, **env):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kae-fleet-", dir="/tmp"))
        self.at = {name: [Replica(name) for _ in range(replicas)] for name in PROGRAMS}
        self.postgres = self.redis = self.balancer = None
        try:
            self.postgres, self.redis = Postgres(), Redis()
            self.env = {
                "ENVIRONMENT": "production", "DATA_DIR": str(self.dir),
                "ADMIN_API_KEY": "sk_test_" + secrets.token_hex(24),
                "KEY_ENCRYPTION_KEY": secrets.token_hex(32),
                "BUS_KEY": secrets.token_hex(32), "RATE_LIMIT_ENABLED": "false",
                "TRUSTED_PROXIES": "127.0.0.1", "FORCE_HTTPS": "false",
                "DATABASE_URL": self.postgres.url, "REDIS_URL": self.redis.url,
                # Twice as long as the balancer takes to see it.
                "DRAIN_DELAY_S": "1", "KEEP_ALIVE_S": "2",
                **{f"BUS_{s.upper()}": ",".join(r.url for r in self.at[s]) for s in SERVICES},
                **env,
            }
            self.start_all(bin_dir)
            self.balancer = Haproxy([(r.port, r.admin_port) for r in self.at["gateway"]])
        except BaseException:
            self.close(quietly=True)
            raise

    @property
    def port(self):
        return self.balancer.port

    def start_all(self, bin_dir):
        for name in PROGRAMS:
            for n in range(len(self.at[name])):
                self.start(name, n, bin_dir)
        for name in PROGRAMS:
            for n in range(len(self.at[name])):
                self.wait_ready(name, n)

    def start(self, name, n, bin_dir):
        r = self.at[name][n]
        where = {"PORT": str(r.port)} if name == "gateway" else {"BUS_LISTEN": r.url}
        r.process = Process([bin_dir / f"kae-{name}"],
                            {**self.env, **where, "ADMIN_PORT": str(r.admin_port)},
                            cwd=self.dir)
        r.past.append(r.process)

    def wait_ready(self, name, n):
        """As whoever replaces it would: by its own word, for a gateway also by the
        balancer's."""
        r = self.at[name][n]

        def come():
            if not r.process.running():
                raise AssertionError(
                    f"{name} {n} ended with {r.process.wait()}:\n{r.process.text()[-4000:]}")
            return r.ready()

        wait_until(come, READY_S, what=f"readiness of {name} {n}")
        if name == "gateway" and self.balancer:
            self.balancer.wait(["UP"] * len(self.at["gateway"]))

    def stop(self, name, n):
        """SIGTERM; it must end well."""
        p = self.at[name][n].process
        status = p.stop(60)
        if status != 0:
            raise AssertionError(f"{name} {n} ended with {status}:\n{p.text()[-4000:]}")

    def replace(self, name, n, bin_dir):
        self.stop(name, n)
        self.start(name, n, bin_dir)
        self.wait_ready(name, n)

    def processes(self):
        return [p for name in PROGRAMS for r in self.at[name] for p in r.past]

    def events(self, name):
        return [e for p in self.processes() for e in p.events(name)]

    def close(self, quietly=False):
        bad = []
        for name in PROGRAMS:
            for n, r in enumerate(self.at[name]):
                if not r.process or not r.process.running():
                    continue
                try:
                    self.stop(name, n)
                except AssertionError as why:
                    bad.append(str(why))
        for part in (self.balancer, self.redis, self.postgres):
            if part:
                part.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        bad += [p.text()[-8000:] for p in self.processes()
                if "Sanitizer" in p.text() or "runtime error:" in p.text()]
        if bad and not quietly:
            raise AssertionError("\n".join(bad))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(quietly=kind is not None)
