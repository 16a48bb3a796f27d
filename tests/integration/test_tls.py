"""HTTPS from our own certificate: what a client can do, and what changes while it runs."""
import http.client
import pathlib
import shutil
import signal
import socket
import ssl
import tempfile
import threading
import unittest

from tests.harness.certs import make_ca, make_certificate, openssl, serial_of
from tests.harness.process import free_port, wait_until
from tests.harness.raw import Raw
from tests.integration.stack import OnStack, load_on
from tests.integration.test_start import call

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
KEYS = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"  # svc-auth is asked
RELOADS = 6


class Certified(OnStack):
    """A stack with a certificate in cls.folder that its authority has signed."""
    more, days, verify = {}, 2, True

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-tls-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.ca = make_ca(cls.folder, "ca")
        cls.use(cls.make("first", days=cls.days))
        cls.tls = ssl.create_default_context(cafile=cls.ca) if cls.verify \
            else ssl._create_unverified_context()  # pylint: disable=protected-access
        cls.env = {"SSL_CERTFILE": str(cls.folder / "live.crt"),
                   "SSL_KEYFILE": str(cls.folder / "live.key"), **cls.more}
        super().setUpClass()
        cls.gateway = cls.stack.processes[cls.stack.names()[0]]

    @classmethod
    def make(cls, name, **kw):
        return make_certificate(cls.folder, cls.ca, "IP:127.0.0.1", name, **kw)

    @classmethod
    def use(cls, certificate):
        shutil.copy(certificate, cls.folder / "live.crt")
        shutil.copy(certificate.with_suffix(".key"), cls.folder / "live.key")

    def raw(self, tls=None, **kw):
        client = Raw(self.stack.port, tls=tls or self.tls, **kw)
        self.addCleanup(client.socket.close)
        return client

    def context(self, **attributes):
        tls = ssl.create_default_context(cafile=self.ca)
        for name, value in attributes.items():
            setattr(tls, name, value)
        return tls


class Records:
    """A client that decides which records leave together."""

    def __init__(self, port, tls):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.came, self.left = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls.wrap_bio(self.came, self.left, server_hostname="127.0.0.1")
        self.bytes = b""
        while True:
            try:
                self.tls.do_handshake()
                return  # the client's last words wait in self.left
            except ssl.SSLWantReadError:
                self.flush()
                self.came.write(self.socket.recv(65536))

    def put(self, *records):
        for r in records:
            self.tls.write(r)

    def flush(self):
        self.socket.sendall(self.left.read())

    def statuses(self, n):
        """Of the next n answers, which have no body to speak of between them."""
        while self.bytes.count(b"HTTP/1.1 ") < n or not self.bytes.endswith(b"}"):
            try:
                self.bytes += self.tls.read(65536)
            except ssl.SSLWantReadError:
                got = self.socket.recv(65536)
                if not got:
                    raise AssertionError(f"the end after {self.bytes!r}") from None
                self.came.write(got)
        return [int(part[:3]) for part in self.bytes.split(b"HTTP/1.1 ")[1:]]


class Https(Certified):
    def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(self):
        for version, name in ((ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
                              (ssl.TLSVersion.TLSv1_2, "TLSv1.2")):
            client = self.raw(self.context(minimum_version=version, maximum_version=version))
            self.assertEqual(client.socket.version(), name)
            client.send(HEALTH)
            self.assertEqual(client.answer().status, 200)
        old = self.context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertWarns(DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(OSError):
            self.raw(old)

    def test_ciphers_are_authenticated_and_keys_are_forgotten(self):
        for ciphers in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-SHA",
                        "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
            tls = self.context(maximum_version=ssl.TLSVersion.TLSv1_2)
            tls.set_ciphers(ciphers)
            with self.subTest(ciphers=ciphers), self.assertRaises(OSError):
                self.raw(tls)
        for ciphers in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                        "ECDHE-ECDSA-CHACHA20-POLY1305"):
            tls = self.context(maximum_version=ssl.TLSVersion.TLSv1_2)
            tls.set_ciphers(ciphers)
            with self.subTest(ciphers=ciphers):
                self.assertEqual(self.raw(tls).socket.cipher()[0], ciphers)

    def test_of_several_protocols_http_1_1_is_agreed_on(self):
        tls = self.context()
        tls.set_alpn_protocols(["h2", "http/1.1"])
        self.assertEqual(self.raw(tls).socket.selected_alpn_protocol(), "http/1.1")
        self.assertIsNone(self.raw().socket.selected_alpn_protocol())

    def test_a_connection_is_kept_and_hsts_is_told(self):
        client = self.raw()
        for _ in range(3):
            for request, head in ((HEALTH, False), (KEYS, False),
                                  (HEALTH.replace(b"GET", b"HEAD"), True)):
                client.send(request)
                r = client.answer(head)
                self.assertEqual((r.status, r.closed), (200, False))
                self.assertEqual(r.headers["strict-transport-security"],
                                 "max-age=31536000; includeSubDomains")
        client.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn("strict-transport-security", client.answer().headers)

    def test_requests_in_one_record_are_all_answered(self):
        for request in (HEALTH, KEYS):  # without and with a wait in between
            client = self.raw()
            client.send(request * 20)
            self.assertEqual([client.answer().status for _ in range(20)], [200] * 20)

    def test_records_that_come_together_are_all_answered(self):
        for request in (HEALTH, KEYS):
            client = Records(self.stack.port, self.tls)
            self.addCleanup(client.socket.close)
            client.put(*[request] * 10)
            client.flush()  # behind the last words of the handshake
            self.assertEqual(client.statuses(10), [200] * 10)

    def test_a_body_may_come_in_any_records(self):
        body = b'{"user_id":"' + b"x" * 3000 + b'"}'
        head = (b"POST /api/auth/register HTTP/1.1\r\nHost: x\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        for size in (7, 999, len(body)):
            client = Records(self.stack.port, self.tls)
            self.addCleanup(client.socket.close)
            client.put(head, *[body[i:i + size] for i in range(0, len(body), size)])
            client.flush()
            with self.subTest(size=size):
                self.assertEqual(client.statuses(1), [400])

    def test_a_large_answer_is_whole_also_for_who_takes_it_slowly(self):
        client = self.raw()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        whole = self.api.get("/openapi.json").raw
        self.assertGreater(len(whole), 100_000)
        for _ in range(3):
            self.assertEqual(client.answer().raw, whole)

    def test_a_body_that_is_too_large_is_told_while_it_comes(self):
        client = self.raw()
        client.send(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"2000\r\n" + b"x" * 8192 + b"\r\n" + b"1000\r\n" + b"x" * 4096)
        self.assertProblem(client.answer(), 413)
        self.assertFalse(client.more())  # and the end was said, or this would raise

    def test_http_in_clear_sees_an_end_and_no_answer(self):
        with Raw(self.stack.port) as client:
            client.send(HEALTH)
            while client.more():
                pass
            self.assertNotIn(b"HTTP/", client.bytes)
        self.assertEqual(self.api.get("/health").status, 200)

    def test_bytes_that_are_no_handshake_harm_nobody(self):
        held = self.raw()
        for junk in (b"\x16", b"\x16\x03\x01\xff\xff" + b"A" * 70000, b"\0" * 5000,
                     b"\x80\x2e\x01\x00\x02", b"\x15\x03\x03\x00\x02\x02\x28"):
            with Raw(self.stack.port) as client:
                try:
                    client.send(junk)
                    client.socket.shutdown(socket.SHUT_WR)
                    while client.more():
                        pass
                except OSError:
                    pass  # cut while it sent
        held.send(HEALTH)
        self.assertEqual(held.answer().status, 200)


class Slow(Certified):
    more = {"HEAD_READ_S": "2", "REQUEST_READ_S": "3", "KEEP_ALIVE_S": "1"}

    def test_an_idle_connection_ends_and_says_so(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.raw(self.context(maximum_version=version))
            # An end without close_notify raises.
            self.assertEqual(client.socket.recv(10), b"")
            client = self.raw(self.context(maximum_version=version))
            client.send(HEALTH)
            self.assertEqual(client.answer().status, 200)
            self.assertEqual(client.socket.recv(10), b"")

    def test_a_head_that_drips_is_told_408(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.raw(self.context(maximum_version=version))
            client.send(b"GET /h")
            r = client.answer()
            self.assertProblem(r, 408, "REQUEST_TIMEOUT")
            for name in ("strict-transport-security", "content-security-policy",
                         "x-content-type-options"):
                self.assertIn(name, r.headers)
            self.assertFalse(client.more())

    def test_a_body_that_drips_is_told_408(self):
        client = self.raw()
        client.send(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n{")
        self.assertProblem(client.answer(), 408, "REQUEST_TIMEOUT")

    def test_a_handshake_that_drips_ends(self):
        for first in (b"", b"\x16\x03\x01\x02"):
            with Raw(self.stack.port) as client:
                client.send(first)
                self.assertFalse(client.more(), client.bytes)


class Reload(Certified):
    # A connection that waits while all this goes on is to live that long.
    more = {"KEEP_ALIVE_S": "300", "HEAD_READ_S": "300", "CONNECTION_TOTAL_S": "900"}

    def reload(self, event):
        """SIGHUP, and the log line that says what came of it."""
        seen = len(self.gateway.events(event))
        self.gateway.signal(signal.SIGHUP)
        return wait_until(lambda: self.gateway.events(event)[seen:], 30, what=event)[0]

    def figures(self):
        return self.stack.admin("gateway", "/metrics").raw.decode()

    def serial(self):
        return self.raw().socket.getpeercert()["serialNumber"].lower()

    def sees(self, certificate):
        wanted = serial_of(certificate)
        wait_until(lambda: self.serial() == wanted, 30, what="the new certificate")

    def test_a_new_certificate_disturbs_nobody(self):
        certificates = [self.make("second", days=90),
                        self.make("third", days=90, key=("-newkey", "rsa:2048"))]
        _, person = self.stack.register("reloader")
        held = self.raw()
        stop, failures, counts = threading.Event(), [], [0] * 4

        def ask(i, kept):  # nothing is asked twice
            client = http.client.HTTPSConnection("127.0.0.1", self.stack.port, timeout=60,
                                                 context=self.tls)
            while not stop.is_set():
                try:
                    client.request("GET", "/api/auth/validate",
                                   headers={"Authorization": f"Bearer {person.token}"})
                    r = client.getresponse()
                    r.read()
                    if r.status != 200:
                        failures.append(r.status)
                except (OSError, http.client.HTTPException) as e:
                    failures.append(repr(e))
                    client.close()
                counts[i] += 1
                if not kept:
                    client.close()
            client.close()

        askers = [threading.Thread(target=ask, args=(i, i < 2)) for i in range(len(counts))]
        for t in askers:
            t.start()
        try:
            for n in range(RELOADS):
                certificate = certificates[n % 2]
                self.use(certificate)
                said = self.reload("tls.certificate")
                self.assertEqual(said["serial"], serial_of(certificate))
                self.sees(certificate)
                before = list(counts)
                wait_until(lambda: all(a > b for a, b in zip(counts, before)), 60,
                           what="more answers for everybody")
        finally:
            stop.set()
            for t in askers:
                t.join(60)
        self.assertEqual(failures, [])
        held.send(HEALTH)  # begun under the first
        self.assertEqual(held.answer().status, 200)

    def test_what_is_wrong_leaves_the_old_one_in_force(self):
        good, expired = self.make("good"), self.make("old", days=0)
        self.use(good)
        self.reload("tls.certificate_expires_soon")
        self.sees(good)
        live = self.folder / "live.crt"
        for what, do in (
                ("holds no chain of PEM", lambda: live.write_text("nonsense")),
                ("cannot read", live.unlink),
                ("is not the key of", lambda: shutil.copy(expired, live)),
                ("has expired", lambda: self.use(expired))):
            with self.subTest(what=what):
                do()
                said = self.reload("gateway.reload_refused")
                self.assertEqual(said["level"], "error")
                self.assertIn(what, said["reason"])
                self.assertEqual(self.serial(), serial_of(good))
                self.assertIn("kae_config_last_reload_success 0\n", self.figures())
        self.use(good)
        self.reload("gateway.reloaded")
        self.assertIn("kae_config_last_reload_success 1\n", self.figures())

    def test_the_figures_tell_when_it_expires(self):
        certificate = self.make("figured", days=20)
        self.use(certificate)
        self.reload("gateway.reloaded")
        said = openssl("x509", "-in", certificate, "-noout", "-enddate").strip().partition("=")[2]
        # The text of a figure has as many digits as it needs.
        for line in self.figures().splitlines():
            if line.startswith("kae_tls_cert_not_after_seconds "):
                self.assertEqual(float(line.split()[1]), ssl.cert_time_to_seconds(said))
                break
        else:
            self.fail("no such figure")


class Files(unittest.TestCase):
    """Certificates that a start does not take, or takes and complains of."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-tls-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.ca = make_ca(cls.folder, "ca")
        for name, days in (("one", 2), ("two", 2), ("old", 0)):
            make_certificate(cls.folder, cls.ca, "IP:127.0.0.1", name, days=days)
        openssl("ec", "-in", cls.folder / "one.key", "-aes128", "-passout", "pass:x",
                "-out", cls.folder / "locked.key")
        openssl("pkcs8", "-topk8", "-in", cls.folder / "one.key", "-passout", "pass:x",
                "-out", cls.folder / "locked8.key")
        (cls.folder / "empty").write_text("")
        (cls.folder / "text").write_text("nonsense\n")
        (cls.folder / "cut").write_text((cls.folder / "one.crt").read_text()[:200])
        (cls.folder / "large").write_text("x" * 70000)
        (cls.folder / "chain").write_text((cls.folder / "one.crt").read_text() * 17)

    def env(self, cert, key):
        return {"DATA_DIR": str(self.folder / "data"), "PORT": str(free_port()),
                "ADMIN_PORT": str(free_port()),
                **({"SSL_CERTFILE": str(self.folder / cert)} if cert else {}),
                **({"SSL_KEYFILE": str(self.folder / key)} if key else {})}

    def test_what_cannot_be_used_is_told_in_one_line_and_exit_2(self):
        for cert, key, setting, words in (
                ("one.crt", None, "SSL_KEYFILE", "must be set too"),
                (None, "one.key", "SSL_CERTFILE", "must be set too"),
                ("none", "one.key", "SSL_CERTFILE", "No such file"),
                ("one.crt", "none", "SSL_KEYFILE", "No such file"),
                ("", "one.key", "SSL_CERTFILE", "Is a directory"),
                ("empty", "one.key", "SSL_CERTFILE", "no chain of PEM certificates"),
                ("text", "one.key", "SSL_CERTFILE", "no chain of PEM certificates"),
                ("cut", "one.key", "SSL_CERTFILE", "no chain of PEM certificates"),
                ("one.key", "one.key", "SSL_CERTFILE", "no chain of PEM certificates"),
                ("large", "one.key", "SSL_CERTFILE", "File too large"),
                ("chain", "one.key", "SSL_CERTFILE", "no chain of PEM certificates"),
                ("one.crt", "empty", "SSL_KEYFILE", "no PEM private key"),
                ("one.crt", "one.crt", "SSL_KEYFILE", "no PEM private key"),
                ("one.crt", "locked.key", "SSL_KEYFILE", "has a password"),
                ("one.crt", "locked8.key", "SSL_KEYFILE", "has a password"),
                ("one.crt", "two.key", "SSL_KEYFILE", "is not the key of")):
            with self.subTest(cert=cert, key=key):
                env = self.env(cert, key)
                if cert == "":
                    env["SSL_CERTFILE"] = str(self.folder)
                got = call("kae-gateway", **env)
                told = [l for l in (got.stderr + got.stdout).splitlines()
                        if l and not l.startswith('{"ts"')]
                self.assertEqual((got.returncode, len(told)), (2, 1), told)
                self.assertIn(setting, told[0])
                self.assertIn(words, told[0])
                checked = call("kae-gateway", "--check", **env)
                self.assertEqual(checked.returncode, 1, checked.stdout)
                self.assertIn(words, checked.stderr)

    def test_check_tells_of_a_certificate_that_has_expired(self):
        got = call("kae-gateway", "--check", **self.env("old.crt", "old.key"))
        self.assertEqual(got.returncode, 1, got.stdout)
        self.assertIn("FAIL  certificate: has expired", got.stdout)
        got = call("kae-gateway", "--check", **self.env("one.crt", "one.key"))
        self.assertEqual(got.returncode, 0, got.stdout)
        self.assertIn("ok    certificate", got.stdout)


class Expired(Certified):
    """Who does not look at the date is served: better than nobody."""
    days, verify = 0, False

    def test_it_is_served_and_complained_of(self):
        self.assertEqual(self.gateway.events("tls.certificate_not_valid")[0]["level"], "error")


def load_tests(loader, tests, pattern):
    suite = load_on(("one",), Https, Slow, Expired)(loader, tests, pattern)
    suite.addTests(loader.loadTestsFromTestCase(Files))
    suite.addTests(load_on(("one", "ipc"), Reload)(loader, tests, pattern))
    return suite
