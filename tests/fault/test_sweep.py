"""The k-th call of a program fails, for k = 1, 2, ... and each kind of route.

Whatever fails: the program lives, the client gets a problem body with a true
status or a closed connection, what was acknowledged is there, and the same
request right after it succeeds, so nothing was left locked, lent out or broken.
Under sanitizers a leak or a bad access fails the test when the stack closes.
"""
import collections
import http.client
import os
import unittest

from tests.faulty.faulty import Faults
from tests.harness.process import wait_until
from tests.integration.stack import BIN, SHORT, Api, Stack

FULL = bool(os.environ.get("KAE_FULL"))
FAULTY = BIN.parent / "faulty"
# Calls that fail in one request at most; a sweep ends where none does.
MOST = 400
# Gauges that are low when nobody asks for anything but the gateways, which want
# to know of revocations.
FEW = 2
HELD = ("db_connections_in_use", "kae_db_pool_waiters", "http_requests_in_progress",
        "kae_lane_busy", "kae_lane_queued", "kae_bus_in_flight")
QUIET = 3  # in a row without a failure delivered: the request is through
# Calls that each fail for themselves; of those after them, which are more of the
# same (a list's items are made), every fourth, unless it is to be long.
CLOSE, STEP = 20, 1 if FULL else 4
HEALTH = "health"  # its errors are its own answer


def sample_asks(person, key):
    """Kind of route: request, by somebody who is logged in, or logs in by the key."""
    number = iter(range(1, 1 << 30))

    def go_on():
        r = person.post("/api/auth/login", {"api_key": key})
        if r.status != 200:
            return r
        return person.post("/api/auth/refresh", {"refresh_token": r.json["refresh_token"]})

    def add_key():
        r = person.post("/api/auth/keys", {"name": "swept"})
        if r.status == 409:  # answers were lost, and so the keys not revoked
            for k in person.get("/api/auth/keys").json["keys"]:
                if k["name"] == "swept" and not k.get("revoked_at"):
                    person.delete(f"/api/auth/keys/{k['key_id']}")
            r = person.post("/api/auth/keys", {"name": "swept"})
        if r.status == 201:
            person.delete(f"/api/auth/keys/{r.json['key_id']}")
        return r

    presentation = {"topic": "Music", "educationLevel": "high school",
                    "levelOfDetail": "medium", "focus": ["Rhythm"]}
    return {
        "achievements": lambda: person.get("/api/gamification/achievements"),
        "leaderboard": lambda: person.get(
            f"/api/gamification/leaderboard?limit={1 + next(number) % 100}"),
        "stats": lambda: person.get("/api/gamification/stats"),
        "rank": lambda: person.get("/api/gamification/leaderboard/rank"),
        "validate": lambda: person.get("/api/auth/validate"),
        "register": lambda: person.post("/api/auth/register",
                                        {"user_id": f"sweep-{next(number)}"}),
        "session": go_on,
        "sessions": lambda: person.get("/api/auth/sessions"),
        "keys": lambda: person.get("/api/auth/keys"),
        "key.add": add_key,
        "progress": lambda: person.get("/api/progress"),
        "subtopics": lambda: person.post("/api/create_subtopics",
                                         {"topic": f"Topic {next(number)}"}),
        "presentation": lambda: person.post("/api/create_presentation", presentation),
        "quiz": lambda: person.post("/api/quiz/generate",
                                    {"topic": "Music", "subtopic": f"Part {next(number)}"}),
        "submit": lambda: person.post("/api/quiz/submit", {
            "topic": "Sweeps", "subtopic": f"Part {next(number)}", "score": 1, "total": 1}),
        "jwks": lambda: person.get("/.well-known/jwks.json"),
        HEALTH: lambda: person.get("/api/health"),
    }


def counted(most, lasts):
    """Which calls fail; those that last begin in between the others."""
    yield from range(1, min(CLOSE, most) + 1)
    yield from range(CLOSE + 1 + (STEP // 2 if lasts else 0), most + 1, STEP)


class Sweep(unittest.TestCase):
    layout = "one"
    classes = ("receive", "send", "file")
    most = 25  # of these classes

    def start(self, folder, library=None):
        self.stack = Stack(self.layout)
        self.addCleanup(self.stack.close)  # after the controls are closed
        self.stack.bin = folder
        self.faults, self.acknowledged = {}, 0
        for name in self.stack.names():
            f = Faults(self.stack.dir / f"faults-{name}", library)
            self.faults[name] = f
            self.addCleanup(f.close)
            self.stack.env_of[name] = f.env()
        self.stack.start()
        self.assertTrue(all(f.listened_to for f in self.faults.values()))
        _, me = self.stack.register("sweeper")
        # Who logs in too often has the session ended that was not seen for longest.
        key, _ = self.stack.register("sweeper.entering")
        self.me = Api(self.stack.port, token=me.token, timeout=70)
        self.asks = sample_asks(self.me, key)
        self.asks["submit"]()
        wait_until(lambda: self.asks["rank"]().status == 200, 10, what="a rank")
        for name, ask in self.asks.items():
            self.assertLess(ask().status, 300, name)

    def ask(self, name):
        """The answer, or None for a connection that ended without one."""
        try:
            return self.asks[name]()
        except (OSError, http.client.HTTPException):
            self.me.close()
            return None

    def one(self, name, program, what, nth, lasts):
        f = self.faults[program]
        f.arm(what, nth, lasts)
        r = self.ask(name)
        failed = f.disarm()
        where = f"{name}: {what} {nth}{' and on' if lasts else ''} of {program}"
        self.assertTrue(self.stack.processes[program].running(),
                        f"{where}: it died\n{self.stack.text()[-3000:]}")
        if r is not None and r.status >= 400 and name != HEALTH:
            self.assertEqual(r.headers["content-type"], "application/problem+json", where)
            self.assertGreaterEqual(r.status, 500, f"{where}: {r.raw}")
            if r.status == 503:
                self.assertIn("retry-after", r.headers, where)
        if r is not None and r.status < 300 and name == "submit":
            self.acknowledged += 1

        def well():
            again = self.ask(name)
            if again is not None and again.status < 300 and name == "submit":
                self.acknowledged += 1
            return again is not None and again.status < 300

        wait_until(well, 30, every=0.05, what=f"{where}: a success after it")
        return failed, r is None or r.status >= 400

    def sweep(self, what, names=None, lasts=(False, True), most=MOST):
        """{route: (failures delivered, requests that failed)}"""
        told = {}
        self.acknowledged = 0
        for name in names or self.asks:
            for program in self.stack.names():
                for mode in lasts:
                    quiet = 0
                    for nth in counted(most, mode):
                        failed, refused = self.one(name, program, what, nth, mode)
                        d, n = told.get(name, (0, 0))
                        told[name] = (d + failed, n + refused)
                        quiet = 0 if failed else quiet + 1
                        if quiet == QUIET:
                            break
        print(f"\n{self.layout}, {what}: " + ", ".join(
            f"{n} {d}/{r}" for n, (d, r) in told.items()))
        self.assertGreater(sum(d for d, _ in told.values()), 0)
        self.nothing_is_held()
        return told

    def nothing_is_held(self):
        def held():
            return [f"{name}: {line}" for name in self.stack.names()
                    for line in self.stack.admin(name, "/metrics").raw.decode().splitlines()
                    if line.startswith(HELD) and float(line.rpartition(" ")[2]) > FEW]

        try:
            wait_until(lambda: not held(), 20)
        except AssertionError:
            self.assertEqual(held(), [])
        kept = [p for p in self.me.get("/api/progress").json if p["topic"] == "Sweeps"]
        self.assertGreaterEqual(len(kept), self.acknowledged)

    def test_memory(self):
        self.start(FAULTY)
        self.sweep("memory")

    def test_sockets_and_files(self):
        self.start(BIN, FAULTY / "io.so")
        for what in self.classes:
            self.sweep(what, lasts=(False,), most=MOST if FULL else self.most)

    def test_descriptors(self):
        """None left for a new connection: it waits."""
        self.start(BIN, FAULTY / "io.so")
        for program in self.stack.names():
            for nth in range(1, 6):
                self.me.close()
                self.one("keys", program, "open", nth, False)
        self.nothing_is_held()


class SweepOnPostgres(Sweep):
    layout = "tcp"
    classes = ("receive", "send")  # the files are the server's
    most = 10  # four programs share the calls of one


class Starting(unittest.TestCase):
    """What fails while a program starts: it becomes ready all the same, or says
    why not and ends."""
    layout = "one"
    classes = ("open", "file", "thread")
    step = 1

    def outcome(self, stack, name, where):
        program = stack.processes[name]

        def settled():
            if not program.running():
                return "ended"
            answer = stack.admin(name, "/readyz")
            return "ready" if answer and answer.status == 200 else None

        found = wait_until(settled, 60, what=f"{where}: an end or a start")
        if found == "ended":
            del stack.processes[name]
            self.assertIn(program.wait(), (1, 2), f"{where}: {program.text()[-2000:]}")
            self.assertNotEqual(program.text().strip(), "", where)
            self.assertNotIn("Sanitizer", program.text(), where)
        return found

    def sweep(self, folder, what, numbers, library=None):
        stack = Stack(self.layout, REDIS_URL="redis://127.0.0.1:1")
        self.addCleanup(stack.close)
        stack.bin = folder
        stack.start()
        delivered = 0
        for name in stack.names():
            outcomes = collections.Counter()
            faults = Faults(stack.dir / f"faults-{name}", library)
            self.addCleanup(faults.close)
            stack.env_of[name] = faults.env()
            for nth in numbers:
                if name in stack.processes:
                    self.assertEqual(stack.processes[name].stop(), 0)
                if self.layout == "one":  # the first start of all
                    stack.env_of[name]["DATA_DIR"] = str(stack.dir / f"{what}-{nth}")
                faults.arm(what, nth)
                stack.start_one(name)
                outcomes[self.outcome(stack, name, f"{name}: {what} {nth}")] += 1
                if not faults.disarm():
                    break
            print(f"\nstarting {name}, {what}: {dict(outcomes)}")
            delivered += sum(outcomes.values()) - 1
            if name not in stack.processes:
                stack.start_one(name)
                self.assertEqual(self.outcome(stack, name, name), "ready")
            stack.env_of[name] = {}
        self.assertGreater(delivered, 1)

    def test_memory(self):
        self.sweep(FAULTY, "memory", range(1, 100000) if FULL else range(1, 4000, 41 * self.step))

    def test_descriptors_files_and_threads(self):
        for what in self.classes:
            self.sweep(BIN, what, range(1, 2000) if FULL else range(1, 40, 4 * self.step),
                       FAULTY / "io.so")


class StartingOnPostgres(Starting):
    layout = "tcp"
    classes = ("open", "thread")  # the files are the server's
    step = 2  # for each of four programs


def load_tests(_loader, tests, _pattern):
    """Under sanitizers, which the library for system calls does not go with, only
    what fails by itself."""
    wanted = [t for case in tests for t in case
              if not SHORT or t.id().endswith("test_memory")]
    return unittest.TestSuite(wanted)


if __name__ == "__main__":
    unittest.main()
