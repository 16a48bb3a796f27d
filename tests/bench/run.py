#!/usr/bin/env python3
"""Measures our programs beside their peers over HTTP (make bench, make bench-quick).

    tests/bench/run.py [--only NAME[,NAME]] [--rounds N] [--seconds N]
    tests/bench/run.py --quick      the headline ratios, in under two minutes
    tests/bench/run.py --report     docs/performance.md from what was measured
    tests/bench/run.py --only stats --beside ../before/build/release/bin
                                    ours from two builds in one run; writes no document

scenarios.py is the table of what is measured; NAME is one of its names, or `targets`
for those that the targets are about. Results go to build/bench/results.jsonl, where
those of a scenario replace only its own, and from there into docs/performance.md and
docs/plots. An answer that is not 2xx ends its scenario, and the run says so at its end.

A round asks all servers of a scenario in turn, in an order that rotates, so that what
else the machine does hits all alike; ratios are taken inside rounds.
"""
import argparse
import itertools
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])
from tests.bench import load, report, results, scenarios  # noqa: E402
from tests.bench.servers import BIN, Ours, Trouble, World  # noqa: E402

PACKAGES = ("nginx", "gunicorn", "python3-flask", "python3-sqlalchemy", "postgresql-15",
            "postgresql-17", "redis-server", "wrk", "libmicrohttpd12", "libmicrohttpd12t64",
            "libnng1", "libnng1t64")
FILES = 16384
# Of one scenario or set-up; the others are measured all the same.
FAILURES = (Trouble, OSError, RuntimeError, AssertionError, subprocess.SubprocessError)


def say(words):
    print(words, flush=True)


# --- where it is measured ------------------------------------------------------------------

def versions():
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n",
                          *PACKAGES], capture_output=True, text=True).stdout
    return {l.split()[0]: l.split()[1] for l in out.splitlines() if l.endswith(" installed")}


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    system = re.search(r'PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text())
    return {"cpu": model[1] if model else platform.machine(), "cores": os.cpu_count(),
            "system": system[1] if system else "", "kernel": platform.release(),
            "versions": versions(), "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


# --- one set-up ------------------------------------------------------------------------------

def builds_of(name, options):
    """(name, programs) of what is started for a server of the tables."""
    both = options.beside and name not in report.PEERS
    return [(name, BIN)] + ([(name + report.OTHER, options.beside)] if both else [])


def start(world, makers, running, options):
    """Appends to running as they start, so that the caller can stop them."""
    for name, programs, make in sorted(
            ((n, p, m) for own, m in makers.items() for n, p in builds_of(own, options)),
            key=lambda m: m[0] in report.PEERS):
        world.programs = programs
        server = make(name, world)
        running.append(server)
        server.prepare()
        if isinstance(server, Ours) and not world.bodies:
            world.token = server.token
            world.bodies = {a.path: server.ask(a.method, a.path, a.body)[2].decode()
                            for a in scenarios.TOLD}


def measure(scenario, servers, rounds, seconds, record):
    run = scenario.measure or scenarios.closed
    for s in servers:
        scenarios.warm_up(s, scenario)
    for point in scenario.points:
        for i in range(rounds):
            turn = i % len(servers)
            for s in servers[turn:] + servers[:turn]:
                before = os.getloadavg()[0]
                for row in run(s, scenario, point, seconds):
                    record(scenario=scenario.name, server=s.name, round=i, **point, **row,
                           load_before=before, seconds=seconds)
    for s in servers:
        s.check_alive()


def run_setup(name, chosen, options):
    """Problems, one line each."""
    wanted = {s for scenario in chosen for s in scenario.servers}
    makers = {n: m for n, m in scenarios.SETUPS[name].items() if n in wanted}
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-bench-"))
    world, running, problems = World(folder), [], []
    try:
        start(world, makers, running, options)
        by_name = {s.name: s for s in running}
        for scenario in chosen:
            began = time.monotonic()
            results.begin(scenario.name, options.results)
            try:
                measure(scenario, [by_name[n] for s in scenario.servers
                                   for n, _ in builds_of(s, options)], options.rounds,
                        options.seconds,
                        lambda **row: results.add(options.results, **row))
            except FAILURES as e:
                results.begin(scenario.name, options.results)
                problems.append(f"{scenario.name}: {e}")
                say(problems[-1])
                continue
            say(f"{scenario.name}: {time.monotonic() - began:.0f} s")
            say(report.brief(scenario, results.read(options.results)))
    except FAILURES as e:
        problems.append(f"{name}: {e}")
        say(problems[-1])
    finally:
        for s in running:
            s.stop()
        world.stop()
        if options.keep:
            say(f"logs and data: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return problems


# --- all ---------------------------------------------------------------------------------

def choose(only):
    names = []
    for name in filter(None, only.split(",")):
        if name != "targets" and name not in scenarios.NAMES:
            raise Trouble(f"no scenario {name}; there are {', '.join(scenarios.NAMES)}")
        names += scenarios.TARGETS if name == "targets" else [name]
    return [s for s in scenarios.SCENARIOS if not names or s.name in names]


def run(options):
    chosen = choose(options.only)
    results.begin("machine", options.results)
    results.add(options.results, scenario="machine", **machine(), rounds=options.rounds,
                seconds=options.seconds, command=options.command)
    problems = []
    for setup, group in itertools.groupby(
            sorted(chosen, key=lambda s: list(scenarios.SETUPS).index(s.setup)),
            key=lambda s: s.setup):
        problems += run_setup(setup, list(group), options)
    return tell(problems)


def tell(problems):
    """The exit status."""
    for p in problems:
        print(f"run.py: {p}", file=sys.stderr)
    return 1 if problems else 0


def raise_files():
    """Of the clients', and inherited by all servers alike."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(most, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def quick(options):
    """One scenario, into a file of its own; nothing is written to the documents."""
    options.results = results.PATH.with_name("quick.jsonl")
    stats = next(s for s in scenarios.SCENARIOS if s.name == "stats")
    stats.points = scenarios.c(8, 64)
    stats.servers = scenarios.PEERS_AND_OURS
    return tell(run_setup(stats.setup, [stats], options))


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--only", default=os.environ.get("ONLY", ""))
    ap.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    ap.add_argument("--seconds", type=int, default=int(os.environ.get("BENCH_SECONDS", 2)))
    ap.add_argument("--results", type=pathlib.Path, default=results.PATH)
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--report", action="store_true", help="measure nothing")
    ap.add_argument("--busy", action="store_true",
                    help="to try it beside other work: what is refused is told and ends\n"
                    "nothing, and the documents stay as they are")
    ap.add_argument("--beside", type=pathlib.Path, metavar="BIN",
                    help="programs of another build, measured in turn with these")
    ap.add_argument("--keep", action="store_true", help="keep logs and data")
    options = ap.parse_args()
    if options.busy:
        load.REFUSED_MAX = 1
    if options.beside:
        options.beside = options.beside.resolve()
        options.results = results.PATH.with_name("beside.jsonl")
    raise_files()
    # As an end by the keyboard: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.command = (f"python3 tests/bench/run.py --rounds {options.rounds} "
                       f"--seconds {options.seconds}"
                       + (f" --only {options.only}" if options.only else ""))
    status = 0
    try:
        if options.quick:
            return quick(options)
        if not options.report:
            status = run(options)
        if not options.busy and not options.beside:
            report.write(results.read(options.results))
    except Trouble as e:
        print(f"run.py: {e}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
