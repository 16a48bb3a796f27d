"""Gateways that are restarted one after the other behind a balancer, while people
work: not one request fails, whatever it is.

No client here sends anything twice, and the balancer nothing that a gateway may
have seen (tests/harness/haproxy.py), so a request that is lost is counted.
"""
import http.client
import json
import os
import signal
import socket
import threading
import unittest

from tests.harness.haproxy import Haproxy
from tests.harness.process import Process, free_port, wait_until
from tests.harness.raw import Raw
from tests.integration.stack import BIN, Stack

ROUNDS = 100 if os.environ.get("KAE_FULL") else 6
PAUSE_S = 0.005  # between the requests of a client: two cores do all of this
SLOW_S = 0.3     # between the halves of a body
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Client(threading.Thread):
    """Asks until it is told to stop."""

    def __init__(self, port, key, method, path, body=None, kept=True, slow=False):
        super().__init__(name=f"{method} {path}{' kept' if kept else ''}"
                              f"{' slow' if slow else ''}")
        self.port, self.method, self.path, self.kept = port, method, path, kept
        self.body = json.dumps(body).encode() if body else b""
        self.slow = slow
        self.head = {"X-API-Key": key, "Content-Type": "application/json"}
        self.ending = threading.Event()
        self.answered, self.failures = 0, []

    def send_slowly(self, connection):
        half = len(self.body) // 2
        connection.putrequest(self.method, self.path)
        for name, value in {**self.head, "Content-Length": str(len(self.body))}.items():
            connection.putheader(name, value)
        connection.endheaders(self.body[:half])
        self.ending.wait(SLOW_S)
        connection.send(self.body[half:])

    def ask(self, connection):
        if self.slow:
            self.send_slowly(connection)
        else:
            connection.request(self.method, self.path, self.body or None, self.head)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def run(self):
        connection = None
        while not self.ending.wait(PAUSE_S):
            try:
                if not connection:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                status = self.ask(connection)
                if status == 200:
                    self.answered += 1
                else:
                    self.failures.append(str(status))
            except (OSError, http.client.HTTPException) as why:
                self.failures.append(repr(why))
                connection.close()
            if not self.kept:
                connection.close()
        if connection:
            connection.close()


class Rolling(unittest.TestCase):
    def start_stack(self, **env):
        self.stack = Stack("ipc", **env)
        self.addCleanup(self.stack.close)
        self.stack.start()

    def start_second(self):
        """Another gateway of the same services: its index in self.gateways."""
        port, admin = free_port(), free_port()
        self.gateways.append((port, admin, None))
        self.start_gateway(len(self.gateways) - 1)

    def start_gateway(self, n):
        port, admin, _ = self.gateways[n]
        p = Process([BIN / "kae-gateway"], {**self.stack.env, "PORT": str(port),
                                            "ADMIN_PORT": str(admin)}, cwd=self.stack.dir)
        self.gateways[n] = (port, admin, p)

    def stop_gateways(self):
        for _, _, p in self.gateways:
            if p and p.running():
                self.assertEqual(p.stop(), 0)

    def test_no_request_is_lost_while_two_gateways_are_restarted(self):
        self.start_stack(DRAIN_DELAY_S="1", KEEP_ALIVE_S="2", GATEWAY_THREADS="2",
                         TRUSTED_PROXIES="127.0.0.1")
        self.stack.processes["gateway"].stop()
        self.gateways = []
        self.addCleanup(self.stop_gateways)
        self.start_second()
        self.start_second()
        balancer = Haproxy([(port, admin) for port, admin, _ in self.gateways])
        self.addCleanup(balancer.stop)
        key, _ = self.register(balancer.port)
        topic = {"topic": "Photosynthesis"}
        clients = [
            Client(balancer.port, key, "GET", "/api/progress"),
            Client(balancer.port, key, "GET", "/api/gamification/stats", kept=False),
            Client(balancer.port, key, "POST", "/api/create_subtopics", topic),
            Client(balancer.port, key, "POST", "/api/create_subtopics", topic, kept=False),
            Client(balancer.port, key, "POST", "/api/create_subtopics", topic, slow=True),
            Client(balancer.port, key, "POST", "/api/create_subtopics", topic, kept=False,
                   slow=True),
        ]
        for c in clients:
            c.start()
        try:
            finished = sum(self.restart_both(balancer, clients) for _ in range(ROUNDS))
        finally:
            for c in clients:
                c.ending.set()
            for c in clients:
                c.join()
        self.assertEqual({c.name: c.failures for c in clients if c.failures}, {})
        # The claim is about requests that a gateway had when it was told.
        self.assertGreater(finished, ROUNDS)

    def register(self, port):
        self.stack.port = port
        return self.stack.register("ada")

    def restart_both(self, balancer, clients):
        """How many requests ended in gateways that were on their way out."""
        finished = 0
        for n in range(len(self.gateways)):
            before = [c.answered for c in clients]
            gateway = self.gateways[n][2]
            self.assertEqual(gateway.stop(), 0, gateway.text()[-2000:])
            names = [e["event"] for e in gateway.events()]
            finished += names[names.index("service.draining"):].count("request.completed")
            self.start_gateway(n)
            balancer.wait(["UP"] * len(self.gateways))
            wait_until(lambda b=before: all(c.answered > a for c, a in zip(clients, b)), 30,
                       what="an answer for every client")
        return finished


class Drain(unittest.TestCase):
    """One gateway and clients that talk to it directly."""

    def start(self, **env):
        self.stack = Stack("ipc", **env)
        self.addCleanup(self.stack.close)
        self.stack.start()
        self.gateway = self.stack.processes["gateway"]

    def client(self):
        c = Raw(self.stack.port)
        self.addCleanup(c.__exit__)
        return c

    def ask(self, client):
        client.send(GET)
        return client.answer()

    def assertLast(self, client, answer):
        """It is answered and told that this was all, and the end is no reset."""
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.closed)
        self.assertEqual(client.socket.recv(1), b"")

    def is_ready(self):
        return self.stack.admin("gateway", "/readyz").status == 200

    def refuses(self):
        try:
            socket.create_connection(("127.0.0.1", self.stack.port), 20).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            self.fail("a connection was lost in the queue")
        return False

    def test_who_is_connected_has_one_more_answer_and_no_reset(self):
        self.start(DRAIN_DELAY_S="2", KEEP_ALIVE_S="60")
        early, late, silent = self.client(), self.client(), self.client()
        for c in (early, late, silent):
            self.assertFalse(self.ask(c).closed)
        self.gateway.signal(signal.SIGTERM)
        wait_until(lambda: not self.is_ready(), 20, what="not ready")
        self.assertLast(early, self.ask(early))
        new = self.client()  # nobody has noticed yet
        self.assertLast(new, self.ask(new))
        wait_until(self.refuses, 20, what="no more connections")
        # Silent ones are not closed: what is under way on them is not lost.
        self.assertLast(late, self.ask(late))
        self.assertTrue(self.gateway.running())
        self.assertLast(silent, self.ask(silent))
        self.assertEqual(self.gateway.wait(), 0)
        self.assertEqual(self.gateway.events("service.draining")[0]["delay_s"], 2)

    def test_a_silent_connection_lasts_as_long_as_ever_and_no_longer(self):
        self.start(DRAIN_DELAY_S="1", KEEP_ALIVE_S="3", SHUTDOWN_GRACE_S="300")
        silent = self.client()
        self.assertFalse(self.ask(silent).closed)
        self.gateway.signal(signal.SIGTERM)
        self.assertEqual(silent.socket.recv(1), b"")
        self.assertEqual(self.gateway.wait(60), 0)

    def test_a_drain_ends_with_the_grace(self):
        self.start(DRAIN_DELAY_S="1", KEEP_ALIVE_S="600", SHUTDOWN_GRACE_S="2")
        silent = self.client()
        self.assertFalse(self.ask(silent).closed)
        self.gateway.signal(signal.SIGTERM)
        self.assertEqual(self.gateway.wait(60), 0)

    def queue_is_answered(self, sig, n, **env):
        """n clients wait in the queues of four sockets while nobody takes them, when
        the signal is there already."""
        self.start(GATEWAY_THREADS="4", CONNECTIONS_PER_IP="0", **env)
        self.gateway.freeze()
        clients = [self.client() for _ in range(n)]
        for c in clients:
            c.send(GET)
        self.gateway.signal(sig)
        self.gateway.signal(signal.SIGCONT)
        answers = [c.answer() for c in clients]
        self.assertNotIn(None, answers)
        self.assertEqual({a.status for a in answers}, {200})
        for c in clients:
            c.socket.close()
        self.assertEqual(self.gateway.wait(60), 0)

    def test_connections_that_nobody_took_yet_are_answered(self):
        self.queue_is_answered(signal.SIGTERM, 400)

    def test_also_where_it_shall_be_quick(self):
        self.queue_is_answered(signal.SIGINT, 400, DRAIN_DELAY_S="100", SHUTDOWN_GRACE_S="200")

    def test_also_where_they_are_few(self):
        self.queue_is_answered(signal.SIGTERM, 4)

    def test_no_connection_begins_that_would_be_lost(self):
        """Against the gateway's end, as fast as can be: each is answered or refused."""
        self.start(DRAIN_DELAY_S="1", GATEWAY_THREADS="2", CONNECTIONS_PER_IP="0")
        lost, answered, stop = [], [0], threading.Event()

        def knock():
            while not stop.is_set():
                try:
                    with Raw(self.stack.port) as c:
                        if self.ask(c) is None:
                            lost.append("no answer")
                        else:
                            answered[0] += 1
                except ConnectionRefusedError:
                    return
                except OSError as why:
                    lost.append(repr(why))

        threads = [threading.Thread(target=knock) for _ in range(4)]
        for t in threads:
            t.start()
        self.gateway.signal(signal.SIGTERM)
        for t in threads:
            t.join(60)
        stop.set()
        self.assertEqual(lost, [])
        self.assertGreater(answered[0], 0)
        self.assertEqual(self.gateway.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
