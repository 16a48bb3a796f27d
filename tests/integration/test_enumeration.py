"""Nobody learns from an answer, or from how long it took, whether an account
exists.

For each way of asking, one request about an account that exists and one about
an account that does not are made in turns, in an order drawn anew for each
pair, so that whatever else the machine does hits both alike. Their times are
compared by the two-sample Kolmogorov-Smirnov test: the largest distance between
the two distributions, which for equal ones is beyond the bound once in 1/ALPHA
runs, whatever the distribution is. Everything else of the answers must be
equal.

Hashes are cheap here (ENVIRONMENT=testing allows that), 1 MiB instead of 64, so
that a hash that is left out, 2 ms of 4, shows as it would in production, and so
does whatever else differs.
"""
import json
import math
import os
import random
import time
import unittest

from tests.integration.stack import OnStack

FULL = bool(os.environ.get("KAE_FULL"))
SAMPLES = 2000 if FULL else 150
ALPHA = 1e-6
SECRET = "gravel otter lampshade"
# What differs between any two answers.
MEMBERS = ("request_id", "trace_id")
HEADERS = ("date", "x-request-id", "x-response-time", "traceparent", "server-timing")


def distance(a, b):
    """sup |F_a - F_b| of two samples."""
    a, b = sorted(a), sorted(b)
    i = j = 0
    widest = 0.0
    while i < len(a) and j < len(b):
        at = min(a[i], b[j])
        while i < len(a) and a[i] <= at:
            i += 1
        while j < len(b) and b[j] <= at:
            j += 1
        widest = max(widest, abs(i / len(a) - j / len(b)))
    return widest


def bound(n, m, alpha=ALPHA):
    """What the distance exceeds with probability alpha (Smirnov 1939)."""
    return math.sqrt(-math.log(alpha / 2) / 2) * math.sqrt((n + m) / (n * m))


def shown(answer):
    """All that a client can see, but for what names this one answer."""
    body = json.loads(answer.raw)
    for member in MEMBERS:
        body.pop(member, None)
    return (answer.status, json.dumps(body), sorted(
        (k, "" if k in HEADERS else v) for k, v in answer.headers.items()))


class Enumeration(OnStack):
    env = {"ENVIRONMENT": "testing", "KEY_ENCRYPTION_KEY": "k" * 32,
           "PASSWORD_HASH_MEMORY_MB": "1", "PASSWORD_HASH_TOTAL_MB": "2",
           "TRUSTED_PROXIES": "127.0.0.1", "FORCE_HTTPS": "false", "LOG_LEVEL": "error"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.networks = 0
        cls.seed = random.SystemRandom().randrange(2 ** 32)
        cls.draw = random.Random(cls.seed)
        r = cls.api.post("/api/auth/register", {
            "email": "ada@example.org", "user_id": "ada", "password": SECRET})
        assert r.status == 201, r.raw
        _, cls.keyed = cls.stack.register("keyed")
        made = cls.keyed.post("/api/auth/keys", {"name": "old"}).json
        cls.revoked = made["api_key"]
        assert cls.keyed.delete(f"/api/auth/keys/{made['key_id']}").status == 200

    def ask(self, path, body, network):
        """Each pair comes from a network of its own, so none is throttled."""
        address = f"10.{network >> 8}.{network & 255}.1"
        began = time.perf_counter()
        r = self.api.post(path, body, headers={"X-Forwarded-For": address})
        return time.perf_counter() - began, r

    def compare(self, path, there, absent, status):
        took, seen = ([], []), set()
        for i in range(SAMPLES + 5):
            type(self).networks += 1
            for k in self.draw.sample((0, 1), 2):
                t, r = self.ask(path, (there, absent)[k], self.networks)
                self.assertEqual(r.status, status, r.raw)
                seen.add(repr(shown(r)))
                if i >= 5:  # the first ones warm up
                    took[k].append(t)
        self.assertEqual(len(seen), 1, seen)
        d, most = distance(*took), bound(len(took[0]), len(took[1]))
        middle = [sorted(t)[len(t) // 2] * 1e3 for t in took]
        print(f"{path} {sorted(there)}: distance {d:.3f} of {most:.3f}, "
              f"medians {middle[0]:.2f} and {middle[1]:.2f} ms")
        self.assertLess(d, most, f"seed {self.seed}, medians {middle} ms")

    def test_a_login_by_address(self):
        self.compare("/api/auth/login", {"email": "ada@example.org", "password": "wrong one"},
                     {"email": "eve@example.org", "password": "wrong one"}, 401)

    def test_a_login_by_handle(self):
        self.compare("/api/auth/login", {"user_id": "ada", "password": "wrong one"},
                     {"user_id": "eve", "password": "wrong one"}, 401)

    def test_a_login_to_an_account_without_a_password(self):
        self.compare("/api/auth/login", {"user_id": "keyed", "password": "wrong one"},
                     {"user_id": "eva", "password": "wrong one"}, 401)

    def test_a_login_by_key(self):
        self.compare("/api/auth/login", {"api_key": self.revoked},
                     {"api_key": "sk_" + "x" * 43}, 401)

    def test_a_refresh(self):
        """One that was given once and has ended against one that never was."""
        token = self.api.post("/api/auth/login", {
            "email": "ada@example.org", "password": SECRET}).json
        ended = self.stack.api(token=token["token"]).post("/api/auth/logout", {})
        self.assertEqual(ended.status, 200, ended.raw)
        self.compare("/api/auth/refresh", {"refresh_token": token["refresh_token"]},
                     {"refresh_token": "rt_" + "x" * 43}, 401)

    def test_the_measure_tells_distributions_apart(self):
        """A tenth more time is seen in a thousand samples, no difference is not."""
        rng = random.Random(1)
        a, b = ([rng.lognormvariate(0, 0.1) for _ in range(1000)] for _ in range(2))
        self.assertLess(distance(a, b), bound(1000, 1000))
        self.assertGreater(distance(a, [1.1 * t for t in b]), bound(1000, 1000))


if __name__ == "__main__":
    unittest.main()
