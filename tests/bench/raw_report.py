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
    return "p50 / p99 in milliseconds, of a transaction each:\n\n" + table(head, body)


def by_itself(rows):
    start, idle = pick(rows, scenario="start"), pick(rows, scenario="idle")
    kept = pick(rows, scenario="connections")
    body = [["first 200 of `knowalledge`", f"{number(median(start, 'ms'))} ms"],
            ["CPU until then", f"{number((median(start, 'cpu_us') or 0) / 1000)} ms"],
            ["memory (RSS) when idle", f"{number((median(idle, 'rss_kb') or 0) / 1024)} MB"]]
    for server, words in (("one", "without TLS"), ("one-tls", "with TLS")):
        each = median(pick(kept, server=server), "bytes") or 0
        body.append([f"an idle kept connection {words}", f"{number(each / 1024)} KB"])
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


def text(rows):
    load = median(pick(rows, scenario="start"), "load_before")
    return "\n".join((
        f"Load average while it was measured: {number(load or 0)}.\n",
        "### Memory and start-up\n", by_itself(rows),
        "### Leaderboard\n", among(rows), "![Leaderboard](plots/leaderboard.svg)\n",
        "### A quiz handed in, beside pgbench with the same statements\n",
        beside(rows, "quiz", ("ours",), ("pgbench", "pgbench-together")),
        "### Stores beside pgbench and redis-benchmark\n",
        beside(rows, "raw-postgres", ("db_read", "together"), ("pgbench",)),
        beside(rows, "raw-redis", ("tier",), ("redis-benchmark",))))


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
