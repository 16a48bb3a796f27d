#!/usr/bin/env python3
"""Two minutes of an authenticated GET against nginx proxy_pass.

    tests/bench/quick.py --bin build/release/bin

Three servers answer the same JSON on this machine, beside the load generator:
  nginx        proxy_pass with keep-alive to an nginx upstream (nginx.conf.in)
  four         kae-gateway and three services over ipc, SQLite
  knowalledge  the same in one process over inproc
asked for /api/gamification/stats with a bearer token by `wrk -t1`.  Each round
runs all of them, in an order that rotates, so that what else the machine does
hits all alike; a ratio is the median of the ratios inside each round.  CPU is
user and system time of all processes of a server, divided by its requests.
Everything logs to files in the temporary folder, as it would in production.
"""
import argparse
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PATH = "/api/gamification/stats"
SERVICES = ("auth", "content", "gdpr")
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


class Trouble(Exception):
    """What ends the run with one line."""


def free_ports(n):
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def ask(port, method, path, body=None, token=None):
    """(status, body bytes); (0, b"") while nothing listens."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    head = {"Authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        data = json.dumps(body)
        head["Content-Type"] = "application/json"
    try:
        c.request(method, path, data, head)
        r = c.getresponse()
        return r.status, r.read()
    except OSError:
        return 0, b""
    finally:
        c.close()


def wait_for(what, claim, timeout=30):
    end = time.monotonic() + timeout
    while True:
        got = claim()
        if got:
            return got
        if time.monotonic() > end:
            raise Trouble(f"{what} did not happen in {timeout} s")
        time.sleep(0.05)


def children(pid):
    try:
        return [int(p) for p in pathlib.Path(
            f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu_us(pids):
    """User and system time of processes, all their threads."""
    total = 0
    for pid in pids:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2:].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK_US


class Server:
    """Processes that answer on one port, each with a log file."""

    def __init__(self, name, folder):
        self.name, self.port, self.token = name, 0, None
        self.dir = folder / name
        self.dir.mkdir()
        self.processes = []

    def spawn(self, command, env=None):
        log = open(self.dir / (pathlib.Path(command[0]).name + ".log"), "wb")
        with log:
            self.processes.append(subprocess.Popen(
                [str(c) for c in command], env=env, cwd=self.dir,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def pids(self):
        own = [p.pid for p in self.processes]
        return own + [c for p in own for c in children(p)]

    def check_alive(self):
        for p in self.processes:
            if p.poll() is not None:
                logs = sorted(self.dir.glob("*.log"))
                tail = "\n".join(l.read_text(errors="replace")[-1500:]
                                 for l in logs)
                raise Trouble(f"{self.name}: {p.args[0]} ended with status "
                              f"{p.returncode}:\n{tail}")

    def stop(self):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.processes:
            try:
                p.wait(15)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


class Ours(Server):
    def __init__(self, name, folder, bin_dir, programs):
        super().__init__(name, folder)
        self.port, *admin = free_ports(1 + len(programs))
        self.admin = dict(zip(programs, admin))
        # Not development: no statement echo, the settings of a real run.
        self.env = {
            "PATH": os.environ.get("PATH", ""), "ENVIRONMENT": "production",
            "DATA_DIR": str(self.dir / "data"), "BIND": "127.0.0.1",
            # Counted as in production, and let in.
            "RATE_LIMIT_READ_PER_MINUTE": "1000000000",
            "RATE_LIMIT_IP_PER_MINUTE": "1000000000",
            "PORT": str(self.port), "LOG_LEVEL": "info",
            "ADMIN_API_KEY": secrets.token_hex(32),
            "KEY_ENCRYPTION_KEY": secrets.token_hex(32),
        }
        if len(programs) > 1:
            for s in SERVICES:
                self.env[f"BUS_{s.upper()}"] = f"ipc://{self.dir}/{s}.sock"
        for p in programs:
            self.spawn([bin_dir / p],
                       {**self.env, "ADMIN_PORT": str(self.admin[p])})

    def ready(self):
        self.check_alive()
        return all(ask(port, "GET", "/readyz")[0] == 200
                   for port in self.admin.values())

    def prepare(self):
        """A learner with a token, XP and a rank; returns the body they get."""
        wait_for(f"{self.name}: readiness", self.ready)
        status, body = ask(self.port, "POST", "/api/auth/register",
                           {"user_id": "bench"})
        if status not in (200, 201):
            raise Trouble(f"{self.name}: register answered {status} {body!r}")
        status, body = ask(self.port, "POST", "/api/auth/login",
                           {"api_key": json.loads(body)["api_key"]})
        if status != 200:
            raise Trouble(f"{self.name}: login answered {status} {body!r}")
        self.token = json.loads(body)["token"]
        status, body = ask(self.port, "POST", "/api/quiz/submit",
                           {"topic": "Graphs", "subtopic": "Trees", "score": 9,
                            "total": 10, "difficulty": "medium"}, self.token)
        if status != 200:
            raise Trouble(f"{self.name}: submit answered {status} {body!r}")
        return wait_for(f"{self.name}: XP of the quiz", self.body_with_xp)

    def body_with_xp(self):
        self.check_alive()
        status, body = ask(self.port, "GET", PATH, token=self.token)
        if status != 200:
            raise Trouble(f"{self.name}: {PATH} answered {status} {body!r}")
        stats = json.loads(body)["stats"]
        return body if stats["progress"]["total_xp"] and stats["rank"] else None


class Nginx(Server):
    def __init__(self, folder, body, token):
        super().__init__("nginx", folder)
        self.token = token  # sent, so that requests are of one size
        self.port, back = free_ports(2)
        # Quotes and variables of nginx's language are not part of the question.
        plain = re.sub(rb"[^A-Za-z0-9 {}\[\]\":,._-]", b"x", body).decode()
        text = (HERE / "nginx.conf.in").read_text()
        for name, value in (("DIR", self.dir), ("FRONT", self.port),
                            ("BACK", back), ("BODY", plain)):
            text = text.replace(f"@{name}@", str(value))
        conf = self.dir / "nginx.conf"
        conf.write_text(text)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self.spawn([nginx, "-p", self.dir, "-c", conf,
                    "-e", self.dir / "error.log"])

    def answers(self):
        self.check_alive()
        return ask(self.port, "GET", PATH)[0] == 200


def to_ms(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def load(server, connections, seconds):
    """One run of wrk: requests per second, p50, p99, CPU per request."""
    before = cpu_us(server.pids())
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
         "-H", f"Authorization: Bearer {server.token}",
         f"http://127.0.0.1:{server.port}{PATH}"],
        capture_output=True, text=True, check=True,
        timeout=seconds + 30).stdout
    used = cpu_us(server.pids()) - before
    wrong = re.search(r"Non-2xx.*|Socket errors.*", out)
    if wrong:
        raise Trouble(f"{server.name}: {wrong.group(0)}")
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    return {
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
        "p50": to_ms(re.search(r"^ +50% +(\S+)", out, re.M).group(1)),
        "p99": to_ms(re.search(r"^ +99% +(\S+)", out, re.M).group(1)),
        "cpu": used / max(requests, 1),
    }


def median(rows, key):
    return statistics.median(r[key] for r in rows)


def report(connections, servers, rounds):
    print(f"\nc={connections}, medians of {len(rounds)} rounds")
    print(f"  {'server':<12}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}"
          f"{'CPU us':>8}   against nginx: req/s   p99    CPU   req/s of each round")
    for s in servers:
        rows = [r[s.name] for r in rounds]
        ratio = {k: statistics.median(r[s.name][k] / r["nginx"][k]
                                      for r in rounds)
                 for k in ("rps", "p99", "cpu")}
        each = " ".join(f"{r['rps'] / 1000:.1f}k" for r in rows)
        print(f"  {s.name:<12}{median(rows, 'rps'):>8.0f}"
              f"{median(rows, 'p50'):>9.2f}{median(rows, 'p99'):>9.2f}"
              f"{median(rows, 'cpu'):>8.1f}   {ratio['rps']:>20.2f}"
              f"{ratio['p99']:>6.2f}{ratio['cpu']:>7.2f}   {each}")


def start(args, folder, servers):
    """Appends to servers as they start, so that the caller can stop them."""
    bin_dir = pathlib.Path(args.bin).resolve()
    four = ["kae-auth", "kae-content", "kae-gdpr", "kae-gateway"]
    for name, programs in (("four", four), ("knowalledge", ["knowalledge"])):
        absent = [p for p in programs if not (bin_dir / p).exists()]
        if absent:
            raise Trouble(f"{bin_dir} has no {', '.join(absent)}: build first")
        servers.append(Ours(name, folder, bin_dir, programs))
    bodies = [s.prepare() for s in servers]
    servers.insert(0, Nginx(folder, bodies[0], servers[0].token))
    wait_for("nginx: an answer", servers[0].answers)
    print(f"{PATH}, {len(bodies[0])} bytes of JSON; {os.cpu_count()} cores, "
          f"shared with wrk; load average {os.getloadavg()[0]:.2f}")


def measure(args, servers):
    for s in servers:
        load(s, args.connections[-1], 1)  # warm up
    for connections in args.connections:
        rounds = []
        for i in range(args.rounds):
            order = servers[i % len(servers):] + servers[:i % len(servers)]
            rounds.append({s.name: load(s, connections, args.seconds)
                           for s in order})
        report(connections, servers, rounds)
    for s in servers:
        s.check_alive()


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--bin", required=True, help="folder of the programs")
    ap.add_argument("--rounds", type=int, default=6)
    ap.add_argument("--seconds", type=int, default=3, help="of each run")
    ap.add_argument("--connections", type=int, nargs="+", default=[8, 64])
    ap.add_argument("--keep", action="store_true", help="keep logs and data")
    args = ap.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-bench-"))
    servers = []
    try:
        start(args, folder, servers)
        measure(args, servers)
        return 0
    except Trouble as e:
        print(f"quick.py: {e}", file=sys.stderr)
        return 1
    finally:
        for s in servers:
            s.stop()
        if args.keep:
            print(f"logs and data: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
