"""What the system is held to: a table of figures with a bound, each taken from the rows
of one scenario (results.py).  A figure that was not measured is said to be missing."""
import dataclasses
import statistics

from tests.bench.results import median, pick, ratio, value


@dataclasses.dataclass
class Target:
    text: str
    figure: object  # (rows) -> number or None
    sign: str       # ">=" or "<="
    bound: float
    unit: str = "x"

    def judge(self, rows):
        """(figure, reached, by how many percent it is beyond the bound or short of it)"""
        got = self.figure(rows)
        if got is None:
            return None, None, None
        beyond = got / self.bound - 1 if self.sign == ">=" else 1 - got / self.bound
        return got, beyond >= 0, 100 * beyond


def beside(scenario, server, peer, key, **point):
    return lambda rows: ratio(pick(rows, scenario=scenario, **point), server, peer, key)


def alone(scenario, server, key, scale=1.0, **point):
    def figure(rows):
        found = median(pick(rows, scenario=scenario, server=server, **point), key)
        return None if found is None else found * scale
    return figure


def slow_p99(server):
    """p99 with 1 % slow ones / without, inside rounds"""
    def figure(rows):
        found = {}
        for r in pick(rows, scenario="slow", server=server):
            found.setdefault(r["round"], {})[r["slow_percent"]] = value(r, "p99_ms")
        pairs = [p for p in found.values() if len(p) == 2]
        return statistics.median(p[1] / p[0] for p in pairs) if pairs else None
    return figure


def flat(scenario, server, key, low, high):
    """cost among `high` people / among `low`"""
    def figure(rows):
        few, many = (median(pick(rows, scenario=scenario, server=server, people=n), key)
                     for n in (low, high))
        return many / few if few and many else None
    return figure


TARGETS = (
    Target("Cached read, four programs: requests per second against nginx proxy_pass",
           beside("stats", "ipc", "nginx-proxy", "rps", c=64), ">=", 1.0),
    Target("the same: p99 against nginx proxy_pass",
           beside("stats", "ipc", "nginx-proxy", "p99_ms", c=64), "<=", 1.0),
    Target("the same: requests per second against Flask",
           beside("stats", "ipc", "flask", "rps", c=64), ">=", 8),
    Target("the same: CPU of all our processes per request",
           alone("stats", "ipc", "cpu_us", c=64), "<=", 25, "µs"),
    Target("Cached read, one process: requests per second against nginx proxy_pass",
           beside("stats", "one", "nginx-proxy", "rps", c=64), ">=", 1.3),
    Target("PostgreSQL by key, four programs: requests per second against nginx proxy_pass",
           beside("by-key", "ipc", "nginx-proxy", "rps", c=64), ">=", 0.75),
    Target("the same: requests per second against Flask",
           beside("by-key", "ipc", "flask", "rps", c=64), ">=", 6),
    Target("Cached read, c = 8: requests per second against nginx proxy_pass",
           beside("stats", "ipc", "nginx-proxy", "rps", c=8), ">=", 0.7),
    Target("Cached read, c = 1: p50 against nginx proxy_pass",
           beside("stats", "ipc", "nginx-proxy", "p50_ms", c=1), "<=", 3),
    Target("A quiz handed in, PostgreSQL: time of one against pgbench with the same statements",
           beside("submit", "pgbench", "ipc-pg", "rps"), "<=", 1.5),
    Target("p99 of fast requests with 1 % that take 200 ms against none, four programs",
           slow_p99("ipc"), "<=", 1.5),
    Target("Own rank among a million people: service time (p50)",
           alone("leaderboard", "rank", "p50_ms", people=1_000_000), "<=", 1, "ms"),
    Target("First page of a million people: service time (p50)",
           alone("leaderboard", "page", "p50_ms", people=1_000_000), "<=", 1, "ms"),
    Target("Own rank: cost among a million people against a thousand",
           flat("leaderboard", "rank", "p50_ms", 1000, 1_000_000), "<=", 2),
    Target("First 200 of `knowalledge` on an existing database",
           alone("start", "one", "ms"), "<=", 100, "ms"),
    Target("Memory (RSS) of idle `knowalledge`", alone("idle", "one", "rss_kb", 1 / 1024), "<=",
           32, "MB"),
    Target("Memory of an idle kept connection without TLS",
           alone("connections", "one", "bytes", 1 / 1024), "<=", 18, "KB"),
)
