"""The proxy that other tests believe does to a connection what it says."""
import errno
import socket
import socketserver
import threading
import time
import unittest

from tests.harness.process import wait_until
from tests.harness.proxy import Cut, Delay, Drip, Edit, Freeze, Garbage, Proxy, Swallow

TCP_USER_TIMEOUT = 18


class Echo(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                while data := self.request.recv(65536):
                    self.request.sendall(data)
            except OSError:
                pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class ProxyFaults(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.addCleanup(self.echo.server_close)
        self.addCleanup(self.echo.shutdown)
        self.proxy = Proxy(self.echo.server_address[1])
        self.addCleanup(self.proxy.stop)
        self.client = self.connect()

    def connect(self, timeout=5.0):
        s = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=timeout)
        self.addCleanup(s.close)
        return s

    def say(self, data=b"hello", s=None):
        """What comes back, to the same length or the end."""
        s = s or self.client
        s.sendall(data)
        return self.hear(len(data), s)

    def hear(self, n, s=None):
        s = s or self.client
        got = b""
        while len(got) < n:
            more = s.recv(65536)
            if not more:
                break
            got += more
        return got

    def assertQuiet(self, s=None, seconds=0.15):
        s = s or self.client
        s.settimeout(seconds)
        with self.assertRaises(TimeoutError):
            s.recv(1)
        s.settimeout(5)

    def test_everything_passes_both_ways(self):
        big = bytes(range(256)) * 8192
        threading.Thread(target=self.client.sendall, args=(big,), daemon=True).start()
        self.assertEqual(self.hear(len(big)), big)

    def test_what_was_frozen_flows_on_when_mended(self):
        for way in ("up", "down"):
            with self.subTest(way=way):
                self.proxy.fault(**{way: Freeze()})
                self.client.sendall(b"cold")
                self.assertQuiet()
                self.proxy.mend()
                self.assertEqual(self.hear(4), b"cold")

    def test_who_comes_during_a_freeze_is_accepted_and_told_nothing(self):
        self.proxy.fault_both(Freeze())
        s = self.connect()
        s.sendall(b"anybody")
        self.assertQuiet(s)

    def test_what_was_swallowed_is_gone(self):
        self.proxy.fault(down=Swallow())
        self.client.sendall(b"lost")
        self.assertQuiet()
        self.proxy.mend()
        self.assertEqual(self.say(b"found"), b"found")

    def test_a_delay_delays(self):
        self.proxy.fault(up=Delay(0.1), down=Delay(0.1))
        started = time.monotonic()
        self.assertEqual(self.say(), b"hello")
        self.assertGreaterEqual(time.monotonic() - started, 0.2)

    def test_drops_come_one_by_one(self):
        self.proxy.fault(down=Drip(1, 0.02))
        self.client.sendall(b"abc")
        self.assertEqual(self.client.recv(10), b"a")
        self.assertEqual(self.hear(2), b"bc")

    def test_garbage_is_as_long_as_what_it_replaces(self):
        self.proxy.fault(down=Garbage())
        got = self.say(b"sense" * 20)
        self.assertEqual(len(got), 100)
        self.assertNotIn(b"sense", got)

    def test_a_cut_lets_as_many_bytes_pass_as_it_says(self):
        self.assertEqual(self.say(b"before"), b"before")
        self.proxy.fault(down=Cut(after=3))
        self.client.sendall(b"abcdef")
        self.assertEqual(self.hear(6), b"abc")
        self.assertEqual(self.client.recv(1), b"")

    def test_an_edit_changes_answers_and_ends(self):
        def edit(data, link):
            if data == b"end":
                link.answer(b"bye")
                return None
            return data.upper()
        self.proxy.fault(up=Edit(edit))
        self.assertEqual(self.say(b"loud"), b"LOUD")
        self.client.sendall(b"end")
        self.assertEqual(self.hear(10), b"bye")

    def test_a_reset_is_a_reset_and_a_cut_an_end(self):
        other = self.connect()
        self.assertEqual(self.say(s=other), b"hello")
        self.assertEqual(self.say(), b"hello")
        self.proxy.cut()
        self.assertEqual(other.recv(1), b"")
        s = self.connect()
        self.assertEqual(self.say(s=s), b"hello")
        self.proxy.reset()
        with self.assertRaises(ConnectionResetError):
            s.recv(1)
        self.assertEqual(self.proxy.open, 0)

    def test_a_refusal_is_immediate_and_the_port_comes_back(self):
        port = self.proxy.port
        self.proxy.refuse()
        with self.assertRaises(ConnectionRefusedError):
            self.connect()
        self.proxy.mend()
        self.assertEqual(self.proxy.port, port)
        self.assertEqual(self.say(s=self.connect()), b"hello")

    def test_a_fault_may_stay_with_those_who_are_there(self):
        self.assertEqual(self.say(), b"hello")
        self.proxy.fault_both(Freeze())
        self.proxy.mend_new()
        self.assertEqual(self.say(s=self.connect()), b"hello")
        self.client.sendall(b"forgotten")
        self.assertQuiet()
        self.proxy.mend()
        self.assertEqual(self.hear(9), b"forgotten")

    def test_silence_is_noticed_by_the_kernel_alone(self):
        self.assertEqual(self.say(), b"hello")
        self.client.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 300)
        self.proxy.silence()
        with self.assertRaises(TimeoutError):
            self.connect(timeout=0.3)
        self.client.sendall(b"hello?")

        def noticed():
            return self.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.assertEqual(wait_until(noticed, 10, what="the user timeout"), errno.ETIMEDOUT)
        self.proxy.mend()
        self.assertEqual(self.say(s=self.connect()), b"hello")

    def test_a_short_silence_loses_nothing(self):
        self.assertEqual(self.say(), b"hello")
        self.proxy.silence()
        self.client.sendall(b"after all")
        self.assertQuiet()
        self.proxy.mend()
        self.assertEqual(self.hear(9), b"after all")

    def test_a_server_that_is_away_ends_the_connection(self):
        self.proxy.move(1)
        with self.assertRaises(ConnectionResetError):
            self.say(s=self.connect())


if __name__ == "__main__":
    unittest.main()
