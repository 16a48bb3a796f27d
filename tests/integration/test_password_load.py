"""A flood of password logins takes neither the machine's memory nor the threads
that everything else needs."""
import re
import threading
import unittest

from tests.integration.stack import SHORT, OnStack

FLOOD = 200
HASH_MB, TOTAL_MB = 46, 92
# What else the process may grow by meanwhile: requests, connections to the
# database, and under a sanitizer what that keeps of freed memory.
ELSE_MB = 512 if SHORT else 64


class Load(OnStack):
    layout = "ipc"
    env = {"PASSWORD_HASH_MEMORY_MB": str(HASH_MB), "PASSWORD_HASH_TOTAL_MB": str(TOTAL_MB),
           "PASSWORD_QUEUE": "10", "PASSWORD_QUEUE_MS": "2000",
           "TRUSTED_PROXIES": "127.0.0.1", "FORCE_HTTPS": "false"}

    def memory_mb(self, field):
        pid = self.stack.processes["auth"].popen.pid
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M).group(1)) / 1024

    def figure(self, name):
        text = self.stack.admin("auth", "/metrics").raw.decode()
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M).group(1))

    def test_memory_is_bounded_and_nobody_else_waits(self):
        key, _ = self.stack.register("bystander")
        before = self.memory_mb("VmRSS")
        start = threading.Barrier(FLOOD + 1)
        answers, lock, left = [], threading.Lock(), threading.Event()

        def guess(i):
            api = self.stack.api()
            start.wait()
            r = api.post("/api/auth/login",
                         {"email": f"nobody{i}@example.org", "password": "gravel otter"},
                         headers={"X-Forwarded-For": f"10.1.{i}.1"})
            with lock:
                answers.append(r)
                if len(answers) == FLOOD:
                    left.set()

        crowd = [threading.Thread(target=guess, args=(i,)) for i in range(FLOOD)]
        for t in crowd:
            t.start()
        start.wait()
        meanwhile = []
        while not left.is_set():
            r = self.api.post("/api/auth/login", {"api_key": key})
            meanwhile.append((r.status, left.is_set()))
            self.assertEqual(self.stack.admin("auth", "/livez").status, 200)
            self.assertEqual(self.stack.admin("auth", "/readyz").status, 200)
        for t in crowd:
            t.join()

        peak = self.memory_mb("VmHWM")
        self.assertLess(peak, before + TOTAL_MB + ELSE_MB)
        self.assertEqual({r.status for r in answers}, {401, 503})
        for r in answers:
            if r.status == 503:
                self.assertGreaterEqual(int(r.headers["retry-after"]), 1)
        self.assertEqual({status for status, _ in meanwhile}, {200})
        # One at least was logged in while hashes were still being made.
        self.assertIn(False, [late for _, late in meanwhile])
        refused = self.figure('kae_lane_refused_total{service="auth",lane="slow"}')
        self.assertEqual(refused, sum(r.status == 503 for r in answers))
        self.assertEqual(self.figure('kae_lane_refused_total{service="auth",lane="db"}'), 0)
        threads = self.figure('kae_lane_threads{service="auth",lane="slow"}')
        self.assertLessEqual(threads * HASH_MB, TOTAL_MB)


if __name__ == "__main__":
    unittest.main()
