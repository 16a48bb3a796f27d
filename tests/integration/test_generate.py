"""Answers that language models make: what is believed of them, what is kept, and
that there is always one (docs/generation.md)."""
import collections
import json
import pathlib
import re
import threading
import time
import unittest

from tests.harness.llm import (HTML, Provider, breaks_off, drips, fails, fails_half_way,
                               floods, google_error, hangs, html, in_a_string, keeps_alive,
                               openai_error, redirects, refuses, says, stalls, vllm_error,
                               wrong_length)
from tests.integration.stack import OnStack

ROOT = pathlib.Path(__file__).resolve().parents[2]
LANGUAGES = "en es fr de zh ja ar he fa ur".split()
SOURCES = ("llm", "cache", "offline")

SUBTOPICS = {"subtopics": [f"Part {chr(65 + i)} of the whole" for i in range(15)]}
LESSON = {
    "explanation": "This part of the whole is where most learners begin, since the other parts "
                   "build on it. It says what the words mean, and how they are used with care. "
                   "Whoever has understood it can follow the steps that come behind it, and can "
                   "tell a good example from a bad one. That is why it is worth some patience.",
    "real_world_application": "It is used wherever somebody has to explain the matter.",
    "youtube_search_query": "part of the whole explained"}
ADVICE = {"recommendations": [{"subtopic": f"Next step {i}", "reason": "It builds on the last."}
                              for i in "ABC"]}


def quiz(n, **other):
    return {"questions": [{"question": f"Which colour has part {i}?",
                           "options": ["red", "green", "blue", "grey"],
                           "correct_answer": "blue", "explanation": "It is said to be so.",
                           **other} for i in range(n)]}


def data_of(request):
    """What people typed, as the model gets it: behind the last DATA."""
    text = request.json["messages"][1]["content"]
    return json.loads(text.rsplit("\nDATA: ", 1)[1])


def good(request):
    return says({"subtopics": SUBTOPICS, "explanation": LESSON, "recommendation": ADVICE}.get(
        request.schema) or quiz(data_of(request)["count"]))


class Generates(OnStack):
    env = {}

    @classmethod
    def setUpClass(cls):
        cls.provider = Provider(good)
        cls.addClassCleanup(cls.provider.close)
        cls.env = {**cls.provider.env(**cls.limits), "GENERATION_RETRY_S": "1",
                   "LLM_BREAKER_OPEN_MS": "1", **cls.env}
        super().setUpClass()
        # Who has no limits that a test could meet.
        _, cls.me = cls.stack.register("ada")

    limits = {}

    def setUp(self):
        self.provider.answer, self.provider.script = good, []
        self.provider.taken()

    def ask(self, path, body, **headers):
        r = self.me.post(path, body, headers=headers)
        self.assertEqual(r.status, 200, r.raw)
        return r.json

    def outline(self, topic, **more):
        a = self.ask("/api/create_subtopics", {"topic": topic, **more})
        self.assertEqual(len({s.lower() for s in a["subtopics"]}), 15, a)
        self.assertEqual(a["count"], 15)
        self.assertIn(a["source"], SOURCES)
        return a

    def lessons(self, topic, focus, **more):
        a = self.ask("/api/create_presentation", {
            "topic": topic, "educationLevel": "undergradLevel", "levelOfDetail": "lowDetail",
            "focus": focus, **more})
        self.assertEqual([e["subtopic"] for e in a["explanations"]], focus)
        for e in a["explanations"]:
            self.assertGreater(len(e["explanation"]), 40)
            self.assertTrue(e["real_world_application"] and e["youtube_search_query"])
            self.assertIsNone(e["error"])
            self.assertIn(e["source"], SOURCES)
        return a

    def quiz(self, topic, n=3, **more):
        qs = self.ask("/api/quiz/generate", {"topic": topic, "subtopic": "basics", "count": n,
                                             **more})
        self.assertEqual(len(qs), n)
        for q in qs:
            self.assertEqual(len(set(q["options"])), 4)
            self.assertIn(q["correct_answer"], q["options"])
            self.assertIn(q["source"], SOURCES)
        return qs

    def advice(self, topic, **more):
        a = self.ask("/api/recommendations", {"topic": topic, **more})
        self.assertEqual(len({r["subtopic"] for r in a}), 3)
        return a


class Sources(Generates):
    def counted(self):
        """How many of each endpoint's things came from where."""
        text = self.stack.admin("gateway", "/metrics").raw.decode()
        return collections.Counter({m.group(1, 2): int(m[3]) for m in re.finditer(
            r'^kae_generated_total\{endpoint="(.*)",source="(.*)"\} (\d+)$', text, re.M)})

    def test_an_answer_says_who_made_it(self):
        before = self.counted()
        self.assertEqual(self.outline("Tides")["source"], "llm")
        self.assertEqual(self.outline("Tides")["source"], "cache")
        self.assertEqual({q["source"] for q in self.quiz("Tides")}, {"llm"})
        self.assertEqual({q["source"] for q in self.quiz("Tides")}, {"cache"})
        self.assertEqual(self.lessons("Tides", ["A", "B"])["source"], "llm")
        self.assertEqual(self.lessons("Tides", ["B", "A"])["source"], "cache")
        self.assertEqual({r["source"] for r in self.advice("Tides")}, {"llm"})
        self.assertEqual(len(self.provider.taken()), 1 + 1 + 2 + 1)
        self.assertEqual(self.counted() - before, {
            ("create_subtopics", "llm"): 1, ("create_subtopics", "cache"): 1,
            ("quiz/generate", "llm"): 1, ("quiz/generate", "cache"): 1,
            ("create_presentation", "llm"): 2, ("create_presentation", "cache"): 2,
            ("recommendations", "llm"): 1})

    def test_a_topic_is_one_however_it_is_written_and_comes_back_as_it_was(self):
        self.outline("Ocean Currents")
        for written in ("ocean currents", "OCEAN  CURRENTS", "Ｏｃｅａｎ currents"):
            a = self.outline(written)
            self.assertEqual((a["source"], a["topic"]), ("cache", written))
        self.assertEqual(len(self.provider.taken()), 1)

    def test_what_changes_the_answer_is_another_one(self):
        base = {"educationLevel": "juniorLevel", "levelOfDetail": "lowDetail",
                "learningStyle": "General"}
        self.lessons("Dunes", ["Sand"], **base)
        for other in ({"educationLevel": "undergradLevel"}, {"levelOfDetail": "highDetail"},
                      {"learningStyle": "Visual"}, {"language": "fr"}):
            a = self.lessons("Dunes", ["Sand"], **{**base, **other})
            self.assertEqual(a["source"], "llm", other)
        asked = [data_of(r) for r in self.provider.taken()]
        self.assertEqual([d["words"] for d in asked], [100, 100, 300, 100, 100])

    def test_depth_follows_what_is_mastered(self):
        self.lessons("Glaciers", ["Ice"])
        self.assertEqual(data_of(self.provider.taken()[0])["mastery"], "beginner")
        self.ask("/api/quiz/submit", {"topic": "Glaciers", "subtopic": "Ice", "score": 9,
                                      "total": 10})
        self.assertEqual(self.lessons("Glaciers", ["Ice"])["source"], "llm")
        self.assertEqual(data_of(self.provider.taken()[0])["mastery"], "advanced")
        self.advice("Glaciers")
        self.assertEqual(data_of(self.provider.taken()[0])["finished"], ["ice"])

    def test_every_language_is_asked_for_and_the_body_goes_first(self):
        lines = set()
        for code in LANGUAGES:
            self.ask("/api/create_subtopics", {"topic": "Bridges", "language": code},
                     **{"Accept-Language": "de;q=0.1,en;q=0.9"})
            lines.add(self.provider.taken()[0].json["messages"][1]["content"].split("\n")[1])
        self.assertEqual(len(lines), len(LANGUAGES))
        a = self.ask("/api/create_subtopics", {"topic": "Bridges"},
                     **{"Accept-Language": "fr;q=0.2, ja;q=0.9, xx"})
        self.assertEqual(a["source"], "cache")

    def test_the_browsers_double_post_costs_one_generation(self):
        body = {"topic": "Volcanoes", "educationLevel": "juniorLevel",
                "levelOfDetail": "lowDetail", "focus": ["Lava", "Ash"], "learningStyle": {}}
        go = threading.Event()

        def wait(x):
            go.wait(20)
            says(LESSON)(x)

        self.provider.script = [wait, wait]
        answers = []
        threads = [threading.Thread(target=lambda c=self.stack.api(token=self.me.token):
                                    answers.append(c.post("/api/create_presentation", body)))
                   for _ in range(2)]
        for t in threads:
            t.start()
        self.provider.wait_for(2)
        go.set()
        for t in threads:
            t.join(30)
        self.assertEqual([a.status for a in answers], [200, 200])
        self.assertEqual(answers[0].json["explanations"][0]["explanation"],
                         answers[1].json["explanations"][0]["explanation"])
        self.assertEqual(len(self.provider.taken()), 2)

    def test_twenty_lessons_are_made_at_once_and_one_that_fails_fails_alone(self):
        focus = [f"Lesson {chr(65 + i)}" for i in range(20)]
        together = threading.Barrier(19)

        def answer(request):
            if data_of(request)["subtopic"] == "lesson h":
                return refuses()

            def reply(x):
                together.wait(20)  # broken unless all are asked at once
                says(LESSON)(x)
            return reply

        self.provider.answer = answer
        a = self.lessons("Rivers", focus)
        self.assertEqual([e["source"] for e in a["explanations"]],
                         ["offline" if f == "Lesson H" else "llm" for f in focus])
        self.assertIn("No language model could answer", a["explanations"][7]["warnings"][-1])
        self.assertEqual((a["success_count"], a["failed_count"]), (20, 0))

    def test_prompts_are_shown_to_administrators_alone(self):
        self.assertEqual(self.me.get("/api/prompts").status, 403)
        r = self.stack.api(key=self.stack.admin_key).get("/api/prompts")
        self.assertEqual(r.status, 200, r.raw)
        self.assertEqual({t["name"] for t in r.json["templates"]},
                         {"subtopics", "explanation", "quiz_generation", "recommendation",
                          "image_topic"})
        self.assertNotIn("Secret", r.json["system_context"])


class Believes(Generates):
    """What is no use is repaired once, and then made offline."""

    def test_a_bad_answer_is_asked_for_again_with_the_reasons(self):
        self.provider.script = [says({"subtopics": ["one", "two"]}), says(SUBTOPICS)]
        self.assertEqual(self.outline("Deserts")["source"], "llm")
        first, second = self.provider.taken()
        self.assertIn("not fifteen", second.user)
        self.assertEqual(len(second.json["messages"]), 4)

    def test_fences_and_bare_arrays_are_taken(self):
        fenced = "Here it is:\n```json\n" + json.dumps(SUBTOPICS["subtopics"]) + "\n```"
        self.provider.script = [says(fenced)]
        self.assertEqual(self.outline("Lagoons")["source"], "llm")

    def test_what_is_cut_off_or_refused_or_filtered_is_never_kept(self):
        for i, bad in enumerate((says(SUBTOPICS, finish="length"), refuses(),
                                 says(SUBTOPICS, finish="content_filter"))):
            with self.subTest(i):
                self.provider.script = [bad, bad]
                self.provider.answer = lambda request, bad=bad: bad
                self.assertEqual(self.outline(f"Cliffs {i}")["source"], "offline")
                self.provider.script, self.provider.answer = [], good
                end = time.monotonic() + 20
                while self.outline(f"Cliffs {i}")["source"] != "llm":
                    self.assertLess(time.monotonic(), end)

    def test_a_correct_answer_is_one_of_the_options(self):
        self.provider.answer = lambda r: says(quiz(3, correct_answer="violet"))
        qs = self.quiz("Colours")
        self.assertEqual({q["source"] for q in qs}, {"offline"})
        self.assertEqual(len(self.provider.taken()), 2)

    def test_text_is_text(self):
        self.provider.script = [says({
            "explanation": "# Title\n<script>alert(1)</script>" + LESSON["explanation"] +
                           " See [this page](https://evil.example/x) or <img src=x onerror=y> "
                           "<b>www.evil.example</b>.",
            "real_world_application": "javascript:alert(1) It is **used** here.",
            "youtube_search_query": "https://evil.example part of it"})]
        e = self.lessons("Clouds", ["Part"])["explanations"][0]
        self.assertEqual(e["source"], "llm")
        text = json.dumps(e)
        for bad in ("evil.example", "script", "onerror", "**", "# Title", "https:"):
            self.assertNotIn(bad, text)

    @staticmethod
    def injections():
        return [l for l in (ROOT / "tests/data/injections.txt").read_text().splitlines()
                if l and not l.startswith("#")]

    def obeys(self, request):
        """A model that does all it is told, in turn."""
        n = len(self.provider.requests)
        return says([request.system, request.json["messages"][0]["content"][-60:], HTML,
                     {"subtopics": [request.system[i * 40:i * 40 + 120] for i in range(15)]},
                     {"subtopics": [f"<a href='https://evil.example/{i}'>x{i}</a>"
                                    for i in range(15)]},
                     {"prompt": request.system}][n % 6])

    def system(self):
        return self.stack.api(key=self.stack.admin_key).get("/api/prompts").json["system_context"]

    def assertClean(self, text, line, i):
        """The offline provider names what was asked for, as it was written."""
        text = text.replace(line, "")
        for fragment in (self.system()[i * 7 % 200:][:50], "Secret, never", "evil.example/",
                         "<a", "href"):
            self.assertNotIn(fragment, text)

    def assertData(self, keys):
        """What was typed stands in one place: as a value behind DATA."""
        asked = self.provider.taken()
        self.assertEqual(len({r.system for r in asked}), 1)
        self.assertEqual(len({r.json["messages"][1]["content"].rsplit("\nDATA: ", 1)[0]
                              for r in asked}), 1)
        self.assertTrue(all(data_of(r).keys() == keys for r in asked))

    def test_injections_as_topics_change_nothing_and_leak_nothing(self):
        lines = self.injections()
        self.assertGreater(len(lines), 25)
        self.provider.answer = self.obeys
        for i, line in enumerate(lines):
            with self.subTest(line):
                r = self.me.post("/api/create_subtopics", {"topic": line})
                if r.status == 400:
                    continue  # no topic at all, such as one with < or >
                self.assertEqual(len(set(r.json["subtopics"])), 15)
                self.assertClean(" ".join(r.json["subtopics"]), line, i)
        self.assertData({"topic", "count"})

    def test_injections_as_subtopics_change_nothing_and_leak_nothing(self):
        good = [l for l in self.injections() if not set(l) & set("<>") and len(l) <= 200]
        self.provider.answer = self.obeys
        for i in range(0, len(good), 10):
            focus = good[i:i + 10]
            answer = self.lessons("Physics", focus)
            for line, e in zip(focus, answer["explanations"]):
                with self.subTest(line):
                    self.assertEqual(e["source"], "offline")
                    self.assertClean(e["explanation"] + e["real_world_application"]
                                     + e["youtube_search_query"], line, i)
        self.assertData({"topic", "subtopic", "education", "mastery", "style", "words"})


class Falls(Generates):
    """With short limits: an answer within the deadline, whatever the provider does."""
    limits = {"FIRST_TOKEN_MS": 300, "IDLE_MS": 300, "TOTAL_MS": 1000, "CONNECT_MS": 300}
    env = {"GENERATION_MS": "1500"}

    QUIRKS = {
        "hangs": hangs(), "stalls": stalls(), "keeps alive": keeps_alive(),
        "drips": drips(), "html": html(), "429": fails(429, openai_error(type="rate_limit")),
        "quota": fails(429, openai_error(code="insufficient_quota")),
        "401": fails(401, openai_error()), "500": fails(500), "404": fails(404, vllm_error()),
        "google": fails(429, google_error(429, "RESOURCE_EXHAUSTED", delay="26s")),
        "in a string": fails(429, in_a_string(google_error(429, "RESOURCE_EXHAUSTED"))),
        "detail": fails(422, {"detail": "no"}), "cut": breaks_off(),
        "clean end": breaks_off(how="clean"), "reset": breaks_off(how="reset"),
        "half way": fails_half_way(openai_error()), "length": wrong_length(),
        "short length": wrong_length(by=-10), "redirect": redirects("http://127.0.0.1:9/"),
        "flood": floods(3000), "refusal": refuses(), "empty": says(""), "null": says("null"),
        "no json": says("Sure! Here are your subtopics."), "half json": says('{"subtopics": ["a"'),
        "deep": says("[" * 5000), "binary": says("\x00\ufffe"),
    }

    def forget_failures(self):
        r = self.stack.api(key=self.stack.admin_key).post("/api/circuit-breaker/google_ai/reset", {})
        self.assertEqual(r.status, 200, r.raw)

    def test_every_quirk_ends_in_a_good_answer_in_time(self):
        kinds = [self.outline, lambda t: self.lessons(t, ["Part one", "Part two"]), self.quiz,
                 self.advice]
        asked = 0
        for i, (name, quirk) in enumerate(self.QUIRKS.items()):
            with self.subTest(name):
                self.provider.answer = lambda request, quirk=quirk: quirk
                self.forget_failures()
                began = time.monotonic()
                a = kinds[i % len(kinds)](f"Quirk {name}")
                # 1.5 s for providers; ten times that on a busy machine.
                self.assertLess(time.monotonic() - began, 15)
                first = a if isinstance(a, dict) else a[0]
                self.assertEqual(first["source"], "offline")
                asked += bool(self.provider.taken())
        # On a busy machine the time may be over before one is.
        self.assertGreater(asked, len(self.QUIRKS) // 2)


class Stale(Generates):
    env = {"SUBTOPICS_TTL_S": "1"}

    def test_what_is_over_its_time_serves_while_nobody_answers(self):
        made = self.outline("Lakes")
        self.assertEqual(made["source"], "llm")
        self.provider.answer = lambda request: fails(500)
        self.provider.taken()
        end = time.monotonic() + 20
        while not self.provider.taken():  # its second is over: a provider is asked again
            self.assertLess(time.monotonic(), end)
            a = self.outline("Lakes")
        self.assertEqual((a["source"], a["subtopics"]), ("cache", made["subtopics"]))
        self.assertEqual(self.outline("Other lakes")["source"], "offline")

    def test_the_offline_provider_says_when_it_has_no_such_language(self):
        self.provider.answer = lambda request: fails(500)
        for a in (self.outline("Boats", language="ur"), self.quiz("Boats", language="ur")[0],
                  self.advice("Boats", language="ur")[0],
                  self.lessons("Boats", ["Sails"], language="ur")["explanations"][0]):
            self.assertEqual(a["source"], "offline")
            self.assertTrue(any("English" in w for w in a["warnings"]), a["warnings"])


if __name__ == "__main__":
    unittest.main()
