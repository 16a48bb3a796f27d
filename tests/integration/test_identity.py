"""Keys, tokens and who may do what, over HTTP."""
import base64
import json
import time
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import OnStack, load_on


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class Identity(OnStack):
    def admin(self):
        return self.stack.api(key=self.stack.admin_key)

    def test_register_answers_what_the_front_end_reads(self):
        r = self.api.post("/api/auth/register", {"user_id": "Front.End-1", "language": "en",
                                                 "quota_tier": "premium"})
        self.assertEqual(r.status, 201, r.raw)
        self.assertRegex(r.json["api_key"], r"^sk_[A-Za-z0-9_-]{43}$")
        self.assertEqual((r.json["user_id"], r.json["quota_tier"]), ("Front.End-1", "free"))
        self.assertEqual(r.json["usage_instructions"]["header"], "X-API-Key")
        self.assertIn("free", r.json["message"])
        login = self.api.post("/api/auth/login", {"api_key": r.json["api_key"]}).json
        self.assertEqual(login["token"], login["access_token"])
        self.assertEqual((login["token_type"], login["expires_in"]), ("Bearer", 86400))
        told = claims(login["token"])
        for claim in ("iss", "aud", "sub", "hnd", "sid", "jti", "iat", "exp", "auth_time",
                      "scp", "role", "tier"):
            self.assertIn(claim, told)
        self.assertEqual(told["exp"] - told["iat"], 86400)
        self.assertNotEqual(told["sub"], "Front.End-1")

    def test_a_taken_handle_is_409_whatever_its_case(self):
        self.stack.register("taken.name")
        for handle in ("taken.name", "TAKEN.NAME"):
            self.assertProblem(self.api.post("/api/auth/register", {"user_id": handle}), 409)

    def test_bad_handles_are_refused(self):
        for handle in ("", "ab", "a" * 65, "a b c", "a@b.c", "naïve", "x/y", "admin", "ADMIN",
                       None, 7, {"a": 1}, "'; DROP TABLE users; --"):
            with self.subTest(handle=handle):
                r = self.api.post("/api/auth/register", {"user_id": handle})
                self.assertIn(r.status, (400, 409), r.raw)
                self.assertProblem(r, r.status)
        r = self.api.post("/api/auth/register", {"user_id": "tier.chooser",
                                                 "quota_tier": "gold"})
        self.assertProblem(r, 400)

    def test_unknown_and_malformed_keys_answer_the_same(self):
        bodies = set()
        for key in ("sk_" + "A" * 43, "nonsense", "sk_", "x" * 3000):
            r = self.api.post("/api/auth/login", {"api_key": key})
            self.assertEqual(r.status, 401, r.raw)
            body = r.json
            for member in ("request_id", "instance"):
                body.pop(member)
            bodies.add(json.dumps(body, sort_keys=True))
        self.assertEqual(len(bodies), 1, bodies)

    def test_a_person_adds_lists_and_revokes_keys(self):
        first, me = self.stack.register("key.holder")
        made = me.post("/api/auth/keys", {"name": "laptop"})
        self.assertIn(made.status, (200, 201), made.raw)
        second = made.json["api_key"]
        rows = me.get("/api/auth/keys").json["keys"]
        self.assertEqual(len(rows), 2)
        self.assertNotIn(first, json.dumps(rows))
        self.assertNotIn(second, json.dumps(rows))
        laptop = next(k for k in rows if k["name"] == "laptop")
        by_key = self.stack.api(key=second)
        self.assertEqual(by_key.get("/api/auth/validate").status, 200)

        _, other = self.stack.register("key.thief")
        self.assertProblem(other.delete(f"/api/auth/keys/{laptop['id']}"), 404)
        self.assertEqual(by_key.get("/api/auth/validate").status, 200)
        gone = me.delete(f"/api/auth/keys/{laptop['id']}")
        self.assertIn(gone.status, (200, 204), gone.raw)
        # Within a second on every gateway; ten times the margin.
        wait_until(lambda: by_key.get("/api/auth/validate").status == 401, 10,
                   what="the revoked key's end")
        self.assertProblem(self.api.post("/api/auth/login", {"api_key": second}), 401)
        self.assertEqual(self.stack.api(key=first).get("/api/auth/validate").status, 200)
        self.assertProblem(me.delete(f"/api/auth/keys/{laptop['id']}"), 404)

    def test_logout_ends_the_token_and_no_other(self):
        key, me = self.stack.register("leaver")
        again = self.api.post("/api/auth/login", {"api_key": key}).json["token"]
        self.assertIn(me.post("/api/auth/logout", {}).status, (200, 204))
        wait_until(lambda: me.get("/api/auth/validate").status == 401, 10,
                   what="the end of the token")
        self.assertEqual(self.stack.api(token=again).get("/api/auth/validate").status, 200)

    def test_only_an_admin_makes_keys_for_others(self):
        _, me = self.stack.register("no.admin")
        body = {"user_id": "made.by.admin", "quota_tier": "basic", "role": "user"}
        self.assertProblem(self.api.post("/api/auth/admin/generate-key", body), 401)
        self.assertProblem(me.post("/api/auth/admin/generate-key", body), 403)
        made = self.admin().post("/api/auth/admin/generate-key", body)
        self.assertEqual(made.status, 201, made.raw)
        who = self.stack.api(key=made.json["api_key"]).get("/api/auth/validate").json
        self.assertEqual((who["user_id"], who["quota_tier"], who["role"]),
                         ("made.by.admin", "basic", "user"))
        for bad in ({**body, "role": "emperor"}, {**body, "quota_tier": "gold"},
                    {"quota_tier": "free"}):
            self.assertProblem(self.admin().post("/api/auth/admin/generate-key", bad), 400)

    def test_tampered_tokens_are_refused(self):
        _, me = self.stack.register("forger")
        head, body, signature = me.token.split(".")
        told = claims(me.token)
        told["role"] = "admin"
        forged = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
        none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
        for token in (f"{head}.{forged}.{signature}", f"{none}.{body}.", f"{none}.{forged}.",
                      f"{head}.{body}", f"{head}.{body}.{signature}.x",
                      f"{head}.{body}.{signature[:-2]}", "a.b.c", "x" * 9000):
            with self.subTest(token=token[:30]):
                r = self.stack.api(token=token).get("/api/auth/validate")
                self.assertIn(r.status, (401, 431), r.raw)

    def test_the_key_set_is_public_and_holds_no_secret(self):
        r = self.api.get("/.well-known/jwks.json")
        self.assertEqual(r.status, 200)
        self.assertIn("public", r.headers["cache-control"])
        for key in r.json["keys"]:
            self.assertEqual((key["kty"], key["crv"], key["alg"]), ("EC", "P-256", "ES256"))
            self.assertNotIn("d", key)

    def test_private_answers_are_not_stored(self):
        _, me = self.stack.register("private.one")
        for path in ("/api/auth/validate", "/api/gamification/stats", "/api/progress"):
            self.assertIn("no-store", me.get(path).headers["cache-control"], path)


class AuthAway(OnStack):
    layout = "ipc"

    def test_tokens_go_on_while_svc_auth_is_away_and_it_comes_back(self):
        key, me = self.stack.register("patient")
        self.assertEqual(me.get("/api/gamification/stats").status, 200)
        self.stack.processes["auth"].kill()
        started = time.monotonic()
        self.assertEqual(me.get("/api/gamification/stats").status, 200)
        r = self.api.post("/api/auth/login", {"api_key": key})
        self.assertProblem(r, 503)
        self.assertIn("retry-after", r.headers)
        self.assertLess(time.monotonic() - started, 15)
        self.stack.start_one("auth")
        wait_until(lambda: self.api.post("/api/auth/login", {"api_key": key}).status == 200, 30,
                   what="svc-auth's return")


load_identity = load_on(("one", "ipc", "tcp"), Identity)


def load_tests(loader, tests, pattern):
    suite = load_identity(loader, tests, pattern)
    suite.addTests(loader.loadTestsFromTestCase(AuthAway))
    return suite


if __name__ == "__main__":
    unittest.main()
