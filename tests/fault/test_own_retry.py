"""The gateway's link to svc-auth breaks while a keyed request is inside its
transaction: the gateway sends it again, meets the key that the first attempt
holds, and waits for it, while a client that asks twice itself is told 409."""
import threading
import time
import unittest
import uuid

from tests.harness.process import free_port, wait_until
from tests.harness.proxy import Proxy
from tests.integration.stack import Stack

HOLD_S = 2.0


class ProxiedStack(Stack):
    """Every other program reaches svc-auth through a proxy."""

    def __init__(self):
        super().__init__("tcp")
        real = free_port()
        self.proxy = Proxy(real)
        self.env["BUS_AUTH"] = f"tcp://127.0.0.1:{self.proxy.port}"
        self.listen = f"tcp://127.0.0.1:{real}"

    def start_one(self, name):
        if name == "auth":
            self.env["BUS_LISTEN"] = self.listen
        super().start_one(name)
        self.env.pop("BUS_LISTEN", None)

    def close(self):
        self.proxy.stop()
        super().close()


class OwnRetry(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = ProxiedStack()
        cls.addClassCleanup(cls.stack.close)
        cls.stack.start()

    def counted(self, result):
        name = f'kae_idempotency_requests_total{{service="auth",result="{result}"}}'
        for line in self.stack.admin("auth", "/metrics").raw.decode().splitlines():
            if line.startswith(name):
                return int(float(line.split()[-1]))
        raise AssertionError(f"no {name}")

    def hold_handle(self, handle):
        """A transaction of our own that whoever inserts the handle waits for."""
        held = threading.Thread(target=self.stack.postgres.sql, args=(
            "BEGIN; INSERT INTO auth.users (sub, handle, handle_key, role, tier, created_at) "
            f"VALUES ('held', '{handle}', '{handle}', 'user', 'free', 0); "
            f"SELECT pg_sleep({HOLD_S}); ROLLBACK",))
        held.start()
        wait_until(lambda: self.sleepers() == 1, 10, what="the transaction that holds")
        return held

    def sleepers(self):
        return int(self.stack.postgres.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")[0][0])

    def waiters(self):
        return int(self.stack.postgres.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0])

    def start(self, handle, key):
        """Registers on a thread; its answer comes into the list."""
        answers = []

        def ask():
            answers.append(self.stack.api().post(
                "/api/auth/register", {"user_id": handle}, headers={"Idempotency-Key": key}))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: self.waiters() == 1, 10, what="the first attempt at the lock")
        return thread, answers

    def test_the_client_gets_the_answer_of_the_first_attempt(self):
        handle, key = f"own.{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
        held = self.hold_handle(handle)
        thread, answers = self.start(handle, key)
        before = self.counted("busy")
        self.stack.proxy.reset()
        wait_until(lambda: self.counted("busy") > before, 10, what="the gateway's own repeat")
        self.assertEqual(answers, [])
        second = self.stack.api().post("/api/auth/register", {"user_id": handle},
                                       headers={"Idempotency-Key": key})
        self.assertEqual((second.status, second.headers["retry-after"]), (409, "1"))
        thread.join(15)
        held.join()
        self.assertEqual(answers[0].status, 201, answers[0].raw)
        again = self.stack.api().post("/api/auth/register", {"user_id": handle},
                                      headers={"Idempotency-Key": key})
        self.assertEqual((again.status, again.raw), (201, answers[0].raw))
        rows = self.stack.postgres.sql(
            f"SELECT count(*) FROM auth.users WHERE handle_key = '{handle}'")
        self.assertEqual(rows, [["1"]])

    def test_without_a_key_it_is_not_sent_again_and_told_honestly(self):
        handle = f"bare.{uuid.uuid4().hex[:8]}"
        held = self.hold_handle(handle)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(
            self.stack.api().post("/api/auth/register", {"user_id": handle})))
        thread.start()
        wait_until(lambda: self.waiters() == 1, 10, what="the attempt at the lock")
        began = time.monotonic()
        self.stack.proxy.reset()
        thread.join(15)
        self.assertLess(time.monotonic() - began, HOLD_S)
        self.assertEqual(answers[0].status, 502, answers[0].raw)
        held.join()
        rows = self.stack.postgres.sql(
            f"SELECT count(*) FROM auth.users WHERE handle_key = '{handle}'")
        self.assertLessEqual(int(rows[0][0]), 1)


if __name__ == "__main__":
    unittest.main()
