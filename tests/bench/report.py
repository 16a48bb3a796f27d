"""Makes docs/performance.md's measured part, and docs/plots, from the rows."""
import pathlib

from tests.bench import plot, scenarios, targets
from tests.bench.results import ROOT, STORES, median, pick, ratio, seen

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "plots"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
LABELS = {
    "nginx-200": "nginx `return 200`", "nginx-proxy": "nginx proxy_pass",
    "nginx-proxy-tls": "nginx proxy_pass, TLS", "flask": "gunicorn + Flask",
    "one": "one process", "ipc": "four programs, ipc", "tcp": "four programs, tcp",
    "one-tls": "one process, TLS", "ipc-tls": "four programs, ipc, TLS",
    "one-pg": "one process, PostgreSQL", "ipc-pg": "four programs, PostgreSQL",
    "pgbench": "pgbench, the same statements",
    "ipc-1": "1 replica", "ipc-2": "2 replicas", "ipc-4": "4 replicas",
    "ipc-1k": "1 000 people", "ipc-1m": "1 000 000 people",
}
OTHER = "@other"  # behind the name of a server from another build (run.py --beside)
PEERS = ("nginx-200", "nginx-proxy", "nginx-proxy-tls", "flask", "pgbench")
# The same in every chart.
COLOURS = {s: i for i, s in enumerate(("nginx-proxy", "flask", "ipc", "one", "tcp", "nginx-200"))}
# file, scenario, member on the x axis, its name, title
CHARTS = (
    ("cached", "stats", "c", "connections", "Authenticated read from the service cache"),
    ("by-key", "by-key", "c", "connections", "Authenticated read from PostgreSQL by key"),
    ("fixed-rate", "open", "rate", "requests asked per second",
     "Cached read at a fixed rate"),
)


def name_of(server):
    own = server.removesuffix(OTHER)
    return LABELS.get(own, own) + ("" if own == server else ", the other build")


# --- figures as text ------------------------------------------------------------------

def rate(v):
    if v is None:
        return "–"
    return f"{v / 1000:.1f}k" if v >= 10_000 else f"{v:.0f}"


def number(v):
    """Three figures of it."""
    if v is None:
        return "–"
    if v >= 100:
        return f"{v:.0f}"
    return f"{v:.1f}" if v >= 10 else f"{v:.2f}"


def table(head, rows):
    lines = [f"| {' | '.join(r)} |" for r in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


# --- parts ---------------------------------------------------------------------------

def point_of(row):
    key = next((k for k in ("c", "rate", "people") if k in row), None)
    return {key: row[key]} if key else {}


def percent_of(rows):
    """A scenario may tell its servers' figures with and without slow calls."""
    return seen(rows, "slow_percent") or [None]


def figures(rows, server, of_round):
    mine = pick(rows, server=server)
    cpu = [f"{number(median(mine, 'cpu_us'))}"]
    cpu += [f"{s} {number(median(mine, f'cpu_us.{s}'))}" for s in STORES
            if median(mine, f"cpu_us.{s}")]
    rss = median(mine, "rss_kb")
    against = []
    for peer in ("nginx-proxy", "flask"):
        r = ratio(of_round, server, peer, "rps") if server != peer else None
        against.append(number(r or None))
    times = f"{number(median(mine, 'p50_ms'))} / {number(median(mine, 'p99_ms'))}"
    return [rate(median(mine, "rps")), times, " + ".join(cpu),
            f"{rss / 1024:.0f}" if rss else "–", *against]


def remarks(rows):
    """What a row has to tell beside its figures."""
    shares = {"refused": "refused", "unsent": "not sent", "late": "late", "failed": "failed"}
    said = [f"{100 * median(rows, k):.1f} % {words}" for k, words in shares.items()
            if (median(rows, k) or 0) >= 0.0005]
    return f" ({', '.join(said)})" if said else ""


def scenario_table(scenario, rows):
    rows = pick(rows, scenario=scenario.name)
    axis = next(iter(scenario.points[0]))
    lines = []
    for p in scenario.points:
        for percent in percent_of(rows):
            at = pick(rows, **p, **({} if percent is None else {"slow_percent": percent}))
            for server in seen(at, "server"):
                label = name_of(server) if percent is None else \
                    f"{name_of(server)}, {percent} % slow"
                lines.append([str(p[axis]), label + remarks(pick(at, server=server)),
                              *figures(at, server, at)])
    return table([axis, "server", "req/s", "p50 / p99 ms", "CPU µs per request", "RSS MB",
                  "to nginx", "to Flask"], lines)


def targets_table(rows):
    lines = []
    for t in targets.TARGETS:
        got, reached, percent = t.judge(rows)
        bound = f"{'≥' if t.sign == '>=' else '≤'} {t.bound:g} {t.unit}".replace(" x", " ×")
        if got is None:
            lines.append([t.text, bound, "not measured", "–"])
        else:
            unit = "×" if t.unit == "x" else t.unit
            word = "**yes**, by" if reached else "no, short by"
            lines.append([t.text, bound, f"{number(got)} {unit}", f"{word} {abs(percent):.0f} %"])
    return table(["what", "target", "measured", "reached"], lines)


# Columns of the table of hops: sums of what a row calls so.
HOPS = (("HTTP loop", "http"), ("bus, gateway", "gateway bus"), ("bus, services", "services bus"),
        ("lanes", "lanes"), ("other threads", "other"))


HOPS_HOW = """Microseconds on a processor per request (`/proc/PID/task/*/schedstat`), by what threads
are for: the loops that speak HTTP (in one process they ask the services' memory, too), nng's threads in
the program that speaks HTTP and in the services (which decode requests and answer from memory on them),
the lanes of the services (handlers, and the writers of SQLite). Switches: how often a thread gave up its
processor or lost it, per request.
"""


def hop(rows, words):
    """The sum of those whose name ends so; None where there are none."""
    names = {n for r in rows for n in r.get("hops_us", {}) if n.endswith(words)}
    return sum(median(rows, f"hops_us.{n}") or 0 for n in names) if names else None


def hops_table(rows):
    lines = []
    for s in scenarios.SCENARIOS:
        for server in ("ipc", "ipc-pg", "one", "one-pg"):
            for p in s.points:
                at = [r for r in pick(rows, scenario=s.name, server=server, **p)
                      if r.get("hops_us") and not r.get("slow_percent")]
                if not at or "rate" in p:
                    continue
                stores = sum(median(at, f"cpu_us.{name}") or 0 for name in STORES)
                lines.append([s.title, name_of(server), str(p["c"]),
                              *(number(hop(at, words)) for _, words in HOPS),
                              number(stores or None), number(median(at, "switches"))])
    return table(["what", "server", "c", *(words for words, _ in HOPS), "stores", "switches"],
                 lines) if lines else ""


def heading(rows):
    found = pick(rows, scenario="machine")
    loads = [r["load_before"] for r in rows if "load_before" in r]
    if not found:
        return ""
    m = found[-1]
    versions = ", ".join(f"{k} {v}" for k, v in m["versions"].items())
    return (f"`{m['command']}`, {m['rounds']} rounds of {m['seconds']} s, {m['at']}; "
            f"{m['cpu']}, {m['cores']} cores that load generator and servers share, "
            f"{m['system']}, Linux {m['kernel']}; {versions}. The load average before single "
            f"runs was {min(loads, default=0):.1f} to {max(loads, default=0):.1f}, which is "
            "of the runs before.\n")


def points(rows, axis, key):
    return [(x, median(pick(rows, **{axis: x}), key)) for x in sorted(seen(rows, axis))]


def charts(rows, folder):
    """Draws them; the names of the files that were."""
    made = []
    for file, scenario, axis, x, title in CHARTS:
        at = pick(rows, scenario=scenario)
        for key, y, words, log in (("rps", "requests per second", "", False),
                                   ("p99_ms", "p99, milliseconds", ", p99", True)):
            series = [plot.Series(name_of(s).replace("`", ""),
                                  points(pick(at, server=s), axis, key), s in PEERS,
                                  COLOURS.get(s)) for s in seen(at, "server")]
            path = folder / f"{file}-{'p99' if log else 'throughput'}.svg"
            if plot.lines(path, title + words, series, x, y, log):
                made.append((path.name, title + words))
    return made


def brief(scenario, rows):
    return scenario_table(scenario, rows) + beside_table(scenario, rows)


def beside_table(scenario, rows):
    """This build against the other, inside rounds; empty where there was none."""
    rows = pick(rows, scenario=scenario.name)
    ours = [s for s in seen(rows, "server") if s + OTHER in seen(rows, "server")]
    lines = []
    for p in scenario.points:
        at = pick(rows, **p)
        for s in ours:
            lines.append([str(next(iter(p.values()))), name_of(s),
                          *(number(ratio(at, s, s + OTHER, key))
                            for key in ("rps", "p50_ms", "p99_ms", "cpu_us", "switches"))])
    return "\n" + table([next(iter(scenario.points[0])), "this build against the other",
                         "req/s", "p50", "p99", "CPU", "switches"], lines) if lines else ""


def text(rows, drawn):
    out = [heading(rows), "### Targets\n", targets_table(rows)]
    for name, title in drawn:
        out.append(f"![{title}](plots/{name})\n")
    for s in scenarios.SCENARIOS:
        if pick(rows, scenario=s.name):
            out += [f"### {s.title}\n", *([s.how + "\n"] if s.how else []),
                    scenario_table(s, rows)]
    hops = hops_table(rows)
    if hops:
        out += ["### Where the CPU of a request goes\n", HOPS_HOW, hops]
    return "\n".join(out)


def write(rows, page=PAGE, folder=PLOTS):
    """Replaces what stands between the markers."""
    before, _, rest = page.read_text().partition(BEGIN)
    behind = rest.partition(END)[2]
    made = text(rows, charts(rows, pathlib.Path(folder)))
    page.write_text(f"{before}{BEGIN}\n{made}{END}{behind}")
