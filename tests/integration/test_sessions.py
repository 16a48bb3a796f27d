"""Sessions over HTTP: what ends one reaches every gateway, and what goes on with
one has a single line of descent."""
import threading
import unittest

from tests.harness.process import Process, free_port, wait_until
from tests.integration.stack import BIN, Api, OnStack

REACHED_S = 10  # a second is promised; ten times the margin


class TwoGateways(OnStack):
    """A second gateway before the same services."""
    layout = "ipc"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port = free_port()
        cls.second = Process([BIN / "kae-gateway"], {
            **cls.stack.env, "PORT": str(cls.port), "ADMIN_PORT": str(free_port())},
            cwd=cls.stack.dir)
        cls.addClassCleanup(cls.second.stop)
        wait_until(cls.serves, 60, what="the second gateway")

    @classmethod
    def serves(cls):
        try:
            return Api(cls.port).get("/ready").status == 200
        except OSError:
            return False

    def both(self, **credential):
        return Api(self.stack.port, **credential), Api(self.port, **credential)

    def assertKnown(self, **credential):
        for api in self.both(**credential):
            self.assertEqual(api.get("/api/auth/validate").status, 200)

    def assertEnds(self, what, **credential):
        for api in self.both(**credential):
            # Not validate: svc-auth itself would know.
            wait_until(lambda a=api: a.get("/api/gamification/stats").status == 401, REACHED_S,
                       what=what)

    def enter(self, handle):
        """A new person: API key and what the login gave."""
        key, _ = self.stack.register(handle)
        return key, self.login(key)

    def login(self, key):
        r = self.api.post("/api/auth/login", {"api_key": key})
        self.assertEqual(r.status, 200, r.raw)
        return r.json

    def admin(self):
        return self.stack.api(key=self.stack.admin_key)

    def refresh(self, token, api=None):
        return (api or self.api).post("/api/auth/refresh", {"refresh_token": token})


class Ends(TwoGateways):
    def test_a_logout_reaches_both_gateways_and_its_refresh_token(self):
        key, login = self.enter("two.logout")
        other = self.login(key)
        self.assertKnown(token=login["token"])
        self.assertEqual(self.stack.api(token=login["token"]).post(
            "/api/auth/logout", {}).status, 200)
        self.assertEnds("the logged out token", token=login["token"])
        self.assertProblem(self.refresh(login["refresh_token"]), 401, "INVALID_TOKEN")
        self.assertKnown(token=other["token"])
        self.assertKnown(key=key)

    def test_a_logout_everywhere_reaches_both_gateways(self):
        key, first = self.enter("two.everywhere")
        second = self.login(key)
        self.assertEqual(Api(self.port, token=first["token"]).post(
            "/api/auth/logout", {"all": True}).status, 200)
        for login in (first, second):
            self.assertEnds("a token", token=login["token"])
            self.assertProblem(self.refresh(login["refresh_token"]), 401)
        self.assertKnown(key=key)
        self.assertKnown(token=self.login(key)["token"])

    def test_a_revoked_session_ends_at_both_gateways(self):
        key, login = self.enter("two.revoked")
        mine = self.login(key)
        me = self.stack.api(token=mine["token"])
        rows = me.get("/api/auth/sessions").json
        self.assertEqual(rows["count"], len(rows["sessions"]))
        current = [s["current"] for s in rows["sessions"]]
        self.assertEqual(current.count(True), 1)
        for row in rows["sessions"]:
            self.assertEqual((row["method"], row["ip_prefix"]), ("api_key", "127.0.0.0/24"))
        past = [s["id"] for s in rows["sessions"] if not s["current"]]
        _, stranger = self.stack.register("two.stranger")
        for session in past:
            self.assertProblem(stranger.delete(f"/api/auth/sessions/{session}"), 404)
            self.assertEqual(me.delete(f"/api/auth/sessions/{session}").status, 200)
            self.assertProblem(me.delete(f"/api/auth/sessions/{session}"), 404)
        self.assertEnds("the revoked session", token=login["token"])
        self.assertKnown(token=mine["token"])
        # The present one, too.
        here = [s["id"] for s in rows["sessions"] if s["current"]][0]
        self.assertEqual(me.delete(f"/api/auth/sessions/{here}").status, 200)
        self.assertEnds("the present session", token=mine["token"])

    def test_a_revoked_key_takes_its_sessions_along(self):
        key, own = self.enter("two.keys")
        me = self.stack.api(token=own["token"])
        made = me.post("/api/auth/keys", {"name": "laptop"}).json
        opened = self.login(made["api_key"])
        self.assertEqual(me.delete(f"/api/auth/keys/{made['key_id']}").status, 200)
        self.assertEnds("the revoked key", key=made["api_key"])
        self.assertEnds("what it opened", token=opened["token"])
        self.assertProblem(self.refresh(opened["refresh_token"]), 401)
        self.assertKnown(token=own["token"])
        self.assertEqual([s["current"] for s in me.get("/api/auth/sessions").json["sessions"]
                          if s["current"]], [True])
        self.assertKnown(key=key)

    def test_a_disabled_person_is_out_at_both_gateways_until_enabled(self):
        key, login = self.enter("two.disabled")
        self.assertKnown(key=key)
        r = self.admin().post("/api/admin/users/Two.Disabled/disable", {})
        self.assertEqual((r.status, r.json["user"]["state"]), (200, "disabled"))
        self.assertEnds("the token", token=login["token"])
        self.assertEnds("the API key", key=key)
        self.assertProblem(self.refresh(login["refresh_token"]), 401)
        refused = self.api.post("/api/auth/login", {"api_key": key})
        wrong = self.api.post("/api/auth/login", {"api_key": "sk_" + "A" * 43})
        rid = "request_id"
        self.assertEqual({k: v for k, v in refused.json.items() if k != rid},
                         {k: v for k, v in wrong.json.items() if k != rid})
        self.assertEqual(self.admin().post("/api/admin/users/two.disabled/enable",
                                           {}).status, 200)
        self.assertKnown(token=self.login(key)["token"])
        for api in self.both(key=key):  # a refusal is remembered for a second
            wait_until(lambda a=api: a.get("/api/auth/validate").status == 200, REACHED_S,
                       what="the enabled person's key")
        self.assertProblem(self.refresh(login["refresh_token"]), 401)

    def test_only_administrators_change_people(self):
        _, me = self.stack.register("two.plain")
        for method, path, body in (("GET", "/api/admin/users", None),
                                   ("GET", "/api/admin/users/two.plain", None),
                                   ("POST", "/api/admin/users/two.plain/disable", {}),
                                   ("POST", "/api/admin/users/two.plain/enable", {}),
                                   ("PATCH", "/api/admin/users/two.plain", {"role": "admin"})):
            with self.subTest(path=path):
                self.assertProblem(me.ask(method, path, body), 403)
        # Nor does an administrator's key without the scope.
        weak = self.admin().post("/api/auth/keys", {"name": "weak", "scopes": ["read", "write"]})
        self.assertProblem(self.stack.api(key=weak.json["api_key"]).get("/api/admin/users"), 403)

    def test_people_are_listed(self):
        for i in range(3):
            self.stack.register(f"listed.{i}")
        seen, cursor = [], ""
        while cursor is not None:
            r = self.admin().get(f"/api/admin/users?prefix=listed.&limit=2&cursor={cursor}"
                                 if cursor else "/api/admin/users?prefix=listed.&limit=2")
            self.assertEqual(r.status, 200, r.raw)
            seen += [u["user_id"] for u in r.json["users"]]
            cursor = r.json["next_cursor"]
        self.assertEqual(seen, ["listed.0", "listed.1", "listed.2"])
        for query in ("state=gone", "role=king", "quota_tier=gold", "limit=0", "limit=201",
                      "limit=x"):
            self.assertProblem(self.admin().get(f"/api/admin/users?{query}"), 400)


class GoesOn(TwoGateways):
    def test_a_session_goes_on_by_its_refresh_token(self):
        _, login = self.enter("on.refresh")
        for _ in range(3):
            r = self.refresh(login["refresh_token"])
            self.assertEqual(r.status, 200, r.raw)
            self.assertEqual(r.json["user"]["id"], "on.refresh")
            self.assertIn("no-store", r.headers["cache-control"])
            self.assertNotEqual(r.json["refresh_token"], login["refresh_token"])
            login = r.json
        self.assertKnown(token=login["token"])

    def test_a_stale_bearer_beside_it_does_no_harm(self):
        _, login = self.enter("on.stale")
        for stale in ("nonsense", login["token"][:-4], "null"):
            r = self.refresh(login["refresh_token"], self.stack.api(token=stale))
            self.assertEqual(r.status, 200, r.raw)

    def test_a_bearer_gets_another_and_ends_at_both_gateways(self):
        _, login = self.enter("on.bearer")
        r = self.stack.api(token=login["token"]).post("/api/auth/refresh")
        self.assertEqual(r.status, 200, r.raw)
        self.assertIsNone(r.json["refresh_token"])
        self.assertEnds("the bearer", token=login["token"])
        self.assertKnown(token=r.json["token"])
        self.assertEqual(self.refresh(login["refresh_token"]).status, 200)
        self.assertProblem(self.stack.api(token=login["token"]).post("/api/auth/refresh"), 401)

    def test_without_a_session_there_is_nothing_to_go_on_with(self):
        key, _ = self.enter("on.nothing")
        self.assertProblem(self.api.post("/api/auth/refresh"), 401, "AUTH_REQUIRED")
        self.assertProblem(self.api.post("/api/auth/refresh", {}), 401, "AUTH_REQUIRED")
        self.assertProblem(self.stack.api(key=key).post("/api/auth/refresh"), 400)
        for bad in (7, True, ["x"], {"a": 1}):
            self.assertProblem(self.refresh(bad), 400, "VALIDATION_ERROR")

    def test_tabs_that_refresh_at_once_over_both_gateways_get_the_same_token(self):
        _, login = self.enter("on.tabs")
        answers = []

        def tab(port):
            answers.append(self.refresh(login["refresh_token"], Api(port)))

        tabs = [threading.Thread(target=tab, args=(port,))
                for port in (self.stack.port, self.port) * 4]
        for t in tabs:
            t.start()
        for t in tabs:
            t.join()
        self.assertEqual({a.status for a in answers}, {200}, [a.raw for a in answers])
        self.assertEqual(len({a.json["refresh_token"] for a in answers}), 1)
        for a in answers:
            self.assertEqual(self.stack.api(token=a.json["token"]).get(
                "/api/auth/validate").status, 200)

    def test_a_stolen_token_ends_the_session_at_both_gateways_and_is_told(self):
        _, first = self.enter("on.stolen")
        second = self.refresh(first["refresh_token"]).json
        third = self.refresh(second["refresh_token"]).json
        unknown = self.refresh("rt_" + "A" * 43)
        reused = self.refresh(first["refresh_token"])
        self.assertProblem(reused, 401, "INVALID_TOKEN")
        rid = "request_id"
        self.assertEqual({k: v for k, v in reused.json.items() if k != rid},
                         {k: v for k, v in unknown.json.items() if k != rid})
        self.assertEnds("the session", token=third["token"])
        self.assertProblem(self.refresh(third["refresh_token"]), 401)
        wait_until(lambda: "audit.refresh_reused" in self.stack.text(), 10,
                   what="the alarm on the log")

    def test_me_and_validate_agree(self):
        _, login = self.enter("on.me")
        me = self.stack.api(token=login["token"])
        r = me.get("/api/auth/me")
        self.assertEqual(r.status, 200, r.raw)
        self.assertEqual(r.json["user"], login["user"])
        self.assertEqual(r.json["user"]["created_at"],
                         me.get("/api/auth/validate").json["created_at"])

    def test_no_token_is_on_the_log(self):
        _, login = self.enter("on.quiet")
        again = self.refresh(login["refresh_token"]).json
        text = self.stack.text() + self.second.text()
        for token in (login["refresh_token"], again["refresh_token"], login["token"]):
            self.assertNotIn(token, text)


class AuthAway(TwoGateways):
    def test_what_was_revoked_stays_revoked_and_tokens_go_on(self):
        key, login = self.enter("away.leaver")
        _, patient = self.enter("away.patient")
        self.stack.api(token=login["token"]).post("/api/auth/logout", {"all": True})
        self.assertEnds("the token", token=login["token"])
        self.assertKnown(token=patient["token"])
        self.stack.processes["auth"].stop()
        for api in self.both(token=login["token"]):
            self.assertEqual(api.get("/api/gamification/stats").status, 401)
        for api in self.both(token=patient["token"]):
            self.assertEqual(api.get("/api/gamification/stats").status, 200)
        self.assertProblem(self.refresh(patient["refresh_token"]), 503)
        # An administrator's routes want fresh news of revocations.
        boss = self.stack.api(key=self.stack.admin_key)
        self.assertProblem(boss.get("/api/admin/users"), 503)
        self.stack.start_one("auth")
        wait_until(lambda: self.refresh(patient["refresh_token"]).status == 200, 30,
                   what="svc-auth's return")
        for api in self.both(token=login["token"]):
            self.assertEqual(api.get("/api/gamification/stats").status, 401)
        del key


if __name__ == "__main__":
    unittest.main()
