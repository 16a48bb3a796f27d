"""The client of language models against a provider with every known quirk: what
comes of a call, what the provider is asked, and what nobody may read."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from tests.fault.pool import BIN, Pool
from tests.harness import certs
from tests.harness.llm import (
    HTML, KEY, MODEL, Provider, Refusing, breaks_off, completion, drips, fails, fails_half_way,
    floods, google_error, hangs, html, in_a_string, keeps_alive, openai_error, redirects,
    refuses, says, stalls, vllm_error, wrong_length)
from tests.harness.process import Process, wait_until

TEXT = "Grün ist die Ñandú, 光合作用 – ✓ 🦉 \"quoted\" \\ end."
QUOTA = openai_error("You exceeded your current quota.", "insufficient_quota",
                     "insufficient_quota")


class Client(Process):
    def __init__(self, *providers, **env):
        merged = {"ENVIRONMENT": "testing"}
        for p in providers:
            merged.update(p if isinstance(p, dict) else p.env())
        Process.__init__(self, [BIN.parent / "fault" / "llm_client"], {**merged, **env},
                         stdin=subprocess.PIPE)
        self.answers = 0
        self.n = self.answer()["answer"]

    answer, tell, say = Pool.answer, Pool.tell, Pool.ask

    def ask(self, verb="ask", **how):
        """The result of one call; with n: all of them, in the order they came."""
        got = self.say(f"{verb} {json.dumps(how)}")
        if got["answer"] != "OK":
            raise AssertionError(got)
        return got["results"] if "n" in how else got["results"][0]

    def metrics(self):
        return self.say("metrics")["answer"]

    def told(self, name):
        """The lines of that event, when there is one."""
        return wait_until(lambda: self.events(name), 20, what=name)

    def end(self):
        """What the program has written, from begin to end."""
        self.popen.stdin.close()
        code = self.popen.wait(20)
        self.reader.join(10)
        self.popen.stdout.close()
        if code:
            raise AssertionError(f"it ended with {code}:\n{self.text()[-3000:]}")
        return self.text()


class LlmTest(unittest.TestCase):
    def provider(self, **how):
        p = Provider(**how)
        self.addCleanup(p.close)
        return p

    def client(self, *providers, **env):
        c = Client(*providers, **env)
        self.addCleanup(lambda: c.popen.stdin.closed or c.end())
        return c

    def pair(self, script=(), first=(), **env):
        """A provider with that script, one behind it that works, and a client."""
        one, two = self.provider(script=script), self.provider(
            answer=lambda request: says("The second."))
        return one, two, self.client(one.env(**dict(first)), two.env("LLM2"), **env)


class Answers(LlmTest):
    def test_each_form_of_a_good_answer_is_the_same_text(self):
        p = self.provider()
        c = self.client(p)
        forms = {
            "stream": says(TEXT),
            "bytes": says(TEXT, cut=1),
            "threes": says(TEXT, cut=3),
            "crlf": says(TEXT, eol="\r\n", cut=5),
            "cr": says(TEXT, eol="\r", cut=5),
            "no space": says(TEXT, space=False),
            "comments": says(TEXT, comments=True),
            "obfuscation": says(TEXT, obfuscation=True),
            "no [DONE]": says(TEXT, done=False),
            "no usage": says(TEXT, usage=None),
            "whole": says(TEXT, stream=False),
        }
        for name, answer in forms.items():
            with self.subTest(form=name):
                p.script = [answer]
                r = c.ask()
                self.assertEqual((r["error"], r["finish"], r["text"], r["heard"], r["tries"]),
                                 ("OK", "stop", TEXT, TEXT, 1))
                self.assertEqual(r["estimated"], name == "no usage")
                if name != "no usage":
                    self.assertEqual((r["in"], r["out"]), (11, 7))
                else:
                    self.assertGreater(r["out"], 5)

    def test_one_that_does_not_stream_is_asked_for_the_whole(self):
        p = self.provider(answer=lambda request: says(TEXT))
        c = self.client(p.env(CAPABILITIES="json_object"))
        r = c.ask(json=1, schema=1)
        self.assertEqual((r["error"], r["text"], r["heard"]), ("OK", TEXT, TEXT))
        sent = p.wait_for(1)[0]
        self.assertNotIn("stream", sent.json)
        self.assertEqual(sent.json["response_format"], {"type": "json_object"})

    def test_how_an_answer_ends_is_told(self):
        p = self.provider()
        c = self.client(p)
        for answer, finish in ((says("a", finish="length"), "length"),
                               (says("a", finish="content_filter"), "filter"),
                               (says("", finish="content_filter", stream=False), "filter"),
                               (says("a", finish="tool_calls"), "other"),
                               (refuses(), "refused"),
                               (says("", refusal="No.", stream=False), "refused")):
            p.script = [answer]
            r = c.ask()
            self.assertEqual((r["error"], r["finish"]), ("OK", finish))

    def test_the_request_is_the_one_that_all_understand(self):
        p = self.provider()
        c = self.client(p)
        c.ask(text=TEXT, temperature=0, max_tokens=55, user="h4sh", json=1, schema=1)
        r = p.wait_for(1)[0]
        self.assertEqual((r.method, r.path), ("POST", "/v1/chat/completions"))
        self.assertEqual(r.headers["authorization"], f"Bearer {KEY}")
        self.assertEqual(r.headers["content-type"], "application/json")
        self.assertEqual(set(r.json), {"model", "messages", "temperature", "max_tokens", "stream",
                                       "stream_options", "response_format", "user"})
        self.assertEqual((r.json["model"], r.user, r.json["temperature"], r.json["max_tokens"],
                          r.json["user"]), (MODEL, TEXT, 0, 55, "h4sh"))
        form = r.json["response_format"]["json_schema"]
        self.assertEqual((form["name"], form["strict"], form["schema"]["required"]),
                         ("answer", True, ["a"]))

    def test_header_style_limit_name_and_image_are_as_set(self):
        p = self.provider()
        c = self.client(p.env(HEADER="api-key", CAPABILITIES="vision,max_completion_tokens"))
        self.assertEqual(c.ask(image=5, type="image/png")["error"], "OK")
        r = p.wait_for(1)[0]
        self.assertEqual(r.headers["api-key"], KEY)
        self.assertNotIn("authorization", r.headers)
        self.assertEqual(r.json["max_completion_tokens"], 100)
        self.assertNotIn("max_tokens", r.json)
        self.assertEqual(r.images, ["data:image/png;base64,AAAAAAA="])

    def test_twenty_run_side_by_side_and_are_told_as_they_end(self):
        def answer(request):
            def late(x):
                p.wait_for(20)  # nobody is answered before all have asked
                says(request.user)(x)
            return late

        p = self.provider(answer=answer)
        got = self.client(p).ask(n=20, listen=0)
        self.assertEqual(sorted(r["call"] for r in got), list(range(20)))
        self.assertEqual({r["error"] for r in got}, {"OK"})

    def test_prices_become_costs(self):
        p = self.provider(answer=lambda r: says("a", usage=(1_000_000, 500_000)))
        c = self.client(p.env(PRICE_IN="0.10", PRICE_OUT="0.4"))
        self.assertEqual(c.ask()["cost"], 100_000 + 200_000)

    def test_gemini_needs_its_key_alone(self):
        p = self.provider()
        c = self.client(GOOGLE_API_KEY=KEY, GEMINI_BASE_URL=p.url)
        r = c.ask()
        self.assertEqual((r["provider_name"], r["model"]), ("gemini", "gemini-2.0-flash"))
        self.assertEqual(p.wait_for(1)[0].headers["authorization"], f"Bearer {KEY}")
        self.assertEqual(self.client().n, 0)


class Failures(LlmTest):
    def test_each_quirk_is_mended_by_asking_again(self):
        quirks = {
            "500": fails(500, openai_error()),
            "503 HTML": html(503),
            "200 HTML": fails(200, HTML, kind="text/html"),
            "408": fails(408), "409": fails(409), "425": fails(425),
            "429": fails(429, openai_error("Slow down.", "requests", "rate_limit_exceeded")),
            "429 in a string": fails(429, in_a_string(google_error(
                429, "RESOURCE_EXHAUSTED", delay="0.01s", wrapped=False))),
            "error in the stream": fails_half_way(openai_error()),
            "429 in the stream": fails_half_way(openai_error("Slow.", "requests", 429)),
            "array in the stream": fails_half_way(google_error(503, "UNAVAILABLE")),
            "error under 200": fails(200, google_error(503, "UNAVAILABLE")),
            "cut": breaks_off(), "ended early": breaks_off(how="clean"),
            "reset": breaks_off(how="reset"),
            "no whole JSON": fails(200, '{"choices":[{"message":'),
            "nothing in it": says(""),
            "no choices": fails(200, "{}"),
            "length too long": wrong_length(), "length too short": wrong_length(by=-9),
            "event that is no JSON": lambda x: (x.begin_stream(), x.chunk("data: {oops\n\n"),
                                               x.cut()),
        }
        p = self.provider(answer=lambda request: says(TEXT))
        c = self.client(p)
        for name, answer in quirks.items():
            with self.subTest(quirk=name):
                p.script = [answer]
                p.taken()
                r = c.ask()
                self.assertEqual((r["error"], r["text"], r["tries"]), ("OK", TEXT, 2))
                self.assertEqual(r["heard"], TEXT, "what was void is heard")
                self.assertEqual(len(p.taken()), 2)
        self.assertEqual(c.say("breakers")["answer"], ["closed"])

    def test_what_asking_again_cannot_mend_goes_to_the_next_at_once(self):
        refused = {
            "bad_request": fails(400, openai_error("No.", "invalid_request_error")),
            "not_found": fails(404, {"detail": "Not Found"}),
            "too_large": fails(413),
            "bad_request ": fails(422, {"detail": [{"loc": ["body", "messages"], "msg": "no"}]}),
            "content_filter": fails(400, openai_error("No.", None, "content_filter")),
            "bad_request  ": fails(400, vllm_error()),
            "bad_request   ": fails(400, {"error": "model is busy thinking"}),
        }
        one, two, c = self.pair()
        for name, answer in refused.items():
            with self.subTest(reason=name):
                one.script = [answer]
                one.taken()
                r = c.ask()
                self.assertEqual((r["error"], r["text"], r["provider_name"], r["tries"]),
                                 ("OK", "The second.", "llm2", 2))
                self.assertEqual(len(one.taken()), 1)
                self.assertIn(f'kae_llm_fallbacks_total{{provider="llm",reason="{name.strip()}"}}',
                              c.metrics())
        self.assertEqual(c.say("breakers")["answer"], ["closed", "closed"])

    def test_a_refused_key_opens_the_breaker_and_is_an_alert(self):
        refusals = (fails(401, openai_error(f"Incorrect API key provided: {KEY}",
                                            "invalid_request_error", "invalid_api_key")),
                    fails(403, google_error(403, "PERMISSION_DENIED")),
                    fails(400, google_error(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")),
                    redirects("http://127.0.0.1:1/elsewhere"))
        one, two, c = self.pair()
        for answer in refusals:
            one.script = [answer]
            c.say("reset")
            self.assertEqual(c.ask()["provider_name"], "llm2")
            self.assertEqual(c.say("breakers")["answer"], ["open", "closed"])
            self.assertEqual(c.ask()["provider_name"], "llm2")
            self.assertEqual(len(one.taken()), 1)
            self.assertEqual(c.say("health")["answer"], "degraded")
        alerts = wait_until(lambda: (lambda e: len(e) == len(refusals) and e)(
            c.events("llm.misconfigured")), 20, what="an alert for each")
        self.assertEqual({e["level"] for e in alerts}, {"error"})

    def test_a_spent_quota_is_not_asked_again(self):
        one, two, c = self.pair()
        for answer in (fails(429, QUOTA, headers={"Retry-After": "0"}),
                       fails(402, {"error": {"message": "Insufficient Balance"}}),
                       fails_half_way(QUOTA)):
            one.script = [answer]
            c.say("reset")
            self.assertEqual(c.ask()["provider_name"], "llm2")
            self.assertEqual(len(one.taken()), 1)
        one = self.provider(script=[fails(429, QUOTA)])
        r = self.client(one).ask()
        self.assertEqual((r["error"], r["reason"], r["tries"]), ("QUOTA", "quota_spent", 1))

    def test_how_long_to_wait_is_honoured_in_every_form(self):
        """What is beyond the time that is left goes to the next at once."""
        hints = {
            "seconds": fails(429, headers={"Retry-After": "30"}),
            "date": fails(429, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
            "ms": fails(503, headers={"retry-after-ms": "30000"}),
            "RetryInfo": fails(429, google_error(429, "RESOURCE_EXHAUSTED", delay="26s")),
            "in a string": fails(429, in_a_string(google_error(
                429, "RESOURCE_EXHAUSTED", delay="26.5s", wrapped=False))),
            "words": fails(429, openai_error("Please retry in 20.04s.")),
            "other words": fails(429, openai_error("Please try again in 6m0s.", "tokens",
                                                   "rate_limit_exceeded")),
            "limits": fails(429, headers={"x-ratelimit-reset-requests": "1ms",
                                          "x-ratelimit-remaining-requests": "5",
                                          "x-ratelimit-reset-tokens": "1m0s",
                                          "x-ratelimit-remaining-tokens": "0"}),
            "in a stream": fails_half_way(google_error(429, "RESOURCE_EXHAUSTED", delay="26s")),
        }
        one, two, c = self.pair()
        for name, answer in hints.items():
            with self.subTest(hint=name):
                one.script = [answer]
                self.assertEqual(c.ask()["provider_name"], "llm2")
                self.assertEqual(len(one.taken()), 1)
                # Nor does another call ask before its time.
                self.assertEqual((c.ask()["provider_name"], one.taken()), ("llm2", []))
                c.say("reset")

    def test_a_short_wait_is_waited_for(self):
        for answer in (fails(429, headers={"Retry-After": "1"}),
                       fails(429, google_error(429, "RESOURCE_EXHAUSTED", delay="0.4s"))):
            one, two, c = self.pair(script=[answer])
            self.assertEqual(c.ask()["provider_name"], "llm")
            first, second = one.taken()
            self.assertGreaterEqual(second.at - first.at, 0.39)

    def test_a_429_in_each_stream_comes_to_an_end(self):
        p = self.provider(answer=lambda r: fails_half_way(openai_error("No.", None, 429)))
        r = self.client(p).ask()
        self.assertEqual((r["error"], r["tries"], r["heard"]), ("RATE_LIMITED", 3, ""))
        self.assertEqual(len(p.taken()), 3)
        self.assertGreater(r["out"], 0, "what had come was not counted")
        self.assertTrue(r["estimated"])

    def test_a_provider_s_own_limit_is_not_met(self):
        one, two, c = self.pair(QUOTA_PROVIDER_RPM="5", QUOTA_PROVIDER_SAFETY_PERCENT="60")
        got = c.ask(n=6)
        self.assertEqual(sorted(r["provider_name"] for r in got), ["llm"] * 3 + ["llm2"] * 3)
        self.assertEqual((len(one.taken()), len(two.taken())), (3, 3))
        r = c.ask()
        self.assertEqual((r["error"], r["reason"], r["tries"]),
                         ("RATE_LIMITED", "held_back", 0))
        metrics = c.metrics()
        for line in ('quota_requests_current_minute 6', 'quota_rpm_remaining 0',
                     'quota_exceeded_total{limit_type="provider_requests"} 5'):
            self.assertIn(line, metrics)

    def test_tokens_are_reserved_and_given_back(self):
        p = self.provider()
        c = self.client(p, QUOTA_PROVIDER_TPM="20000", QUOTA_PROVIDER_SAFETY_PERCENT="100")
        for _ in range(3):  # each reserves more than half, and uses little
            self.assertEqual(c.ask(max_tokens=15000)["error"], "OK")
        self.assertEqual(c.ask(max_tokens=30000)["reason"], "held_back")

    def test_who_is_not_there_is_told_and_then_not_asked(self):
        c = self.client(Refusing())
        self.assertEqual(c.ask()["reason"], "connect")
        self.assertEqual(c.ask()["error"], "UNAVAILABLE")
        self.assertEqual(c.say("breakers"), {"answer": ["open"], "ready": False})
        r = c.ask()
        self.assertEqual((r["reason"], r["tries"]), ("breaker_open", 0))
        self.assertEqual(c.say("reset")["answer"], ["closed"])
        self.assertEqual(c.ask()["tries"], 3)

    def test_the_breaker_closes_after_two_answers(self):
        p = self.provider(script=[fails(500)] * 5)
        c = self.client(p, LLM_BREAKER_OPEN_MS="1")
        for _ in range(2):
            c.ask()
        p.script = [fails(500)] * 3
        self.assertEqual(c.ask()["error"], "UNAVAILABLE")
        p.script = []
        self.assertEqual(c.ask()["error"], "OK")
        self.assertEqual(c.say("breakers")["answer"], ["half_open"])
        self.assertEqual(c.ask()["error"], "OK")
        self.assertEqual(c.say("breakers")["answer"], ["closed"])
        self.assertTrue(c.told("llm.breaker_open") and c.told("llm.breaker_closed"))

    def test_no_more_is_read_than_an_answer_may_have(self):
        p = self.provider(answer=lambda r: floods(20_000))
        r = self.client(p).ask(listen=0)
        self.assertEqual((r["error"], r["reason"], r["text"]),
                         ("UNAVAILABLE", "answer_too_long", ""))


class Time(LlmTest):
    def goes_on(self, answer, reason, first):
        one, two, c = self.pair(script=[answer] * 3, first=first)
        r = c.ask(deadline_ms=60_000)
        self.assertEqual((r["text"], r["heard"]), ("The second.", "The second."))
        m = c.metrics()
        self.assertIn(f'gemini_api_calls_total{{endpoint="test",model="{MODEL}",'
                      f'status="{reason}"}} 3', m)
        self.assertEqual(r["provider_name"], "llm2")
        one.open.set()

    def test_a_first_byte_that_never_comes(self):
        self.goes_on(hangs(), "first_token_timeout", {"FIRST_TOKEN_MS": 60})

    def test_comments_are_no_first_token(self):
        self.goes_on(keeps_alive(), "first_token_timeout", {"FIRST_TOKEN_MS": 120})

    def test_a_stream_that_stops_half_way(self):
        self.goes_on(stalls(), "idle_timeout", {"IDLE_MS": 60})

    def test_a_byte_at_a_time(self):
        self.goes_on(drips(), "first_token_timeout", {"FIRST_TOKEN_MS": 60})
        self.goes_on(drips(after=3), "idle_timeout", {"IDLE_MS": 60})

    def test_the_whole_is_limited(self):
        self.goes_on(drips(), "total_timeout", {"TOTAL_MS": 100})
        self.goes_on(hangs(), "total_timeout", {"TOTAL_MS": 60, "CAPABILITIES": "json_object"})

    def test_a_handshake_that_never_ends(self):
        silent = self.provider()  # speaks no TLS: waits for a request for ever
        env = {**silent.env(CONNECT_MS=60), "LLM_BASE_URL": silent.url.replace("http:", "https:")}
        two = self.provider()
        c = self.client(env, two.env("LLM2"))
        self.assertEqual(c.ask()["provider_name"], "llm2")
        self.assertRegex(c.metrics(), 'status="connect(_timeout)?"')

    def test_the_deadline_ends_it_and_says_nothing_of_the_provider(self):
        p = self.provider(script=[hangs()])
        c = self.client(p)
        r = c.ask(deadline_ms=80)
        self.assertEqual((r["error"], r["reason"]), ("TIMEOUT", "deadline"))
        self.assertEqual(c.say("breakers")["answer"], ["closed"])
        p.open.set()
        self.assertEqual(c.ask(deadline_ms=0)["error"], "TIMEOUT")

    def test_a_call_can_be_cancelled_and_left(self):
        p = self.provider(answer=lambda r: stalls())
        c = self.client(p)
        r = c.ask("cancel")
        self.assertEqual((r["error"], r["reason"]), ("CONFLICT", "cancelled"))
        c.say('leave {"n":50}')
        p.open.set()
        p.answer = lambda r: says("again")
        self.assertEqual(c.ask()["text"], "again")

    def test_an_end_with_calls_that_were_left_is_clean(self):
        p = self.provider(answer=lambda r: hangs())
        c = self.client(p)
        c.say('leave {"n":10}')
        c.end()

    def test_too_many_are_refused_at_once(self):
        p = self.provider(answer=lambda r: hangs())
        c = self.client(p)
        c.tell('ask {"n":257,"deadline_ms":60000,"listen":0}')
        p.wait_for(256)
        p.open.set()
        got = c.answer()
        self.assertEqual((got["answer"], got["begun"]), ("BUSY", 256))
        self.assertEqual({r["error"] for r in got["results"]}, {"UNAVAILABLE"})


class Capabilities(LlmTest):
    def test_a_form_that_is_refused_is_not_sent_again(self):
        def answer(request):
            if request.form == "json_schema":
                return fails(400, openai_error("Invalid parameter: 'response_format' of type "
                                               "'json_schema' is not supported.",
                                               "invalid_request_error", None, "response_format"))
            if request.form == "json_object":
                return fails(400, vllm_error("json_object is not supported"))
            return says("plain")

        p = self.provider(answer=answer)
        c = self.client(p)
        r = c.ask(json=1, schema=1)
        self.assertEqual((r["error"], r["text"], r["tries"]), ("OK", "plain", 3))
        self.assertEqual([q.form for q in p.taken()], ["json_schema", "json_object", None])
        self.assertEqual(c.ask(json=1, schema=1)["tries"], 1)
        self.assertEqual([q.form for q in p.taken()], [None])

    def test_so_are_other_parts(self):
        def answer(request):
            sent = request.json
            if "stream_options" in sent:
                return fails(400, openai_error("Unknown parameter: stream_options"))
            if "user" in sent:
                return fails(422, {"detail": [{"loc": ["body", "user"], "msg": "extra"}]})
            if "max_tokens" in sent:
                return fails(400, openai_error(
                    "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
                    "invalid_request_error", "unsupported_parameter", "max_tokens"))
            return says("taken")

        p = self.provider(answer=answer)
        c = self.client(p)
        self.assertEqual(c.ask(user="h")["text"], "taken")
        self.assertEqual(len(p.taken()), 4)
        self.assertEqual(c.ask(user="h")["tries"], 1)
        self.assertEqual(p.taken()[0].json["max_completion_tokens"], 100)

    def test_one_that_refuses_all_forms_comes_to_an_end(self):
        p = self.provider(answer=lambda r: fails(400, openai_error(
            "response_format stream_options max_completion_tokens", None, None, "user")))
        r = self.client(p).ask(json=1, schema=1, user="h")
        self.assertEqual((r["error"], r["reason"]), ("INVALID", "bad_request"))
        self.assertLessEqual(len(p.taken()), 6)

    def test_an_image_goes_to_who_can_see(self):
        one, two = self.provider(), self.provider()
        c = self.client(one.env(), two.env("LLM2", CAPABILITIES="vision"))
        self.assertEqual(c.ask(image=10)["provider_name"], "llm2")
        self.assertEqual(one.taken(), [])
        r = self.client(one).ask(image=10)
        self.assertEqual((r["error"], r["reason"], r["tries"]), ("NOT_BUILT", "no_vision", 0))

    def test_the_order_and_the_beginning_are_as_said(self):
        one, two = self.provider(), self.provider()
        c = self.client(one, two.env("LLM2"), LLM_PROVIDERS="llm2, llm")
        self.assertEqual(c.ask()["provider_name"], "llm2")
        self.assertEqual(c.ask(first=1)["provider_name"], "llm")
        self.assertEqual(c.ask(first=2)["error"], "UNAVAILABLE")
        two.script = [fails(400)]
        self.assertEqual(c.ask(only=1)["error"], "INVALID")
        with self.assertRaisesRegex(AssertionError, "INVALID"):
            c.ask(first=3)


class Trust(LlmTest):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.dir.cleanup)
        cls.folder = pathlib.Path(cls.dir.name)
        cls.ca = certs.make_ca(cls.folder, "ca")
        good = certs.make_certificate(cls.folder, cls.ca, "DNS:localhost")
        other = certs.make_certificate(cls.folder, cls.ca, "DNS:elsewhere", name="other")
        cls.good, cls.other = (good, good.with_suffix(".key")), (other, other.with_suffix(".key"))

    def test_who_cannot_prove_its_name_is_sent_nothing(self):
        for tls, ca in ((self.good, None), (self.other, self.ca)):
            p, two = self.provider(tls=tls), self.provider()
            c = self.client(p, two.env("LLM2"), **({"LLM_CA_FILE": str(ca)} if ca else {}))
            self.assertEqual(c.ask()["provider_name"], "llm2")
            self.assertIn('reason="tls"', c.metrics())
            self.assertEqual(p.taken(), [])

    def test_who_can_is_asked(self):
        p = self.provider(tls=self.good, answer=lambda r: says(TEXT, cut=7))
        c = self.client(p, ENVIRONMENT="production", LLM_CA_FILE=str(self.ca))
        self.assertEqual(c.ask()["text"], TEXT)

    def test_a_redirect_is_not_followed(self):
        other = self.provider()
        p = self.provider(script=[redirects(f"{other.url}/chat/completions")])
        self.assertEqual(self.client(p).ask()["error"], "BAD_KEY")
        self.assertEqual(other.taken(), [])

    def test_keys_and_prompts_are_in_nothing_that_is_written(self):
        echo = openai_error(f"Incorrect API key provided: {KEY}. planted-prompt", KEY, KEY)
        p = self.provider(script=[
            fails(500, echo), fails(401, echo, headers={"x-request-id": "req_7"})])
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(KEY + "\n")
            f.flush()
            env = {k: v for k, v in p.env().items() if k != "LLM_API_KEY"}
            c = self.client({**env, "LLM_API_KEY_FILE": f.name}, LOG_LEVEL="debug",
                            GOOGLE_API_KEY=KEY, GEMINI_BASE_URL=Refusing().url)
            r = c.ask(text="planted-prompt")
            told = json.dumps([r, c.metrics(), c.say("health"), c.ask(text="planted-prompt")])
        self.assertEqual(p.wait_for(1)[0].headers["authorization"], f"Bearer {KEY}")
        for text in (told, c.end()):
            for planted in (KEY, KEY[:20], "planted-prompt", "a question"):
                self.assertNotIn(planted, text)
        self.assertIn("LLM_API_KEY=***", c.text())
        self.assertIn("GOOGLE_API_KEY=***", c.text())
        failed = c.events("llm.failed") + c.events("llm.misconfigured")
        self.assertIn("req_7", [e["upstream_request"] for e in failed])
        self.assertEqual({e["request_id"] for e in failed}, {"rid-of-the-test"})
        for q in p.taken():
            self.assertNotIn(KEY, q.path)

    def test_settings_that_cannot_work_end_the_service(self):
        for env, named in (
                ({"LLM_BASE_URL": "http://models.example/v1", "LLM_MODEL": "m"}, "LLM_BASE_URL"),
                ({"LLM_BASE_URL": "https://u:p@h/v1", "LLM_MODEL": "m"}, "LLM_BASE_URL"),
                ({"LLM_API_KEY": KEY}, "LLM_API_KEY"),
                ({"LLM_PROVIDERS": "llm"}, "LLM_PROVIDERS")):
            r = subprocess.run([BIN.parent / "fault" / "llm_client"], stdin=subprocess.DEVNULL,
                               env={"PATH": os.environ["PATH"], "ENVIRONMENT": "production",
                                    **env}, capture_output=True, text=True, timeout=30)
            self.assertEqual(r.returncode, 2)
            self.assertIn(f'"detail":"{named}: ', r.stdout)
            self.assertNotIn(KEY, r.stdout + r.stderr)


if __name__ == "__main__":
    unittest.main()
