"""Second factors over HTTP, proving anew who one is, and what a key's scopes let it do."""
import unittest

from tests.harness.process import wait_until
from tests.harness.totp import totp
from tests.integration.stack import OnStack, load_on

NO_KEY = "/api/auth/keys/00000000-0000-7000-8000-000000000000"


class Factors(OnStack):
    def enrol(self, handle):
        key, me = self.stack.register(handle)
        begun = me.post("/api/auth/factors/totp", {})
        self.assertEqual(begun.status, 201, begun.raw)
        self.assertIn(begun.json["secret"], begun.json["otpauth_uri"])
        r = me.post("/api/auth/factors/totp/confirm", {"code": totp(begun.json["secret"])})
        self.assertEqual(r.status, 200, r.raw)
        return key, me, begun.json["secret"], r.json["recovery_codes"]

    def challenge(self, body):
        problem = self.assertProblem(self.api.post("/api/auth/login", body), 401,
                                     "FACTOR_REQUIRED")
        self.assertEqual(problem["factors"], ["totp", "recovery_code"])
        return problem["challenge"]

    def test_a_login_takes_a_code_from_then_on(self):
        key, me, secret, codes = self.enrol("two.factors")
        self.assertEqual(len(set(codes)), 10)
        self.assertRegex(codes[0], r"^([A-Z2-7]{4}-){5}[A-Z2-7]{4}$")
        told = me.get("/api/auth/factors")
        self.assertEqual(told.json["recovery_codes_left"], 10)
        self.assertTrue(told.json["totp"]["active"])
        self.assertNotIn(secret, told.raw.decode())

        challenge = self.challenge({"api_key": key})
        self.assertProblem(self.api.post("/api/auth/login", {"challenge": challenge}), 400)
        wrong = {"challenge": challenge, "code": "00000x"}
        self.assertProblem(self.api.post("/api/auth/login", wrong), 401, "AUTH_INVALID")
        right = {"challenge": challenge, "code": totp(secret, 1)}
        r = self.api.post("/api/auth/login", right)
        self.assertEqual(r.status, 200, r.raw)
        proven = self.stack.api(token=r.json["token"])
        self.assertProblem(self.api.post("/api/auth/login", right), 401, "AUTH_INVALID")

        r = self.api.post("/api/auth/login", {"api_key": key, "recovery_code": codes[0],
                                              "session": "cookie"})
        self.assertEqual(r.status, 200, r.raw)
        self.assertIn("kae_session=", r.headers["set-cookie"])
        self.assertEqual(me.get("/api/auth/factors").json["recovery_codes_left"], 9)
        # The login behind the enrolment has had a code; neither key nor the one before.
        self.assertEqual(proven.post("/api/auth/keys", {"name": "k"}).status, 201)
        for api in (me, self.stack.api(key=key)):
            self.assertProblem(api.post("/api/auth/keys", {"name": "k", "api_key": key}), 401,
                               "REAUTH_REQUIRED")
            self.assertEqual(api.get("/api/auth/validate").status, 200)
        r = me.post("/api/auth/keys", {"name": "k", "code": codes[1]})
        self.assertEqual(r.status, 201, r.raw)

        self.assertProblem(proven.ask("DELETE", "/api/auth/factors/totp", body={"code": "1"}),
                           401, "REAUTH_REQUIRED")
        r = proven.ask("DELETE", "/api/auth/factors/totp", body={"code": codes[2]})
        self.assertEqual(r.status, 200, r.raw)
        self.assertEqual(self.api.post("/api/auth/login", {"api_key": key}).status, 200)
        log = self.stack.text()
        for hidden in (secret, codes[0], codes[3], challenge, right["code"] + '"'):
            self.assertNotIn(hidden, log)

    def test_an_answer_that_was_lost_is_given_again(self):
        key, _, _, codes = self.enrol("lost.answer")
        head = {"Idempotency-Key": "a-key-of-sixteen-or-more"}
        body = {"api_key": key, "recovery_code": codes[0]}
        first = self.api.post("/api/auth/login", body, headers=head)
        again = self.api.post("/api/auth/login", body, headers=head)
        self.assertEqual((first.status, again.status), (200, 200), again.raw)
        self.assertEqual(first.json, again.json)
        self.assertEqual(again.headers["idempotent-replayed"], "true")

    def test_guessing_has_to_wait(self):
        key, _, secret, _ = self.enrol("guessed.at")
        for _ in range(6):  # three are free, the fourth makes one wait
            r = self.api.post("/api/auth/login", {"api_key": key, "code": "00000x"})
            if r.status == 429:
                break
        self.assertProblem(r, 429, "RATE_LIMIT_EXCEEDED")
        self.assertGreaterEqual(int(r.headers["retry-after"]), 1)
        self.assertEqual(self.api.post("/api/auth/login", {"api_key": secret}).status, 401)


class Scopes(OnStack):
    def test_a_key_may_what_its_scopes_say(self):
        admin = self.stack.api(key=self.stack.admin_key)
        _, me = self.stack.register("scoped")
        # One route of each kind, and what it answers to who may.
        kinds = {"read": ("GET", "/api/auth/keys", None, 200),
                 "write": ("DELETE", NO_KEY, None, 404),
                 "generate": ("POST", "/api/create_subtopics", {"topic": ""}, 400),
                 "admin": ("GET", "/api/stats", None, 200)}
        for owner, scopes in ((me, ("read", "write", "generate")), (admin, tuple(kinds))):
            for scope in scopes:
                made = owner.post("/api/auth/keys", {
                    "name": scope, "scopes": [scope], "expires_at": "2100-01-01T00:00:00Z"})
                self.assertEqual((made.status, made.json["scopes"]), (201, [scope]), made.raw)
                key = self.stack.api(key=made.json["api_key"])
                token = self.stack.api(token=self.api.post(
                    "/api/auth/login", {"api_key": made.json["api_key"]}).json["token"])
                for kind, (method, path, body, status) in kinds.items():
                    for api in (key, token):
                        with self.subTest(scope=scope, kind=kind, token=api is token):
                            r = api.ask(method, path, body=body)
                            self.assertEqual(r.status, status if kind == scope else 403, r.raw)
                self.assertEqual(key.get("/api/auth/validate").status, 200)
                # No key makes one that may more.
                r = key.post("/api/auth/keys", {"name": "more", "scopes": ["read", "write"]})
                self.assertProblem(r, 403, "INSUFFICIENT_PERMISSIONS")
        for scopes in (["admin"], ["read", "admin"]):
            self.assertProblem(me.post("/api/auth/keys", {"name": "a", "scopes": scopes}), 403)
        shown = {k["name"]: k for k in me.get("/api/auth/keys").json["keys"]}
        self.assertEqual(shown["read"]["expires_at"], "2100-01-01T00:00:00.000Z")
        self.assertEqual(shown["read"]["scopes"], ["read"])
        self.assertIn("last_used_at", shown["read"])


class OldLogin(OnStack):
    env = {"STEP_UP_MAX_AGE_S": "1"}

    def test_a_login_of_long_ago_asks_for_a_proof(self):
        key, me = self.stack.register("long.ago")
        other_key, _ = self.stack.register("some.body")

        def add(**proof):
            return me.post("/api/auth/keys", {"name": "k", **proof})

        self.assertEqual(add().status, 201)
        # Asks for a proof first; without a factor it then does nothing.
        wait_until(lambda: me.post("/api/auth/factors/recovery-codes", {}).status == 401, 30,
                   what="the login to be of long ago")
        self.assertProblem(add(), 401, "REAUTH_REQUIRED")
        self.assertProblem(add(api_key=other_key), 401, "REAUTH_REQUIRED")
        self.assertProblem(me.post("/api/auth/factors/totp", {}), 401, "REAUTH_REQUIRED")
        self.assertEqual(me.get("/api/auth/validate").status, 200)
        self.assertEqual(add(api_key=key).status, 201)


load_both = load_on(("one", "tcp"), Factors)
load_one = load_on(("one",), Scopes, OldLogin)


def load_tests(loader, tests, pattern):
    suite = load_both(loader, tests, pattern)
    suite.addTests(load_one(loader, tests, pattern))
    return suite


if __name__ == "__main__":
    unittest.main()
