#!/usr/bin/env python3
"""Runs the test suites and adds up what they say.

    tests/run.py --build build --flavor release SUITE...

unit         every cmocka program of tests/unit, and every saved fuzz input
store        every cmocka program of tests/store, on SQLite and on PostgreSQL
sim          every cmocka program of tests/sim: KAE_SEEDS says how many seeds,
             KAE_SEED=n runs one and tells its story
integration  every module of tests/integration against the built programs
fault        every module of tests/fault: what happens when something is away,
             slow or lying; long forms only with KAE_FULL set
containers   every module of tests/containers: images and compose.yaml, in a Docker
             daemon of their own; nothing with SKIP_DOCKER set, long forms only with
             KAE_FULL set
sanitizers   unit, store, a few seeds of sim and a short integration under address +
             undefined behaviour sanitizers; then `threads` under the thread sanitizer
threads      the programs in THREADS, of the given flavor

All of them are one list of jobs, JOBS at a time and one that waits, the slow ones
of a suite first;
the sanitizers' programs are built meanwhile in the time that tests leave (they
wait for timers and networks most of theirs), and join when they are there.

A job that fails by a claim of its own (an assertion) is run once more when all
others have ended, alone. If it passes then it counts as passed and is listed as
FLAKY, with what it said at first: a red that nobody can make again has to be
seen, but a machine that stood still for a second must not refuse a day's work.
With KAE_STRICT set (and in `make test-full`) it is a failure. What a busy machine
cannot cause is never run again: a crash, a signal, a failed assert() of the
product, a report of a sanitizer (races, leaks, bad memory), a job or a process
that does not end.

At the end the last lines of each failure are said again. The last line is
`N passed, N failed, N skipped`. With CI set, a skip that no SKIP_* variable asks
for is a failure.
"""
import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import queue
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# What is about files, times or other people's programs finds nothing under sanitizers.
UNSANITIZED = {"test_add_route", "test_asvs", "test_enumeration", "test_kubernetes",
               "test_faults", "test_monitoring", "test_readme", "test_systemd"}
# What runs several threads over shared state.
THREADS = {
    "unit": ("test_bus", "test_log", "test_cache", "test_lane", "test_dispatch", "test_gateway",
             "test_service", "test_metrics", "test_sqlite", "test_pg_names",
             "test_pool", "test_remote", "test_readers", "test_hold", "test_otlp"),
    "store": ("test_db", "test_ask", "test_together", "test_event", "test_idempotency",
              "test_jobs", "test_quota", "test_social"),
}
# Files that say why a leak is not ours; what is not named here has the first.
LSAN = {"": "lsan.supp", "test_bus_link": None,
        "test_bus_identity": "lsan-peers.supp", "test_bus_hostile": "lsan-peers.supp",
        "test_bus_ending": "lsan-peers.supp", "modules": "lsan-peers.supp"}
# The slowest first, else one of them is what all wait for at the end.
SLOW = ("tests.fault.test_sweep", "tests.fault.test_erasure",
        "tests.fault.test_postgres_states",
        "tests.fault.test_table", "tests.fault.test_rolling", "tests.fault.test_events",
        "tests.fault.test_postgres", "tests.fault.test_pgbouncer",
        "tests.integration.test_faults", "tests.integration.test_tracing",
        "tests.integration.test_idempotency", "tests.integration.test_tls",
        "test_cache", "test_relay", "test_event", "test_db_crowd", "test_bus_replicas",
        "test_remote_faults", "test_bus_hostile", "test_sqlite_io",
        "test_gateway_connection", "test_bus_calls", "test_remote", "test_service")
# Two thirds of a job's time it waits for timers, networks and other processes, so
# one more than there are cores leaves none of them idle for long.
JOBS = (os.cpu_count() or 2) + 1
# These do nothing else for nine tenths of theirs: one of them at a time is run
# beside the others.
WAITING = {"tests.fault.test_table", "tests.fault.test_slow_clients",
           "tests.integration.test_tls", "tests.integration.test_tracing",
           "test_bus_replicas", "test_remote_faults", "test_bus_hostile",
           "test_bus_calls", "test_remote", "test_drain"}
SANITIZED_SEEDS = 50
FULL = bool(os.environ.get("KAE_FULL"))
UNIT_TIMEOUT_S = 3600 if FULL else 300
MODULE_TIMEOUT_S = 900
CONTAINERS_TIMEOUT_S = 5400 if FULL else 1800  # they make a Debian, and build in it
BUILD_TIMEOUT_S = 1800
# Of a failure: at once, and again at the end.
LINES, LAST_LINES = 150, 60
SLOWEST = 25

# A test, or what was to be done before or after it.
CMOCKA_FAILED = r"^\[  (?:FAILED  \] (?!GROUP )|ERROR   \] (?!---))"
# What no busy machine can cause.
FOR_GOOD = re.compile(
    r"Sanitizer|runtime error:|Assertion .* failed|Segmentation fault"
    r"|Test failed with exception|ended with -\d+|did not stop in|no end after")


@dataclasses.dataclass
class Outcome:
    """What one test program or module said."""
    name: str
    passed: int = 0
    failed: int = 0
    skips: list = dataclasses.field(default_factory=list)
    output: str = ""
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of processors
    claim: bool = False  # it failed, and by no more than a claim of its own
    suite: str = ""

    @property
    def title(self):
        return f"{self.suite} {self.name}" if self.suite else self.name

    def last_lines(self, n):
        return "\n".join("      | " + l for l in self.output.splitlines()[-n:])


@dataclasses.dataclass
class Job:
    """A call that returns an Outcome."""
    suite: str
    name: str
    call: object

    def run(self):
        started, used.cpu = time.monotonic(), 0.0
        try:
            o = self.call()
        except Exception as e:  # no server, no folder: as much as a failure
            o = Outcome(self.name, failed=1, output=f"{type(e).__name__}: {e}\n")
        o.suite, o.seconds, o.cpu = self.suite, time.monotonic() - started, used.cpu
        o.claim = o.claim and o.failed > 0 and not FOR_GOOD.search(o.output)
        return o


def idle():
    """What to put before a command that must not take the tests' time; some
    containers do not let it be as modest as it could be."""
    modest = ["chrt", "--idle", "0"]
    if shutil.which("chrt") and subprocess.run(
            [*modest, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        return modest
    return ["nice", "-n", "19"]


# --- one job ---------------------------------------------------------------------

class Used(threading.local):
    cpu = 0.0  # of the job of this thread, so far


used = Used()


class Program(subprocess.Popen):
    """One that adds what it and its children have used when it ends."""
    TICK_S = 1 / os.sysconf("SC_CLK_TCK")

    def wait(self, timeout=None):
        with contextlib.suppress(OSError):  # no more than a figure
            ended = os.pidfd_open(self.pid)
            try:
                if self.returncode is None and select.select([ended], [], [], timeout)[0]:
                    stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
                    times = stat.rpartition(")")[2].split()[11:15]
                    used.cpu += sum(int(t) for t in times) * self.TICK_S
            finally:
                os.close(ended)
        return super().wait(timeout)


def run(command, env=None, timeout=None):
    """(exit status, output); status None when the time ran out."""
    timeout = timeout or UNIT_TIMEOUT_S
    if not os.access(command[0], os.X_OK) and "/" in command[0]:
        return 127, f"{command[0]} is not built\n"
    with Program(command, cwd=ROOT, env={**os.environ, **(env or {})},
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
    status, out = run(command, {**sanitizer_env(name), **env})
    done = out.split("[==========]")
    ran = len(done) > 2  # an opening and a closing line
    result = Outcome(name, output=out)
    result.passed = len(re.findall(r"^\[       OK \] ", out, re.M))
    body = "[==========]".join(done[:-1]) if ran else out
    result.failed = len(re.findall(CMOCKA_FAILED, body, re.M))
    result.skips = re.findall(r"^\[  SKIPPED \] (\S+)", body, re.M)
    result.claim = ran and status == result.failed
    if (status != 0 or not ran) and result.failed == 0:
        result.failed = 1  # crashed, leaked, raced or hung
        result.output += f"\nexit status {status}\n"
    return result


def run_replay(name, command):
    status, out = run(command, sanitizer_env())
    return Outcome(name, passed=int(status == 0), failed=int(status != 0), output=out)


def run_module(name, env, timeout=MODULE_TIMEOUT_S):
    status, out = run([sys.executable, "-m", "unittest", "-v", name], env, timeout)
    result = Outcome(name, output=out)
    total = re.search(r"^Ran (\d+) tests? in", out, re.M)
    bad = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", out))
    result.skips = re.findall(r"\.\.\. skipped ['\"](.*)['\"]$", out, re.M)
    result.failed = bad if total else 1
    result.claim = bad > 0 and status == 1
    if status != 0 and result.failed == 0:
        result.failed = 1
    ran = int(total.group(1)) if total else 0
    result.passed = max(0, ran - bad - len(result.skips))
    return result


class Servers:
    """PostgreSQL servers, one for each job that needs one now.  One that a job
    has failed on is not used again."""

    def __init__(self):
        self.idle, self.all = queue.SimpleQueue(), []

    def take(self):
        try:
            return self.idle.get_nowait()
        except queue.Empty:
            from tests.harness.postgres import Postgres
            pg = Postgres()
            self.all.append(pg)
            return pg

    def stop(self):
        for pg in self.all:
            pg.stop()


# --- all jobs --------------------------------------------------------------------

class Runner:
    """Jobs are added, also while it runs; run() returns when all have ended."""

    def __init__(self, build="build", out=sys.stdout):
        self.build, self.out = build, out
        self.servers = Servers()
        self.outcomes, self.flaky = [], []
        self.pool = concurrent.futures.ThreadPoolExecutor(JOBS)
        self.waiting = concurrent.futures.ThreadPoolExecutor(1)
        self.running, self.again = [], []

    def say(self, text):
        self.out.write(text + "\n")  # in one piece, whoever else writes
        self.out.flush()

    def add(self, suite, jobs):
        """(name, function, arguments...) each."""
        def rank(job):
            return SLOW.index(job[0]) if job[0] in SLOW else len(SLOW)

        for name, fn, *args in sorted(jobs, key=rank):
            job = Job(suite, name, lambda fn=fn, n=name, a=args: fn(n, *a))
            pool = self.waiting if name in WAITING else self.pool
            self.running.append(pool.submit(self.first_time, job))

    def first_time(self, job):
        o = job.run()
        if o.claim:
            self.again.append((job, o))
        else:
            self.outcomes.append(o)
        self.tell(o, ": to be run again, alone" if o.claim else "")
        return o

    def tell(self, o, more=""):
        lines = [f"   {o.title}: {o.passed} passed, {o.failed} failed, "
                 f"{len(o.skips)} skipped, {o.seconds:.1f} s (CPU {o.cpu:.1f} s){more}"]
        lines += [f"      skipped: {reason}" for reason in o.skips]
        if o.failed:
            lines.append(o.last_lines(LINES))
        self.say("\n".join(lines))

    def second_times(self):
        for job, first in self.again:
            o = job.run()
            self.tell(o, ", alone")
            self.outcomes.append(o)
            if o.failed == 0:
                self.flaky.append(first)

    def run(self):
        try:
            while self.running:  # one of them may add others
                self.running.pop(0).result()
            self.second_times()
        finally:
            for pool in (self.pool, self.waiting):
                pool.shutdown(cancel_futures=True)
            self.servers.stop()

    # --- suites ------------------------------------------------------------------

    def programs(self, folder, flavor, only):
        sources = sorted((ROOT / "tests" / folder).glob("test_*.c"))
        return [ROOT / self.build / flavor / folder / s.stem for s in sources
                if only is None or s.stem.startswith(only)]

    def unit(self, flavor, only=None):
        jobs = [(p.name, run_cmocka, [str(p)], {})
                for p in self.programs("unit", flavor, only)]
        for s in sorted((ROOT / "tests" / "fuzz").glob("fuzz_*.c")) if not only else ():
            name = s.stem.removeprefix("fuzz_")
            corpus = sorted(str(f) for f in
                            (ROOT / "tests" / "fuzz" / "corpus" / name).glob("*"))
            program = ROOT / self.build / flavor / "replay" / name
            jobs.append((f"replay {name} ({len(corpus)} inputs)", run_replay,
                         [str(program), *corpus]))
        if not only and flavor == "release":
            jobs.append(("tests.test_run", run_module, {}))
        self.add(f"unit ({flavor})", jobs)

    def on_postgres(self, name, command):
        pg = self.servers.take()
        o = run_cmocka(name, command, {"KAE_TEST_DATABASE_URL": pg.url})
        if o.failed == 0:
            self.servers.idle.put(pg)
        return o

    def store(self, flavor, only=None):
        programs = self.programs("store", flavor, only)
        self.add(f"store on PostgreSQL ({flavor})",
                 [(p.name, self.on_postgres, [str(p)]) for p in programs])
        self.add(f"store on SQLite ({flavor})",
                 [(p.name, run_cmocka, [str(p)], {"KAE_TEST_DATABASE_URL": ""})
                  for p in programs])

    def sim(self, flavor, seeds=None):
        env = {} if seeds is None else {"KAE_SEEDS": str(seeds)}
        self.add(f"simulation ({flavor})",
                 [(p.name, run_cmocka, [str(p)], env)
                  for p in self.programs("sim", flavor, None)])

    def modules(self, folder, flavor, short=False, only="test_*", but=(),
                timeout=MODULE_TIMEOUT_S):
        env = {"KAE_BIN": str(ROOT / self.build / flavor / "bin"),
               "KAE_SHORT": "1" if short else "", **sanitizer_env("modules")}
        found = sorted((ROOT / "tests" / folder).glob(f"{only}.py"))
        self.add(f"{folder} ({flavor})",
                 [(f"tests.{folder}.{m.stem}", run_module, env, timeout) for m in found
                  if m.stem not in but])

    def integration(self, flavor, short=False):
        self.modules("integration", flavor, short, but=UNSANITIZED if short else ())

    def fault(self, flavor):
        self.modules("fault", flavor)

    def containers(self, flavor):
        self.modules("containers", flavor, timeout=CONTAINERS_TIMEOUT_S)

    def threads(self, flavor):
        self.store(flavor, THREADS["store"])
        self.unit(flavor, THREADS["unit"])

    def sanitizers(self, _):
        builder = concurrent.futures.ThreadPoolExecutor(1)
        self.running.append(builder.submit(self.build_and_add))

    def build_and_add(self):
        if self.make("asan", "all", "tests"):
            self.modules("fault", "asan", short=True, only="test_sweep")
            self.integration("asan", short=True)
            self.store("asan")
            self.sim("asan", SANITIZED_SEEDS)
            self.unit("asan")
        if self.make("tsan", *(os.path.relpath(p, ROOT) for folder, names in THREADS.items()
                               for p in self.programs(folder, "tsan", names))):
            self.threads("tsan")

    def make(self, flavor, *what):
        """In the time that nobody else wants."""
        def call():
            status, out = run(
                [*idle(), "make", "--no-print-directory", "-s", "-j2",
                 f"FLAVOR={flavor}", f"BUILD={self.build}", *what], None, BUILD_TIMEOUT_S)
            return Outcome(flavor, failed=int(status != 0), output=out)

        o = self.first_time(Job("build", flavor, call))
        return o.failed == 0

    # --- the end -----------------------------------------------------------------

    def summary(self, seconds):
        """Says what there is to say, the counts last; the exit status."""
        passed = sum(o.passed for o in self.outcomes)
        failures = [o for o in self.outcomes if o.failed]
        failed = sum(o.failed for o in failures)
        skips = [s for o in self.outcomes for s in o.skips]
        unasked = [s for s in skips
                   if not any(k in s and v for k, v in os.environ.items()
                              if k.startswith("SKIP_"))]
        suites = dict.fromkeys(o.suite for o in self.outcomes)
        for s in suites:
            mine = [o for o in self.outcomes if o.suite == s]
            self.say(f"== {s}: {sum(o.passed for o in mine)} passed in "
                     f"{sum(o.seconds for o in mine):.0f} s")
        self.say(f"slowest, of {sum(o.cpu for o in self.outcomes):.0f} s of CPU in "
                 f"{sum(o.seconds for o in self.outcomes):.0f} s of jobs:")
        for o in sorted(self.outcomes, key=lambda o: -o.seconds)[:SLOWEST]:
            self.say(f"   {o.seconds:6.0f} s, CPU {o.cpu:5.0f} s  {o.title}")
        for o in self.flaky:
            self.say(f"FLAKY: {o.title} (first failure: {first_failure(o.output)})\n"
                     + o.last_lines(LAST_LINES))
        if os.environ.get("KAE_STRICT"):
            failed += len(self.flaky)
        for o in failures:
            self.say(f"FAILED: {o.title}\n{o.last_lines(LAST_LINES)}")
        if os.environ.get("CI") and unasked:
            self.say(f"skips that nobody asked for: {unasked}")
            failed += len(unasked)
        for kind, which in (("FLAKY", self.flaky), ("FAILED", failures)):
            if which:
                self.say(f"{kind}: {', '.join(o.title for o in which)}")
        self.say(f"total: {seconds:.0f} s")
        self.say(f"{passed} passed, {failed} failed, {len(skips)} skipped")
        return 0 if failed == 0 and passed > 0 else 1


def first_failure(output):
    """The line that says it, of cmocka's or unittest's output."""
    said = (re.search(r"^(?:\[  FAILED  \]|FAIL:|ERROR:) (.*)$", output, re.M),
            re.search(r"^(?:\[  ERROR   \] --- |\w*Error: )(.*)$", output, re.M))
    return ": ".join(m.group(1).strip() for m in said if m)


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--build", default="build")
    ap.add_argument("--flavor", default="release")
    ap.add_argument("suites", nargs="+", choices=(
        "unit", "store", "sim", "integration", "fault", "containers",
        "sanitizers", "threads"))
    args = ap.parse_args()
    runner = Runner(args.build)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kae-pg-template-") as folder:
        if set(args.suites) - {"unit", "sim", "containers"}:
            from tests.harness.postgres import template
            os.environ["KAE_PG_TEMPLATE"] = template(folder)
        for suite in args.suites:
            getattr(runner, suite)(args.flavor)
        runner.run()
    return runner.summary(time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
