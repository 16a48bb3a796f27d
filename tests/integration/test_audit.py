"""What was done is in the log, for those whom it concerns, and can be proved."""
import hashlib
import sqlite3
import subprocess

from tests.harness.process import wait_until
from tests.integration.stack import OnStack, load_on

OWN = {"id", "user_id", "event_type", "event_category", "outcome", "by", "resource_type",
       "resource_id", "ip_address", "user_agent", "request_id", "data", "created_at"}


def net(*values):
    """Netstrings, as svc-gdpr/audit.h has them."""
    out = b""
    for v in values:
        v = v if isinstance(v, bytes) else str(v).encode()
        out += b"%d:%s," % (len(v), v)
    return out


class Audit(OnStack):
    def logs(self, api, path="/api/user/audit-logs"):
        r = api.get(path)
        self.assertEqual(r.status, 200, r.raw)
        self.assertEqual(r.json["count"], len(r.json["audit_logs"]))
        return r.json["audit_logs"]

    def types(self, api):
        return [l["event_type"] for l in self.logs(api)]

    def wait_types(self, api, want):
        """Newest first; rows come within a second of the deed, failed logins two."""
        wait_until(lambda: self.types(api) == want, 30,
                   what=f"{want} (now {self.types(api)})")

    @property
    def admin(self):
        return self.stack.api(key=self.stack.admin_key)

    def verify(self, *head):
        program = "knowalledge" if self.layout == "one" else "kae-gdpr"
        r = subprocess.run([self.stack.bin / program, "--verify-audit", *head],
                           env={**self.stack.env, "PATH": "/usr/bin:/bin"},
                           cwd=self.stack.dir, capture_output=True, text=True, timeout=120)
        lines = dict(l.split(" ", 1) for l in r.stdout.splitlines())
        return r.returncode, lines, r.stdout + r.stderr

    def test_what_was_done_is_in_ones_own_log_and_in_no_others(self):
        key, me = self.stack.register("ada.log")
        _, other = self.stack.register("eve.log")
        made = me.post("/api/auth/keys", {"name": "laptop"}).json
        me.delete(f"/api/auth/keys/{made['key_id']}")
        self.wait_types(me, ["api_key_revoked", "api_key_created", "login", "register"])
        for row in self.logs(me):
            self.assertEqual(set(row), OWN)
            self.assertEqual((row["user_id"], row["by"], row["outcome"], row["ip_address"],
                              row["event_category"]),
                             ("ada.log", "self", "ok", "127.0.0.1", "auth"))
        self.assertEqual(self.logs(me)[0]["resource_id"], made["key_id"])
        self.assertEqual(self.types(other), ["login", "register"])
        self.assertFalse({r["id"] for r in self.logs(me)} & {r["id"] for r in self.logs(other)})
        again = self.stack.api(token=self.stack.api().post(
            "/api/auth/login", {"api_key": key}).json["token"])
        again.post("/api/auth/logout")
        wait_until(lambda: self.types(me)[0] == "logout", 30, what="the logout")
        self.assertNotIn(key, self.stack.text())

    def test_pages_have_each_row_once(self):
        _, me = self.stack.register("pages.log")
        for i in range(3):
            me.post("/api/auth/keys", {"name": f"key {i}"})
        wait_until(lambda: len(self.logs(me)) == 5, 30, what="five rows")
        every, cursor, pages = self.logs(me), None, []
        for _ in range(5):
            path = "/api/user/audit-logs?limit=2" + (f"&cursor={cursor}" if cursor else "")
            r = me.get(path).json
            pages.append(r["audit_logs"])
            cursor = r["next_cursor"]
            if not cursor:
                break
        self.assertEqual([len(p) for p in pages], [2, 2, 1])
        self.assertEqual([l for p in pages for l in p], every)
        self.assertProblem(me.get("/api/user/audit-logs?cursor=x"), 400, "VALIDATION_ERROR")
        self.assertProblem(me.get("/api/user/audit-logs?limit=0"), 400, "VALIDATION_ERROR")
        # The cursor is a row of one's own, or there is nothing behind it.
        stranger = "01900000-0000-7000-8000-000000000000"
        self.assertEqual(self.logs(me, f"/api/user/audit-logs?cursor={stranger}"), [])

    def test_an_administrators_look_is_seen_by_whom_it_concerned(self):
        _, me = self.stack.register("Seen.log")
        self.wait_types(me, ["login", "register"])
        self.assertProblem(me.get("/api/admin/audit-logs"), 403)
        seen = self.logs(self.admin, "/api/admin/audit-logs?user_id=seen.log")
        self.assertEqual([(l["event_type"], l["user_id"], l["actor"]) for l in seen],
                         [("login", "Seen.log", "Seen.log"), ("register", "Seen.log", "Seen.log")])
        own = self.logs(me)
        self.assertEqual([l["event_type"] for l in own], ["audit_read", "login", "register"])
        # Who looked is told by role; their address is theirs.
        self.assertEqual((own[0]["by"], own[0]["ip_address"], own[0]["user_agent"]),
                         ("admin", None, None))
        logins = self.logs(self.admin, "/api/admin/audit-logs?user_id=seen.log&event_type=login")
        self.assertEqual([l["event_type"] for l in logins], ["login"])
        of = self.logs(self.admin, f"/api/admin/audit-logs?pseudonym={seen[0]['pseudonym']}")
        self.assertLessEqual({l["id"] for l in own}, {l["id"] for l in of})
        self.assertEqual(self.logs(self.admin, "/api/admin/audit-logs?user_id=nobody.here"), [])

    def test_acts_of_administrators_are_logged(self):
        before = len(self.logs(self.admin, "/api/user/audit-logs?limit=500"))
        self.assertEqual(self.admin.post("/api/cache/clear").status, 200)
        self.assertEqual(self.admin.post("/api/cache/invalidate",
                                         {"namespace": "content"}).status, 200)
        self.assertEqual(self.admin.post("/api/circuit-breaker/gdpr/reset").status, 200)
        made = self.admin.post("/api/auth/admin/generate-key",
                               {"user_id": "granted.log", "role": "admin"}).json
        # What is refused is no act.
        self.assertEqual(self.admin.post("/api/circuit-breaker/none/reset").status, 404)
        self.assertEqual(self.admin.post("/api/cache/invalidate", {"namespace": 7}).status, 400)
        granted = self.stack.api(key=made["api_key"])
        self.wait_types(granted, ["admin_key_created"])
        self.assertEqual(self.logs(granted)[0]["data"], {"role": "admin", "tier": "free"})
        self.assertEqual(self.admin.post("/api/auth/admin/generate-key",
                                         {"user_id": "granted.log", "role": "user"}).status, 201)
        self.wait_types(granted, ["admin_key_created", "role_changed", "admin_key_created"])
        self.assertEqual(self.logs(granted)[1]["data"]["role_before"], "admin")
        wait_until(lambda: [l["event_type"] for l in self.logs(
            self.admin, "/api/user/audit-logs?limit=500")][:-before or None][:3] == [
                "breaker_reset", "cache_invalidated", "cache_cleared"], 30, what="three acts")

    def test_failed_logins_are_counted_not_listed(self):
        for _ in range(20):
            r = self.stack.api().post("/api/auth/login", {"api_key": "sk_" + "x" * 43})
            self.assertEqual(r.status, 401)
        path = "/api/admin/audit-logs?event_type=login_failed"

        def counted():
            rows = self.logs(self.admin, path)
            return len(rows) if rows else 0
        wait_until(counted, 30, what="a failed login")
        rows = self.logs(self.admin, path)
        self.assertLessEqual(len(rows), 2)  # two only where the minute turned
        self.assertEqual((rows[0]["user_id"], rows[0]["actor"], rows[0]["outcome"]),
                         (None, None, "failed"))
        self.assertEqual(rows[0]["data"]["network"], "127.0.0.0/24")

    def test_the_log_is_whole_and_is_the_one_that_was_noted(self):
        _, me = self.stack.register("whole.log")
        self.wait_types(me, ["login", "register"])
        status, lines, text = self.verify()
        self.assertEqual(status, 0, text)
        head = lines["head"]
        me.post("/api/auth/keys", {"name": "one more"})
        wait_until(lambda: len(self.logs(me)) == 3, 30, what="three rows")
        status, lines, text = self.verify(head)
        self.assertEqual(status, 0, text)
        seq, digest = lines["head"].split(":")
        status, _, text = self.verify(f"{int(seq) + 1000}:{digest}")
        self.assertEqual(status, 1, text)
        status, _, text = self.verify(f"{seq}:{'0' * 64}")
        self.assertEqual(status, 1, text)
        self.assertEqual(self.verify("nonsense")[0], 2)


class Proof(OnStack):
    """On SQLite, where a test can read the file itself."""
    layout = "one"
    verify = Audit.verify

    def test_anybody_can_prove_it_and_find_what_was_changed(self):
        self.stack.register("ada")
        path = self.stack.dir / "data" / "knowalledge-gdpr.db"

        def rows():
            with sqlite3.connect(path) as db:
                return db.execute(
                    "SELECT seq, id, at, event, category, source, outcome, subject, actor, "
                    "role, resource_type, detail, hash, salt, body FROM audit_log "
                    "LEFT JOIN audit_detail USING (seq) ORDER BY seq").fetchall()
        wait_until(lambda: len(rows()) == 2, 30, what="two rows")
        before = bytes(32)
        for *told, detail, digest, salt, body in rows():
            self.assertEqual(hashlib.sha256(net("kae-audit-detail-1", salt, body)).digest(),
                             detail)
            before = hashlib.sha256(net("kae-audit-1", before.hex(), *told,
                                        detail.hex())).digest()
            self.assertEqual(before, digest)
        self.stack.stop()
        self.assertEqual(self.verify()[0], 0)
        with sqlite3.connect(path) as db:
            with self.assertRaisesRegex(sqlite3.Error, "append only"):
                db.execute("UPDATE audit_log SET outcome = 'failed' WHERE seq = 2")
            db.execute("DROP TRIGGER audit_log_UPDATE")
            db.execute("UPDATE audit_log SET outcome = 'failed' WHERE seq = 2")
        status, _, text = self.verify()
        self.assertEqual(status, 1, text)
        self.assertIn("seq 2:", text)


class Away(OnStack):
    layout = "ipc"

    def test_what_was_done_while_the_log_was_away_is_in_it_after(self):
        _, me = self.stack.register("away.log")
        self.stack.processes["gdpr"].kill()
        for i in range(3):
            self.assertEqual(me.post("/api/auth/keys", {"name": f"key {i}"}).status, 201)
        self.assertEqual(self.stack.api(key=self.stack.admin_key).post(
            "/api/circuit-breaker/auth/reset").status, 200)
        self.stack.start_one("gdpr")
        self.stack.wait_ready()

        def types():
            r = me.get("/api/user/audit-logs")
            return [l["event_type"] for l in r.json["audit_logs"]] if r.status == 200 else r.status
        want = ["api_key_created"] * 3 + ["login", "register"]
        wait_until(lambda: types() == want, 60, what=f"{want} (now {types()})")


class Refused(OnStack):
    layout = "ipc"

    def test_what_cannot_be_noted_is_not_done(self):
        admin = self.stack.api(key=self.stack.admin_key)
        self.assertEqual(admin.post("/api/cache/clear").status, 200)
        self.stack.processes["auth"].kill()
        self.assertProblem(admin.post("/api/cache/clear"), 503)
        self.stack.start_one("auth")
        self.stack.wait_ready()
        wait_until(lambda: admin.post("/api/cache/clear").status == 200, 30,
                   what="a cleared cache")


def load_tests(loader, tests, pattern):
    suite = load_on(("one", "tcp"), Audit)(loader, tests, pattern)
    for cls in (Proof, Away, Refused):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite
