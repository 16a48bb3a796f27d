"""One trace through every hop, and a collector that may be as bad as it likes."""
import re
import secrets
import signal
import time
import unittest

from tests.harness.collector import (CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER,
                                     Collector)
from tests.harness.process import free_port, wait_until
from tests.harness.raw import exchange
from tests.integration.stack import OnStack, Stack, load_on

QUIZ = {"topic": "Planted topic", "subtopic": "Rhythm", "score": 1, "total": 1}


def traceparent(flags="01", version="00", tail=""):
    """(a new trace id, the header)"""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"{version}-{trace}-{span}-{flags}{tail}"


class OnCollector(OnStack):
    """A stack whose spans go to a collector of ours."""

    @classmethod
    def setUpClass(cls):
        cls.collector = Collector()
        cls.addClassCleanup(cls.collector.close)
        cls.env = {**cls.env, "OTEL_EXPORTER_OTLP_ENDPOINT": cls.collector.url + "/"}
        super().setUpClass()

    def spans(self, trace, enough):
        """The spans of a trace, once enough(spans) is true."""
        def there():
            spans = self.collector.of(trace)
            return spans if enough(spans) else None
        try:
            return wait_until(there, 20, what="the spans")
        except AssertionError:
            print(*self.collector.of(trace), sep="\n")
            raise

    def one(self, spans, **want):
        found = [s for s in spans if all(getattr(s, k) == v for k, v in want.items())]
        self.assertEqual(len(found), 1, f"{want}: {found}")
        return found[0]

    def whole(self, spans):
        """Each span's parent is there, but for the outermost's; none is twice."""
        by_id = {s.id: s for s in spans}
        self.assertEqual(len(by_id), len(spans))
        top, = (s for s in spans if s.parent not in by_id)
        for s in spans:
            parent = by_id.get(s.parent)
            if parent and parent.service == s.service:  # one clock
                self.assertGreaterEqual(s.start, parent.start, (s, parent))
        return top


class OneTrace(OnCollector):
    def test_a_request_is_one_trace_through_four_processes(self):
        key, _ = self.stack.register("planted.handle")
        trace, span, header = traceparent()
        # A key, not a token: svc-auth is asked who that is.
        r = self.stack.api(key=key).post(
            "/api/quiz/submit?planted=query", QUIZ,
            headers={"traceparent": header, "X-Request-ID": "four.1"})
        self.assertEqual(r.status, 200, r.raw)
        # What each process tells last: the rest of it has been told before.
        last = {(SERVER, "gateway"), (SERVER, "auth"), (SERVER, "content"),
                (PRODUCER, "content"), (CONSUMER, "gdpr")}
        spans = self.spans(trace, lambda all: last <= {(s.kind, s.service) for s in all})
        top = self.whole(spans)
        self.assertEqual((top.parent, top.name, top.kind, top.service),
                         (span, "POST /api/quiz/submit", SERVER, "gateway"))
        self.assertEqual(top.attributes["http.request.method"], "POST")
        self.assertEqual(top.attributes["http.route"], "/api/quiz/submit")
        self.assertEqual(top.attributes["http.response.status_code"], 200)
        self.assertEqual(top.attributes["kae.request_id"], "four.1")
        self.assertFalse(top.failed)

        asked = self.one(spans, kind=CLIENT, parent=top.id, name="identity")
        self.one(spans, kind=SERVER, parent=asked.id, service="auth", name="auth.verify_key")
        called = self.one(spans, kind=CLIENT, parent=top.id, name="content.quiz_submit")
        self.assertEqual((called.attributes["rpc.service"], called.attributes["rpc.method"]),
                         ("content", "content.quiz_submit"))
        self.assertTrue(called.attributes["server.address"])
        served = self.one(spans, kind=SERVER, parent=called.id, service="content")
        self.assertEqual(served.name, "content.quiz_submit")
        self.one(spans, kind=INTERNAL, parent=served.id, name="lane")
        handler = self.one(spans, kind=INTERNAL, parent=served.id, name="handler")
        write = self.one(spans, parent=handler.id, name="transaction")
        self.assertIn(write.attributes["db.system.name"], ("sqlite", "postgresql"))
        self.one(spans, parent=write.id, name="event.insert")
        sent = self.one(spans, kind=PRODUCER, parent=write.id, service="content")
        self.assertEqual(sent.name, "send gdpr")
        done = self.one(spans, kind=CONSUMER, parent=sent.id, service="gdpr")
        self.assertEqual(done.name, "process quiz.submitted")
        self.assertTrue([s for s in spans if s.parent == done.id], "what gdpr's database did")
        self.assertNotIn("planted", str([s.raw for s in spans]).lower())

    def test_the_log_of_every_hop_has_the_trace(self):
        _, me = self.stack.register("log.reader")
        trace, _, header = traceparent("00")
        me.get("/api/gamification/stats", headers={"traceparent": header})

        def lines():
            found = [e for p in self.stack.processes.values() for e in p.events()
                     if e.get("trace_id") == trace]
            return found if any(e["event"] == "request.completed" for e in found) else None
        found = wait_until(lines, 10, what="the lines")
        self.assertIn("request.started", [e["event"] for e in found])
        # DB_ECHO is on in development: a statement of the service behind it.
        self.assertIn("gdpr", {e["service"] for e in found if e["event"] == "db.statement"})

    def test_an_error_of_ours_fails_the_span_and_one_of_the_client_does_not(self):
        for path, status in (("/api/progress", 401), ("/api/nowhere/planted", 404)):
            trace, _, header = traceparent()
            self.assertEqual(self.api.get(path, headers={"traceparent": header}).status, status)
            top, = self.spans(trace, len)
            self.assertEqual((top.attributes["http.response.status_code"], top.failed),
                             (status, False))
            self.assertNotIn("planted", str(top.raw))
        self.assertEqual(top.name, "GET")

    def test_what_is_no_traceparent_begins_a_new_trace(self):
        for header in (traceparent(version="ff"), traceparent(tail="-x"),
                       ("0" * 32, "", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"),
                       ("", "", "x" * 500)):
            rid = "new." + secrets.token_hex(4)
            self.assertEqual(self.api.get("/health", headers={
                "traceparent": header[2], "X-Request-ID": rid}).status, 200)
            top = wait_until(lambda r=rid: [
                s for s in self.collector.all()
                if s.attributes.get("kae.request_id") == r], 20, what="a span")[0]
            self.assertNotEqual(top.trace, header[0])
            self.assertIsNone(top.parent)

    def test_two_traceparents_are_none(self):
        one, two = traceparent(), traceparent()
        exchange(self.stack.port, (
            f"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: twice.1\r\n"
            f"traceparent: {one[2]}\r\ntraceparent: {two[2]}\r\nConnection: close\r\n\r\n").encode())
        top = wait_until(lambda: [s for s in self.collector.all()
                                  if s.attributes.get("kae.request_id") == "twice.1"], 20)[0]
        self.assertNotIn(top.trace, (one[0], two[0]))
        self.assertIsNone(top.parent)

    def test_a_version_to_come_is_continued_as_far_as_it_is_known(self):
        trace, span, header = traceparent(version="cc", tail="-more")
        self.api.get("/health", headers={"traceparent": header})
        self.assertEqual(self.spans(trace, len)[0].parent, span)

    def test_a_trace_that_the_client_does_not_sample_is_not_recorded(self):
        quiet, _, header = traceparent("00")
        self.api.get("/health", headers={"traceparent": header})
        loud, _, header = traceparent("01")
        self.api.get("/health", headers={"traceparent": header})
        self.spans(loud, len)  # they leave in the order of their ends
        self.assertEqual(self.collector.of(quiet), [])

    def test_a_cached_answer_has_no_database_in_its_trace(self):
        path = "/api/gamification/leaderboard?limit=7"
        self.assertEqual(self.api.get(path).status, 200)

        def hit():
            trace, _, header = traceparent()
            r = self.api.get(path, headers={"traceparent": header})
            return trace if "detail=memory" in r.headers.get("cache-status", "") else None
        trace = wait_until(hit, 10, what="a hit")
        # In one process it is not called over the bus.
        n = 3 if self.layout == "one" else 4
        spans = self.spans(trace, lambda all: any(s.service == "gateway" and s.kind == SERVER
                                                  for s in all) and len(all) >= n)
        self.assertEqual({s.name for s in spans}, {
            "GET /api/gamification/leaderboard", "gdpr.leaderboard",
            "handler"})


class Sampling(unittest.TestCase):
    def test_a_ratio_takes_a_part_and_a_parent_is_heeded_only_where_it_is_asked(self):
        cases = (("always_off", "", "01", False), ("always_on", "", "00", True),
                 ("traceidratio", "0", "01", False), ("traceidratio", "1", "00", True),
                 ("parentbased_always_off", "", "01", True),
                 ("parentbased_traceidratio", "0", None, False),
                 ("parentbased_traceidratio", "1", None, True))
        with Collector() as collector:
            for sampler, arg, flags, recorded in cases:
                with self.subTest(sampler=sampler, arg=arg, flags=flags):
                    stack = Stack("one", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
                                  OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=arg)
                    self.addCleanup(stack.close)
                    stack.start()
                    rid = "sampled." + secrets.token_hex(4)
                    head = {"X-Request-ID": rid}
                    if flags:
                        head["traceparent"] = traceparent(flags)[2]
                    self.assertEqual(stack.api().get("/api/gamification/achievements",
                                                     headers=head).status, 200)
                    self.assertEqual(stack.stop(), {"knowalledge": 0})  # sends what there is
                    services = {s.service for s in collector.all()
                                if s.attributes.get("kae.request_id") == rid}
                    self.assertEqual(services, {"gateway", "gdpr"} if recorded else set())

    def test_settings_that_cannot_work_are_refused_at_the_start(self):
        for name, value in (("OTEL_TRACES_SAMPLER", "sometimes"),
                            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
                            ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer")):
            with self.subTest(name=name):
                stack = Stack("one", **{name: value})
                self.addCleanup(stack.close)
                stack.start_one("knowalledge")
                p = stack.processes.pop("knowalledge")
                self.assertEqual(p.wait(), 2)
                self.assertIn(name, p.text())


class BadCollector(unittest.TestCase):
    """Whatever it does, requests are answered and the program ends in time."""

    def stack(self, url, **env):
        stack = Stack("one", OTEL_EXPORTER_OTLP_ENDPOINT=url, SHUTDOWN_GRACE_S="5", **env)
        self.addCleanup(stack.close)
        return stack.start()

    def figures(self, stack):
        text = stack.admin("knowalledge", "/metrics").raw.decode()
        return {m[1] + (m[2] or ""): float(m[3]) for m in re.finditer(
            r'^kae_trace_spans_(\w+?)(?:_total)?(?:\{reason="(\w+)"\})? (\S+)$', text, re.M)}

    def ask(self, stack, n=1):
        api = stack.api()
        for _ in range(n):
            self.assertEqual(api.get("/api/gamification/achievements").status, 200)

    def wait_event(self, stack, name):
        return wait_until(lambda: stack.processes["knowalledge"].events(name), 30, what=name)

    def test_spans_wait_for_one_that_is_away(self):
        port = free_port()
        stack = self.stack(f"http://127.0.0.1:{port}")
        self.ask(stack)
        self.assertEqual(self.wait_event(stack, "otlp.failing")[0]["status"], 0)
        self.ask(stack, 20)
        with Collector(port) as collector:
            self.wait_event(stack, "otlp.works")
            self.assertTrue(collector.all())
            self.assertEqual(len(stack.processes["knowalledge"].events("otlp.failing")), 1)

    def test_what_may_be_tried_again_is_and_not_before_its_time(self):
        busy = [(status, {"Retry-After": "1"}, b"later") for status in (429, 503)]
        with Collector(answers=[*busy, 502]) as collector:
            stack = self.stack(collector.url, OTEL_EXPORTER_OTLP_HEADERS="x-key=planted%2Dkey")
            self.ask(stack)
            began = time.monotonic()
            spans = wait_until(collector.all, 30, what="the spans")
            # Two pauses of a second were asked for; the third is our own.
            self.assertGreater(time.monotonic() - began, 1.9)
            self.assertEqual(len({s.id for s in spans}), len(spans))
            heads = [{k.lower(): v for k, v in h.items()} for _, h, _ in collector.requests]
            self.assertEqual({h["x-key"] for h in heads}, {"planted-key"})
            self.assertNotIn("planted-key", stack.text())

    def test_what_is_refused_for_good_is_dropped_and_counted(self):
        with Collector(answers=[400, (302, {"Location": "/elsewhere"}, b"")]) as collector:
            stack = self.stack(collector.url)
            for n in (1, 2):
                before = self.figures(stack)["droppedfailed"]
                self.ask(stack)
                wait_until(lambda b=before: self.figures(stack)["droppedfailed"] > b, 20,
                           what="the count")
                self.assertEqual(len(collector.requests), n)
            self.ask(stack)
            wait_until(collector.all, 20, what="the next spans")
            self.assertEqual({p for p, _, _ in collector.requests}, {"/v1/traces"})

    def test_answers_that_are_nonsense_or_huge_are_taken_by_their_status(self):
        answers = [(200, {}, b"<html>"), (200, {"Content-Type": "x"}, b"\xff" * 5_000_000),
                   (200, {}, b'{"partialSuccess":{"rejectedSpans":"1"}}')]
        with Collector(answers=list(answers)) as collector:
            stack = self.stack(collector.url)
            for n in range(1, 4):
                before = self.figures(stack)["exported"]
                self.ask(stack)
                wait_until(lambda b=before: self.figures(stack)["exported"] > b, 20,
                           what="the count")
                self.assertEqual(len(collector.requests), n)
            figures = self.figures(stack)
            self.assertEqual(figures["droppedrejected"], 1)
            self.assertEqual(figures["droppedfailed"], 0)
            self.assertEqual(figures["exported"], len(collector.all()) - 1)

    def test_one_that_never_answers_costs_spans_and_nothing_else(self):
        with Collector(answers=["hang"] * 10) as collector:
            stack = self.stack(collector.url)
            self.ask(stack)
            wait_until(lambda: collector.requests, 20, what="a request that hangs")
            wait_until(lambda: (self.ask(stack, 50), self.figures(stack)["droppedfull"])[1],
                       60, what="a full ring")
            self.assertLessEqual(self.figures(stack)["waiting"], 2048)
            # It is in the middle of a request that has ten seconds, and ends
            # within its grace of five all the same.
            began = time.monotonic()
            self.assertEqual(stack.stop(), {"knowalledge": 0})
            self.assertLess(time.monotonic() - began, 15)

    def test_what_is_there_at_the_end_is_sent(self):
        with Collector() as collector:
            stack = self.stack(collector.url)
            trace, _, header = traceparent()
            self.assertEqual(stack.api().get("/api/gamification/achievements", headers={
                "traceparent": header}).status, 200)
            self.assertEqual(stack.stop(), {"knowalledge": 0})
            self.assertEqual({s.service for s in collector.of(trace)}, {"gateway", "gdpr"})

    def test_a_collector_that_is_stopped_delays_no_request(self):
        with Collector() as collector:
            stack = self.stack(collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="100")
            self.ask(stack)
            wait_until(collector.all, 20, what="spans")
            collector.answers = ["hang"] * 100
            began = time.monotonic()
            self.ask(stack, 200)
            self.assertLess(time.monotonic() - began, 30)
            self.wait_event(stack, "otlp.failing")
            collector.answers = []
            self.wait_event(stack, "otlp.works")
            self.assertTrue(stack.processes["knowalledge"].running())
            stack.processes["knowalledge"].signal(signal.SIGTERM)


def load_tests(loader, tests, pattern):
    suite = load_on(("ipc", "one", "tcp"), OneTrace)(loader, tests, pattern)
    for cls in (Sampling, BadCollector):
        suite.addTests(loader.loadTestsFromTestCase(cls))
    return suite


if __name__ == "__main__":
    unittest.main()
