"""The TLS modes of libpq, against a server with a certificate of our own."""
import os
import pathlib
import shutil
import tempfile
import unittest

from tests.fault.pool import GRACE_MS, SCHEMA, Pool
from tests.harness.certs import make_ca, make_certificate
from tests.harness.postgres import USER, Postgres
from tests.harness.proxy import Freeze, Proxy

PASSWORD = "planted-5ecret"


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-tls-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.folder.chmod(0o755)
        cls.right = make_ca(cls.folder, "right")
        cls.wrong = make_ca(cls.folder, "wrong")
        make_certificate(cls.folder, cls.right, "IP:127.0.0.1")
        cls.server = Postgres()
        cls.addClassCleanup(cls.server.stop)
        cls.server.sql(SCHEMA)
        owner = cls.server.data.stat()
        for name in ("server.key", "server.crt"):
            shutil.copy(cls.folder / name, cls.server.data / name)
            os.chown(cls.server.data / name, owner.st_uid, owner.st_gid)
            (cls.server.data / name).chmod(0o600)
        cls.server.set("ssl", "on")

    def pool(self, options, host="127.0.0.1", port=None):
        p = Pool(f"postgresql://{USER}:{PASSWORD}@{host}:{port or self.server.port}"
                 f"/postgres?{options}")

        def end():
            p.close()
            self.assertNotIn(PASSWORD, p.text())
        self.addCleanup(end)
        return p

    def encrypted(self):
        return self.server.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity "
                               "USING (pid) WHERE application_name = 'content'")

    def assertRefused(self, pool, words):
        error, ms = pool.once("read", 3000)
        self.assertEqual(error, "DATABASE")
        self.assertLess(ms, 3000)
        self.assertIn(words, pool.events("db.cannot_connect")[0]["message"])

    def test_require_encrypts(self):
        pool = self.pool("sslmode=require")
        self.assertEqual(pool.once("write")[0], "OK", pool.text())
        self.assertEqual(self.encrypted(), [["t"]])

    def test_verify_full_believes_a_server_of_its_authority(self):
        for mode in ("verify-ca", "verify-full"):
            with self.subTest(mode=mode):
                pool = self.pool(f"sslmode={mode}&sslrootcert={self.right}")
                self.assertEqual(pool.once("write")[0], "OK", pool.text())
                pool.start("read", 4, 5000)
                load = pool.stop_load()
                self.assertEqual(load["failed"], [])
        self.assertEqual(self.encrypted(), [["t"]])

    def test_a_server_of_another_authority_is_refused_and_the_log_says_why(self):
        self.assertRefused(self.pool(f"sslmode=verify-full&sslrootcert={self.wrong}"),
                           "certificate verify failed")

    def test_a_server_by_another_name_is_refused(self):
        # The address is looked up by us; the name that is checked is the URL's.
        self.assertRefused(
            self.pool(f"sslmode=verify-full&sslrootcert={self.right}", "localhost"),
            "does not match host name")
        pool = self.pool(f"sslmode=verify-ca&sslrootcert={self.right}", "localhost")
        self.assertEqual(pool.once("read")[0], "OK", pool.text())

    def test_a_server_without_tls_is_refused_where_it_is_required(self):
        plain = Postgres()
        self.addCleanup(plain.stop)
        self.assertRefused(self.pool("sslmode=require", port=plain.port),
                           "does not support SSL")

    def test_a_handshake_that_falls_silent_ends_at_the_deadline(self):
        with Proxy(self.server.port) as proxy:
            pool = self.pool("sslmode=require", port=proxy.port)
            proxy.fault(down=Freeze())
            error, ms = pool.once("read", 800)
            self.assertEqual(error, "DATABASE")
            self.assertLess(ms, 800 + GRACE_MS)
            proxy.mend()
            self.assertEqual(pool.once("read")[0], "OK")
            proxy.fault_both(Freeze())
            error, ms = pool.once("read", 800)
            self.assertLess(ms, 800 + GRACE_MS)
            proxy.mend()
            self.assertEqual(pool.once("write")[0], "OK")


if __name__ == "__main__":
    unittest.main()
