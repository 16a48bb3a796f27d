"""Clients that hold connections and do little with them keep nobody else out.

The attackers come from 127.0.0.2 and on, the others from 127.0.0.1.
"""
import contextlib
import socket
import time
import unittest

from tests.integration.stack import OnStack

HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"
BODY = (b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 4000\r\n\r\n")
WHOLE = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


class SlowClients(OnStack):
    env = {"CONNECTIONS_MAX": "64", "CONNECTIONS_PER_IP": "40", "GATEWAY_THREADS": "1",
           "HEAD_READ_S": "3", "REQUEST_READ_S": "4", "KEEP_ALIVE_S": "4",
           "CONNECTION_TOTAL_S": "6"}

    def setUp(self):
        self.open = contextlib.ExitStack()
        self.addCleanup(self.open.close)

    def connect(self, source, rcvbuf=0):
        s = self.open.enter_context(socket.socket())
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        s.bind((source, 0))
        s.settimeout(20)
        s.connect(("127.0.0.1", self.stack.port))
        return s

    def crowd(self, n, source, first=b"", **kw):
        made = []
        for _ in range(n):
            s = self.connect(source, **kw)
            with contextlib.suppress(OSError):  # turned away
                s.sendall(first)
            made.append(s)
        return made

    def took(self):
        """Seconds that an honest client, new each time, waits for its answer."""
        began = time.monotonic()
        client = self.stack.api(timeout=20)
        self.assertEqual(client.get("/health").status, 200)
        client.close()
        return time.monotonic() - began

    @staticmethod
    def drip(socks, byte=b"a"):
        for s in socks:
            with contextlib.suppress(OSError):
                s.sendall(byte)

    def ended(self, socks, until):
        """Drips on; how many of the connections are over by then."""
        over = set()
        while time.monotonic() < until and len(over) < len(socks):
            for s in socks:
                if s in over:
                    continue
                try:
                    s.settimeout(0)
                    s.sendall(b"a")
                    if s.recv(65536) == b"":
                        over.add(s)
                except BlockingIOError:
                    pass
                except OSError:
                    over.add(s)
            time.sleep(0.1)
        return len(over)

    def test_one_address_cannot_have_all_connections(self):
        held = self.crowd(100, "127.0.0.2", HEAD + b"X-Slow: ")
        for _ in range(20):
            self.drip(held)
            self.assertLess(self.took(), 2)
        self.assertIn("kae_http_connections_refused_total 60",
                      self.stack.admin("gateway", "/metrics").raw.decode())
        self.assertEqual(self.ended(held, time.monotonic() + 15), 100)

    def test_many_addresses_have_them_all_for_a_moment_only(self):
        held = []
        for i in range(3, 9):
            held += self.crowd(12, f"127.0.0.{i}", HEAD + b"X-Slow: ")
        self.assertLess(self.took(), 15)  # 2 s, and a machine that is busy

    def test_silent_connections_make_room(self):
        for i in range(10, 16):
            self.crowd(12, f"127.0.0.{i}")
        self.assertLess(self.took(), 15)

    def test_a_body_that_drips_is_told_408_and_ended(self):
        held = self.crowd(30, "127.0.0.20", BODY)
        self.assertLess(self.took(), 2)
        last = held[0]
        self.assertEqual(self.ended(held[1:], time.monotonic() + 20), 29)
        last.settimeout(20)
        self.assertIn(b"HTTP/1.1 408 ", last.recv(65536))

    def test_an_answer_that_is_not_taken_is_cut(self):
        # Asked for until the kernel's buffers of both sides are full.
        held = self.crowd(30, "127.0.0.30", WHOLE * 60, rcvbuf=4096)
        for _ in range(5):
            self.assertLess(self.took(), 2)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            figures = self.stack.admin("gateway", "/metrics").raw.decode()
            if "\nkae_http_connections 0\n" in figures:
                break
            time.sleep(0.2)
        self.assertIn("\nkae_http_connections 0\n", figures)
        self.assertEqual(len(held), 30)

    def test_an_idle_connection_ends_and_a_busy_one_lasts_its_time(self):
        idle, busy = self.connect("127.0.0.1"), self.connect("127.0.0.1")
        began, n = time.monotonic(), 0
        while True:
            busy.sendall(HEAD + b"\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = busy.recv(65536)
                self.assertTrue(part, "closed without saying so")
                answer += part
            n += 1
            if b"\r\nConnection: close\r\n" in answer:
                break
            time.sleep(0.2)
        self.assertGreater(n, 5)
        self.assertGreaterEqual(time.monotonic() - began, 5.5)
        self.assertEqual(idle.recv(10), b"")  # over long since


if __name__ == "__main__":
    unittest.main()
