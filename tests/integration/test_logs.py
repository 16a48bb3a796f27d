"""The log tells what happened, and no secret."""
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import OnStack, load_on

PLANTED = "planted-in-the-topic"


class Logs(OnStack):
    env = {"LOG_LEVEL": "debug"}

    def test_no_secret_handle_body_or_query_is_ever_logged(self):
        key, me = self.stack.register("planted.handle")
        me.post("/api/create_subtopics", {"topic": PLANTED})
        me.post("/api/create_subtopics", raw=b'{"topic": "' + PLANTED.encode())
        me.get("/api/progress?topic=planted-in-the-query")
        me.get("/nowhere/planted-in-the-path?x=planted-in-the-query")
        self.api.post("/api/auth/login", {"api_key": "sk_planted" + "x" * 40})
        self.api.get("/api/auth/validate", headers={"X-API-Key": "sk_planted-in-the-header"})
        self.api.get("/health", headers={"Referer": "http://x/?planted-in-the-referer"})
        self.stack.stop()
        text = self.stack.text()
        self.stack.start()
        for secret in (key, me.token, me.token.split(".")[2], self.stack.admin_key,
                       "planted.handle", PLANTED, "planted-in-the-query", "sk_planted",
                       "planted-in-the-referer", self.stack.env.get("BUS_KEY", key)):
            self.assertNotIn(secret, text)

    def test_two_events_a_request_with_what_an_operator_asks_for(self):
        _, me = self.stack.register("traced")
        me.get("/api/gamification/stats", headers={"X-Request-ID": "trace-me.1"})

        def both():
            found = [e for p in self.stack.processes.values() for e in p.events()
                     if e.get("request_id") == "trace-me.1"]
            names = [e["event"] for e in found]
            return found if "request.completed" in names else None

        found = wait_until(both, 10, what="the request's events")
        names = [e["event"] for e in found]
        self.assertEqual((names.count("request.started"), names.count("request.completed")),
                         (1, 1))
        done = next(e for e in found if e["event"] == "request.completed")
        for field in ("ts", "level", "service", "method", "path", "status", "duration_ms",
                      "user", "user_role", "client_ip", "response_size"):
            self.assertIn(field, done)
        self.assertEqual((done["status"], done["method"], done["client_ip"]),
                         (200, "GET", "127.0.0.1"))

    def test_a_request_id_that_could_harm_is_replaced(self):
        for bad in ("a b", "x" * 129, 'a"b', "a/b", "ä"):
            r = self.api.get("/health", headers={"X-Request-ID": bad.encode("latin-1")})
            self.assertNotEqual(r.headers["x-request-id"], bad)
            self.assertRegex(r.headers["x-request-id"], r"^[0-9a-f-]{36}$")
        r = self.api.get("/health", headers={"X-Request-ID": "x" * 128})
        self.assertEqual(r.headers["x-request-id"], "x" * 128)

    def test_errors_are_logged_by_their_weight(self):
        self.api.get("/nowhere", headers={"X-Request-ID": "weight-404"})
        done = wait_until(
            lambda: [e for p in self.stack.processes.values()
                     for e in p.events("request.completed")
                     if e.get("request_id") == "weight-404"], 10)
        self.assertEqual(done[0]["level"], "warn")


load_tests = load_on(("one", "tcp"), Logs)

if __name__ == "__main__":
    unittest.main()
