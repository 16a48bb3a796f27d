"""What a person does, through the published port."""
import pathlib
import secrets
import threading
import time
import uuid

from tests.harness.process import wait_until
from tests.integration.test_images import png, upload

TOPIC = "Photosynthesis"
FULL_MARKS = 200  # XP of a quiz without a mistake
PATIENCE_S = 120
CORPUS = pathlib.Path(__file__).resolve().parents[1] / "fuzz" / "corpus"


class Person:
    """Asks again when told to come back later, as any client of ours should: with
    the same Idempotency-Key, so that nothing is done twice."""

    def __init__(self, case, api, handle):
        """Registers and logs in; api makes a client."""
        self.case, self.me = case, api()
        self.handed_in = 0  # quizzes that were taken
        key = self.ask("POST", "/api/auth/register", {
            "user_id": f"{handle}-{secrets.token_hex(4)}"}, want=201)
        login = self.ask("POST", "/api/auth/login", {"api_key": key["api_key"]})
        self.token = login["access_token"]
        self.me = api(token=self.token)

    def ask(self, method, path, body=None, want=200):
        head = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        end = time.monotonic() + PATIENCE_S
        while True:
            r = self.me.ask(method, path, body, headers=head)
            later = int(r.headers.get("retry-after", r.status in (502, 504)))
            if not later or time.monotonic() > end:
                break
            time.sleep(later)
        self.case.assertEqual(r.status, want, r.raw[:1000])
        return r.json

    def progress(self):
        return self.ask("GET", "/api/gamification/stats")["stats"]["progress"]

    def xp(self):
        """When that of every quiz that was taken is there."""
        wait_until(lambda: self.progress()["total_quizzes_completed"] >= self.handed_in,
                   PATIENCE_S, 0.2, "the XP of all quizzes")
        return self.progress()["total_xp"]

    def learn(self):
        """From a topic's name to a perfect quiz, which XP follows."""
        before = self.xp()
        about = self.ask("POST", "/api/create_subtopics", {"topic": TOPIC})
        focus = about["subtopics"][0]
        self.ask("POST", "/api/create_presentation", {
            "topic": TOPIC, "focus": [focus], "educationLevel": "highSchoolLevel",
            "levelOfDetail": "mediumDetail"})
        quiz = self.ask("POST", "/api/quiz/generate", {
            "topic": TOPIC, "subtopic": focus, "count": 2})
        done = self.ask("POST", "/api/quiz/submit", {
            "attempt_id": quiz[0]["attempt_id"],
            "answers": [{"question_id": q["question_id"], "option": q["correct_answer"]}
                        for q in quiz]})
        self.handed_in += 1
        self.case.assertEqual(done["mastery_level"], 3)
        wait_until(lambda: self.progress()["total_xp"] >= before + FULL_MARKS,
                   PATIENCE_S, 0.2, "the XP")
        progress = self.ask("GET", f"/api/progress?topic={TOPIC}")
        self.case.assertIn(focus, [p["subtopic"] for p in progress])

    def show_pictures(self):
        """One of each kind; what is decoded to its end is the proof of it, as half of
        one is refused."""
        whole = png(640, 480)
        kinds = {"png": whole} | {kind: (CORPUS / kind / "kind_0").read_bytes()
                                  for kind in ("jpeg", "gif", "webp")}
        for kind, data in kinds.items():
            r = upload(self.me, data, f"cell-division.{kind}", f"image/{kind}")
            self.case.assertEqual((r.status, r.json.get("generated_topic")),
                                  (200, "Cell division"), r.raw)
        r = upload(self.me, whole[:len(whole) // 2], "cell-division.png")
        self.case.assertEqual(r.status, 400, r.raw)

    def leave(self):
        """Takes everything along, and is erased."""
        self.case.assertIn(TOPIC, str(self.ask("GET", "/api/user/export")))
        self.ask("DELETE", "/api/user/delete", {"reason": "done"})
        self.ask("GET", "/api/gamification/stats", want=401)


class Load:
    """A few requests a second, below what limits allow one address."""

    def __init__(self, api, person):
        self.api, self.person = api, person
        self.statuses, self.taken, self.ended = [], 0, threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(w,))
                        for w in (False, False, True)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for t in self.threads:
            t.join()
        self.person.handed_in += self.taken

    def ask(self, writes):
        me = self.api(token=self.person.token)
        n = 0
        while not self.ended.wait(1.0 if writes else 0.3):
            n += 1
            r = me.post("/api/quiz/submit", {
                "topic": "Music", "subtopic": f"Part {n}", "score": 1, "total": 3}) \
                if writes else me.get("/api/progress")
            self.taken += writes and r.status == 200
            self.statuses.append((r.status, r.raw[:300] if r.status != 200 else b""))
