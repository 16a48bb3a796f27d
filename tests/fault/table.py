#!/usr/bin/env python3
"""Each fault of each dependency against each kind of route.

    tests/fault/table.py                  compares with docs/faults.md
    tests/fault/table.py --write          adds to it what several rounds show; one
                                          that is not there is written anew
    tests/fault/table.py --only redis     faults whose name that pattern finds

A row of FAULTS says how something breaks and heals; a row of ASKS is one kind
of route.  While a fault lasts every kind is asked TIMES times, and what came is
kept as a set of outcomes with the longest time; the programs' readiness, the
events in their logs and the counters that rose are kept too.  After the fault
every kind has to answer as before, with no restart of ours, and every write
that was acknowledged has to be there.

Outcomes that the document does not have, longer times, or a sign for the
operator that is missing, are failures.  The document may say more than one run
shows: which of two honest errors a request meets can depend on the moment.  A
success where the document has an error is no failure.
"""
import argparse
import collections
import dataclasses
import pathlib
import re
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.fault.board import Alone, Board  # noqa: E402
from tests.harness.process import wait_until  # noqa: E402
from tests.harness.proxy import Delay, Freeze, Garbage  # noqa: E402

DOC = ROOT / "docs" / "faults.md"
TIMES = 3
SLOW_S = 0.5  # how late a slow dependency answers
SETTLED_S = 13  # design D14: not ready after 10 s without a database
# Bounds rather than figures: a run on a busy machine must say the same.
BOUNDS_S = (3, 13, 58)
RECOVERY_S = (5, 20, 60)
SUCCESS = {"200", "201"}
# Whether there is an old value to fall back on depends on what was asked before:
# else they are as a read is.
CACHED = ("leaderboard", "stats, cached")


# --- the kinds of route ------------------------------------------------------------

@dataclasses.dataclass
class Person:
    """Somebody who has done something, and what was acknowledged since."""
    handle: str
    key: str
    token: str
    kept: list = dataclasses.field(default_factory=list)


ASKS = {
    "health": lambda b: b.api().get("/health"),
    "catalogue, from memory": lambda b: b.api().get("/api/gamification/achievements"),
    "leaderboard": lambda b: b.api().get("/api/gamification/leaderboard?limit=7"),
    "token's own data": lambda b: b.me().get("/api/auth/validate"),
    "new API key": lambda b: b.api(key=b.fresh_key()).get("/api/auth/validate"),
    "login": lambda b: b.api().post("/api/auth/login", {"api_key": b.person.key}),
    "register": lambda b: b.api().post("/api/auth/register", {"user_id": b.fresh("new")}),
    "stats, cached": lambda b: b.me().get("/api/gamification/stats"),
    "read": lambda b: b.me().get("/api/progress"),
    "write": lambda b: b.write(),
    "generate, cached": lambda b: b.me().post("/api/create_subtopics", {"topic": "Music"}),
    "generate": lambda b: b.me().post("/api/create_subtopics", {"topic": b.fresh("Topic")}),
}
KEYS = TIMES * 2  # made before a fault, each shown to the gateway once


class Bench:
    """What the asks need of a running product."""

    def __init__(self, board):
        self.board, self.stack = board, board.stack
        self.lock = threading.Lock()
        self.numbers = 0
        key, api = self.stack.register("fault.finder")
        self.person = Person("fault.finder", key, api.token)
        self.keys = []
        self.make_keys()
        for ask in ASKS.values():
            ask(self)

    def make_keys(self):
        while len(self.keys) < KEYS:
            r = self.api().post("/api/auth/register", {"user_id": self.fresh("key")})
            self.keys.append(r.json["api_key"])

    def api(self, **kw):
        return self.stack.api(timeout=65, **kw)

    def me(self):
        return self.api(token=self.person.token)

    def fresh(self, word):
        with self.lock:
            self.numbers += 1
            return f"{word}-{self.numbers}"

    def fresh_key(self):
        with self.lock:
            return self.keys.pop()

    def write(self):
        part = self.fresh("Part")
        r = self.me().post("/api/quiz/submit", {"topic": "Faults", "subtopic": part,
                                               "score": 1, "total": 1})
        if r.status == 200:
            self.person.kept.append(part)
        return r


# --- the faults --------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Fault:
    what: str
    how: str
    on: type
    begin: object
    heal: object

    @property
    def name(self):
        return f"{self.what}: {self.how}"


def service_faults(s):
    def process(b):
        return b.stack.processes[s]

    def again(b):
        b.stack.start_one(s)

    return [
        Fault(f"svc-{s}", "stopped", Board, lambda b: process(b).stop(), again),
        Fault(f"svc-{s}", "killed", Board, lambda b: process(b).kill(), again),
        Fault(f"svc-{s}", "frozen", Board, lambda b: process(b).freeze(),
              lambda b: process(b).signal(18)),
        *link_faults(f"svc-{s}", s),
    ]


def link_faults(what, link):
    """On the way to it: it is alive and well."""
    def mend(b):
        b.proxies[link].mend()

    return [
        Fault(what, "refused", Board, lambda b: b.proxies[link].refuse(), mend),
        Fault(what, "silent network", Board, lambda b: b.proxies[link].silence(), mend),
        Fault(what, "slow", Board,
              lambda b: b.proxies[link].fault(down=Delay(SLOW_S)), mend),
        Fault(what, "garbage", Board, lambda b: b.proxies[link].fault(down=Garbage()), mend),
    ]


def postgres_faults():
    def server(b):
        return b.stack.postgres

    return [
        Fault("PostgreSQL", "stopped", Board, lambda b: server(b).shutdown(),
              lambda b: server(b).start()),
        Fault("PostgreSQL", "killed", Board, lambda b: server(b).kill(),
              lambda b: server(b).start()),
        Fault("PostgreSQL", "frozen", Board,
              lambda b: b.proxies["PostgreSQL"].fault_both(Freeze()),
              lambda b: b.proxies["PostgreSQL"].mend()),
        *link_faults("PostgreSQL", "PostgreSQL"),
    ]


def redis_faults():
    def says(*words):
        return lambda b: b.redis.do(*words)

    def password(old, new):
        """Another one, and everybody has to connect again."""
        def change(b):
            who = ("-a", old, "--no-auth-warning") if old else ()
            b.redis.do(*who, "CONFIG", "SET", "requirepass", new)
            b.proxies["Redis"].cut()
        return change

    return [
        Fault("Redis", "stopped", Board, says("SHUTDOWN", "NOSAVE"), lambda b: b.redis.start()),
        Fault("Redis", "killed", Board, lambda b: b.redis.kill(), lambda b: b.redis.start()),
        Fault("Redis", "frozen", Board, lambda b: b.redis.freeze(), lambda b: b.redis.thaw()),
        Fault("Redis", "out of memory", Board, says("CONFIG", "SET", "maxmemory", "1"),
              says("CONFIG", "SET", "maxmemory", "0")),
        Fault("Redis", "read only", Board, says("REPLICAOF", "127.0.0.1", "1"),
              says("REPLICAOF", "NO", "ONE")),
        Fault("Redis", "password changed", Board, password("", "other"),
              password("other", "")),
        *link_faults("Redis", "Redis"),
    ]


FAULTS = [
    *postgres_faults(),
    *redis_faults(),
    *(f for s in ("auth", "content", "gdpr") for f in service_faults(s)),
    Fault("SQLite", "disk full", Alone, lambda b: b.fill(), lambda b: b.drain()),
]


# --- one fault -----------------------------------------------------------------------

@dataclasses.dataclass
class Seen:
    """What came of it."""
    outcomes: dict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(set))
    seconds: dict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(float))
    ready: dict = dataclasses.field(default_factory=dict)  # program: parts not up
    events: set = dataclasses.field(default_factory=set)
    counters: set = dataclasses.field(default_factory=set)
    recovery: float = 0.0
    trouble: list = dataclasses.field(default_factory=list)

    def merge(self, other):
        for k, v in other.outcomes.items():
            self.outcomes[k] |= v
            self.seconds[k] = max(self.seconds[k], other.seconds[k])
        # A sign is one only if it is always there.
        self.ready = {p: parts & other.ready.get(p, set())
                      for p, parts in self.ready.items()}
        self.events &= other.events
        self.counters &= other.counters
        self.recovery = max(self.recovery, other.recovery)
        self.trouble += other.trouble


def outcome(r):
    if r.status < 400:
        return str(r.status)
    if r.headers.get("content-type") != "application/problem+json":
        return f"{r.status} without a problem body"
    text = f"{r.status} {r.json['error_code']}"
    if r.status in (429, 503) and "retry-after" not in r.headers:
        text += " without Retry-After"
    return text


def ask_all(bench, seen, times):
    def ask(kind):
        for _ in range(times):
            started = time.monotonic()
            try:
                got = outcome(ASKS[kind](bench))
            except OSError as e:
                got = f"no answer ({type(e).__name__})"
            seen.outcomes[kind].add(got)
            seen.seconds[kind] = max(seen.seconds[kind], time.monotonic() - started)

    threads = [threading.Thread(target=ask, args=(kind,)) for kind in ASKS]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


# What an operator would set an alarm on; all else may rise by itself.
ALARMS = re.compile(
    r"kae_(db_pings_failed|db_pool_timeouts|bus_failures|bus_late|bus_server_bad_frames|"
    r"lane_expired|lane_refused|log_dropped|outbox_calls_failed|outbox_errors)_total|"
    r"circuit_breaker_failures_total")


def counters(stack):
    found = {}
    for name, p in stack.processes.items():
        answer = stack.admin(name, "/metrics") if p.running() else None
        for line in answer.raw.decode().splitlines() if answer else ():
            if ALARMS.match(line):
                key, _, value = line.rpartition(" ")
                family = key.partition("{")[0]
                labels = "".join(f' {k}="{v}"' for k, v in re.findall(
                    r'(service|reason|result|lane|backend)="(\w+)"', key))
                found[f"{family}{labels}"] = found.get(f"{family}{labels}", 0) + float(value)
    return found


def not_up(stack, name):
    """The checks of a program that are not up; None: no answer."""
    answer = stack.admin(name, "/readyz?verbose")
    if answer is None:
        return None
    found = set() if answer.json["ready"] else {"not ready"}
    for part in answer.json["parts"].values():
        for check, c in part["checks"].items():
            if c["status"] != "up":
                found.add(f"{check} {c['status']}")
    return found


def events_since(stack, marks):
    found = set()
    for name, p in stack.processes.items():
        for e in p.events()[marks.get((name, p.pid), 0):]:
            if e.get("level") in ("warning", "warn", "error") and \
                    not e["event"].startswith("request."):
                found.add(f"{e.get('service', name)}: {e['event']}")
    return found


def readiness(stack, fault, seen):
    """As it is once a service has been without its database for long enough to
    say that it is not ready.  What a gateway says of services that are not at
    fault is left out: it asks them once a minute while they are well."""
    time.sleep(SETTLED_S)
    seen.ready = {}
    for n in stack.processes:
        parts = not_up(stack, n)
        seen.ready[n] = {"no answer"} if parts is None else parts
    if "gateway" in seen.ready and fault.what != "PostgreSQL":
        seen.ready["gateway"] = {p for p in seen.ready["gateway"]
                                 if fault.what.endswith(p.partition(" ")[0])}


def try_fault(fault, bench):
    stack, seen = bench.stack, Seen()
    marks = {(n, p.pid): len(p.events()) for n, p in stack.processes.items()}
    before = counters(stack)
    looker = threading.Thread(target=readiness, args=(stack, fault, seen))
    fault.begin(bench.board)
    looker.start()
    ask_all(bench, seen, TIMES)
    looker.join()
    seen.counters = {k for k, v in counters(stack).items() if v > before.get(k, 0)}
    healed = time.monotonic()
    fault.heal(bench.board)
    recover(bench, seen)
    seen.recovery = time.monotonic() - healed
    seen.events = events_since(stack, marks)
    return seen


def recover(bench, seen):
    """Everything as before, and nothing lost that was acknowledged."""
    bench.keys = [bench.person.key] * 1000  # of the others some are used up
    for kind, ask in ASKS.items():
        def well(ask=ask):
            try:
                return ask(bench).status < 400
            except OSError:
                return False
        try:
            wait_until(well, 90, every=0.25, what=f"{kind} again")
        except AssertionError as e:
            seen.trouble.append(str(e))
    bench.keys = []
    bench.make_keys()
    progress = bench.me().get("/api/progress")
    there = {p["subtopic"] for p in progress.json} if progress.status == 200 else set()
    lost = set(bench.person.kept) - there
    if lost:
        seen.trouble.append(f"acknowledged and lost: {sorted(lost)}")


# --- the document --------------------------------------------------------------------

def bound(seconds, bounds):
    return next((b for b in bounds if seconds <= b), None)


def section(fault, seen):
    lines = [f"### {fault.name}", "", "| kind of route | the client sees | within |",
             "|---|---|---|"]
    for kind in ASKS:
        outcomes = ", ".join(sorted(seen.outcomes[kind]))
        lines.append(f"| {kind} | {outcomes} | "
                     f"{bound(seen.seconds[kind], BOUNDS_S) or 'no bound'} s |")
    ready = "; ".join(f"{n}: {', '.join(sorted(parts))}"
                      for n, parts in sorted(seen.ready.items()) if parts)
    lines += ["",
              f"- `/readyz?verbose`: {ready or 'all up'}",
              "- log: " + (", ".join(f"`{e}`" for e in sorted(seen.events)) or "nothing new"),
              "- counters that rise: "
              + (", ".join(f"`{c}`" for c in sorted(seen.counters)) or "none"),
              f"- after it: everything answers again within "
              f"{bound(seen.recovery, RECOVERY_S) or 'no bound'} s, by itself", ""]
    return "\n".join(lines)


HEAD = """\
# What happens when something fails

Written by `make test-fault WRITE=1` from what was seen, and compared with the
product by `make test-fault` (a part of it by `make test`).

Four programs over tcp with a proxy on every link, PostgreSQL; for a full disk
`knowalledge` with SQLite. While a fault lasts every kind of route is asked three
times. Several outcomes in one cell: which one depends on the moment. A slow
dependency answers half a second late; a silent network lets no packet through; a
frozen service or server is alive and says nothing. "Killed" and "stopped"
services are started again by hand here; a supervisor does it in production.
Leaderboard and stats are served from a cache: with an old value there they
answer 200 while a read cannot, without one they answer as a read does.

Whatever the fault: every error is a problem body with its request ID, every 503
says in `Retry-After` when to come back, no write that was acknowledged is lost,
and nothing of ours has to be restarted.

"""


def write(seen):
    """What was not tried stays as it is; what was is merged with what is there."""
    for name, (cells, signs, events, counted, limit) in (
            read_doc(DOC.read_text()) if DOC.exists() else {}).items():
        if name in seen:
            before = Seen(events=events, counters=counted, recovery=limit)
            for kind, (outcomes, seconds) in cells.items():
                before.outcomes[kind], before.seconds[kind] = outcomes, seconds
            for program in seen[name].ready:
                before.ready[program] = {s.partition(": ")[2] for s in signs
                                         if s.startswith(f"{program}: ")}
            seen[name].merge(before)
    there = {}
    for part in DOC.read_text().split("\n### ")[1:] if DOC.exists() else ():
        there[part.partition("\n")[0]] = "### " + part.rstrip("\n") + "\n"
    DOC.write_text(HEAD + "\n".join(
        section(f, seen[f.name]) if f.name in seen else there[f.name]
        for f in FAULTS if f.name in seen or f.name in there))


def read_doc(text):
    """{fault: (cells, signs, recovery)} as section() wrote them."""
    found = {}
    for part in text.split("\n### ")[1:]:
        name, _, body = part.partition("\n")
        cells = {kind: (set(outcomes.split(", ")), int(limit) if limit.isdigit() else None)
                 for kind, outcomes, limit in re.findall(
                     r"^\| (.+?) \| (.+?) \| (.+?)(?: s)? \|$", body, re.M)
                 if kind not in ("kind of route", "---")}
        ready = re.search(r"^- `/readyz\?verbose`: (.*)$", body, re.M).group(1)
        signs = {f"{n}: {sign}" for entry in ready.split("; ") if ": " in entry
                 for n, _, all_ in [entry.partition(": ")] for sign in all_.split(", ")}
        events = set(re.findall(r"`([^`]+)`", re.search(r"^- log: (.*)$", body, re.M).group(1)))
        counted = set(re.findall(r"`([^`]+)`", re.search(
            r"^- counters that rise: (.*)$", body, re.M).group(1)))
        limit = int(re.search(r"within (\d+) s, by itself", body).group(1))
        found[name] = (cells, signs, events, counted, limit)
    return found


def compare(fault, seen, doc):
    """What is not as the document says."""
    if fault.name not in doc:
        return [f"{fault.name}: not in {DOC.name}"]
    cells, signs, events, counted, limit = doc[fault.name]
    wrong = list(seen.trouble)
    for kind in ASKS:
        outcomes, seconds = cells[kind]
        more = seen.outcomes[kind] - outcomes - SUCCESS
        if kind in CACHED:
            more -= cells["read"][0]
        if more:
            wrong.append(f"{kind}: {sorted(more)}, the document has {sorted(outcomes)}")
        if seconds is None or seen.seconds[kind] > seconds:
            wrong.append(f"{kind}: {seen.seconds[kind]:.1f} s, the document has {seconds}")
    shown = {f"{n}: {sign}" for n, parts in seen.ready.items() for sign in parts}
    for what, missing in (("readiness", signs - shown), ("log", events - seen.events),
                          ("counters", counted - seen.counters)):
        if missing:
            wrong.append(f"{what}: {sorted(missing)} did not show")
    if seen.recovery > limit:
        wrong.append(f"recovery took {seen.recovery:.0f} s, the document has {limit}")
    return [f"{fault.name}: {w}" for w in wrong]


# --- running -------------------------------------------------------------------------

def run(faults, rounds=1, tell=print):
    """{fault: Seen}; one product for all faults of a kind."""
    found = {}
    for kind in (Board, Alone):
        mine = [f for f in faults if f.on is kind]
        if not mine:
            continue
        board = kind()
        try:
            bench = Bench(board)
            for fault in mine * rounds:
                started = time.monotonic()
                seen = try_fault(fault, bench)
                tell(f"{fault.name}: {time.monotonic() - started:.0f} s")
                if fault.name in found:
                    found[fault.name].merge(seen)
                else:
                    found[fault.name] = seen
        finally:
            board.close()
    return found


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--write", action="store_true")
    ap.add_argument("--rounds", type=int, default=3, help="of --write")
    ap.add_argument("--only", default="")
    args = ap.parse_args()
    faults = [f for f in FAULTS if re.search(args.only, f.name, re.I)]
    seen = run(faults, rounds=args.rounds if args.write else 1)
    if args.write:
        trouble = [f"{n}: {t}" for n, s in seen.items() for t in s.trouble]
        print("\n".join(trouble))
        write(seen)
        return 1 if trouble else 0
    doc = read_doc(DOC.read_text())
    wrong = [w for f in faults for w in compare(f, seen[f.name], doc)]
    print("\n".join(wrong))
    print(f"{len(faults) - len({w.partition(': ')[0] for w in wrong})} passed, "
          f"{len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
