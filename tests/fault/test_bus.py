"""Replicas of a service die, freeze, come and go under load.

What a client was told is compared with what ran: clients of idempotent calls see
no error, others only 502, 503 and 504; nothing that must not run twice does; what
was answered did run, and what was refused with 503 did not.
"""
import collections
import http.client
import itertools
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
import unittest

from tests.harness import dns
from tests.harness.process import Process, free_port, wait_until
from tests.integration.stack import BIN, Api, Stack

FULL = bool(os.environ.get("KAE_FULL"))
# No more than overload always lets in (OVERLOAD_MIN of gateway/overload.h): on a
# busy machine it refuses what is beyond, as it should, and that is not asked here.
CLIENTS = 8
STOP_S = 30 if FULL else 5
ROUNDS = 20 if FULL else 1
ANY_PORT = 7301  # the same on each loopback address, as in a cluster


def metric(text, name, **labels):
    """The sum of the samples with these labels."""
    total = 0.0
    for line in text.splitlines():
        if re.match(rf"{name}(\{{|\s)", line) and all(
                f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


class Fleet:
    """A gateway and replicas of the counter in the place of svc-auth."""

    def __init__(self, urls, listed=None, command=lambda c: c):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kae-bus-", dir="/tmp"))
        self.ran_file = self.dir / "ran"
        self.ran_file.touch()
        self.port, self.admin_port = free_port(), free_port()
        self.urls = [u.format(dir=self.dir) for u in urls]
        self.env = {
            "ENVIRONMENT": "development", "RATE_LIMIT_ENABLED": "false",
            "BUS_KEY": secrets.token_hex(32),
            "BUS_AUTH": (listed or ",".join(urls)).format(dir=self.dir),
            "BUS_CONTENT": f"ipc://{self.dir}/content.sock",
            "BUS_GDPR": f"ipc://{self.dir}/gdpr.sock",
            "LOG_LEVEL": "warn", "KAE_RAN_FILE": str(self.ran_file),
        }
        self.replicas = {}
        self.ended = []
        self.gateway = Process(command([BIN / "kae-gateway"]), {
            **self.env, "DATA_DIR": str(self.dir / "gateway"), "PORT": str(self.port),
            "ADMIN_PORT": str(self.admin_port), "SHUTDOWN_GRACE_S": "20"}, cwd=self.dir)

    def start(self, i):
        if i in self.replicas:
            self.ended.append(self.replicas[i])
        self.replicas[i] = Process([BIN.parent / "fault" / "counter"], {
            **self.env, "DATA_DIR": str(self.dir / f"replica{i}"),
            "ADMIN_PORT": str(free_port()), "BUS_LISTEN": self.urls[i]}, cwd=self.dir)

    def admin(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            c.request("GET", path)
            return c.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            c.close()

    def metrics(self):
        return self.admin("/metrics")

    def listed(self, path="/readyz?verbose"):
        """What the gateway says of svc-auth: {address: state}, or None."""
        check = json.loads(self.admin(path))["parts"]["gateway"]["checks"]["auth"]
        replicas = check.get("replicas")
        return replicas and {r["address"]: r["state"] for r in replicas}

    def up(self):
        return metric(self.metrics(), "kae_bus_replica_up", service="auth")

    def wait_up(self, n):
        wait_until(lambda: self.up() == n, 30, every=0.05, what=f"{n} replicas up")

    def ran(self):
        """How often each request ran, of both kinds."""
        return collections.Counter(self.ran_file.read_text().splitlines())

    def high_water_kib(self):
        status = pathlib.Path(f"/proc/{self.gateway.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+)", status, re.M).group(1))

    def close(self):
        """All must stop cleanly, and no sanitizer have anything to say."""
        processes = [self.gateway, *self.replicas.values()]
        codes = [p.stop() for p in processes if p.running()]
        said = "\n".join(p.text() for p in [*processes, *self.ended])
        shutil.rmtree(self.dir, ignore_errors=True)
        if any(codes) or "Sanitizer" in said or "runtime error:" in said:
            raise AssertionError(f"{codes}\n{said[-8000:]}")


class Client(threading.Thread):
    """Calls of both kinds in turn, each with an ID of its own."""
    ids = itertools.count()
    paths = {"once": "/api/auth/register", "again": "/api/auth/login"}

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ending = port, threading.Event()
        self.told = {}  # "once ID" -> status
        self.slowest = collections.Counter()

    def run(self):
        api = Api(self.port, timeout=30)
        for kind in itertools.cycle(("once", "again")):
            if self.ending.is_set():
                return
            rid = f"{kind}-{next(self.ids)}"
            begun = time.monotonic()
            try:
                status = api.post(self.paths[kind], {}, headers={"X-Request-ID": rid}).status
            except (OSError, http.client.HTTPException) as e:
                status = repr(e)
            self.told[f"{kind} {rid}"] = status
            self.slowest[kind] = max(self.slowest[kind], time.monotonic() - begun)


class Load:
    """Clients that run for the length of the block."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.clients = [Client(fleet.port) for _ in range(CLIENTS)]

    def answered(self):
        return sum(len(c.told) for c in self.clients)

    def go_on(self, n=200):
        """Until so many more calls have been answered."""
        want = self.answered() + n
        wait_until(lambda: self.answered() >= want, 60, what=f"{n} more answers")

    def told(self):
        return {k: v for c in self.clients for k, v in c.told.items()}

    def __enter__(self):
        for c in self.clients:
            c.start()
        self.go_on()
        return self

    def __exit__(self, *exc):
        for c in self.clients:
            c.ending.set()
        for c in self.clients:
            c.join(60)


class BusTest(unittest.TestCase):
    def fleet(self, *args, **kw):
        fleet = Fleet(*args, **kw)
        self.addCleanup(fleet.close)
        return fleet

    def assertHonest(self, load, errors=True):
        """See above.  errors: what must not run twice may fail."""
        told, ran = load.told(), load.fleet.ran()
        unfit = {k: v for k, v in told.items() if v != 200 and (
            k.startswith("again") or v not in (502, 503, 504) or not errors)}
        self.assertEqual(unfit, {}, f"of {len(told)} calls\n"
                                    f"{load.fleet.gateway.text()[-2000:]}")
        for call, status in told.items():
            if call.startswith("once"):
                fits = {200: (1,), 503: (0,)}.get(status, (0, 1))
                self.assertIn(ran[call], fits, f"{call} was told {status}")
            else:
                self.assertGreaterEqual(ran[call], 1, call)
        failed = sum(v != 200 for v in told.values())
        twice = sum(n > 1 for n in ran.values())
        print(f"{self.id().rsplit('.', 1)[1]}: {len(told)} calls, {failed} failed, "
              f"{twice} idempotent ones ran again, slowest "
              f"{max(c.slowest['again'] for c in load.clients) * 1000:.0f} ms")


class TwoReplicas(BusTest):
    URLS = {"ipc": ["ipc://{dir}/a0.sock", "ipc://{dir}/a1.sock"],
            "tcp": [f"tcp://127.0.7.{i}:{ANY_PORT}" for i in (1, 2)]}

    def running(self, kind):
        fleet = self.fleet(self.URLS[kind])
        fleet.start(0)
        fleet.start(1)
        fleet.wait_up(2)
        return fleet

    def each(self, fault, errors=True):
        for kind in self.URLS:
            with self.subTest(transport=kind):
                fleet = self.running(kind)
                with Load(fleet) as load:
                    for _ in range(ROUNDS):
                        fault(fleet, load)
                self.assertHonest(load, errors)

    def test_readyz_lists_each_with_its_state(self):
        for kind in self.URLS:
            with self.subTest(transport=kind):
                fleet = self.running(kind)
                one, other = fleet.urls
                self.assertEqual(fleet.listed(), {one: "up", other: "up"})
                self.assertIsNone(fleet.listed("/readyz"))
                fleet.replicas[0].kill()
                wait_until(lambda: fleet.listed() == {one: "down", other: "up"}, 30,
                           what="one of them down")
                fleet.start(0)
                wait_until(lambda: fleet.listed() == {one: "up", other: "up"}, 30,
                           what="both up")

    def test_one_is_killed_and_started_again(self):
        def fault(fleet, load):
            fleet.replicas[0].kill()
            load.go_on()
            fleet.start(0)
            fleet.wait_up(2)
            load.go_on(400)
        self.each(fault)

    def test_one_is_frozen_and_wakes_up(self):
        def fault(fleet, load):
            before = fleet.high_water_kib()
            fleet.replicas[0].freeze()
            end = time.monotonic() + STOP_S
            while time.monotonic() < end:
                load.go_on(20)
            fleet.replicas[0].signal(signal.SIGCONT)
            load.go_on(400)
            self.assertLess(fleet.high_water_kib(), before + 16384)
        self.each(fault)

    def test_one_is_taken_away_in_order_and_nobody_notices(self):
        def fault(fleet, load):
            self.assertEqual(fleet.replicas[0].stop(), 0)
            load.go_on()
            fleet.start(0)
            fleet.wait_up(2)
            load.go_on()
        self.each(fault, errors=False)


@unittest.skipUnless(dns.usable(), "a name server of one's own needs root and unshare")
class Names(BusTest):
    def test_replicas_of_a_name_are_followed(self):
        with dns.NameServer() as names:
            hosts = ["127.0.7.1", "127.0.7.2", "127.0.7.3"]
            fleet = self.fleet([f"tcp://{h}:{ANY_PORT}" for h in hosts],
                               listed=f"tcp://auth.replicas.test:{ANY_PORT}",
                               command=names.command)
            names.hosts["auth.replicas.test"] = hosts[:2]
            for i in range(3):
                fleet.start(i)
            fleet.wait_up(2)
            with Load(fleet) as load:
                names.hosts["auth.replicas.test"] = hosts
                fleet.wait_up(3)
                load.go_on(400)
                self.assertGreater(metric(fleet.metrics(), "kae_bus_replies_total",
                                          replica=f"tcp://{hosts[2]}:{ANY_PORT}"), 50)
                # One leaves the name first, as in a cluster, and then ends.
                names.hosts["auth.replicas.test"] = hosts[1:]
                wait_until(lambda: f"{hosts[0]}:{ANY_PORT}" not in fleet.metrics(), 30,
                           what="the first one's leave")
                self.assertEqual(fleet.replicas[0].stop(), 0)
                load.go_on()
                # A name server that fails takes nobody away.
                names.sick = True
                time.sleep(2.5)  # longer than between two questions
                load.go_on()
                self.assertEqual(fleet.up(), 2)
            self.assertHonest(load, errors=False)


class RealServices(unittest.TestCase):
    """The product itself: two of a service on one PostgreSQL."""

    def test_a_second_gdpr_carries_on_when_the_first_dies_or_freezes(self):
        stack = Stack("tcp")
        self.addCleanup(stack.close)
        own = stack.env["BUS_GDPR"]
        second = f"tcp://127.0.0.1:{free_port()}"
        stack.env["BUS_GDPR"] = f"{own},{second}"
        stack.start()
        other = Process([BIN / "kae-gdpr"], {
            **stack.env, "BUS_LISTEN": second, "ADMIN_PORT": str(free_port())}, cwd=stack.dir)
        self.addCleanup(lambda: self.assertEqual(other.stop(), 0))
        wait_until(lambda: metric(stack.admin("gateway", "/metrics").raw.decode(),
                                  "kae_bus_replica_up", service="gdpr") >= 2, 30,
                   what="two replicas of gdpr")
        _, me = stack.register("two.of.them")
        statuses, ending = collections.Counter(), threading.Event()

        def read():
            api = stack.api(token=me.token)
            while not ending.is_set():
                statuses[api.get("/api/gamification/progress").status] += 1

        readers = [threading.Thread(target=read, daemon=True) for _ in range(8)]
        for t in readers:
            t.start()

        def go_on(n=200):
            want = sum(statuses.values()) + n
            wait_until(lambda: sum(statuses.values()) >= want, 30, what="answers")

        go_on()
        stack.processes["gdpr"].kill()
        go_on()
        stack.start_one("gdpr")
        stack.wait_ready()
        go_on()
        other.freeze()
        go_on(400)
        other.signal(signal.SIGCONT)
        go_on()
        ending.set()
        for t in readers:
            t.join(30)
        self.assertEqual(set(statuses), {200}, statuses)


class OpenRequests(BusTest):
    """Requests that libmicrohttpd gives up before it asks us are not kept."""

    def test_none_is_open_when_all_clients_have_gone_and_a_drain_ends_at_once(self):
        fleet = self.fleet(["ipc://{dir}/nobody.sock"])
        wait_until(lambda: "kae_gateway_requests_open" in fleet.metrics(), 30)
        many = "&".join(f"p{i}=1" for i in range(2000))
        lines = "".join(f"X-{i}: {'y' * 100}\r\n" for i in range(400))
        heads = (
            f"GET /?{many} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET /{'z' * 40000} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Le",
            "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
            "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{",
            "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        for head in heads * 5:
            with socket.create_connection(("127.0.0.1", fleet.port), timeout=5) as s:
                try:
                    s.sendall(head.encode())
                    s.settimeout(0.05)
                    s.recv(4096)
                except OSError:
                    pass  # hung up on, or nothing to say: both are fine
        wait_until(lambda: metric(fleet.metrics(), "kae_gateway_requests_open") == 0, 10,
                   what="no open request")
        begun = time.monotonic()
        self.assertEqual(fleet.gateway.stop(), 0)
        self.assertLess(time.monotonic() - begun, 5)


if __name__ == "__main__":
    unittest.main()
