"""What a person does, through the published port."""
import secrets
import time
import uuid

from tests.harness.process import wait_until

TOPIC = "Photosynthesis"
FULL_MARKS = 200  # XP of a quiz without a mistake
PATIENCE_S = 90


class Person:
    """Asks again when told to come back later, as any client of ours should: with
    the same Idempotency-Key, so that nothing is done twice."""

    def __init__(self, case, api, handle):
        """Registers and logs in; api makes a client."""
        self.case, self.me = case, api()
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

    def xp(self):
        return self.ask("GET", "/api/gamification/stats")["stats"]["progress"]["total_xp"]

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
        self.case.assertEqual(done["mastery_level"], 3)
        wait_until(lambda: self.xp() >= before + FULL_MARKS, PATIENCE_S, 0.2, "the XP")
        progress = self.ask("GET", f"/api/progress?topic={TOPIC}")
        self.case.assertIn(focus, [p["subtopic"] for p in progress])

    def leave(self):
        """Takes everything along, and is erased."""
        self.case.assertIn(TOPIC, str(self.ask("GET", "/api/user/export")))
        self.ask("DELETE", "/api/user/delete", {"reason": "done"})
        self.ask("GET", "/api/gamification/stats", want=401)
