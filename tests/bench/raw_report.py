"""Makes the part of docs/performance.md that raw.py measures, and its plot."""
from tests.bench import plot
from tests.bench.report import PAGE, PLOTS, number, rate, table
from tests.bench.results import median, pick, ratio, seen

BEGIN, END = "<!-- raw: begin -->", "<!-- raw: end -->"


def among(rows):
    at = pick(rows, scenario="leaderboard")
    head = ["people", "rank, PostgreSQL", "page, PostgreSQL", "rank, SQLite", "page, SQLite"]
    body = []
    for people in seen(at, "people"):
        cells = [f"{people:,}".replace(",", " ")]
        for server in ("rank", "page", "rank-sqlite", "page-sqlite"):
            mine = pick(at, server=server, people=people)
            cells.append(" / ".join(number(median(mine, k)) for k in ("p50_ms", "p99_ms")))
        body.append(cells)
    return "p50 / p99 in milliseconds, of one at a time:\n\n" + table(head, body)


# What is told of the program alone: scenario, server, key, how many of which unit.
ALONE = (("start", "one", "ms", 1, "ms", "first 200 of `knowalledge`"),
         ("start", "one", "cpu_us", 1000, "ms", "CPU until then"),
         ("idle", "one", "rss_kb", 1024, "MB", "memory (RSS) when idle"),
         ("connections", "one", "bytes", 1024, "KB", "an idle kept connection without TLS"),
         ("connections", "one-tls", "bytes", 1024, "KB", "an idle kept connection with TLS"))


def by_itself(rows):
    body = []
    for scenario, server, key, each, unit, words in ALONE:
        found = median(pick(rows, scenario=scenario, server=server), key)
        if found is not None:
            body.append([words, f"{number(found / each)} {unit}"])
    return table(["what", "figure"], body)


def beside(rows, scenario, ours, peers):
    """Ours, and how much faster than it each peer is."""
    at = pick(rows, scenario=scenario)
    head = ["at a time", *(f"{s}/s" for s in ours), *(f"{p}/s" for p in peers),
            *(f"{s} against {p}" for s in ours for p in peers)]
    body = []
    for c in seen(at, "c"):
        here = pick(at, c=c)
        body.append([str(c), *(rate(median(pick(here, server=s), "rps"))
                               for s in (*ours, *peers)),
                     *(number(ratio(here, s, p, "rps")) for s in ours for p in peers)])
    return table(head, body)


# Title, the scenarios that it is about, and what makes it.
PARTS = (
    ("Memory and start-up", ("start", "idle", "connections"), by_itself),
    ("Leaderboard", ("leaderboard",),
     lambda rows: among(rows) + "\n![Leaderboard](plots/leaderboard.svg)\n"),
    ("A quiz handed in, beside pgbench with the same statements", ("quiz",),
     lambda rows: beside(rows, "quiz", ("ours",), ("pgbench", "pgbench-together"))),
    ("Rows by their key, beside pgbench", ("raw-postgres",),
     lambda rows: beside(rows, "raw-postgres", ("db_read", "together"), ("pgbench",))),
    ("Commands of the Redis tier, beside redis-benchmark", ("raw-redis",),
     lambda rows: beside(rows, "raw-redis", ("tier", "asked"), ("redis-benchmark",))))


def text(rows):
    """Only of what was measured."""
    load = median(pick(rows, scenario="start"), "load_before")
    out = [] if load is None else [f"Load average while it was measured: {number(load)}.\n"]
    for title, scenarios, make in PARTS:
        if any(pick(rows, scenario=s) for s in scenarios):
            out += [f"### {title}\n", make(rows)]
    return "\n".join(out)


def chart(rows, folder=PLOTS):
    at = pick(rows, scenario="leaderboard")
    series = [plot.Series(words, [(r["people"], r["p50_ms"]) for r in pick(at, server=s)],
                          False, i)
              for i, (s, words) in enumerate((("rank", "rank, PostgreSQL"),
                                              ("page", "page, PostgreSQL"),
                                              ("rank-sqlite", "rank, SQLite"),
                                              ("page-sqlite", "page, SQLite")))]
    folder.mkdir(parents=True, exist_ok=True)
    plot.lines(folder / "leaderboard.svg", "Own rank and first page of the leaderboard",
               series, "people", "p50, milliseconds", True)


def write(rows, page=PAGE):
    before, _, rest = page.read_text().partition(BEGIN)
    chart(rows)
    page.write_text(f"{before}{BEGIN}\n{text(rows)}{END}{rest.partition(END)[2]}")
