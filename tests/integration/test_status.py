"""The operators' page, /status of the gateway's admin port: what it shows is there,
what is not there is shown as such, and it needs nothing from anywhere else."""
import re

from tests.harness.process import wait_until
from tests.integration.stack import SERVICES, OnStack

COLUMNS = ["Replica", "State", "Answered", "In flight", "Database pool", "Threads", "Cache",
           "Redis", "Models", "Outbox"]


def tables(page):
    """{service: [cells of a replica]} of the page, tags taken off."""
    found = {}
    for name, table in re.findall(r"<h2>(\w+):[^\n]*</h2>\s*<div><table>(.*?)</table>", page, re.S):
        rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in
                re.findall(r"<tr>(.*?)</tr>", table, re.S)]
        rows = [[re.sub("<[^>]+>", "", cell) for cell in row] for row in rows]
        assert rows[0] == COLUMNS, rows[0]
        found[name] = rows[1:]
    return found


class Page(OnStack):
    layout = "ipc"

    def page(self):
        answer = self.stack.admin("gateway", "/status")
        self.assertEqual(answer.status, 200, answer.raw)
        return answer

    def shown(self):
        return tables(self.page().raw.decode())

    def test_each_replica_is_shown_with_its_figures(self):
        wait_until(self.shown, 30, what="figures")
        for service, rows in self.shown().items():
            with self.subTest(service=service):
                [row] = rows
                self.assertEqual(row[0], self.stack.env[f"BUS_{service.upper()}"])
                self.assertEqual(row[1], "up")
                self.assertGreater(int(row[2].split()[0]), 0)
                self.assertRegex(row[4], r"^\d+ of [1-9]\d*$")
                self.assertRegex(row[5], r"^\d+ busy, \d+ wait$")
                self.assertRegex(row[9], r"^empty$|^\d+, oldest \d+ s$")
        self.assertEqual(set(self.shown()), set(SERVICES))

    def test_it_loads_nothing_and_asks_for_itself_again(self):
        answer = self.page()
        self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        page = answer.raw.decode()
        for loads in ("src=", "href=", "url(", "@import", "<script"):
            self.assertNotIn(loads, page)
        self.assertRegex(page, r'<meta http-equiv="refresh" content="[12]">')

    def test_who_is_gone_is_shown_as_down(self):
        wait_until(self.shown, 30, what="figures")
        self.stack.processes["content"].kill()
        def down():
            [row] = self.shown()["content"]
            return row[1] == "down" and row[4:] == ["?"] * 6
        wait_until(down, 30, what="content is down")
        self.assertEqual(self.shown()["auth"][0][1], "up")
        self.stack.start_one("content")
        self.stack.wait_ready()
        wait_until(lambda: self.shown()["content"][0][1] == "up", 30, what="content is up")

    def test_only_the_gateway_has_it(self):
        for name in SERVICES:
            answer = self.stack.admin(name, "/status")
            self.assertEqual(answer.status, 404, name)
