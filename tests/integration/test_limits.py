"""Rate limits and quotas of the running product, as clients meet them."""
import json
import time
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import OnStack

SUBTOPICS = "/api/create_subtopics"


class OnLimits(OnStack):
    def person(self, handle, ip):
        r = self.api.post("/api/auth/register", {"user_id": handle},
                          headers={"X-Forwarded-For": ip})
        self.assertEqual(r.status, 201, r.raw)
        return self.stack.api(key=r.json["api_key"])

    def is_refused(self, r, quota, code):
        self.assertEqual(r.status, 429, r.raw)
        wait = int(r.headers["retry-after"])
        self.assertEqual((r.json["error_code"], r.json["retry_after"]), (code, wait))
        self.assertEqual((r.headers["x-ratelimit-limit"], r.headers["x-ratelimit-remaining"]),
                         (str(quota), "0"))
        self.assertRegex(r.headers["ratelimit-policy"], rf'";q={quota};w=60')
        self.assertGreater(wait, 0)
        return wait


class Limits(OnLimits):
    env = {"RATE_LIMIT_ENABLED": "true", "TRUSTED_PROXIES": "127.0.0.1",
           "FORCE_HTTPS": "false",
           "RATE_LIMIT_LOGIN_PER_MINUTE": "4", "RATE_LIMIT_READ_PER_MINUTE": "6",
           "QUOTA_FREE_RPM": "3"}

    def test_logins_are_counted_for_the_client_behind_the_proxy(self):
        def login(ip):
            return self.api.post("/api/auth/login", {"api_key": "sk_" + "x" * 43},
                                 headers={"X-Forwarded-For": f"1.1.1.1, {ip}"})
        for _ in range(4):
            self.assertEqual(login("192.0.2.7").status, 401)
        self.is_refused(login("192.0.2.7"), 4, "RATE_LIMIT_EXCEEDED")
        self.assertEqual(login("192.0.2.8").status, 401)

    def test_the_tier_of_a_person_bounds_what_is_generated_and_not_what_is_read(self):
        anna, ben = self.person("anna-l", "192.0.2.20"), self.person("ben-l", "192.0.2.21")
        for _ in range(3):
            r = anna.post(SUBTOPICS, {"topic": "Photosynthesis"})
            self.assertEqual(r.status, 200, r.raw)
        self.assertEqual(r.headers["x-ratelimit-remaining"], "0")
        self.is_refused(anna.post(SUBTOPICS, {"topic": "Photosynthesis"}), 3,
                        "RATE_LIMIT_EXCEEDED")
        self.assertEqual(anna.get("/api/progress").status, 200)
        self.assertEqual(ben.post(SUBTOPICS, {"topic": "Photosynthesis"}).status, 200)

    def test_who_waits_as_long_as_told_is_let_in_and_not_before(self):
        cleo = self.person("cleo-l", "192.0.2.22")
        answers = [cleo.get("/api/progress") for _ in range(7)]
        self.assertEqual([r.status for r in answers], [200] * 6 + [429])
        wait = self.is_refused(answers[-1], 6, "RATE_LIMIT_EXCEEDED")
        self.assertLessEqual(wait, 10)  # one comes back every 10 s
        time.sleep(wait)
        self.assertEqual(cleo.get("/api/progress").status, 200)
        self.assertEqual(cleo.get("/api/progress").status, 429)

    def test_the_log_and_the_figures_tell_who_was_refused_by_what(self):
        for _ in range(5):
            r = self.api.post("/api/auth/login", {"api_key": "sk_" + "x" * 43},
                              headers={"Forwarded": 'for="[2001:db8::5]"'})

        def done():
            return [json.loads(line) for line in self.stack.text().splitlines()
                    if r.headers["x-request-id"] in line and "request.completed" in line]
        wait_until(done, 10, what="the event of the request")  # written behind the answer
        self.assertEqual([(d["client_ip"], d["limited_by"], d["status"]) for d in done()],
                         [("2001:db8::5", "login", 429)])
        figures = self.stack.admin("gateway", "/metrics").raw.decode()
        self.assertRegex(figures, r'kae_limit_decisions_total\{policy="login",'
                                  r'decision="refused"\} [1-9]')


class Keys(OnLimits):
    env = {"RATE_LIMIT_ENABLED": "true", "TRUSTED_PROXIES": "127.0.0.1",
           "FORCE_HTTPS": "false",
           "RATE_LIMIT_READ_PER_MINUTE": "8", "RATE_LIMIT_KEY_PER_MINUTE": "5"}

    def test_a_key_that_is_used_up_leaves_its_person_the_rest(self):
        first = self.person("dan-l", "192.0.2.23")
        made = first.post("/api/auth/keys", {"name": "b"})  # counts for the first
        self.assertEqual(made.status, 201, made.raw)
        answers = [first.get("/api/progress") for _ in range(5)]
        self.assertEqual([r.status for r in answers], [200] * 4 + [429])
        self.is_refused(answers[-1], 5, "RATE_LIMIT_EXCEEDED")
        self.assertRegex(answers[-1].headers["ratelimit"], r'"key";r=0;t=\d+$')
        self.assertRegex(answers[-1].headers["ratelimit-policy"], r'"key";q=5;w=60$')
        # Another key goes on, until the person has had its 8 reads.
        other = self.stack.api(key=made.json["api_key"])
        answers = [other.get("/api/progress") for _ in range(5)]
        self.assertEqual([r.status for r in answers], [200] * 4 + [429])
        self.is_refused(answers[-1], 8, "RATE_LIMIT_EXCEEDED")

    def test_who_asks_without_a_key_is_counted_for_none(self):
        key = self.person("eve-l", "192.0.2.24").key
        token = self.api.post("/api/auth/login", {"api_key": key}).json["token"]
        r = self.stack.api(token=token).get("/api/progress")
        self.assertEqual(r.status, 200)
        self.assertNotIn("key", r.headers["ratelimit-policy"])


if __name__ == "__main__":
    unittest.main()
