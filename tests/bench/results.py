"""Measurements: one JSON object a line, in build/bench/results.jsonl.

    {"scenario": "stats", "server": "nginx-proxy", "c": 64, "round": 0, "rps": 41000.0,
     "p50_ms": 1.1, "p99_ms": 3.2, "cpu_us": {"nginx": 25.1}, "rss_kb": {"nginx": 9000},
     "load_before": 0.2}

scenario, server and round are always there; what else depends on what was measured
(a leaderboard has "people" in place of "c", a start has "ms").  A round is one turn
in which all servers of a scenario were measured one after another, so figures are
compared inside a round, and what is told is the median over rounds.

"hops_us" is the same CPU by what threads are for ({"gateway http": 21.8, ...}), without
stores, and "switches" counts how often those threads came off their processors.

The row {"scenario": "machine", ...} says where the others come from.

    begin("stats")                    # those of this scenario go, those of others stay
    add(scenario="stats", server="one", round=0, ...)            # on disk at once

    read() -> the rows; median(pick(rows, scenario="stats", c=64), "rps");
    ratio(rows, "one", "nginx-proxy", "rps")
"""
import json
import os
import pathlib
import statistics

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = ROOT / "build" / "bench" / "results.jsonl"


def read(path=PATH):
    """[] where nothing was measured.  A last line that was cut off is none."""
    try:
        text = pathlib.Path(path).read_text()
    except FileNotFoundError:
        return []
    return [json.loads(l) for l in text.splitlines(keepends=True) if l.endswith("\n")]


def begin(scenario, path=PATH):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text("".join(json.dumps(r) + "\n" for r in read(path)
                           if r["scenario"] != scenario))
    os.replace(new, path)


def add(path=PATH, **row):
    """What a run that was stopped has measured so far is kept."""
    with open(path, "a") as f:
        f.write(json.dumps(row) + "\n")
    return row


# --- asking ------------------------------------------------------------------------

def pick(rows, **match):
    """Those whose members are so; a member that a row lacks is None."""
    return [r for r in rows if all(r.get(k) == v for k, v in match.items())]


def value(row, key):
    """A figure of a row, or None.  A key with a point goes inside ("cpu_us.nginx");
    of an object it is the sum, without the stores that a server asks."""
    name, _, inner = key.partition(".")
    found = row.get(name)
    if isinstance(found, dict):
        if inner:
            return found.get(inner)
        return sum(v for k, v in found.items() if k not in STORES)
    return found


STORES = ("postgres", "redis")


def median(rows, key):
    """None of no rows."""
    found = [v for v in (value(r, key) for r in rows) if v is not None]
    return statistics.median(found) if found else None


def ratios(rows, server, peer, key):
    """server / peer inside each round that has both, in the order of rounds."""
    of = {}
    for r in rows:
        of.setdefault(r["round"], {})[r["server"]] = value(r, key)
    pairs = [(found.get(server), found.get(peer)) for _, found in sorted(of.items())]
    return [a / b for a, b in pairs if a is not None and b]


def ratio(rows, server, peer, key):
    """The median of the ratios; None where no round has both."""
    found = ratios(rows, server, peer, key)
    return statistics.median(found) if found else None


def seen(rows, key):
    """The values of a member, in the order in which they came first."""
    return list(dict.fromkeys(r[key] for r in rows if key in r))
