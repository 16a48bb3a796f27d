"""An account with an e-mail address and a password."""
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import LAYOUTS, OnStack, load_on

SECRET, OTHER = "gravel otter lampshade", "zither plinth morning"
MAIL = "Planted.Address@example.org"


class Password(OnStack):
    def register(self, email, **more):
        r = self.api.post("/api/auth/register", {"email": email, "password": SECRET,
                                                 "confirm_password": SECRET, **more})
        self.assertEqual(r.status, 201, r.raw)
        return r.json

    def login(self, email, password=SECRET):
        return self.api.post("/api/auth/login", {"email": email, "password": password})

    def test_an_account_from_its_making_to_another_password(self):
        made = self.register("journey@example.org", quota_tier="premium")
        for member in ("message", "user_id", "email", "user", "token", "access_token",
                       "token_type", "expires_in"):
            self.assertIn(member, made)
        self.assertEqual((made["email"], made["quota_tier"], made["user"]["email"]),
                         ("journey@example.org", "free", "journey@example.org"))
        self.assertIn("premium", made["message"])
        first = self.stack.api(token=made["token"])
        who = first.get("/api/auth/validate").json
        self.assertEqual((who["valid"], who["user_id"]), (True, made["user_id"]))
        self.assertEqual(first.get("/api/gamification/stats").status, 200)
        self.assertEqual(first.get("/api/auth/me").json["user"]["email"], "journey@example.org")

        entered = self.login("JOURNEY@example.org")
        self.assertEqual(entered.status, 200, entered.raw)
        self.assertEqual(entered.json["user_id"], made["user_id"])
        me = self.stack.api(token=entered.json["token"])

        change = {"current_password": SECRET, "new_password": OTHER, "confirm_password": OTHER}
        wrong = me.post("/api/auth/change-password", {**change, "current_password": OTHER + "!"})
        self.assertProblem(wrong, 401, "AUTH_INVALID")
        weak = self.assertProblem(me.post("/api/auth/change-password", {
            **change, "new_password": "password1", "confirm_password": "x"}),
            400, "VALIDATION_ERROR")
        self.assertEqual({d["pointer"] for d in weak["details"]},
                         {"/new_password", "/confirm_password"})
        changed = me.post("/api/auth/change-password", change)
        self.assertEqual(changed.status, 200, changed.raw)
        self.assertEqual(set(changed.json), {"message"})

        wait_until(lambda: first.get("/api/auth/validate").status == 401, 10,
                   what="the end of the other session")
        self.assertEqual(self.api.post("/api/auth/refresh", {
            "refresh_token": made["refresh_token"]}).status, 401)
        self.assertEqual(me.get("/api/auth/validate").status, 200)
        self.assertProblem(self.login("journey@example.org"), 401, "AUTH_INVALID")
        self.assertEqual(self.login("journey@example.org", OTHER).status, 200)

    def test_what_is_taken_or_bad_is_told(self):
        self.register("taken@example.org", user_id="Taken.Handle")
        again = {"email": "TAKEN@example.org", "password": SECRET}
        self.assertProblem(self.api.post("/api/auth/register", again), 409, "ALREADY_EXISTS")
        again = {"email": "free@example.org", "password": SECRET, "user_id": "taken.handle"}
        self.assertProblem(self.api.post("/api/auth/register", again), 409, "ALREADY_EXISTS")
        bad = self.assertProblem(self.api.post("/api/auth/register", {
            "email": "nowhere", "password": "short", "confirm_password": "shorter"}), 400)
        self.assertEqual([d["pointer"] for d in bad["details"]],
                         ["/email", "/password", "/confirm_password"])
        self.assertProblem(self.api.post("/api/auth/login", {
            "api_key": "sk_x", "email": "taken@example.org", "password": SECRET}),
            400, "INVALID_INPUT")

    def test_the_longest_password_fits_in_any_writing(self):
        long = "".join(chr(0x1F300 + i * i % 251) for i in range(256))  # 12 bytes each as \u....\u....
        escaped = "".join(f"\\u{0xD83C + ((ord(c) - 0x1F000) >> 10):04x}"
                          f"\\u{0xDC00 + (ord(c) & 0x3FF):04x}" for c in long)
        body = f'{{"email":"long@example.org","password":"{escaped}",' \
               f'"confirm_password":"{escaped}"}}'.encode()
        head = {"Content-Type": "application/json"}
        r = self.api.ask("POST", "/api/auth/register", raw=body, headers=head)
        self.assertEqual(r.status, 201, r.raw)
        self.assertEqual(self.login("long@example.org", long).status, 200)
        # Nothing of it is cut off.
        self.assertEqual(self.login("long@example.org", long[:-1]).status, 401)
        me = self.stack.api(token=r.json["token"])
        body = f'{{"current_password":"{escaped}","new_password":"x{escaped[12:]}",' \
               f'"confirm_password":"x{escaped[12:]}"}}'.encode()
        r = me.ask("POST", "/api/auth/change-password", raw=body, headers=head)
        self.assertEqual(r.status, 200, r.raw)

    def test_an_account_with_a_key_may_have_a_password_too(self):
        key, me = self.stack.register("both.ways")
        r = me.post("/api/auth/change-password", {"new_password": SECRET})
        self.assertEqual(r.status, 200, r.raw)
        by_name = self.api.post("/api/auth/login", {"user_id": "Both.Ways", "password": SECRET})
        self.assertEqual(by_name.status, 200, by_name.raw)
        self.assertEqual(self.api.post("/api/auth/login", {"api_key": key}).status, 200)

    def test_who_guesses_waits_and_is_told_how_long(self):
        for n in range(12):  # a slow machine may sit out the first pauses
            r = self.login("nobody@example.org", f"guess number {n}")
            if r.status != 401:
                break
        self.assertGreaterEqual(n, 5)
        self.assertProblem(r, 429, "RATE_LIMIT_EXCEEDED")
        self.assertGreaterEqual(int(r.headers["retry-after"]), 1)

    def test_no_password_and_no_address_is_logged(self):
        self.register(MAIL, user_id="planted.handle")
        planted = "planted secret phrase"
        self.login(MAIL, planted)
        self.login("planted-nobody@example.org", planted)
        self.api.post("/api/auth/register", {"email": MAIL, "password": planted})
        self.api.post("/api/auth/register", {"email": "planted-bad", "password": planted})
        me = self.stack.api(token=self.login(MAIL).json["token"])
        me.post("/api/auth/change-password",
                {"current_password": planted, "new_password": planted + "!"})
        self.stack.stop()
        self.api.close()
        text = self.stack.text().lower()
        self.stack.start()
        for secret in (planted, SECRET, MAIL.lower(), "planted-nobody", "planted-bad",
                       "planted.handle", "$argon2id"):
            self.assertNotIn(secret, text)


load_tests = load_on(LAYOUTS, Password)

if __name__ == "__main__":
    unittest.main()
