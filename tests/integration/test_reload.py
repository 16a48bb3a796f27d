"""SIGHUP: what is read again, and that what is wrong changes nothing."""
import signal
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


load_tests = load_on(("one", "ipc"), Reload)

if __name__ == "__main__":
    unittest.main()
