#!/usr/bin/env python3
"""Measures what is not asked over HTTP by wrk (make bench-raw), into results.jsonl.

    tests/bench/raw.py [NAME...]     and then docs/performance.md
    tests/bench/raw.py --report      measures nothing

start        knowalledge on an existing database: milliseconds from fork to the first 200,
             CPU of it, and the memory (RSS) that it idles in
connections  memory of an idle kept connection, each of RAW_CONNECTIONS (1000) that have had
             one answer; with TLS and without
leaderboard  own rank and the first page among 10^3 to 10^6 people (bench/rank), in SQLite
             and in PostgreSQL
stores       one row by its key: db_read() and reads put off and asked together beside
             pgbench -M prepared of the same SELECT with as many clients (bench/db); gets
             of the Redis tier beside
             redis-benchmark -P (bench/remote)
quiz         both transactions of a quiz that is handed in (bench/submit) beside pgbench
             with the same statements: one by one, and together where the product asks
             together; synced to disk

RAW_ROUNDS (5) rounds of RAW_SECONDS (3) where something is compared.
"""
import collections
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])
from tests.bench import raw_report, results  # noqa: E402
from tests.bench.servers import cpu_us  # noqa: E402
from tests.harness.certs import make_ca, make_certificate  # noqa: E402
from tests.harness.postgres import Postgres, bin_dir  # noqa: E402
from tests.harness.process import wait_until  # noqa: E402
from tests.integration.stack import BIN, Stack  # noqa: E402

ROUNDS = int(os.environ.get("RAW_ROUNDS", 5))
SECONDS = int(os.environ.get("RAW_SECONDS", 3))
BENCH = BIN.parent / "bench"
HERE = pathlib.Path(__file__).resolve().parent
PEOPLE = int(os.environ.get("RAW_PEOPLE", 1_000_000))
LEARNERS = 1000  # in submit.c
CONNECTIONS = int(os.environ.get("RAW_CONNECTIONS", 1000))
STILL_KB = 64  # pages that come and go


def row(**figures):
    print(json.dumps(results.add(**figures)), flush=True)


def run(command, env=None):
    done = subprocess.run([str(c) for c in command], env={**os.environ, **(env or {})},
                          capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


# --- the program by itself ----------------------------------------------------------------

def first_answer(port):
    """True: /api/health has answered 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(b"GET /api/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return s.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def memory_kb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def settled_kb(pid):
    """RSS once it has stood still for ten looks."""
    seen = collections.deque(maxlen=10)

    def still():
        seen.append(memory_kb(pid))
        return len(seen) == seen.maxlen and max(seen) - min(seen) <= STILL_KB and seen[-1]
    return wait_until(still, 60, 0.1, "memory that stands still")


def start():
    stack = Stack("one")
    stack.start()
    stack.register("bench")
    stack.stop()
    try:
        for i in range(2 * ROUNDS):
            env = {"PATH": os.environ["PATH"], **stack.env,
                   "ADMIN_PORT": str(stack.admin_ports["gateway"])}
            with open(stack.dir / "log", "wb") as log:
                began = time.monotonic()
                p = subprocess.Popen([BIN / "knowalledge"], env=env, cwd=stack.dir,
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                wait_until(lambda p=p: p.poll() is not None or first_answer(stack.port), 60,
                           0.001, "the first 200")
                if p.poll() is not None:
                    raise SystemExit((stack.dir / "log").read_text())
            ms = 1000 * (time.monotonic() - began)
            row(scenario="start", server="one", round=i, ms=ms,
                cpu_us={"knowalledge": cpu_us([p.pid])}, load_before=os.getloadavg()[0])
            row(scenario="idle", server="one", round=i, rss_kb=settled_kb(p.pid))
            p.terminate()
            p.wait()
    finally:
        stack.close()


def open_one(port, context):
    s = socket.create_connection(("127.0.0.1", port), 10)
    # Else the request waits 40 ms for the acknowledgement of the handshake's end.
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context:
        s = context.wrap_socket(s)
    s.sendall(b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += s.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(answer.decode(errors="replace"))
    return s


def connections():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-bench-"))
    cert = make_certificate(folder, make_ca(folder, "ca"), "IP:127.0.0.1")
    for name, env in (("one", {}), ("one-tls", {"SSL_CERTFILE": str(cert),
                                                "SSL_KEYFILE": str(cert.with_suffix(".key"))})):
        context = ssl._create_unverified_context() if env else None
        stack = Stack("one", tls=context, CONNECTIONS_MAX="20000", KEEP_ALIVE_S="600",
                      CONNECTIONS_PER_IP="0", **env)
        held = []
        try:
            stack.start()
            pid = stack.processes["knowalledge"].pid
            # The first ones meet what is made once.
            held += [open_one(stack.port, context) for _ in range(200)]
            before = settled_kb(pid)
            held += [open_one(stack.port, context) for _ in range(CONNECTIONS)]
            row(scenario="connections", server=name, round=0, n=CONNECTIONS,
                bytes=(settled_kb(pid) - before) * 1024 / CONNECTIONS)
        finally:
            for s in held:
                s.close()
            stack.close()


# --- stores ----------------------------------------------------------------------------------

def leaderboard():
    with Postgres(settings={"shared_buffers": "512MB"}) as pg:
        for name, env in (("sqlite", {"KAE_TEST_DATABASE_URL": ""}),
                          ("postgres", {"KAE_TEST_DATABASE_URL": pg.url})):
            for line in run([BENCH / "rank", PEOPLE], env).splitlines():
                people = int(re.search(r"(\d+) people", line)[1])
                for what, p50, p99 in re.findall(
                        r"(rank|page) p50 (\d+) us, p99 (\d+) us", line):
                    # The targets are about what people are told to use.
                    server = what if name == "postgres" else f"{what}-{name}"
                    row(scenario="leaderboard", server=server, round=0, people=people,
                        p50_ms=int(p50) / 1000, p99_ms=int(p99) / 1000)


def pgbench(url, script, clients, *more):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as f:
        f.write(script)
        f.flush()
        out = run([bin_dir() / "pgbench", "-n", "-M", "prepared", f"-c{clients}",
                   f"-j{min(clients, 2)}", f"-T{SECONDS}", *more, "-f", f.name, url])
    if int(re.search(r"failed transactions: (\d+)", out)[1]):
        raise SystemExit(out)
    return float(re.search(r"tps = ([\d.]+)", out)[1])


def stores():
    select = "\\set id random(1, 10000)\nSELECT s FROM public.bench_t WHERE id = :id;\n"
    with Postgres() as pg:
        for i in range(ROUNDS):
            for n in (1, 8, 32, 64):
                line = run([BENCH / "db", n],
                           {"KAE_TEST_DATABASE_URL": pg.url, "KAE_BENCH_ROUNDS": "1"})
                for what, k in re.findall(r"(db_read|together) ([\d.]+)k/s", line):
                    row(scenario="raw-postgres", server=what, round=i, c=n,
                        rps=float(k) * 1000)
                row(scenario="raw-postgres", server="pgbench", round=i, c=n,
                    rps=pgbench(pg.url, select, n))
    for i in range(ROUNDS):
        for line in run([BENCH / "remote", SECONDS]).splitlines():
            found = re.search(r"(\d+) threads +(\d+) gets/s +([\d.]+) CPU us each +(\d+) "
                              r"commands/s +asked +(\d+) +([\d.]+) CPU us each +"
                              r"redis-benchmark -P \d+ +(\d+)", line)
            threads, gets, each, commands, asked, ask, theirs = map(float, found.groups())
            row(scenario="raw-redis", server="tier", round=i, c=int(threads), rps=commands,
                gets=gets, cpu_us={"caller": each})
            row(scenario="raw-redis", server="asked", round=i, c=int(threads), rps=asked,
                cpu_us={"caller": ask})
            row(scenario="raw-redis", server="redis-benchmark", round=i, c=int(threads),
                rps=theirs)


def together(script):
    """The same, each part up to "-- wait" in one pipeline."""
    out, part = [], []
    for line in [*script.splitlines(), "-- wait"]:
        if line == "-- wait":
            out += ["\\startpipeline", *part, "\\endpipeline"]
            part = []
        elif line.startswith(("\\set", "--")):
            out.append(line)
        else:
            part.append(line)
    return "\n".join(out) + "\n"


def quiz():
    one_by_one = (HERE / "pgbench" / "submit.sql").read_text()
    now = int(time.time())
    # As many as 64 threads have in the pools of two services, and some more.
    with Postgres(fsync=True, max_connections=150) as pg:
        env = {"KAE_TEST_DATABASE_URL": pg.url}
        run([BENCH / "submit", 8, 1], env)  # makes the tables
        for i in range(ROUNDS):
            for c in (1, 8, 64):
                more = ("-D", f"each={LEARNERS // c}", "-D", f"now={now * 1000}",
                        "-D", f"day={now // 86400}")
                # Also what has earned: a quiz that did today moves nobody.
                for table in ("content.results", "content.earned", "content.outbox",
                              "content.outbox_seq", "gdpr.ledger", "gdpr.inbox"):
                    pg.sql(f"TRUNCATE {table}")
                found = re.search(r"([\d.]+) submits/s, CPU ([\d.]+) us", run(
                    [BENCH / "submit", c, SECONDS], env))
                row(scenario="quiz", server="ours", round=i, c=c, rps=float(found[1]),
                    cpu_us={"ours": float(found[2])})
                pg.sql("INSERT INTO gdpr.inbox (source, sub, seq) SELECT 'content', "
                       f"'learner-' || i, 0 FROM generate_series(0, {LEARNERS}) i "
                       "ON CONFLICT DO NOTHING")
                for server, script in (("pgbench", one_by_one),
                                       ("pgbench-together", together(one_by_one))):
                    row(scenario="quiz", server=server, round=i, c=c,
                        rps=pgbench(pg.url, script, c, *more))


ALL = {"start": (start, ("start", "idle")), "connections": (connections, ("connections",)),
       "leaderboard": (leaderboard, ("leaderboard",)),
       "stores": (stores, ("raw-postgres", "raw-redis")), "quiz": (quiz, ("quiz",))}


def main():
    names = [] if sys.argv[1:] == ["--report"] else sys.argv[1:] or list(ALL)
    for name in names:
        if name not in ALL:
            raise SystemExit(f"no {name}; there are {', '.join(ALL)}")
    for name in names:
        measure, scenarios = ALL[name]
        for s in scenarios:
            results.begin(s)
        measure()
    raw_report.write(results.read())


if __name__ == "__main__":
    main()
