"""The operators' page, /status of the gateway's admin port: what it shows is there,
what is not there is shown as such, and it needs nothing from anywhere else.  In a
browser one sees it at a glance."""
import re
import struct
import unittest

from tests.harness.browser import Browser, pixels
from tests.harness.process import wait_until
from tests.integration.stack import SERVICES, SHORT, OnStack

COLUMNS = ["Replica", "State", "Answered", "In flight", "Database pool", "Threads", "Cache",
           "Redis", "Models", "Outbox"]


def tables(page):
    """{service: [cells of a replica]} of the page, tags taken off."""
    found = {}
    for name, table in re.findall(r"<h2>(\w+):[^\n]*</h2>\s*<div><table>(.*?)</table>", page, re.S):
        rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in
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


GREEN, RED = (23, 128, 61), (200, 30, 30)  # on white
GREEN_IN_THE_DARK = (74, 222, 128)


class Picture(OnStack):
    """As a person has it: in a browser that is left alone with the page."""
    layout = "ipc"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def open(self, *window, **taste):
        self.browser.look(*window, **taste)
        self.browser.open(f"http://127.0.0.1:{self.stack.admin_ports['gateway']}/status")

    def says(self, title):
        return self.browser.value("document.title") == f"{title} - KnowAllEdge"

    def held(self, title, *window, **taste):
        """The page that says so, which then stays as it is."""
        def found():
            self.open(*window, **taste)
            self.browser.hold()
            return self.says(title)
        wait_until(found, 60, every=0.5, what=f"a page that says {title}")

    def colours(self, element):
        """Those of a part of the picture; element: an expression."""
        box = self.browser.value(f"{element}.getBoundingClientRect().toJSON()")
        rows = pixels(self.browser.picture(**{k: box[k] for k in ("x", "y", "width", "height")}))
        return {c for row in rows for c in row}

    def state(self, service):
        n = SERVICES.index(service)
        return f"document.querySelectorAll('table')[{n}].rows[1].cells[1].firstChild"

    def test_all_that_is_well_is_there_and_green(self):
        self.held("all is well", 1280, 760)
        text = self.browser.value("document.body.innerText")
        for service in SERVICES:
            self.assertIn(f"{service}: up, 1 of 1 replica", text)
            self.assertIn(self.stack.env[f"BUS_{service.upper()}"], text)
            self.assertIn(GREEN, self.colours(self.state(service)))
        for column in COLUMNS:
            self.assertEqual(text.count(column), len(SERVICES), column)
        self.assertEqual(self.browser.value("document.querySelectorAll('.bad,.warn').length"), 0)
        self.assertEqual(struct.unpack(">II", self.browser.picture()[16:24]), (1280, 760))

    def test_it_turns_red_by_itself_when_a_service_goes(self):
        self.open(1280, 760)
        self.stack.processes["content"].kill()
        wait_until(lambda: self.says("down"), 60, every=0.2, what="the page to say it")
        self.held("down", 1280, 760)
        self.assertEqual(self.browser.value("document.querySelector('h1').innerText"),
                         "content is down")
        self.assertIn(RED, self.colours("document.querySelector('h1')"))
        self.assertIn(RED, self.colours(self.state("content")))
        self.assertIn(GREEN, self.colours(self.state("auth")))

        self.open(1280, 760)
        self.stack.start_one("content")
        self.stack.wait_ready()
        wait_until(lambda: self.says("all is well"), 60, every=0.2, what="the page to say it")

    def test_a_phone_in_the_dark_shows_all_of_it(self):
        self.held("all is well", 390, 844, dark=True)
        out = """[...document.querySelectorAll('td,h1,h2,p')].filter(e => {
            const b = e.getBoundingClientRect();
            return b.width == 0 || b.left < 0 || b.right > innerWidth}).map(e => e.outerHTML)"""
        self.assertEqual(self.browser.value(out), [])
        self.assertEqual(self.browser.value("document.documentElement.scrollWidth"), 390)
        for column in COLUMNS[1:]:
            self.assertEqual(self.browser.value(
                f"document.querySelectorAll('td[data-of=\"{column}\"]').length"),
                len(SERVICES), column)
        seen = self.colours("document.querySelector('h1')")
        self.assertIn(GREEN_IN_THE_DARK, seen)
        self.assertLess(max(min(seen)), 50, "the ground is dark")


def load_tests(loader, _tests, _pattern):
    """Under sanitizers the page alone: it is the same in a browser."""
    return unittest.TestSuite(loader.loadTestsFromTestCase(c)
                              for c in ((Page,) if SHORT else (Page, Picture)))
