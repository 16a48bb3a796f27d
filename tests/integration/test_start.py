"""Starting, refusing to start, and the flags that every program has."""
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import tempfile
import unittest

from tests.harness.process import Process, free_port, free_ports_in_a_row, wait_until
from tests.harness.raw import Raw
from tests.integration.stack import BIN, ROOT, Api, Stack

PROGRAMS = ("knowalledge", "kae-gateway", "kae-auth", "kae-content", "kae-gdpr")


def call(program, *args, timeout=60, user=None, **env):
    base = {"PATH": os.environ["PATH"], "ENVIRONMENT": "development"}
    base.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    return subprocess.run([str(BIN / program), *args], env={**base, **env}, timeout=timeout,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, user=user,
                          check=False)


class Start(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kae-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.env = {"DATA_DIR": str(self.dir / "data"), "PORT": str(free_port()),
                    "ADMIN_PORT": str(free_port())}

    def assertRefused(self, got, *words):
        """Exit 2 and one clear line that names what is wrong."""
        told = [l for l in (got.stderr + got.stdout).splitlines()
                if l and not l.startswith('{"ts"')]
        self.assertEqual(got.returncode, 2, got.stderr + got.stdout)
        self.assertEqual(len(told), 1, told)
        for word in words:
            self.assertIn(word, told[0])

    def test_every_program_tells_its_version_and_its_flags(self):
        version = (ROOT / "VERSION").read_text().strip()
        for program in PROGRAMS:
            with self.subTest(program=program):
                got = call(program, "--version")
                self.assertEqual((got.returncode, got.stdout.split()[-1]), (0, version))
                got = call(program, "--help")
                self.assertEqual(got.returncode, 0)
                for flag in ("--version", "--check", "--print-config", "--health"):
                    self.assertIn(flag, got.stdout)
                self.assertEqual(call(program, "--nonsense").returncode, 2)

    def test_secrets_are_printed_as_stars(self):
        got = call("kae-auth", "--print-config", ADMIN_API_KEY="x" * 40,
                   DATABASE_URL="postgresql://u:hidden@127.0.0.1/x")
        self.assertEqual(got.returncode, 0)
        self.assertIn("ADMIN_API_KEY=***", got.stdout)
        self.assertNotIn("hidden", got.stdout + got.stderr)
        self.assertNotIn("x" * 40, got.stdout + got.stderr)

    def test_bad_settings_are_all_told_and_exit_2(self):
        got = call("knowalledge", **self.env, DB_POOL_SIZE="many", LOG_LEVEL="loud")
        self.assertEqual(got.returncode, 2)
        self.assertIn("DB_POOL_SIZE", got.stderr)
        self.assertIn("LOG_LEVEL", got.stderr)
        self.assertRefused(call("knowalledge", **{**self.env, "PORT": "70000"}), "PORT")
        self.assertRefused(call("knowalledge", **{**self.env, "ENVIRONMENT": "prod"}),
                           "ENVIRONMENT")

    def test_a_wildcard_origin_outside_development_is_refused(self):
        self.assertRefused(call("knowalledge", **{
            **self.env, "ENVIRONMENT": "production", "CORS_ORIGINS": "*",
            "KEY_ENCRYPTION_KEY": "k" * 40}), "CORS_ORIGINS")

    def test_production_without_a_key_for_the_keys_is_refused(self):
        self.assertRefused(call("knowalledge", **{**self.env, "ENVIRONMENT": "production"}),
                           "KEY_ENCRYPTION_KEY")

    def test_tcp_without_a_bus_key_outside_development_is_refused(self):
        self.assertRefused(call("kae-gdpr", **{
            **self.env, "ENVIRONMENT": "production", "BUS_GDPR": "tcp://127.0.0.1:0"}),
            "BUS_KEY")

    def test_a_taken_port_is_told(self):
        for name in ("PORT", "ADMIN_PORT"):
            with self.subTest(name=name), socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                s.listen()
                port = str(s.getsockname()[1])
                self.assertRefused(call("knowalledge", **{**self.env, name: port}), port)

    def test_a_held_data_folder_is_told_with_its_holder(self):
        first = Process([BIN / "knowalledge"], {"ENVIRONMENT": "development", **self.env})
        self.addCleanup(first.stop)
        wait_until(lambda: (self.dir / "data" / "admin.key").exists(), 30, what="first start")
        got = call("knowalledge", **{**self.env, "PORT": str(free_port()),
                                     "ADMIN_PORT": str(free_port())})
        self.assertRefused(got, str(first.pid), "data")

    def test_a_folder_that_cannot_be_written_is_told(self):
        blocked = self.dir / "file"
        blocked.write_text("not a folder")
        self.assertRefused(call("knowalledge", **{**self.env, "DATA_DIR": str(blocked / "x")}),
                           str(blocked))
        if os.geteuid() == 0:  # root may write anywhere, so somebody else tries
            os.chmod(self.dir, 0o755)
            (self.dir / "data").mkdir(mode=0o755)
            with tempfile.TemporaryDirectory(dir="/tmp") as bin_copy:
                # The build folder may be out of nobody's reach.
                os.chmod(bin_copy, 0o755)
                program = pathlib.Path(bin_copy) / "knowalledge"
                program.write_bytes((BIN / "knowalledge").read_bytes())
                program.chmod(0o755)
                got = call(program, user=pwd.getpwnam("nobody").pw_uid, **self.env)
            self.assertRefused(got, str(self.dir / "data"))

    def test_check_says_what_works(self):
        got = call("knowalledge", "--check", **self.env)
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        got = call("kae-gdpr", "--check", **self.env,
                   DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
        self.assertEqual(got.returncode, 1, got.stdout + got.stderr)
        self.assertIn("database", got.stdout)

    def test_health_asks_the_admin_port(self):
        self.assertEqual(call("knowalledge", "--health", **self.env).returncode, 1)
        stack = Stack("one")
        self.addCleanup(stack.close)
        stack.start()
        port = {"ADMIN_PORT": str(stack.admin_ports["gateway"])}
        self.assertEqual(call("knowalledge", "--health", **{**self.env, **port}).returncode, 0)
        for path in ("/livez", "/healthz", "/readyz", "/readyz/auth", "/readyz/content",
                     "/readyz/gdpr", "/metrics"):
            self.assertEqual(stack.admin("knowalledge", path).status, 200, path)
        self.assertEqual(stack.admin("knowalledge", "/nope").status, 404)
        self.assertIn(b"db_pool_size", stack.admin("knowalledge", "/metrics").raw)
        self.assertEqual(stack.api().get("/metrics").status, 404)

    def test_four_programs_start_and_stop_together(self):
        base = free_ports_in_a_row(4)
        split = Process([ROOT / "deploy" / "run-split.sh"],
                        {**self.env, "BIN": str(BIN), "ADMIN_PORT": str(base)})
        self.addCleanup(split.stop)
        self.addCleanup(lambda: print(split.text()) if split.running() else None)
        wait_until(lambda: "ready, as four programs" in split.text(), 30,
                   what="readiness of four programs")
        self.assertIn(f"http://127.0.0.1:{self.env['PORT']}", split.text())
        self.assertIn("data/admin.key", split.text())
        wait_until(lambda: Api(int(self.env["PORT"])).get("/ready").status == 200, 10)
        self.assertEqual(split.stop(), 0)
        self.assertEqual(len([e for e in split.events("service.stopped")
                              if e["code"] == 0]), 4)

    def gateway_alone(self, **env):
        """It waits for services that are not there, so it is never ready."""
        p = Process([BIN / "kae-gateway"], {
            "ENVIRONMENT": "development", **self.env,
            **{f"BUS_{s}": f"ipc://{self.dir}/{s}" for s in ("AUTH", "CONTENT", "GDPR")}, **env})
        self.addCleanup(p.kill)
        return p

    def test_sigterm_and_sigint_while_it_starts_end_it_in_order(self):
        away = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
        for sig in (signal.SIGTERM, signal.SIGINT):
            for name in ("gateway", "auth", "knowalledge"):
                with self.subTest(name=name, sig=sig):
                    p = self.gateway_alone() if name == "gateway" else Process(
                        [BIN / ("kae-auth" if name == "auth" else name)],
                        {"ENVIRONMENT": "development", **self.env, **away})
                    self.addCleanup(p.kill)
                    wait_until(lambda p=p: p.events("service.starting"), 30, what="its start")
                    p.signal(sig)
                    self.assertEqual(p.wait(60), 0, p.text()[-2000:])
                    self.assertEqual(p.events("service.ready"), [])
                    self.assertEqual(len(p.events("service.stopped")), 1)

    def answers(self):
        try:
            return Api(int(self.env["PORT"])).get("/health").status == 200
        except OSError:
            return False

    def half_a_request(self, port):
        """Of one that is in flight until rest() has sent the other half."""
        body = b'{"api_key":"sk_none"}'
        c = Raw(port)
        self.addCleanup(c.__exit__)
        c.send(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % len(body) + body[:9])

        def rest():
            c.send(body[9:])
            return c.answer()
        return rest

    def test_a_person_s_ctrl_c_waits_for_what_is_in_flight_and_for_nothing_else(self):
        stack = Stack("one", DRAIN_DELAY_S="300", KEEP_ALIVE_S="500", SHUTDOWN_GRACE_S="600")
        self.addCleanup(stack.close)
        stack.start()
        p, idle = stack.processes["knowalledge"], stack.api()
        self.assertEqual(idle.get("/health").status, 200)
        before = len(p.events("request.started"))
        rest = self.half_a_request(stack.port)
        wait_until(lambda: len(p.events("request.started")) > before, 30, what="its start")
        p.signal(signal.SIGINT)
        wait_until(lambda: p.events("service.draining"), 30, what="the drain")
        answer = rest()
        self.assertEqual((answer.status, answer.closed), (401, True))
        self.assertEqual(p.wait(60), 0)  # not the 300 s that a supervisor would get

    def test_further_signals_change_nothing_of_a_drain(self):
        p = self.gateway_alone()
        wait_until(self.answers, 30, what="an answer")
        before = len(p.events("request.started"))
        rest = self.half_a_request(int(self.env["PORT"]))
        wait_until(lambda: len(p.events("request.started")) > before, 30, what="its start")
        p.signal(signal.SIGTERM)
        wait_until(lambda: p.events("service.draining"), 30, what="the drain")
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            p.signal(sig)
        answer = rest()
        self.assertEqual((answer.status, answer.closed), (503, True))  # there is no auth
        self.assertEqual(p.wait(60), 0)
        self.assertEqual(len(p.events("service.draining")), 1)

    def test_sigquit_ends_it_at_once_also_during_a_drain(self):
        for draining, status in ((False, 0), (True, -signal.SIGQUIT)):
            with self.subTest(draining=draining):
                p = self.gateway_alone(SHUTDOWN_GRACE_S="600", REQUEST_READ_S="600",
                                       DRAIN_DELAY_S="300")
                wait_until(self.answers, 30, what="an answer")
                before = len(p.events("request.started"))
                self.half_a_request(int(self.env["PORT"]))
                wait_until(lambda p=p, n=before: len(p.events("request.started")) > n, 30,
                           what="its start")
                if draining:
                    p.signal(signal.SIGTERM)
                    wait_until(lambda p=p: p.events("service.draining"), 30, what="the drain")
                    wait_until(lambda: Api(int(self.env["ADMIN_PORT"])).get(
                        "/readyz").json["status"] == "draining", 30, what="the drain")
                p.signal(signal.SIGQUIT)
                self.assertEqual(p.wait(60), status)

    def test_a_delay_that_leaves_nothing_of_the_grace_is_refused(self):
        for program in ("kae-gateway", "knowalledge"):
            self.assertRefused(call(program, **self.env, DRAIN_DELAY_S="30"),
                               "DRAIN_DELAY_S", "SHUTDOWN_GRACE_S")

    def test_an_unset_environment_is_production(self):
        got = call("knowalledge", "--print-config", ENVIRONMENT="production")
        self.assertIn("ENVIRONMENT=production", got.stdout)
        bare = subprocess.run([str(BIN / "knowalledge"), "--print-config"], env={},
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertIn("ENVIRONMENT=production", bare.stdout)

    def test_the_bootstrap_admin_key_is_in_its_file_and_works(self):
        stack = Stack("one")
        self.addCleanup(stack.close)
        del stack.env["ADMIN_API_KEY"]
        stack.start()
        path = stack.dir / "data" / "admin.key"
        key = path.read_text().strip()
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        who = stack.api(key=key).get("/api/auth/validate").json
        self.assertEqual((who["user_id"], who["role"]), ("admin", "admin"))
        self.assertNotIn(key, stack.text())


if __name__ == "__main__":
    unittest.main()
