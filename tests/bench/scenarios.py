"""What is measured: a table of scenarios, each on one of a few set-ups.

A set-up is a list of servers that are started together; ours come first, because the
peers answer with what ours answered.  A scenario asks all of its servers in turn at
each of its points (connections, or a rate), once a round.
"""
import contextlib
import dataclasses
import itertools
import pathlib
import random
import re
import subprocess
import time

from tests.bench import load
from tests.bench.load import Ask
from tests.bench.servers import PASSWORD, Flask, Nginx, Ours, Trouble, wait_for
from tests.harness.postgres import bin_dir

LEARNERS = 64  # who hand in quizzes: as many as there are connections
SLOW_S = 0.2
DRAIN_S = 60
SUBMIT_SQL = pathlib.Path(__file__).resolve().parent / "pgbench" / "submit.sql"
NOUNS = "/usr/share/wordnet/index.noun"


@dataclasses.dataclass
class Scenario:
    name: str     # in results.jsonl, and for ONLY=
    title: str
    setup: str
    servers: tuple
    ask: Ask
    points: tuple = ({"c": 64},)
    how: str = ""           # what one has to know of it
    measure: object = None  # (server, scenario, point, seconds) -> rows; None: wrk


def c(*connections):
    return tuple({"c": n} for n in connections)


# --- what is asked ----------------------------------------------------------------------

def nouns():
    """Topics of one to three words, in an order of their own."""
    with open(NOUNS, encoding="ascii") as f:
        words = [l.partition(" ")[0] for l in f if not l.startswith(" ")]
    words = [w.replace("_", " ") for w in words
             if w.replace("_", "").isalpha() and 4 <= len(w) <= 40]
    random.Random(1).shuffle(words)
    return words


def new_topics(server):
    """Each once; beyond the last noun they are put together from two."""
    words = nouns()
    for turn in itertools.count():
        for i, word in enumerate(words):
            topic = f"{word} and {words[(i + turn * 7919) % len(words)]}" if turn else word
            yield server.token, {"topic": topic}


def many_topics(server):
    """More than a memory tier of 1 MiB holds, again and again."""
    for word in itertools.cycle(nouns()[:load.AGAIN]):
        yield server.token, {"topic": word}


def quizzes(server):
    """A quiz that nobody has handed in before, of one learner after another."""
    for i in itertools.count():
        token = server.learners[i % len(server.learners)]
        yield token, {"topic": "Graphs", "subtopic": f"Part {i // len(server.learners)}",
                      "score": i % 11, "total": 10, "difficulty": "medium"}


HEALTH = Ask("GET", "/health", "status")
VALIDATE = Ask("GET", "/api/auth/validate", "valid")
STATS = Ask("GET", "/api/gamification/stats", "stats")
BY_KEY = Ask("GET", "/api/gamification/progress", "progress")
SUBMIT = Ask("POST", "/api/quiz/submit", "mastery_level", posts=quizzes, fastest=12_000)
COLD = Ask("POST", "/api/create_subtopics", "subtopics", posts=new_topics, fastest=12_000)
CACHED = Ask("POST", "/api/create_subtopics", "subtopics", body={"topic": "Photosynthesis"})
SHARED = Ask("POST", "/api/create_subtopics", "subtopics", posts=many_topics)
LOGIN = Ask("POST", "/api/auth/login", "token",
            body={"email": "bench@example.org", "password": PASSWORD})
PAGE = Ask("GET", "/api/gamification/leaderboard?limit=100", "leaderboard")
RANK = Ask("GET", "/api/gamification/leaderboard/rank", "rank")
SLOW = Ask("GET", "/api/user/breaches", "breaches")
# nginx answers these with what ours did
TOLD = (HEALTH, VALIDATE, STATS, BY_KEY, CACHED)


# --- what is done before ------------------------------------------------------------------

class WithLearners(Ours):
    """Has LEARNERS people with tokens, and settles when every event has been applied."""

    def prepare(self):
        super().prepare()
        self.learners = [self.person(f"learner{i}")[1] for i in range(LEARNERS)]

    def settle(self):
        wait_for(f"{self.name}: an empty outbox", lambda: self.sql(
            "SELECT count(*) FROM outbox", "content") == [["0"]], DRAIN_S)


class WithPassword(Ours):
    """Its learner has a password, too."""

    def prepare(self):
        super().prepare()
        self.must("POST", "/api/auth/register",
                  {"email": "bench@example.org", "password": PASSWORD}, 201)


class Slow(Ours):
    """/api/user/breaches takes SLOW_S: a view in place of its table says pg_sleep()."""

    def prepare(self):
        super().prepare()
        self.sql(f"""ALTER TABLE breaches RENAME TO breaches_kept;
            CREATE VIEW breaches AS SELECT * FROM breaches_kept
            WHERE (SELECT pg_sleep({SLOW_S})::text) IS NOT NULL""", "gdpr")


# One in four has one of the twenty commonest sums; all came within a day.
FILL = """
INSERT INTO person (sub, handle, total_xp, xp_at, rank_key, created_at, updated_at)
SELECT 's' || i, 'h' || i, xp, at, (xp << 26) | (67108863 - at / 60000), at, at FROM (
    SELECT i, CASE WHEN i % 4 = 0 THEN 50 * (1 + (random() * 19)::bigint)
                   ELSE 1 + (random() * 39999)::bigint END AS xp,
           1767268800000 + (random() * 86399999)::bigint AS at
    FROM generate_series(1::bigint, {people}) i) p;
INSERT INTO rank_bucket (level, bucket, people)
SELECT l.level, rank_key >> l.shift, COUNT(*)
FROM person, (VALUES (0, 35), (1, 26), (2, 11), (3, 0)) l (level, shift)
WHERE rank_key IS NOT NULL AND sub LIKE 's%' GROUP BY 1, 2
ON CONFLICT (level, bucket) DO UPDATE SET people = rank_bucket.people + excluded.people;
ANALYZE;
"""


class Crowd(Ours):
    """Has many people on its leaderboard (design D42: rank_key and its buckets)."""

    def __init__(self, name, world, people, **more):
        super().__init__(name, world, database="postgres", **more)
        self.people = people

    def prepare(self):
        super().prepare()
        self.script(FILL.format(people=self.people), "gdpr")
        rank = self.must("GET", RANK.path)["rank"]["rank"]
        if not self.people / 2 < rank <= self.people + 1:
            raise Trouble(f"{self.name}: rank {rank} of {self.people}")


class FlaskLearners(Flask):
    def prepare(self):
        super().prepare()
        self.learners = [self.token]


class PgBench(Ours):
    """What a submit costs the database: pgbench says the statements of SUBMIT_SQL to
    tables that ours has made, and that are asked by nobody else."""

    LEARNERS = 1000  # of all clients; SUBMIT_SQL says their names

    def prepare(self):
        super().prepare()
        self.stop()
        self.processes = []
        self.script(f"""INSERT INTO person (sub, handle, created_at, updated_at)
            SELECT 'learner-' || i, 'handle-' || i, 0, 0 FROM generate_series(0, {self.LEARNERS}) i;
            INSERT INTO inbox (source, sub, seq)
            SELECT 'content', 'learner-' || i, 0 FROM generate_series(0, {self.LEARNERS}) i;
            """, "gdpr")

    def run(self, clients, seconds):
        meter, now = load.Meter(self), int(time.time())
        out = subprocess.run(
            [bin_dir() / "pgbench", "-n", "-M", "prepared", f"-c{clients}", "-j1",
             f"-T{seconds}", "-D", f"each={self.LEARNERS // clients}",
             "-D", f"now={now * 1000}", "-D", f"day={now // 86400}", "-f", SUBMIT_SQL,
             self.url], check=True, capture_output=True, text=True).stdout
        done = int(re.search(r"actually processed: (\d+)", out)[1])
        if int(re.search(r"failed transactions: (\d+)", out)[1]):
            raise Trouble(f"{self.name}: {out}")
        return {"rps": float(re.search(r"tps = ([\d.]+)", out)[1]), "requests": done,
                "p50_ms": float(re.search(r"latency average = ([\d.]+)", out)[1]),
                **meter.read(done)}


# --- how it is measured -------------------------------------------------------------------

# The gateway lets 256 requests into the services at first, and learns from their times
# how many more it may (gateway/overload.h): where more clients ask at once than that,
# it may refuse a few before it knows, and the row tells how many.
LET_IN_FIRST = 256
REFUSED_MAX = 0.05


def closed(server, scenario, point, seconds):
    may_refuse = REFUSED_MAX if point["c"] > LET_IN_FIRST and isinstance(server, Ours) else 0
    return [load.wrk(server, scenario.ask, point["c"], seconds, may_refuse)]


def warm_up(server, scenario, seconds=1):
    """Fills caches and pools, and lets the gateway learn; what goes wrong here goes wrong
    again where it counts."""
    if isinstance(server, PgBench):
        return
    for clients in sorted({p.get("c", 64) for p in scenario.points}):
        with contextlib.suppress(Trouble):
            load.wrk(server, scenario.ask, clients, seconds, may_refuse=1.0)


def submits(server, scenario, point, seconds):
    if isinstance(server, PgBench):
        return [server.run(point["c"], seconds)]
    return closed(server, scenario, point, seconds)


def fixed_rate(server, scenario, point, seconds):
    return [load.openloop(server, scenario.ask, point["rate"], seconds)]


def with_slow(server, scenario, point, seconds):
    """Alone, then while 1 % of that rate is asked of what takes SLOW_S; of these a second
    before it counts, as warm_up() asks none, and what they wait over has to be opened."""
    alone = load.wrk(server, scenario.ask, point["c"], seconds)
    load.end_openloop(load.start_openloop(server, SLOW, alone["rps"] / 100, 1,
                                          load.SLOW_PATIENCE_MS), 1)
    mixed = load.beside_slow(server, scenario.ask, SLOW, alone["rps"] / 100, point["c"],
                             seconds)
    lost = 1 - mixed["slow"]["ok"] / mixed["slow"]["sent"]
    if isinstance(server, Ours) and lost > load.REFUSED_MAX:
        raise Trouble(f"{server.name}: of the slow ones: {mixed['slow']}")
    return [{**alone, "slow_percent": 0}, {**mixed, "slow_percent": 1}]


REMOTE_GETS = {what: (r'cache_operations_total\{[^}]*layer="remote"[^}]*operation="get"[^}]*'
                      rf'result="{what}"[^}}]*\}}') for what in ("hit", "miss")}
FROM_REDIS_MIN = 0.9
# What is not there is made, written to SQLite and given to Redis: as costly as tens of reads.
MADE_MAX = 0.01


def from_redis(server, scenario, point, seconds):
    """Also how many of the answers came from there, and how many had to be made."""
    if not isinstance(server, Ours):
        return closed(server, scenario, point, seconds)
    for _ in range(20):  # until every topic has been made once
        before = {what: server.metric(name) for what, name in REMOTE_GETS.items()}
        [found] = closed(server, scenario, point, seconds)
        hit, miss = ((server.metric(REMOTE_GETS[what]) - before[what]) / found["requests"]
                     for what in ("hit", "miss"))
        found.update(from_redis=hit, made=miss)
        if (hit >= FROM_REDIS_MIN and miss <= MADE_MAX) or load.REFUSED_MAX:
            return [found]
    raise Trouble(f"{server.name}: {hit:.0%} came from Redis, {miss:.1%} was made")


# --- the tables ---------------------------------------------------------------------------

SETUPS = {
    "sqlite": {
        "one": lambda n, w: Ours(n, w, "one"),
        "ipc": lambda n, w: Ours(n, w, "ipc"),
        "tcp": lambda n, w: Ours(n, w, "tcp"),
        "nginx-200": lambda n, w: Nginx(n, w, "200"),
        "nginx-proxy": lambda n, w: Nginx(n, w),
        "flask": lambda n, w: Flask(n, w),
    },
    "writes": {
        "one": lambda n, w: WithLearners(n, w, "one"),
        "ipc": lambda n, w: WithLearners(n, w, "ipc"),
        "one-pg": lambda n, w: WithLearners(n, w, "one", "postgres"),
        "ipc-pg": lambda n, w: WithLearners(n, w, "ipc", "postgres"),
        "flask": lambda n, w: FlaskLearners(n, w),
        "pgbench": lambda n, w: PgBench(n, w, "one", "postgres"),
    },
    "postgres": {
        "one": lambda n, w: Ours(n, w, "one", "postgres"),
        "ipc": lambda n, w: Ours(n, w, "ipc", "postgres"),
        "nginx-proxy": lambda n, w: Nginx(n, w),
        "flask": lambda n, w: Flask(n, w),
    },
    "passwords": {
        "ipc": lambda n, w: WithPassword(n, w, "ipc"),
        "flask": lambda n, w: Flask(n, w),
    },
    "redis": {
        "one": lambda n, w: Ours(n, w, "one", redis=True, env={"CACHE_MEMORY_MB": "1"}),
        "ipc": lambda n, w: Ours(n, w, "ipc", redis=True, env={"CACHE_MEMORY_MB": "1"}),
        "nginx-proxy": lambda n, w: Nginx(n, w),
        "flask": lambda n, w: Flask(n, w, "redis"),
    },
    "tls": {
        "one": lambda n, w: Ours(n, w, "one"),
        "one-tls": lambda n, w: Ours(n, w, "one", tls=True),
        "ipc": lambda n, w: Ours(n, w, "ipc"),
        "ipc-tls": lambda n, w: Ours(n, w, "ipc", tls=True),
        "nginx-proxy": lambda n, w: Nginx(n, w),
        "nginx-proxy-tls": lambda n, w: Nginx(n, w, tls=True),
    },
    "replicas": {f"ipc-{i}": lambda n, w, i=i: Ours(n, w, "ipc", "postgres", replicas=i)
                 for i in (1, 2, 4)},
    "slow": {
        "one": lambda n, w: Slow(n, w, "one", "postgres", env=MANY_THREADS),
        "ipc": lambda n, w: Slow(n, w, "ipc", "postgres", env=MANY_THREADS),
        "flask": lambda n, w: Flask(n, w),
    },
    "crowd": {
        "ipc-1k": lambda n, w: Crowd(n, w, 1000),
        "ipc-1m": lambda n, w: Crowd(n, w, 1_000_000),
    },
}
# As many calls wait for a slow database at a time as 1 % of the rate are.
MANY_THREADS = {"DB_THREADS": "128", "DB_POOL_SIZE": "128"}

ALL = ("nginx-200", "nginx-proxy", "flask", "one", "ipc", "tcp")
# Not before somebody has written down what the statements are.
PGBENCH = ("pgbench",) if SUBMIT_SQL.exists() else ()
PEERS_AND_OURS = ("nginx-proxy", "flask", "one", "ipc")

SCENARIOS = (
    Scenario("health", "Health", "sqlite", ("nginx-200", "flask", "one", "ipc"), HEALTH),
    Scenario("validate", "Who am I, with a bearer token", "sqlite", PEERS_AND_OURS, VALIDATE,
             how="Both check the token; ours asks the session in svc-auth, too."),
    Scenario("stats", "Authenticated read from the service cache", "sqlite", ALL, STATS,
             c(1, 8, 64, 512),
             how="In memory for half a second, then loaded anew; the peer has it for the "
                 "whole run in each worker."),
    Scenario("open", "The same at a fixed rate", "sqlite", PEERS_AND_OURS, STATS,
             tuple({"rate": r} for r in (500, 1000, 2000, 5000, 10_000, 20_000)),
             how="openloop; times count from when a request was due.", measure=fixed_rate),
    Scenario("by-key-sqlite", "Authenticated read from SQLite", "sqlite",
             ("nginx-proxy", "one", "ipc"), BY_KEY,
             how="`/api/gamification/progress`: a row by its key, kept in no cache."),
    Scenario("subtopics-cold", "Fifteen subtopics offline, cold", "sqlite", ("one", "ipc"),
             COLD, how="A noun of WordNet that was not asked for before, each time."),
    Scenario("subtopics-cached", "Fifteen subtopics offline, cached", "sqlite",
             PEERS_AND_OURS, CACHED),
    Scenario("by-key", "Authenticated read from PostgreSQL by key", "postgres",
             PEERS_AND_OURS, BY_KEY, c(1, 8, 64, 512),
             how="`/api/gamification/progress`: a row by its key, kept in no cache."),
    Scenario("redis", "Authenticated read from Redis", "redis", PEERS_AND_OURS, SHARED,
             how="Subtopics of 12 000 topics in turn, of which a memory tier of 1 MiB "
                 "(CACHE_MEMORY_MB=1) holds few: at least nine of ten came from Redis and at "
                 "most one of a hundred was made, which the run makes sure of. Figures of "
                 "people are never kept there.",
             measure=from_redis),
    Scenario("submit", "A quiz handed in", "writes",
             ("one", "ipc", "one-pg", "ipc-pg", "flask", *PGBENCH), SUBMIT, measure=submits,
             how=f"{LEARNERS} learners in turn, a new quiz each time: one transaction with "
                 "the outbox, synced to disk; CPU with what the events of it cost svc-gdpr."),
    Scenario("login", "Password login", "passwords", ("ipc", "flask"), LOGIN, c(8),
             how="argon2id of 64 MiB in both."),
    Scenario("slow", "1 % of the calls take 200 ms", "slow", ("one", "ipc", "flask"), STATS,
             how="Fast ones by wrk; slow ones (a view that sleeps in PostgreSQL, asked by the "
                 "same service) at 1 % of the rate that the fast ones had alone. DB_THREADS "
                 "is 128, so that they have where to wait.", measure=with_slow),
    Scenario("tls", "The cached read with TLS and without", "tls",
             ("nginx-proxy", "nginx-proxy-tls", "one", "one-tls", "ipc", "ipc-tls"), STATS,
             how="TLS 1.3, a certificate of P-256, kept connections."),
    Scenario("replicas", "1, 2 and 4 replicas of svc-gdpr, from PostgreSQL", "replicas",
             ("ipc-1", "ipc-2", "ipc-4"), BY_KEY),
    Scenario("replicas-cached", "1, 2 and 4 replicas of svc-gdpr, from their caches",
             "replicas", ("ipc-1", "ipc-2", "ipc-4"), STATS),
    Scenario("board", "The first hundred of the leaderboard", "crowd", ("ipc-1k", "ipc-1m"),
             PAGE, how="Kept in memory for half a second."),
    Scenario("rank", "Own rank", "crowd", ("ipc-1k", "ipc-1m"), RANK,
             how="Counted in PostgreSQL each time, of somebody in the lower half."),
)
NAMES = tuple(s.name for s in SCENARIOS)
# What docs/performance.md compares with the targets.
TARGETS = ("stats", "by-key", "submit", "slow", "rank")
QUICK = ("stats",)
