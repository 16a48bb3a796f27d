"""The generation routes as server-sent events: what adds up to the answer, who comes
back for the rest, and what is left when a process dies in the middle."""
import collections
import concurrent.futures
import contextlib
import http.client
import json
import subprocess
import threading
import unittest

from tests.harness.llm import Provider, says
from tests.harness.postgres import bin_dir
from tests.harness.process import Process, free_port, wait_until
from tests.integration.stack import OnStack

LESSONS = {"topic": "Photosynthesis", "focus": ["Light reaction", "Calvin cycle", "Leaves"],
           "educationLevel": "highSchoolLevel", "levelOfDetail": "mediumDetail"}
# Where an answer has its items; None: it is a list of them.
ROUTES = (("/api/create_subtopics", {"topic": "Photosynthesis"}, "subtopics"),
          ("/api/create_presentation", LESSONS, "explanations"),
          ("/api/quiz/generate", {"topic": "Photosynthesis", "subtopic": "Leaves", "count": 3},
           None),
          ("/api/recommendations", {"topic": "Photosynthesis"}, None))


LESSON = {
    "explanation": "This part of the whole is where most learners begin, since the other parts "
                   "build on it. It says what the words mean, and how they are used with care. "
                   "Whoever has understood it can follow the steps that come behind it, and can "
                   "tell a good example from a bad one. That is why it is worth some patience.",
    "real_world_application": "It is used wherever somebody has to explain the matter.",
    "youtube_search_query": "part of the whole explained"}


def subtopic_of(request):
    """What is to be explained, as the model gets it: behind the last DATA."""
    text = request.json["messages"][1]["content"]
    return json.loads(text.rsplit("\nDATA: ", 1)[1])["subtopic"]


class Stream:
    """An answer that is read event by event."""

    def __init__(self, me, path, body, last=None, **headers):
        self.connection = http.client.HTTPConnection("127.0.0.1", me.port, timeout=60)
        head = {"Authorization": f"Bearer {me.token}", "Content-Type": "application/json",
                "Accept": "text/event-stream", **headers}
        if last:
            head["Last-Event-ID"] = last
        self.connection.request("POST", path, json.dumps(body), head)
        self.answer = self.connection.getresponse()
        self.status, self.comments = self.answer.status, 0

    def next(self):
        """{id, event, data}, or None at the end."""
        event = {}
        while line := self.answer.readline():
            line = line.decode().rstrip("\n")
            if line == ":":
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                event[name] = json.loads(value) if name == "data" else value
            elif event:
                return event
        return None

    def take(self, kind, n=1):
        """Events up to and with the n-th of a kind."""
        taken = []
        while sum(e["event"] == kind for e in taken) < n:
            event = self.next()
            if event is None:
                raise AssertionError(f"no {kind}: {taken}")
            taken.append(event)
        return taken

    def all(self):
        events = []
        while event := self.next():
            events.append(event)
        return events

    def close(self):
        self.answer.close()
        self.connection.close()


def answer_of(events, name):
    """What the same request gets as JSON."""
    items = {e["data"]["index"]: e["data"]["item"] for e in events if e["event"] == "item"}
    listed = [items[i] for i in sorted(items)]
    return listed if name is None else {**events[-1]["data"], name: listed}


def without_ids(answer):
    """Each quiz is an attempt of its own."""
    if not isinstance(answer, list):
        return answer
    return [{k: v for k, v in q.items() if k not in ("attempt_id", "question_id")}
            for q in answer]


class Streaming(OnStack):
    env = {"STREAMS_PER_PERSON": "32", "STREAM_JOBS_PER_PERSON": "32"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, cls.me = cls.stack.register("streaming")
        _, cls.other = cls.stack.register("another")

    def ended(self, *args, **kw):
        """All events of a stream that is whole."""
        s = Stream(*args, **kw)
        self.assertEqual((s.status, s.answer.getheader("Content-Type")),
                         (200, "text/event-stream"))
        events = s.all()
        s.close()
        self.assertEqual(events[-1]["event"], "done", events)
        return events

    def test_the_events_add_up_to_the_answer(self):
        for path, body, name in ROUTES:
            with self.subTest(path=path):
                self.me.post(path, body)
                plain = self.me.post(path, body)  # of the cache, where there is one
                self.assertEqual(plain.status, 200, plain.raw)
                events = self.ended(self.me, path, body)
                self.assertEqual(without_ids(answer_of(events, name)), without_ids(plain.json))
                ids = [e["id"].rpartition(".") for e in events]
                self.assertEqual(len({job for job, _, _ in ids}), 1)
                self.assertEqual([int(n) for _, _, n in ids], list(range(1, len(ids) + 1)))
                last = [e["data"] for e in events if e["event"] == "progress"][-1]
                self.assertEqual(last["done"], last["total"])

    def test_a_quiz_of_a_stream_can_be_submitted(self):
        quiz = answer_of(self.ended(self.me, "/api/quiz/generate", {
            "topic": "Music", "subtopic": "Rhythm", "count": 2}), None)
        r = self.me.post("/api/quiz/submit", {
            "attempt_id": quiz[0]["attempt_id"],
            "answers": [{"question_id": q["question_id"], "option": q["correct_answer"]}
                        for q in quiz]})
        self.assertEqual((r.status, r.json["mastery_level"]), (200, 3), r.raw)

    def test_who_comes_back_gets_the_rest(self):
        path, body, _ = ROUTES[1]
        events = self.ended(self.me, path, {**body, "topic": "Back"})
        for i, event in enumerate(events[:-1]):
            rest = self.ended(self.me, path, {"topic": "whatever", "focus": ["x"],
                                              "educationLevel": "x", "levelOfDetail": "x"},
                              last=event["id"])
            self.assertEqual(rest, events[i + 1:])
        over = Stream(self.me, path, body, last=events[-1]["id"])
        self.assertEqual((over.status, over.answer.read()), (204, b""))
        job = events[0]["id"].rpartition(".")[0]
        for who, where, last in (
                (self.other, path, events[0]["id"]), (self.me, ROUTES[0][0], events[0]["id"]),
                (self.me, path, f"{job}.99"), (self.me, path, job), (self.me, path, "1"),
                (self.me, path, "x" * 500),
                (self.me, path, "0190a000-0000-7000-8000-000000000001.1")):
            s = Stream(who, where, body, last=last)
            self.assertEqual((s.status, json.loads(s.answer.read())["error_code"]),
                             (404, "NOT_FOUND"), last)
            s.close()

    def test_the_same_again_is_the_same(self):
        path, body = "/api/quiz/generate", {"topic": "Twice", "subtopic": "Again"}
        first = self.ended(self.me, path, body)
        self.assertEqual(self.ended(self.me, path, body), first)
        turned = self.ended(self.me, path, dict(reversed(body.items())))
        self.assertEqual(turned, first)
        self.assertNotEqual(self.ended(self.me, path, {**body, "count": 2})[0]["id"],
                            first[0]["id"])
        self.assertNotEqual(self.ended(self.other, path, body)[0]["id"], first[0]["id"])

    def test_a_key_is_of_the_stream(self):
        path, body = "/api/quiz/generate", {"topic": "Keys", "subtopic": "Streams"}
        key = {"Idempotency-Key": "stream-1"}
        first = self.ended(self.me, path, body, **key)
        again = Stream(self.me, path, body, **key)
        self.assertEqual(again.answer.getheader("Idempotent-Replayed"), "true")
        self.assertEqual(again.all(), first)
        self.assertEqual(self.ended(self.me, path, body, last=first[0]["id"], **key), first[1:])
        other = Stream(self.me, path, {**body, "count": 5}, **key)
        self.assertEqual(other.status, 422)
        plain = self.me.post(path, body, headers=key)
        self.assertEqual((plain.status, len(plain.json)), (200, 3), plain.raw)
        self.assertNotIn("idempotent-replayed", plain.headers)

    def test_what_is_wrong_is_a_problem(self):
        for path, body, _ in ROUTES:
            for wrong in ({}, {**body, "topic": ""}, {**body, "topic": 7}):
                s = Stream(self.me, path, wrong)
                self.assertEqual(s.status, 400)
                self.assertEqual(s.answer.getheader("Content-Type"), "application/problem+json")
                s.close()
        r = self.me.post("/api/quiz/submit", {}, headers={"Accept": "text/event-stream"})
        self.assertProblem(r, 406, "NOT_ACCEPTABLE")

    def test_twenty_at_once(self):
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            each = list(pool.map(lambda i: self.ended(
                self.me, "/api/create_subtopics", {"topic": f"Topic number {i}"}), range(20)))
        self.assertEqual(len({events[0]["id"] for events in each}), 20)
        for events in each:
            self.assertEqual(len(answer_of(events, "subtopics")["subtopics"]), 15)

    def test_what_is_kept_is_in_the_export(self):
        _, me = self.stack.register("exported")
        self.ended(me, "/api/recommendations", {"topic": "Exported"})
        store = me.get("/api/user/export").json["stores"]["content"]
        self.assertEqual([j["request"]["topic"] for j in store["jobs"]], ["Exported"])
        self.assertIn("done", {e["type"] for e in store["job_events"]})


class Dies(OnStack):
    """Two replicas of svc-content, and a presentation that cannot be kept while
    its table is locked, so that its items are there and its end is not."""
    layout = "tcp"
    env = {"STREAM_LEASE_S": "1", "STREAM_KEEP_ALIVE_MS": "100", "STREAM_POLL_MS": "200"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.urls = [cls.stack.env["BUS_CONTENT"], f"tcp://127.0.0.1:{free_port()}"]
        cls.stack.env["BUS_CONTENT"] = ",".join(cls.urls)
        cls.replicas = [None, None]
        cls.stack.processes.pop("content").stop()
        cls.addClassCleanup(cls.stop_replicas)
        for i in (0, 1):
            cls.start(i)
        cls.stack.processes["gateway"].stop()
        cls.stack.start_one("gateway")
        cls.stack.wait_ready()
        _, cls.me = cls.stack.register("dying")

    @classmethod
    def stop_replicas(cls):
        for p in cls.replicas:
            if p and p.running():
                p.stop()
                cls.stack.past.append(p)

    @classmethod
    def start(cls, i):
        port = free_port()
        cls.replicas[i] = Process(
            [cls.stack.bin / "kae-content"],
            {**cls.stack.env, "BUS_CONTENT": cls.urls[i], "ADMIN_PORT": str(port)},
            cwd=cls.stack.dir)

        def ready():
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                c.request("GET", "/readyz")
                return c.getresponse().status == 200
            except OSError:
                return False
            finally:
                c.close()
        wait_until(ready, 60, what="a replica")

    def kill(self, i):
        self.replicas[i].kill()
        self.replicas[i].wait()
        self.stack.past.append(self.replicas[i])

    @contextlib.contextmanager
    def locked(self):
        """No presentation ends meanwhile."""
        psql = subprocess.Popen([bin_dir() / "psql", "-XqAt", self.stack.postgres.url],
                                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            psql.stdin.write("BEGIN; LOCK TABLE content.presentations; SELECT 'held';\n")
            psql.stdin.flush()
            self.assertEqual(psql.stdout.readline(), "held\n")
            yield
        finally:
            psql.communicate("ROLLBACK;\n", timeout=30)

    def assertWhole(self, events):
        """Each item once, in order, and the end."""
        self.assertEqual(events[-1]["event"], "done", events)
        self.assertEqual(events[-1]["data"]["success_count"], len(LESSONS["focus"]))
        items = [e["data"] for e in events if e["event"] == "item"]
        self.assertEqual([i["item"]["subtopic"] for i in items], LESSONS["focus"])
        numbers = [int(e["id"].rpartition(".")[2]) for e in events]
        self.assertEqual(numbers, sorted(set(numbers)))

    def begin(self, topic):
        s = Stream(self.me, "/api/create_presentation", {**LESSONS, "topic": topic})
        self.assertEqual(s.status, 200)
        return s, s.take("item", len(LESSONS["focus"]))

    def test_items_come_before_the_end_and_silence_is_filled(self):
        with self.locked():
            s, events = self.begin("Before")
            ended = concurrent.futures.ThreadPoolExecutor(1).submit(s.all)
            wait_until(lambda: s.comments, 30, what="a comment")
            self.assertFalse(ended.done())
        self.assertWhole(events + ended.result(60))
        s.close()

    def test_a_client_that_leaves_finds_it_done(self):
        with self.locked():
            s, events = self.begin("Leaves")
            s.close()
            s = Stream(self.me, "/api/create_presentation", LESSONS, last=events[-1]["id"])
            s.close()
        s = Stream(self.me, "/api/create_presentation", LESSONS, last=events[-1]["id"])
        self.assertWhole(events + s.all())
        s.close()

    def test_a_stream_outlives_the_process_that_makes_it(self):
        for i in (0, 1):  # one of them is the one that makes it
            with self.subTest(replica=i):
                with self.locked():
                    s, events = self.begin(f"Outlives {i}")
                    self.kill(i)
                self.assertWhole(events + s.all())
                s.close()
                self.start(i)

    def test_when_all_have_died_the_rest_is_there(self):
        with self.locked():
            s, events = self.begin("All")
            for i in (0, 1):
                self.kill(i)
            s.close()
        for i in (0, 1):
            self.start(i)
        wait_until(lambda: self.me.get("/api/progress").status == 200, 30, what="svc-content")
        s = Stream(self.me, "/api/create_presentation", LESSONS, last=events[1]["id"])
        self.assertEqual(s.status, 200)
        self.assertWhole(events[:2] + s.all())
        s.close()


class Pays(OnStack):
    """Lessons that a language model makes, each when the test lets it."""
    layout = "ipc"

    @classmethod
    def setUpClass(cls):
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.close)
        cls.env = {**cls.provider.env(), "STREAM_LEASE_S": "1", "STREAM_POLL_MS": "200"}
        super().setUpClass()
        _, cls.me = cls.stack.register("paying")

    def asked(self):
        """How often for which subtopic."""
        return collections.Counter(subtopic_of(r) for r in self.provider.taken())

    def held(self, subtopic):
        """Everything is answered but that, until the event that is returned is set."""
        gate = threading.Event()
        self.addCleanup(gate.set)

        def answer(request):
            if subtopic_of(request) != subtopic:
                return says(LESSON)

            def reply(x):
                gate.wait(60)
                says(LESSON)(x)
            return reply
        self.provider.answer = answer
        self.provider.taken()
        return gate

    def test_items_come_in_the_order_in_which_they_are_ready(self):
        gate = self.held("light reaction")
        s = Stream(self.me, "/api/create_presentation", {**LESSONS, "topic": "Order"})
        events = s.take("item", 2)
        self.assertEqual({e["data"]["index"] for e in events if e["event"] == "item"}, {1, 2})
        gate.set()
        events += s.all()
        s.close()
        items = [e["data"]["index"] for e in events if e["event"] == "item"]
        self.assertEqual((len(items), items[-1]), (3, 0))
        self.assertEqual(answer_of(events, "explanations")["source"], "llm")
        self.assertEqual(set(self.asked().values()), {1})

    def test_what_is_there_is_not_paid_for_again(self):
        gate = self.held("leaves")
        s = Stream(self.me, "/api/create_presentation", {**LESSONS, "topic": "Paid"})
        events = s.take("item", 2)
        self.provider.wait_for(3)
        self.stack.processes["content"].kill()
        self.stack.processes["content"].wait()
        gate.set()
        self.stack.start_one("content")
        events += s.all()  # the client has noticed nothing
        s.close()
        self.assertEqual(events[-1]["event"], "done", events)
        items = [e["data"] for e in events if e["event"] == "item"]
        self.assertEqual(sorted(i["index"] for i in items), [0, 1, 2])
        self.assertEqual({i["item"]["source"] for i in items}, {"llm"})
        self.assertEqual(self.asked(), {"light reaction": 1, "calvin cycle": 1, "leaves": 2})


if __name__ == "__main__":
    unittest.main()
