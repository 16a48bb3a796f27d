"""KEY_ENCRYPTION_KEY replaced as docs/operations.md says, on running programs: what was
sealed and issued before stays good, and a program without the right key refuses."""
import secrets
import unittest

from tests.harness.process import Process, free_port, wait_until
from tests.harness.totp import totp
from tests.integration.stack import BIN, Stack, load_on

CHECK = "key_encryption_key"
SERVICES = ("auth", "gdpr")  # those that seal


class OnKeys(unittest.TestCase):
    def setUp(self):
        self.stack = Stack(self.layout)
        self.addCleanup(self.stack.close)
        self.new = secrets.token_hex(24)
        if self.layout == "one":  # the file that is made at the first start
            self.file = self.stack.dir / "data" / "key_encryption.key"
        else:
            self.file = self.stack.dir / "kek"
            self.file.write_text(secrets.token_hex(24) + "\n")
            self.stack.env.update(ENVIRONMENT="testing", KEY_ENCRYPTION_KEY_FILE=str(self.file))
        self.programs = [n for n in self.stack.names() if n in ("knowalledge", *SERVICES)]
        self.stack.start()
        self.old = self.file.read_text().strip()

    def restart(self, *keys):
        """The programs that seal, where they run, with these keys."""
        for name in self.programs:
            if name in self.stack.processes:
                self.assertEqual(self.stack.processes[name].stop(), 0)
        self.file.write_text(",".join(keys) + "\n")
        for name in self.programs:
            self.stack.start_one(name)

    def restart_well(self, *keys):
        self.restart(*keys)
        self.stack.wait_ready()

    def resealed(self):
        return [e for n in self.programs for e in
                self.stack.processes[n].events("key.resealed")]

    def check_of(self, service, name=None):
        program = name or ("knowalledge" if self.layout == "one" else service)
        parts = self.stack.admin(program, "/readyz").json["parts"]
        return parts[service]["checks"][CHECK]

    def assertRefuses(self, key, sealed_under):
        """Exit 2, and the key that is missing is named."""
        self.restart(key)
        for name in self.programs:
            p = self.stack.processes[name]
            self.assertEqual(p.wait(), 2, p.text())
            said = p.events("root_key.refused")
            self.assertTrue(said, p.text())
            for event in said:
                self.assertEqual(event["sealed_under"], sealed_under)
                self.assertIn("KEY_ENCRYPTION_KEY", event["hint"])
            self.stack.past.append(self.stack.processes.pop(name))


class KeyReplacement(OnKeys):
    def test_nothing_is_lost_and_the_old_key_opens_nothing(self):
        key, me = self.stack.register("keeper")
        begun = me.post("/api/auth/factors/totp", {})
        r = me.post("/api/auth/factors/totp/confirm", {"code": totp(begun.json["secret"])})
        self.assertEqual(r.status, 200, r.raw)
        codes = r.json["recovery_codes"]
        _, gone = self.stack.register("gone")
        self.assertIn(gone.ask("DELETE", "/api/user/delete",
                               body={"reason": "because"}).status, (200, 202))

        self.restart_well(self.new, self.old)
        told = self.resealed()
        self.assertEqual(len(told), 2, told)  # once in each database
        old_id, new_id = told[0]["from"], told[0]["to"]
        self.assertEqual({(e["from"], e["to"]) for e in told}, {(old_id, new_id)})
        for service in SERVICES:
            check = self.check_of(service)
            self.assertEqual((check["status"], check["detail"]),
                             ("up", f"sealed under {new_id}, of 2 given"))
        self.assertEqual(me.get("/api/auth/validate").status, 200)

        self.restart_well(self.new)
        self.assertEqual(self.resealed(), [])
        self.assertEqual(me.get("/api/auth/validate").status, 200)
        # A sealed secret and a keyed hash of before.
        for proof in ({"code": totp(begun.json["secret"], 1)}, {"recovery_code": codes[0]}):
            r = self.stack.api().post("/api/auth/login", {"api_key": key, **proof})
            self.assertEqual(r.status, 200, r.raw)
        r = self.stack.api().post("/api/auth/register", {"user_id": "gone"})
        self.assertEqual(r.status, 409, r.raw)  # the name of who was erased stays taken

        self.assertRefuses(self.old, new_id)
        self.assertRefuses(secrets.token_hex(24), new_id)
        self.restart_well(self.new)
        self.assertEqual(me.get("/api/auth/validate").status, 200)
        for secret in (self.old, self.new):
            self.assertNotIn(secret, self.stack.text())


class Replicas(OnKeys):
    def test_replicas_change_one_after_the_other(self):
        """Each at its own pace, also if one is killed on the way."""
        _, me = self.stack.register("roller")
        self.file.write_text(f"{self.new},{self.old}\n")
        second = Process([BIN / "kae-auth"], {
            **self.stack.env, "ADMIN_PORT": str(free_port()),
            "DATA_DIR": str(self.stack.dir / "second"),
            "BUS_LISTEN": f"tcp://127.0.0.1:{free_port()}"}, cwd=self.stack.dir)
        self.addCleanup(second.stop)
        told = wait_until(lambda: second.events("key.resealed"), 30, what="the new seal")
        # The first has the old key alone: it goes on, and says what it could not do.
        said = wait_until(lambda: (c := self.check_of("auth"))["status"] == "degraded" and c, 60,
                          what="the first to notice")
        self.assertIn(told[0]["to"], said["detail"])
        self.assertIn("a restart would lack", said["detail"])
        self.assertEqual(me.get("/api/auth/validate").status, 200)
        self.stack.register("meanwhile")
        # svc-gdpr dies before its turn: the new key alone is not enough for it.
        self.stack.processes["gdpr"].kill()
        self.file.write_text(self.new + "\n")
        self.stack.start_one("gdpr")
        self.assertEqual(self.stack.processes["gdpr"].wait(), 2)
        self.assertEqual(self.stack.processes["gdpr"].events("root_key.refused")[0]
                         ["sealed_under"], told[0]["from"])
        self.file.write_text(f"{self.new},{self.old}\n")
        self.stack.start_one("gdpr")
        self.stack.wait_ready()


def load_tests(*args):
    suite = load_on(("one", "tcp"), KeyReplacement)(*args)
    suite.addTests(load_on(("tcp",), Replicas)(*args))
    return suite
