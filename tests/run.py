#!/usr/bin/env python3
"""Runs the test suites and adds up what they say.

    tests/run.py --build build --flavor release unit store sim integration fault sanitizers

unit         every cmocka program of tests/unit, and every saved fuzz input
store        every cmocka program of tests/store, on SQLite and on PostgreSQL
sim          every cmocka program of tests/sim: KAE_SEEDS says how many seeds,
             KAE_SEED=n runs one and tells its story
integration  every module of tests/integration against the built programs
fault        every module of tests/fault: what happens when something is away,
             slow or lying; long forms only with KAE_FULL set
sanitizers   unit, store, a few seeds of sim and a short integration under address +
             undefined behaviour sanitizers; then `threads` under the thread sanitizer
threads      the programs in THREADS, of the given flavor

The last line is `N passed, N failed, N skipped`. With CI set, a skip that no
SKIP_* variable asks for is a failure.
"""
import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# What runs several threads over shared state.
THREADS = {
    "unit": ("test_bus", "test_log", "test_cache", "test_lane", "test_gateway",
             "test_service", "test_metrics", "test_sqlite", "test_pg_names",
             "test_remote", "test_readers", "test_hold", "test_otlp"),
    "store": ("test_db", "test_ask", "test_event", "test_idempotency"),
}
# Files that say why a leak is not ours; what is not named here has the first.
LSAN = {"": "lsan.supp", "test_bus_link": None,
        "test_bus_identity": "lsan-peers.supp", "test_bus_hostile": "lsan-peers.supp",
        "test_bus_ending": "lsan-peers.supp"}
JOBS = 2
SANITIZED_SEEDS = 50
FULL = bool(os.environ.get("KAE_FULL"))
UNIT_TIMEOUT_S = 3600 if FULL else 300
MODULE_TIMEOUT_S = 900


@dataclasses.dataclass
class Outcome:
    """What one test program or module said."""
    name: str
    passed: int = 0
    failed: int = 0
    skips: list = dataclasses.field(default_factory=list)
    output: str = ""
    seconds: float = 0.0


def run(command, env=None, timeout=UNIT_TIMEOUT_S):
    """(exit status, output); status None when the time ran out."""
    if not os.access(command[0], os.X_OK) and "/" in command[0]:
        return 127, f"{command[0]} is not built\n"
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as p:
        try:
            out, _ = p.communicate(timeout=timeout)
            return p.returncode, out.decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, 9)
            out, _ = p.communicate()
            return None, out.decode(errors="replace") + f"\nno end after {timeout} s\n"


def sanitizer_env(name=""):
    lsan = LSAN.get(name, LSAN[""])
    supp = ROOT / "tests" / "tsan.supp"
    tsan = "halt_on_error=0:exitcode=66:second_deadlock_stack=1"
    if supp.exists():
        tsan += f":suppressions={supp}"
    return {"TSAN_OPTIONS": tsan,
            "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
            "LSAN_OPTIONS": "print_suppressions=0"
                            + (f":suppressions={ROOT}/tests/{lsan}" if lsan else ""),
            "UBSAN_OPTIONS": "print_stacktrace=1"}


def run_cmocka(name, command, env):
    started = time.monotonic()
    env = {**sanitizer_env(name), **env}
    status, out = run(command, env)
    done = out.split("[==========]")
    ran = len(done) > 2  # an opening and a closing line
    result = Outcome(name, output=out, seconds=time.monotonic() - started)
    result.passed = len(re.findall(r"^\[       OK \] ", out, re.M))
    body = "[==========]".join(done[:-1]) if ran else out
    result.failed = len(re.findall(r"^\[  FAILED  \] ", body, re.M))
    result.skips = re.findall(r"^\[  SKIPPED \] (\S+)", body, re.M)
    if (status != 0 or not ran) and result.failed == 0:
        result.failed = 1  # crashed, leaked, raced or hung
        result.output += f"\nexit status {status}\n"
    return result


def run_replay(name, command):
    started = time.monotonic()
    status, out = run(command, sanitizer_env())
    return Outcome(name, passed=int(status == 0), failed=int(status != 0),
                   output=out, seconds=time.monotonic() - started)


def run_module(name, env):
    started = time.monotonic()
    status, out = run([sys.executable, "-m", "unittest", "-v", name], env,
                      MODULE_TIMEOUT_S)
    result = Outcome(name, output=out, seconds=time.monotonic() - started)
    total = re.search(r"^Ran (\d+) tests? in", out, re.M)
    bad = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", out))
    result.skips = re.findall(r"\.\.\. skipped ['\"](.*)['\"]$", out, re.M)
    result.failed = bad if total else 1
    if status != 0 and result.failed == 0:
        result.failed = 1
    ran = int(total.group(1)) if total else 0
    result.passed = max(0, ran - bad - len(result.skips))
    return result


class Runner:
    def __init__(self, build, flavor):
        self.dir = ROOT / build / flavor
        self.build, self.flavor = build, flavor
        self.outcomes = []

    def all(self, title, jobs, workers=JOBS):
        """Runs (function, arguments) pairs and reports them as one suite."""
        started = time.monotonic()
        print(f"== {title}", flush=True)
        suite = []
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            for f in concurrent.futures.as_completed(
                    [pool.submit(fn, *args) for fn, args in jobs]):
                o = f.result()
                suite.append(o)
                print(f"   {o.name}: {o.passed} passed, {o.failed} failed, "
                      f"{len(o.skips)} skipped, {o.seconds:.1f} s", flush=True)
                for reason in o.skips:
                    print(f"      skipped: {reason}")
                if o.failed:
                    print("\n".join("      | " + l for l in
                                    o.output.splitlines()[-150:]), flush=True)
        self.outcomes += suite
        print(f"== {title}: {time.monotonic() - started:.0f} s", flush=True)

    def programs(self, folder, only=None):
        sources = sorted((ROOT / "tests" / folder).glob("test_*.c"))
        return [self.dir / folder / s.stem for s in sources
                if only is None or s.stem.startswith(only)]

    def unit(self, only=None):
        jobs = [(run_cmocka, (p.name, [str(p)], {}))
                for p in self.programs("unit", only)]
        for s in sorted((ROOT / "tests" / "fuzz").glob("fuzz_*.c")) if not only else ():
            name = s.stem.removeprefix("fuzz_")
            corpus = sorted(str(f) for f in
                            (ROOT / "tests" / "fuzz" / "corpus" / name).glob("*"))
            jobs.append((run_replay, (f"replay {name} ({len(corpus)} inputs)",
                                      [str(self.dir / "replay" / name), *corpus])))
        self.all(f"unit ({self.flavor})", jobs)

    def store(self, only=None):
        from tests.harness.postgres import Postgres
        programs = self.programs("store", only)
        self.all(f"store on SQLite ({self.flavor})",
                 [(run_cmocka, (p.name, [str(p)], {"KAE_TEST_DATABASE_URL": ""}))
                  for p in programs])
        with Postgres() as pg:
            self.all(f"store on PostgreSQL ({self.flavor})",
                     [(run_cmocka, (p.name, [str(p)],
                                    {"KAE_TEST_DATABASE_URL": pg.url}))
                      for p in programs], workers=1)

    def sim(self, seeds=None):
        env = {} if seeds is None else {"KAE_SEEDS": str(seeds)}
        self.all(f"simulation ({self.flavor})",
                 [(run_cmocka, (p.name, [str(p)], env))
                  for p in self.programs("sim")])

    def modules(self, folder, short=False, only="test_*"):
        env = {"KAE_BIN": str(self.dir / "bin"), "KAE_SHORT": "1" if short else "",
               **sanitizer_env()}
        found = sorted((ROOT / "tests" / folder).glob(f"{only}.py"))
        self.all(f"{folder} ({self.flavor})",
                 [(run_module, (f"tests.{folder}.{m.stem}", env)) for m in found])

    def integration(self, short=False):
        self.modules("integration", short)

    def fault(self):
        self.modules("fault")

    def sanitizers(self):
        for flavor, what in (("asan", ("all", "tests")), ("tsan", ("tests",))):
            started = time.monotonic()
            status, out = run(["make", "--no-print-directory", "-s", "-j2",
                               f"FLAVOR={flavor}", f"BUILD={self.build}", *what],
                              timeout=1800)
            print(f"== build {flavor}: {time.monotonic() - started:.0f} s",
                  flush=True)
            if status != 0:
                print(out)
                self.outcomes.append(Outcome(f"build {flavor}", failed=1))
                continue
            other = Runner(self.build, flavor)
            if flavor == "asan":
                other.unit()
                other.store()
                other.sim(SANITIZED_SEEDS)
                other.integration(short=True)
                other.modules("fault", short=True, only="test_sweep")
            else:
                other.threads()
            self.outcomes += other.outcomes

    def threads(self):
        self.unit(THREADS["unit"])
        self.store(THREADS["store"])


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--build", default="build")
    ap.add_argument("--flavor", default="release")
    ap.add_argument("suites", nargs="+", choices=(
        "unit", "store", "sim", "integration", "fault", "sanitizers", "threads"))
    args = ap.parse_args()
    runner = Runner(args.build, args.flavor)
    started = time.monotonic()
    for suite in args.suites:
        getattr(runner, suite)()

    passed = sum(o.passed for o in runner.outcomes)
    failed = sum(o.failed for o in runner.outcomes)
    skips = [s for o in runner.outcomes for s in o.skips]
    unasked = [s for s in skips
               if not any(k in s and v for k, v in os.environ.items()
                          if k.startswith("SKIP_"))]
    if os.environ.get("CI") and unasked:
        print(f"skips that nobody asked for: {unasked}")
        failed += len(unasked)
    for o in runner.outcomes:
        if o.failed:
            print(f"FAILED: {o.name}")
    print(f"total: {time.monotonic() - started:.0f} s")
    print(f"{passed} passed, {failed} failed, {len(skips)} skipped")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
