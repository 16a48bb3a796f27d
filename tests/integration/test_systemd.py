"""As a service of systemd: what the programs tell it, what `make install` puts
where, and what the units allow."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from tests.harness.process import Process, free_port, wait_until
from tests.integration.stack import BIN, ROOT, Api

PROGRAMS = ("knowalledge", "kae-gateway", "kae-auth", "kae-content", "kae-gdpr")
UNITS = [f"{p}.service" for p in PROGRAMS] + ["knowalledge.target"]
EXPOSURE_MAX = 2.0  # of systemd-analyze security, from 0 (nothing) to 10


class Told(unittest.TestCase):
    """A program under a manager of our own."""

    def manager(self, address):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(s.close)
        s.bind(address)
        s.settimeout(30)
        return s

    def start(self, folder, name, **env):
        self.admin = free_port()
        p = Process([BIN / "knowalledge"], {
            "ENVIRONMENT": "development", "DATA_DIR": str(folder / "data"), "LOG_LEVEL": "info",
            "PORT": str(free_port()), "ADMIN_PORT": str(self.admin), "NOTIFY_SOCKET": name, **env})
        self.addCleanup(p.stop)
        return p

    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="kae-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    def heard(self, s, but=b"WATCHDOG=1"):
        while True:
            text = s.recv(4096)
            if text != but:
                return dict(l.split("=", 1) for l in text.decode().splitlines())

    def test_ready_reload_and_stop_are_told(self):
        folder = self.folder()
        for name, address in ((str(folder / "notify"), str(folder / "notify")),
                              (f"@kae-{os.getpid()}", f"\0kae-{os.getpid()}")):
            with self.subTest(name=name[0]):
                s = self.manager(address)
                p = self.start(folder, name)
                self.assertEqual(self.heard(s)["READY"], "1")
                self.assertEqual(Api(self.admin).get("/readyz").status, 200)
                p.signal(signal.SIGHUP)
                reloading = self.heard(s)
                self.assertEqual(reloading["RELOADING"], "1")
                self.assertGreater(int(reloading["MONOTONIC_USEC"]), 0)
                self.assertEqual(self.heard(s)["READY"], "1")
                p.signal(signal.SIGTERM)
                self.assertEqual(self.heard(s)["STOPPING"], "1")
                self.assertEqual(p.wait(), 0)

    def test_it_shows_life_as_often_as_is_asked(self):
        folder = self.folder()
        s = self.manager(str(folder / "notify"))
        self.start(folder, str(folder / "notify"), WATCHDOG_USEC="200000")
        self.heard(s)
        for _ in range(5):
            self.assertEqual(s.recv(4096), b"WATCHDOG=1")

    def test_a_manager_that_is_none_harms_nobody(self):
        folder = self.folder()
        for name in ("", "relative", "/" + "x" * 200, str(folder / "nobody")):
            p = self.start(folder, name, WATCHDOG_USEC="nonsense")
            s = self.manager(str(folder / f"unused{len(name)}"))
            s.settimeout(0.1)
            wait_until(lambda p=p: p.events("service.ready"), 30, what="ready")
            self.assertEqual(p.stop(), 0)


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="kae-", dir="/tmp")
        cls.addClassCleanup(folder.cleanup)
        cls.dest = pathlib.Path(folder.name)
        subprocess.run(["make", "-s", "install", f"DESTDIR={cls.dest}", "PREFIX=/usr",
                        "NO_INSTALL=1"], cwd=ROOT, check=True, capture_output=True, timeout=600)

    def test_everything_is_in_its_place(self):
        there = {str(p.relative_to(self.dest)) for p in self.dest.rglob("*") if p.is_file()}
        want = {f"usr/bin/{p}" for p in PROGRAMS}
        want |= {f"usr/lib/systemd/system/{u}" for u in UNITS}
        want |= {"usr/lib/sysusers.d/knowalledge.conf", "usr/share/doc/knowalledge/README.md"}
        self.assertLessEqual(want, there)
        for name in PROGRAMS:
            told = subprocess.run([self.dest / "usr/bin" / name, "--version"],
                                  capture_output=True, text=True, check=True)
            self.assertIn((ROOT / "VERSION").read_text().strip(), told.stdout)
        for unit in UNITS:
            self.assertNotIn("@PREFIX@", (self.dest / "usr/lib/systemd/system" / unit).read_text())

    def analyze(self, *args):
        return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True,
                              timeout=60, check=False,
                              env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})

    def test_systemd_finds_no_fault_in_the_units(self):
        # Verified where the programs are, or it could not find them.
        kill = self.dest / "bin" / "kill"
        kill.parent.mkdir()
        kill.symlink_to("../usr/bin/knowalledge")
        done = self.analyze("verify", f"--root={self.dest}", "--man=no", "--recursive-errors=no",
                            *(str(self.dest / "usr/lib/systemd/system" / u) for u in UNITS))
        ours = [l for l in done.stderr.splitlines() if re.search(r"kae-|knowalledge", l)]
        self.assertEqual(ours, [], done.stderr)

    def test_the_units_expose_little(self):
        for unit in UNITS[:-1]:
            path = self.dest / "usr/lib/systemd/system" / unit
            done = self.analyze("security", "--offline=yes", "--no-pager", str(path))
            found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
            self.assertTrue(found, done.stdout + done.stderr)
            self.assertLessEqual(float(found[1]), EXPOSURE_MAX, done.stdout)


if __name__ == "__main__":
    unittest.main()
