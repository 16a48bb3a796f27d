"""SIGHUP: what is read again, and that what is wrong changes nothing."""
import signal
import threading
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import OnStack, load_on

A, B = "https://a.example", "https://b.example"


class Reload(OnStack):
    def setUp(self):
        self.origins, self.level = self.stack.dir / "origins", self.stack.dir / "level"
        self.origins.write_text(A + "\n")
        self.level.write_text("info\n")
        self.hup("gateway.reloaded")
        wait_until(lambda: self.lets_in(A) and not self.lets_in(B), 30, what="the beginning")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stack.stop()
        (cls.stack.dir / "origins").write_text(A)
        (cls.stack.dir / "level").write_text("info")
        cls.stack.env.update(CORS_ORIGINS_FILE=str(cls.stack.dir / "origins"),
                             LOG_LEVEL_FILE=str(cls.stack.dir / "level"))
        del cls.stack.env["LOG_LEVEL"]
        cls.stack.start()
        cls.gateway = cls.stack.processes[cls.stack.names()[0]]

    def lets_in(self, origin):
        r = self.api.get("/health", headers={"Origin": origin})
        return r.headers.get("access-control-allow-origin") == origin

    def hup(self, event):
        seen = len(self.gateway.events(event))
        self.gateway.signal(signal.SIGHUP)
        return wait_until(lambda: self.gateway.events(event)[seen:], 30, what=event)[0]

    def test_origins_change(self):
        self.origins.write_text(f"{B}, https://c.example\n")
        self.hup("gateway.reloaded")
        wait_until(lambda: self.lets_in(B) and not self.lets_in(A), 30, what="the new list")

    def test_a_bad_list_leaves_the_old_one_and_is_told(self):
        for text, event, words in (
                ("nonsense", "gateway.reload_refused", "CORS_ORIGINS: an origin is"),
                ("https://x.example," * 300, "config.reload_refused", "CORS_ORIGINS"),
                (None, "config.reload_refused", "CORS_ORIGINS_FILE: cannot read")):
            with self.subTest(words=words):
                if text is None:
                    self.origins.unlink()
                else:
                    self.origins.write_text(text)
                said = self.hup(event)
                self.assertEqual(said["level"], "error")
                self.assertIn(words, said["reason"])
                self.assertTrue(self.lets_in(A))

    def test_the_log_level_changes(self):
        for level in ("debug", "warn", "info"):
            self.level.write_text(level)
            if level == "warn":  # which silences the line that says so
                self.gateway.signal(signal.SIGHUP)
            else:
                self.assertEqual(self.hup("log.level")["log_level"], level)
        self.level.write_text("loud")
        self.assertIn("LOG_LEVEL", self.hup("config.reload_refused")["reason"])

    def test_a_file_in_the_data_folder_goes_before_all(self):
        path = self.stack.dir / "data" / "log_level"
        path.parent.mkdir(exist_ok=True)  # a gateway alone has made none
        path.write_text("debug\n")
        self.addCleanup(path.unlink)
        self.assertEqual(self.hup("log.level")["log_level"], "debug")

    def test_every_program_hears_it_and_goes_on(self):
        for name, p in self.stack.processes.items():
            p.signal(signal.SIGHUP)
            wait_until(lambda p=p: p.events("log.level"), 30, what=name)
        self.assertEqual(self.api.get("/ready").status, 200)


class Keys(OnStack):
    """BUS_KEY_FILE and BUS_PEER_KEYS_FILE, which every program reads again."""
    layout = "ipc"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stack.stop()
        cls.files = {name: cls.stack.dir / f"{name}.pairs" for name in cls.stack.names()}
        cls.key = cls.stack.dir / "key"
        cls.write(["old"])
        cls.stack.env["BUS_KEY_FILE"] = str(cls.key)
        for name, path in cls.files.items():
            cls.stack.env_of[name] = {"BUS_PEER_KEYS_FILE": str(path)}
        cls.stack.start()

    @classmethod
    def write(cls, generations):
        cls.key.write_text(",".join(f"{g} secret that all of us have".ljust(40, "x")
                                    for g in generations))
        for name, path in cls.files.items():
            # Both ends of a pair name it alike.
            path.write_text(",".join(
                f"{other}=" + f"{g} of {min(name, other)} and {max(name, other)}".ljust(40, "x")
                for other in cls.files if other != name
                and {name, other} != {"auth", "content"} for g in generations))

    def hup_all(self):
        for name, p in self.stack.processes.items():
            seen = len(p.events("bus.rekeyed"))
            p.signal(signal.SIGHUP)
            wait_until(lambda p=p, n=seen: len(p.events("bus.rekeyed")) > n, 30, what=name)

    def test_secrets_are_rotated_while_requests_run(self):
        _, person = self.stack.register("rotator")
        stop, failures, n = threading.Event(), [], [0]

        def ask():
            while not stop.is_set():
                for path in ("/api/auth/validate", "/api/progress", "/api/gamification/stats"):
                    r = person.get(path)
                    if r.status != 200:
                        failures.append((path, r.status, r.raw))
                    n[0] += 1

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            for generations in (["old", "new"], ["new", "old"], ["new"]):
                self.write(generations)
                self.hup_all()
                before = n[0]
                wait_until(lambda b=before: n[0] > b + 10, 60, what="more answers")
        finally:
            stop.set()
            asker.join(60)
        self.assertEqual(failures, [])
        for name in self.stack.names():
            self.assertEqual(self.stack.processes[name].events("bus.frame_refused"), [])
        # One that has missed it is not believed any more, and one that comes
        # back with the secret of now is.
        gateway = self.stack.processes["gateway"]
        self.write(["old"])
        seen = len(gateway.events("bus.rekeyed"))
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: len(gateway.events("bus.rekeyed")) > seen, 30)
        wait_until(lambda: person.get("/api/progress").status == 503, 30, what="mistrust")
        self.write(["new"])
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: person.get("/api/progress").status == 200, 30, what="trust")

    def test_secrets_that_are_none_change_nothing(self):
        gateway = self.stack.processes["gateway"]
        good = self.key.read_text()
        self.addCleanup(self.key.write_text, good)
        for text, words in (("short", "BUS_KEY: must be one or two"),
                            ("", "BUS_KEY"), (None, "BUS_KEY_FILE: cannot read")):
            with self.subTest(words=words):
                if text is None:
                    self.key.unlink()
                else:
                    self.key.write_text(text)
                seen = len(gateway.events("config.reload_refused"))
                gateway.signal(signal.SIGHUP)
                said = wait_until(lambda n=seen: gateway.events("config.reload_refused")[n:], 30)
                self.assertIn(words, said[0]["reason"])
                self.assertEqual(self.api.get("/api/gamification/achievements").status, 200)


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "ipc"), Reload)(loader, tests, pattern)
    suite.addTests(loader.loadTestsFromTestCase(Keys))
    return suite


if __name__ == "__main__":
    unittest.main()
