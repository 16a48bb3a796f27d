"""What is measured: our programs, and beside them what Debian has.

Each is started by a scenario in a folder of its own on free ports of 127.0.0.1, logs
to files there as it would in production, and ends by its own pid.  A server has
roles ("gateway", "gdpr", "nginx", "postgres" ...), so that CPU and memory can be
told apart.  Its settings are those of production: all features are on, limits count
and are set too high to refuse.
"""
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys

from tests.harness.certs import make_ca, make_certificate
from tests.harness.postgres import Postgres
from tests.harness.process import free_port, wait_until

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
BIN = pathlib.Path(os.environ.get("KAE_BIN", PEERS.parents[2] / "build" / "release" / "bin"))
SERVICES = ("auth", "content", "gdpr")
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
PASSWORD = "gravel otter lantern 7"
NO_LIMIT = "1000000000"
READY_S = 180


class Trouble(Exception):
    """What ends the run with one line."""


def wait_for(what, claim, timeout=READY_S):
    return wait_until(claim, timeout, what=what)


# --- processes -------------------------------------------------------------------------

def tree(pid):
    """The process and all below it."""
    try:
        below = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid] + [p for child in below for p in tree(int(child))]


def cpu_us(pids):
    """User and system time of processes and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        total += sum(map(int, stat[stat.rindex(")") + 2:].split()[11:15]))
    return total * TICK_US


# What threads are for, by their names; the last is all others.
HOPS = (("http", r"http$"), ("bus", r"nng:"), ("lanes", r"\w+-(db|slow)\.|db-writer"),
        ("other", r""))


def threads(pids):
    """{thread: (hop, microseconds on a processor, times it was taken from one)}"""
    found = {}
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            try:
                name = (task / "comm").read_text()
                spent_us = int((task / "schedstat").read_text().split()[0]) / 1000
                switches = sum(map(int, re.findall(r"_switches:\s+(\d+)",
                                                   (task / "status").read_text())))
            except OSError:  # it has ended
                continue
            found[task.name] = (next(h for h, p in HOPS if re.match(p, name)), spent_us,
                                switches)
    return found


def rss_kb(pids):
    total = 0
    for pid in pids:
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)
        total += int(found[1]) if found else 0
    return total


class Server:
    """Processes that answer on one port; token: of who asks."""

    def __init__(self, name, world):
        self.name, self.world = name, world
        self.port, self.tls, self.token = free_port(), None, None
        self.dir = world.dir / name
        self.dir.mkdir()
        self.processes = []  # (role, Popen)
        self.stores = {}     # role: pid of what the world runs
        self.streams = {}    # path: what is left of load.Ask.posts

    def spawn(self, role, command, env=None, cwd=None):
        with open(self.dir / f"{role}{len(self.processes)}.log", "wb") as log:
            p = subprocess.Popen([str(c) for c in command], env=env, cwd=cwd or self.dir,
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append((role, p))

    def pids(self):
        out = {}
        for role, pid in [*((r, p.pid) for r, p in self.processes), *self.stores.items()]:
            out.setdefault(role, []).extend(tree(pid))
        return out

    def check_alive(self):
        for role, p in self.processes:
            if p.poll() is not None:
                tail = "\n".join(l.read_text(errors="replace")[-1500:]
                                 for l in sorted(self.dir.glob(f"{role}*.log")))
                raise Trouble(f"{self.name}: {role} ended with {p.returncode}:\n{tail}")

    def ask(self, method, path, body=None, headers=(), port=None):
        """(status, headers in lower case, body); status 0 while nothing listens."""
        if port or not self.tls:
            c = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        else:
            c = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30,
                                            context=ssl._create_unverified_context())
        head = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        head.update(headers)
        data = None
        if body is not None:
            data, head["Content-Type"] = json.dumps(body), "application/json"
        try:
            c.request(method, path, data, head)
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        except OSError:
            return 0, {}, b""
        finally:
            c.close()

    def must(self, method, path, body=None, status=200, **more):
        got, _, raw = self.ask(method, path, body, **more)
        if got != status:
            self.check_alive()
            raise Trouble(f"{self.name}: {method} {path} answered {got} {raw[:300]!r}")
        return json.loads(raw)

    def why(self):
        """What it says itself of requests that it refused."""
        return ""

    def settle(self):
        """Returns when what the answers have left to be done is done."""

    def stop(self):
        for _, p in reversed(self.processes):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for _, p in self.processes:
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


# --- ours ------------------------------------------------------------------------------

class Ours(Server):
    """layout: one (knowalledge), ipc or tcp (four programs); database: sqlite or
    postgres; replicas: of svc-gdpr; env: what else is set."""

    def __init__(self, name, world, layout="ipc", database="sqlite", redis=False,
                 tls=False, replicas=1, env=()):
        super().__init__(name, world)
        self.layout, self.database = layout, database
        self.replicas, self.admin = replicas, []
        self.key = None
        self.env = {
            "PATH": os.environ.get("PATH", ""), "ENVIRONMENT": "production",
            "DATA_DIR": str(self.dir / "data"), "BIND": "127.0.0.1",
            "PORT": str(self.port), "LOG_LEVEL": "info", "CONNECTIONS_PER_IP": "100000",
            "ADMIN_API_KEY": secrets.token_hex(32),
            "KEY_ENCRYPTION_KEY": secrets.token_hex(32),
            **{f"RATE_LIMIT_{what}_PER_MINUTE": NO_LIMIT
               for what in ("READ", "WRITE", "KEY", "LOGIN", "VISITOR", "IP")},
            **{f"QUOTA_FREE_{what}": NO_LIMIT for what in ("RPM", "RPD", "TPM", "TPD")},
            **dict(env),
        }
        if database == "postgres":
            self.env["DATABASE_URL"] = self.url = world.database(name)
            self.stores["postgres"] = world.postgres.popen.pid
        if redis:
            self.env["REDIS_URL"] = world.redis_url()
            self.stores["redis"] = world.redis.pid
        if tls:
            self.tls = True
            self.env["SSL_CERTFILE"], self.env["SSL_KEYFILE"] = map(str, world.certificate())
        self._start()

    def _bus(self, service, i=0):
        if self.layout == "tcp":
            return f"tcp://127.0.0.1:{free_port()}"
        return f"ipc://{self.dir}/{service}{i}.sock"

    def _start(self):
        if self.layout == "one":
            self._spawn("knowalledge", "knowalledge", {})
            return
        if self.layout == "tcp":
            self.env["BUS_KEY"] = secrets.token_hex(32)
        copies = {s: self.replicas if s == "gdpr" else 1 for s in SERVICES}
        urls = {s: [self._bus(s, i) for i in range(n)] for s, n in copies.items()}
        for s, found in urls.items():
            self.env[f"BUS_{s.upper()}"] = ",".join(found)
        for s, found in urls.items():
            for url in found:
                self._spawn(s, f"kae-{s}", {"BUS_LISTEN": url})
        self._spawn("gateway", "kae-gateway", {})

    def _spawn(self, role, program, env):
        path = self.world.programs / program
        if not path.exists():
            raise Trouble(f"{path.parent} has no {program}: build first")
        port = free_port()
        self.admin.append(port)
        self.spawn(role, [path], {**self.env, **env, "ADMIN_PORT": str(port)})

    def _ready(self):
        self.check_alive()
        return all(self.ask("GET", "/readyz", port=p)[0] == 200 for p in self.admin)

    def prepare(self):
        """A learner with a token, XP and a rank."""
        wait_for(f"{self.name}: readiness", self._ready)
        self.key, self.token = self.person("bench")
        self.must("POST", "/api/quiz/submit",
                  {"topic": "Graphs", "subtopic": "Trees", "score": 9, "total": 10,
                   "difficulty": "medium"})
        wait_for(f"{self.name}: XP of the quiz", self._has_rank)

    def _has_rank(self):
        stats = self.must("GET", "/api/gamification/stats")["stats"]
        return stats["progress"]["total_xp"] and stats["rank"]

    def person(self, handle):
        """(API key, access token) of a new one."""
        key = self.must("POST", "/api/auth/register", {"user_id": handle}, 201)["api_key"]
        return key, self.must("POST", "/api/auth/login", {"api_key": key})["token"]

    def sql(self, text, service):
        """Rows of a statement in the database of a service, as lists of texts."""
        if self.database == "postgres":
            return self.world.postgres.sql(f"SET search_path TO {service}; {text}", self.url)
        path = next((self.dir / "data").glob(f"*-{service}.db"))
        done = subprocess.run(
            [sys.executable, "-c", SQLITE, path, text], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def script(self, text, service):
        """Statements for PostgreSQL that take as long as they take, in one transaction."""
        psql = self.world.postgres.bin / "psql"
        subprocess.run([psql, "-Xq1", "-v", "ON_ERROR_STOP=1", self.url], check=True,
                       input=f"SET search_path TO {service}; {text}", text=True,
                       stdout=subprocess.DEVNULL)

    def why(self):
        lines = {l for port in self.admin
                 for l in self.ask("GET", "/metrics", port=port)[2].decode().splitlines()}
        return ", ".join(sorted(l for l in lines if re.search(r"^kae_.*refused.* [1-9]", l)))

    def metric(self, name):
        """Sum of a counter over the admin ports; name: a pattern of the whole line."""
        total = 0.0
        for port in self.admin:
            text = self.ask("GET", "/metrics", port=port)[2].decode()
            total += sum(map(float, re.findall(rf"^{name} (\S+)$", text, re.M)))
        return total


# In a process of its own: what SQLite maps and locks is the program's, not ours.
SQLITE = """import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30)
print(json.dumps([[str(v) for v in r] for r in db.execute(sys.argv[2])]))
db.commit()"""


# --- peers -----------------------------------------------------------------------------

PROXY = """		location / {
			proxy_pass http://service;
			proxy_http_version 1.1; # with the next line: connections are kept
			proxy_set_header Connection "";
			proxy_set_header X-Forwarded-For $remote_addr;
		}"""


def plain(body):
    """Without quotes and variables of nginx's language, which are not the question."""
    return re.sub(r"[^A-Za-z0-9 {}\[\]\":,._-]", "x", body)


class Nginx(Server):
    """mode: proxy (proxy_pass with keep-alive to an nginx upstream) or 200 (answers
    itself); both with the body that ours gave."""

    def __init__(self, name, world, mode="proxy", tls=False):
        super().__init__(name, world)
        self.mode, self.tls = mode, tls or None

    def prepare(self):
        back = free_port()
        answers = "\n".join(f"\t\tlocation = {path} {{ return 200 '{plain(body)}'; }}"
                            for path, body in self.world.bodies.items())
        cert, key = self.world.certificate() if self.tls else ("", "")
        fields = {
            "DIR": self.dir, "BACK": back, "BACK_LOCATIONS": answers,
            "FRONT": f"{self.port} ssl" if self.tls else self.port,
            "FRONT_LOCATIONS": answers if self.mode == "200" else PROXY,
            "TLS": f"ssl_certificate {cert}; ssl_certificate_key {key};" if self.tls else ""}
        text = (PEERS / "nginx.conf.in").read_text()
        for field, value in fields.items():
            text = text.replace(f"@{field}@", str(value))
        conf = self.dir / "nginx.conf"
        conf.write_text(text)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self.spawn("nginx", [nginx, "-p", self.dir, "-c", conf, "-e", self.dir / "error.log"])
        self.token = self.world.token  # sent, so that requests are of one size
        wait_for(f"{self.name}: an answer", self._answers)

    def _answers(self):
        self.check_alive()
        return self.ask("GET", next(iter(self.world.bodies)))[0] == 200


class Flask(Server):
    """peers/flask_app.py in gunicorn, 2 x cores + 1 sync workers; cache: memory (of
    each worker) or redis."""

    def __init__(self, name, world, cache="memory"):
        super().__init__(name, world)
        self.cache = cache

    def prepare(self):
        env = {"PATH": os.environ.get("PATH", ""), "PORT": str(self.port),
               "FOLDER": str(self.dir), "SECRET": secrets.token_hex(32),
               "DATABASE_URL": self.world.database(self.name),
               "BODIES": json.dumps(self.world.bodies), "PASSWORD": PASSWORD,
               "PYTHONDONTWRITEBYTECODE": "1"}
        self.stores["postgres"] = self.world.postgres.popen.pid
        if self.cache == "redis":
            env["REDIS_URL"] = self.world.redis_url()
            self.stores["redis"] = self.world.redis.pid
        subprocess.run(["/usr/bin/python3", PEERS / "flask_app.py"], env=env, check=True, cwd=PEERS)
        self.spawn("gunicorn", ["/usr/bin/gunicorn", "-c", PEERS / "gunicorn.conf.py",
                                "flask_app:app"], env, cwd=PEERS)
        wait_for(f"{self.name}: an answer", self._answers)
        self.token = self.must("POST", "/api/auth/login",
                               {"email": "bench@example.org", "password": PASSWORD})["token"]

    def _answers(self):
        self.check_alive()
        return self.ask("GET", "/health")[0] == 200


# --- what a scenario's servers share -----------------------------------------------------

class World:
    """A folder, and stores that are started when somebody wants them.  PostgreSQL syncs
    each commit to disk, as SQLite does here.  programs: where ours are that are started
    from now on."""

    def __init__(self, folder):
        self.dir, self.programs = pathlib.Path(folder), BIN
        self.postgres, self.redis, self.redis_port = None, None, 0
        self.bodies = {}  # path: what ours answered
        self.token, self.pem = "", None

    def database(self, name):
        if not self.postgres:
            self.postgres = Postgres(fsync=True, max_connections=400, folder="/tmp", settings={
                "shared_buffers": "256MB", "autovacuum": "on"})
        name = re.sub(r"\W", "_", name)
        self.postgres.sql(f"CREATE DATABASE {name}")
        return re.sub("/postgres$", f"/{name}", self.postgres.url)

    def redis_url(self):
        if not self.redis:
            self.redis_port = free_port()
            with open(self.dir / "redis.log", "wb") as log:
                self.redis = subprocess.Popen(
                    ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1",
                     "--dir", str(self.dir), "--save", "", "--appendonly", "no"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            wait_for("redis: an answer", lambda: subprocess.run(
                ["redis-cli", "-p", str(self.redis_port), "PING"],
                capture_output=True).stdout == b"PONG\n")
        return f"redis://127.0.0.1:{self.redis_port}"

    def certificate(self):
        """(certificate, key), of the curve P-256"""
        if not self.pem:
            cert = make_certificate(self.dir, make_ca(self.dir, "ca"), "IP:127.0.0.1")
            self.pem = cert, cert.with_suffix(".key")
        return self.pem

    def stop(self):
        if self.redis:
            self.redis.terminate()
            self.redis.wait(20)
        if self.postgres:
            self.postgres.stop()
