"""The front end's build on the API's own origin: STATIC_DIR."""
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import signal
import tempfile
import unittest

from tests.harness.process import free_port, wait_until
from tests.harness.raw import Raw, exchange
from tests.integration.stack import OnStack, Stack, load_on
from tests.integration.test_routes import filled, table
from tests.integration.test_start import call

PAGE = (b'<!doctype html><title>KnowAllEdge</title><div id="root"></div>'
        b'<script type="module" crossorigin src="/assets/index-BcD3f_-9.js"></script>')
SCRIPT = b"export const lessons = [];\n" * 400
SECRET = b"planted: nobody may read this"
BIG = hashlib.shake_256(b"video").digest(8 << 20)
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
YEAR = "public, max-age=31536000, immutable"


def build_in(folder):
    """What vite makes, and what may lie about beside it."""
    dist = folder / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_bytes(PAGE)
    (dist / "assets" / "index-BcD3f_-9.js").write_bytes(SCRIPT)
    (dist / "assets" / "index-BcD3f_-9.js.br").write_bytes(b"as if brotli had made it")
    (dist / "assets" / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (dist / "big.mp4").write_bytes(BIG)
    (dist / ".env").write_bytes(SECRET)
    (folder / "secret.txt").write_bytes(SECRET)
    (dist / "link.txt").symlink_to(folder / "secret.txt")
    (dist / "up.txt").symlink_to("../secret.txt")
    (dist / "folder").symlink_to(folder)
    os.mkfifo(dist / "pipe.txt")
    return dist


class WithFront(OnStack):
    more = {}

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="kae-front-", dir="/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.dist = build_in(cls.folder)
        cls.env = {"STATIC_DIR": str(cls.dist), **cls.more}
        super().setUpClass()
        cls.gateway = cls.stack.processes[cls.stack.names()[0]]


class Served(WithFront):
    def test_the_front_end_is_at_its_own_paths(self):
        for path in ("/", "/index.html", "/settings", "/GraphPage", "/auth/", "/metrics"):
            with self.subTest(path=path):
                r = self.api.get(path, headers=BROWSER)
                self.assertEqual((r.status, r.raw), (200, PAGE))
                self.assertEqual(r.headers["content-type"], "text/html; charset=utf-8")
                self.assertEqual(r.headers["cache-control"], "no-cache")

    def test_it_is_documented(self):
        op = self.api.get("/openapi.json").json["paths"]["/static/{path}"]["get"]
        r = self.api.get("/static/page", headers=BROWSER)
        self.assertEqual(set(op["responses"]["200"]["content"]),
                         {r.headers["content-type"].split(";")[0]})
        self.assertIn("416", op["responses"])
        self.assertIn("404", op["responses"])

    def test_the_api_stays_what_it_is(self):
        for path in ("/api/nope", "/api", "/api/", "/api/auth/nope", "/api/%2e%2e/index.html"):
            self.assertProblem(self.api.get(path, headers=BROWSER), 404, "NOT_FOUND")
        self.assertProblem(self.api.post("/settings", {}), 404)
        self.assertProblem(self.api.delete("/"), 405)
        self.assertProblem(self.api.get("/api/auth/login", headers=BROWSER), 405)
        self.assertProblem(self.api.get("/api/progress", headers=BROWSER), 401)
        self.assertEqual(self.api.get("/health").json["status"], "alive")
        self.assertEqual(self.api.get("/openapi.json").status, 200)
        _, me = self.stack.register("front.user")
        self.assertTrue(me.get("/api/auth/validate").json["valid"])

    def test_what_is_missing_is_no_page(self):
        for path in ("/assets/index-00000000.js", "/favicon.ico", "/robots.txt", "/static/x.js"):
            self.assertProblem(self.api.get(path, headers=BROWSER), 404, "NOT_FOUND")
        self.assertProblem(self.api.get("/settings", headers={"Accept": "application/json"}), 404)

    def test_a_browser_may_run_our_files_and_no_others(self):
        r = self.api.get("/", headers=BROWSER)
        policy = dict(d.strip().split(" ", 1) for d in
                      r.headers["content-security-policy"].split(";"))
        self.assertEqual(policy["script-src"], "'self'")
        self.assertEqual(policy["connect-src"], "'self'")
        for directive in ("object-src", "base-uri", "frame-ancestors"):
            self.assertEqual(policy[directive], "'none'")
        self.assertNotIn("unsafe", r.headers["content-security-policy"])
        for path in ("/", "/assets/index-BcD3f_-9.js", "/assets/logo.svg"):
            r = self.api.get(path)
            self.assertEqual(r.headers["x-content-type-options"], "nosniff")
            self.assertEqual(r.headers["content-security-policy"].count("script-src 'self'"), 1)

    def test_a_fingerprinted_file_is_kept_for_ever(self):
        r = self.api.get("/assets/index-BcD3f_-9.js")
        self.assertEqual((r.status, r.raw), (200, SCRIPT))
        self.assertEqual(r.headers["content-type"], "text/javascript; charset=utf-8")
        self.assertEqual(r.headers["cache-control"], YEAR)
        self.assertEqual(self.api.get("/assets/logo.svg").headers["cache-control"], "no-cache")

    def test_the_client_s_coding_is_sent(self):
        path = "/assets/index-BcD3f_-9.js"
        plain = self.api.get(path)
        tags = {plain.headers["etag"]}
        self.assertNotIn("content-encoding", plain.headers)
        self.assertIn("Accept-Encoding", plain.headers["vary"])
        for taken, coding in (("gzip, deflate", "gzip"), ("gzip, deflate, br", "br")):
            r = self.api.get(path, headers={"Accept-Encoding": taken})
            self.assertEqual(r.headers["content-encoding"], coding)
            self.assertEqual(r.headers["content-type"], plain.headers["content-type"])
            self.assertIn("Accept-Encoding", r.headers["vary"])
            self.assertLess(len(r.raw), len(SCRIPT))
            tags.add(r.headers["etag"])
            if coding == "gzip":
                self.assertEqual(gzip.decompress(r.raw), SCRIPT)
        self.assertEqual(len(tags), 3)
        self.assertProblem(self.api.get(path + ".br"), 404)

    def test_what_the_client_has_is_not_sent(self):
        r = self.api.get("/", headers=BROWSER)
        for head in ({"If-None-Match": r.headers["etag"]},
                     {"If-None-Match": f'"x", W/{r.headers["etag"]}'},
                     {"If-Modified-Since": r.headers["last-modified"]}):
            with self.subTest(head=head):
                again = self.api.get("/", headers={**BROWSER, **head})
                self.assertEqual((again.status, again.raw), (304, b""))
                for name in ("etag", "cache-control", "vary", "last-modified"):
                    self.assertEqual(again.headers[name], r.headers[name])
        self.assertEqual(self.api.get("/", headers={"If-None-Match": '"x"'}).status, 200)

    def test_head_is_get_without_the_body(self):
        for path in ("/", "/settings", "/assets/index-BcD3f_-9.js", "/big.mp4", "/nope.js"):
            with self.subTest(path=path):
                got, head = self.api.get(path), self.api.ask("HEAD", path)
                self.assertEqual((head.status, head.raw), (got.status, b""))
                for name in set(got.headers) - {"date", "x-request-id"}:
                    self.assertEqual(head.headers[name], got.headers[name], name)

    def test_a_part_of_a_file_is_sent(self):
        path, size = "/big.mp4", len(BIG)
        for asked, first, last in (("0-99", 0, 99), ("1000000-", 1000000, size - 1),
                                   ("-10", size - 10, size - 1), ("0-0", 0, 0),
                                   (f"5-{size * 2}", 5, size - 1)):
            with self.subTest(asked=asked):
                r = self.api.get(path, headers={"Range": f"bytes={asked}"})
                self.assertEqual((r.status, r.raw), (206, BIG[first:last + 1]))
                self.assertEqual(r.headers["content-range"], f"bytes {first}-{last}/{size}")
        r = self.api.get(path, headers={"Range": f"bytes={size}-"})
        self.assertProblem(r, 416, "RANGE_NOT_SATISFIABLE")
        self.assertEqual(r.headers["content-range"], f"bytes */{size}")
        whole = self.api.get(path, headers={"Range": "bytes=0-1,5-6"})
        self.assertEqual((whole.status, whole.raw), (200, BIG))
        self.assertEqual(whole.headers["accept-ranges"], "bytes")
        for tag, status in ((whole.headers["etag"], 206), ('"older"', 200)):
            r = self.api.get(path, headers={"Range": "bytes=0-9", "If-Range": tag})
            self.assertEqual((r.status, len(r.raw)), (status, 10 if status == 206 else size))

    def test_no_path_leaves_the_folder(self):
        up = ("..", "%2e%2e", ".%2e", "%2e.", "%252e%252e", "..%2f..", "..\\", "..%5c", "%c0%ae%c0%ae",
              "%u002e%u002e", "....//", ".%00.")
        names = ["/secret.txt", "/.env", "/link.txt", "/up.txt", "/pipe.txt", "/folder",
                 "/folder/secret.txt", "//secret.txt", "/assets", "/assets/", "/%00", "/.env%00.js",
                 "/" + "a" * 3000, "/" + "a/" * 1500, "/" + "%61" * 1000 + ".js", "/\\secret.txt",
                 "/index.html/../../secret.txt", "/static/../../secret.txt",
                 f"/{self.folder}/secret.txt", f"//{self.folder}/secret.txt",
                 f"file://{self.folder}/secret.txt", f"http://127.0.0.1/{self.folder}/secret.txt"]
        for step in up:
            names += [f"/{step}/secret.txt", f"/assets/{step}/{step}/secret.txt",
                      f"/{step}/{step}/{step}/{step}/etc/passwd", f"/assets/{step}%2fsecret.txt"]
        for target in names:
            for accept in ("text/html", "text/plain"):
                with self.subTest(target=target[:80], accept=accept):
                    r = exchange(self.stack.port, (
                        f"GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n").encode())
                    self.assertIn(r.status, (200, 400, 404), r)
                    self.assertNotIn(SECRET, r.raw)
                    self.assertNotIn(b"root:", r.raw)
                    self.assertTrue(r.status != 200 or r.raw == PAGE, r)

    def test_no_spelling_of_a_closed_path_shows_more_than_the_page(self):
        for path in {filled(p) for m, p, who, *_ in table() if who in ("user", "admin")}:
            for target in (path.replace("/api/", "/api/%2e/"), path.replace("/api", "/API", 1),
                           "/" + path, "/x/.." + path, path.replace("/api", "/%61pi", 1)):
                r = exchange(self.stack.port, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                self.assertIn(r.status, (401, 404, 405), target)

    def test_a_front_end_is_for_everybody_and_no_credential_is_looked_at(self):
        for head in ({"Authorization": "Bearer null"}, {"X-API-Key": "sk_nonsense"}):
            self.assertEqual(self.api.get("/", headers=head).status, 200)


class Replaced(WithFront):
    def reload(self, event, more_than):
        self.gateway.signal(signal.SIGHUP)
        wait_until(lambda: len(self.gateway.events(event)) > more_than, 30, what=event)

    def test_what_is_being_sent_stays_whole(self):
        """A file is replaced by a rename, then cut in place, while it is sent."""
        with Raw(self.stack.port) as slow:
            slow.send(b"GET /big.mp4 HTTP/1.1\r\nHost: x\r\n\r\n")
            slow.more()
            (self.dist / "new").write_bytes(b"short")
            os.rename(self.dist / "new", self.dist / "big.mp4")
            os.truncate(self.dist / "big.mp4", 2)
            os.truncate(self.dist / "assets" / "index-BcD3f_-9.js", 0)
            self.assertEqual(self.api.get("/assets/index-BcD3f_-9.js").raw, SCRIPT)
            self.reload("front.loaded", 1)
            self.assertEqual(self.api.get("/big.mp4").raw, b"sh")
            self.assertEqual(self.api.get("/assets/index-BcD3f_-9.js").raw, b"")
            r = slow.answer()
            self.assertEqual((r.status, len(r.raw)), (200, len(BIG)))
            self.assertTrue(r.raw == BIG)

    def test_a_broken_build_is_told_and_the_old_one_served(self):
        (self.dist / "index.html").rename(self.dist / "away")
        try:
            before = len(self.gateway.events("front.not_reloaded"))
            self.reload("front.not_reloaded", before)
            self.assertIn("index.html", self.gateway.events("front.not_reloaded")[-1]["reason"])
            self.assertEqual(self.api.get("/").raw, PAGE)
        finally:
            (self.dist / "away").rename(self.dist / "index.html")


class Limited(WithFront):
    more = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_READ_PER_MINUTE": "1",
            "RATE_LIMIT_IP_PER_MINUTE": "300"}

    def test_files_count_for_the_address_and_for_no_person(self):
        _, me = self.stack.register("front.reader")
        for _ in range(20):
            r = me.get("/assets/logo.svg")
            self.assertEqual(r.status, 200)
            self.assertEqual(re.findall(r'"(\w+)"', r.headers["ratelimit"]), ["address"])
        self.assertEqual(me.get("/api/auth/validate").status, 200)  # the one read
        with Raw(self.stack.port) as c:
            for _ in range(600):
                c.send(b"GET /assets/logo.svg HTTP/1.1\r\nHost: x\r\n\r\n")
                r = c.answer()
                if r.status == 429:
                    break
        self.assertEqual(r.status, 429)
        self.assertEqual(r.json["error_code"], "RATE_LIMIT_EXCEEDED")


class Refused(unittest.TestCase):
    def test_a_folder_that_is_no_build_is_told(self):
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            empty = pathlib.Path(name) / "empty"
            empty.mkdir()
            for program in ("knowalledge", "kae-gateway"):
                for folder, word in ((empty, "index.html"), (empty / "none", "No such file")):
                    with self.subTest(program=program, folder=folder):
                        env = {"DATA_DIR": name + "/data", "PORT": str(free_port()),
                               "ADMIN_PORT": str(free_port()), "STATIC_DIR": str(folder)}
                        got = call(program, **env)
                        told = [l for l in (got.stdout + got.stderr).splitlines()
                                if l and not l.startswith('{"ts"')]
                        self.assertEqual((got.returncode, len(told)), (2, 1), told)
                        self.assertIn(f"STATIC_DIR: {folder}", told[0])
                        self.assertIn(word, told[0])
                        got = call(program, "--check", **env)
                        self.assertEqual(got.returncode, 1, got.stdout + got.stderr)
                        self.assertIn(word, got.stderr)
                        self.assertRegex(got.stdout, "FAIL +gateway")


class Off(OnStack):
    def test_without_a_front_end_the_root_says_what_this_is(self):
        self.assertEqual(self.api.get("/").json["name"], "KnowAllEdge")
        for path in ("/settings", "/static/x", "/index.html"):
            self.assertProblem(self.api.get(path, headers=BROWSER), 404)


load_served = load_on(("one", "ipc"), Served, Replaced)


def load_tests(loader, tests, pattern):
    suite = load_served(loader, tests, pattern)
    for cls in (Limited, Refused, Off):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite


if __name__ == "__main__":
    unittest.main()
