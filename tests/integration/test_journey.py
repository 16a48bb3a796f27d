"""A person registers, logs in, learns, and sees the progress grow."""
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import LAYOUTS, OnStack, load_on


class Journey(OnStack):
    def learn(self, me, topic="Photosynthesis"):
        """One topic from its name to a perfect quiz; the submit's answer."""
        subtopics = me.post("/api/create_subtopics", {"topic": topic}).json["subtopics"]
        focus = subtopics[:3]
        shown = me.post("/api/create_presentation", {
            "topic": topic, "educationLevel": "highSchoolLevel",
            "levelOfDetail": "mediumDetail", "focus": focus, "learningStyle": "General"})
        self.assertEqual(shown.status, 200, shown.raw)
        for subtopic in focus:
            quiz = me.post("/api/quiz/generate", {
                "topic": topic, "subtopic": subtopic, "education": "undergradLevel",
                "count": 3})
            self.assertEqual(quiz.status, 200, quiz.raw)
            questions = quiz.json
            self.assertEqual(len(questions), 3)
            done = me.post("/api/quiz/submit", {
                "attempt_id": questions[0]["attempt_id"],
                "answers": [{"question_id": q["question_id"],
                             "option": q["correct_answer"]} for q in questions]})
            self.assertEqual(done.status, 200, done.raw)
            self.assertEqual(done.json["status"], "success")
            self.assertEqual(done.json["mastery_level"], 3)
        return focus

    def stats(self, me):
        r = me.get("/api/gamification/stats")
        self.assertEqual(r.status, 200, r.raw)
        return r.json["stats"]

    def wait_xp(self, me, xp, timeout=10):
        """Within a second, says the issue; the margin is for slow machines."""
        wait_until(lambda: self.stats(me)["progress"]["total_xp"] == xp, timeout,
                   what=f"{xp} XP (now {self.stats(me)['progress']})")

    def test_a_learner_sees_mastery_xp_level_streak_and_rank_grow(self):
        key, me = self.stack.register("ada.lovelace")
        self.assertTrue(key.startswith("sk_"))
        who = me.get("/api/auth/validate").json
        self.assertEqual((who["valid"], who["user_id"], who["role"], who["quota_tier"]),
                         (True, "ada.lovelace", "user", "free"))
        self.assertEqual(self.stats(me)["progress"]["total_xp"], 0)
        self.assertEqual(me.get("/api/gamification/leaderboard/rank").status, 404)

        focus = self.learn(me)

        # 3 perfect quizzes, the topic finished, First Steps.
        self.wait_xp(me, 3 * 200 + 50 + 50)
        stats = self.stats(me)
        self.assertEqual(stats["progress"]["level"], 3)
        self.assertEqual(stats["progress"]["streak_days"], 1)
        self.assertEqual(stats["progress"]["total_quizzes_completed"], 3)
        self.assertEqual(stats["progress"]["total_topics_completed"], 1)
        self.assertEqual(stats["achievements"]["unlocked"], 1)
        self.assertEqual(stats["rank"]["rank"], 1)
        rank = me.get("/api/gamification/leaderboard/rank").json["rank"]
        self.assertEqual((rank["rank"], rank["total_xp"]), (1, 700))

        def first():
            board = self.api.get("/api/gamification/leaderboard?limit=10").json["leaderboard"]
            return [(e["user_id"], e["rank"]) for e in board][:1]
        # The name comes by an event of its own, from svc-auth.
        wait_until(lambda: first() == [("ada.lovelace", 1)], 10, what="the first line")
        mine = me.get("/api/gamification/achievements/user").json
        self.assertEqual([a["id"] for a in mine["unlocked"]], ["first_steps"])
        self.assertEqual(mine["unlocked_count"], 1)

        progress = me.get("/api/progress?topic=Photosynthesis").json
        self.assertEqual({p["subtopic"] for p in progress}, set(focus))
        self.assertEqual({p["mastery_level"] for p in progress}, {3})
        self.assertEqual({p["user_id"] for p in progress}, {"ada.lovelace"})
        advice = me.post("/api/recommendations", {"topic": "Photosynthesis"}).json
        self.assertEqual(len(advice), 3)
        for a in advice:
            self.assertNotIn(a["subtopic"], focus)
            self.assertTrue(a["reason"])

        # The quiz counted once; sent again it is the same result.
        quiz = me.post("/api/quiz/generate", {"topic": "Photosynthesis",
                                              "subtopic": focus[0], "count": 2}).json
        answers = {"attempt_id": quiz[0]["attempt_id"],
                   "answers": [{"question_id": q["question_id"],
                                "option": q["correct_answer"]} for q in quiz]}
        first, again = (me.post("/api/quiz/submit", answers).json for _ in range(2))
        self.assertEqual(first, again)

        # Everything is there after a restart.
        self.wait_xp(me, 900)
        self.assertEqual(set(self.stack.stop().values()), {0})
        self.stack.start()
        self.wait_xp(me, 900)
        self.assertEqual(me.get("/api/auth/validate").status, 200)

    def test_the_old_front_end_s_quiz_body_counts_once_a_day(self):
        _, me = self.stack.register("grace.hopper")
        old = {"topic": "Music", "subtopic": "Rhythm", "score": 2, "total": 3,
               "difficulty": "medium", "language": "en"}
        for _ in range(3):
            r = me.post("/api/quiz/submit", old)
            self.assertEqual((r.status, r.json["mastery_level"]), (200, 2), r.raw)
        better = me.post("/api/quiz/submit", {**old, "score": 3})
        self.assertEqual(better.json["mastery_level"], 3)
        self.wait_xp(me, 133)
        again = {p["subtopic"]: p["mastery_level"] for p in me.get("/api/progress").json}
        self.assertEqual(again, {"Rhythm": 3})


load_tests = load_on(LAYOUTS, Journey)

if __name__ == "__main__":
    unittest.main()
