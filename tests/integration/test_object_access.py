"""Whose an object is, is asked at every route that names one (OWASP API1:2023, ASVS 8.2.2).

Each route of the table with a parameter in its path, and each body that names an object,
is asked for an object of one person: by another (404, as if there were none), by nobody
and with a token that has ended (401), by an administrator, and by its owner.  A route
without a case here fails the test.
"""
import re
import unittest

from tests.harness.process import wait_until
from tests.integration.stack import OnStack
from tests.integration.test_routes import table

OWNER = "object.owner"

# Tell everybody the same, and of no person.
PUBLIC = {
    ("GET", "/problems/{code}"): "the catalogue of problems",
    ("GET", "/static/{path}"): "files of the front end",
    ("GET", "/api/social/graphs/{id}/stats"): "a graph is nobody's; what oneself said is told by who asks",
    ("POST", "/api/social/graphs/{id}/like"): "a graph is nobody's, and everybody has their own say",
    ("POST", "/api/social/graphs/{id}/rate"): "a graph is nobody's, and everybody has their own say",
    ("POST", "/api/social/graphs/{id}/share"): "a graph is nobody's, and everybody has their own say",
    ("GET", "/api/user/erasure/{receipt_id}"): "nobody can guess the id, and who has it is erased",
}


def key(t):
    return {"key_id": t.owner.post("/api/auth/keys", {"name": "mine"}).json["key_id"]}, None


def session(t):
    token = t.api.post("/api/auth/login", {"api_key": t.owner_key}).json["token"]
    sessions = t.stack.api(token=token).get("/api/auth/sessions").json["sessions"]
    return {"session_id": next(s["id"] for s in sessions if s["current"])}, None


def breach(t):
    told = []

    def known():  # svc-gdpr hears of a person by an event
        told.append(t.admin.post("/api/user/breach/notify", {
            "breach_type": "drill", "affected_data": "XP", "user_ids": [OWNER]}))
        return told[-1].status == 200
    wait_until(known, 20, what="svc-gdpr to know the owner")
    return {"breach_id": told[-1].json["breach_id"]}, {}


def attempt(t):
    quiz = t.owner.post("/api/quiz/generate", {"topic": "Photosynthesis",
                                             "subtopic": "Chlorophyll"}).json
    return {}, {"attempt_id": quiz[0]["attempt_id"], "answers": [
        {"question_id": q["question_id"], "option": q["options"][0]} for q in quiz]}


# (method, path): (makes an object of the owner: parameters and body; what its owner gets;
# what an administrator gets, who is another person here).
OWNED = {
    ("DELETE", "/api/auth/keys/{key_id}"): (key, 200, 404),
    ("DELETE", "/api/auth/sessions/{session_id}"): (session, 200, 404),
    ("POST", "/api/user/breaches/{breach_id}/acknowledge"): (breach, 200, 404),
    ("POST", "/api/quiz/submit"): (attempt, 200, 404),
}

SUBJECT = {"user_id": "object.subject"}

# Of administrators: another person may not know whether there is one.
ADMINS = {
    ("GET", "/api/circuit-breaker/{name}/state"): lambda t: ({"name": "auth"}, None),
    ("POST", "/api/circuit-breaker/{name}/reset"): lambda t: ({"name": "auth"}, {}),
    ("GET", "/api/admin/explain/{request_id}"): lambda t: (
        {"request_id": t.owner.get("/api/progress").headers["x-request-id"]}, None),
    ("GET", "/api/admin/users/{user_id}"): lambda t: (SUBJECT, None),
    ("PATCH", "/api/admin/users/{user_id}"): lambda t: (SUBJECT, {"quota_tier": "basic"}),
    ("POST", "/api/admin/users/{user_id}/disable"): lambda t: (SUBJECT, {}),
    ("POST", "/api/admin/users/{user_id}/enable"): lambda t: (SUBJECT, {}),
    ("POST", "/api/admin/breaches/{breach_id}/reported"): breach,
    ("GET", "/api/admin/usage/user/{user_id}"): lambda t: (SUBJECT, None),
}


class Objects(OnStack):
    env = {"RATE_LIMIT_LOGIN_PER_MINUTE": "0"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.owner_key, cls.owner = cls.stack.register(OWNER)
        _, cls.other = cls.stack.register("object.other")
        cls.stack.register(SUBJECT["user_id"])
        cls.admin = cls.stack.api(key=cls.stack.admin_key)
        token = cls.api.post("/api/auth/login", {"api_key": cls.owner_key}).json["token"]
        cls.ended = cls.stack.api(token=token)
        assert cls.ended.post("/api/auth/logout", {}).status == 200

    def refuses_who_is_nobody(self, method, path, body):
        self.assertProblem(self.api.ask(method, path, body), 401, "AUTH_REQUIRED")
        self.assertEqual(self.ended.ask(method, path, body).status, 401)

    def test_every_object_is_its_owner_s(self):
        for (method, path), (make, owner_gets, admin_gets) in OWNED.items():
            with self.subTest(method=method, path=path):
                parameters, body = make(self)
                target = path.format(**parameters)
                self.refuses_who_is_nobody(method, target, body)
                refused = self.other.ask(method, target, body)
                self.assertProblem(refused, 404, "NOT_FOUND")
                # The very answer of an object that nobody has.
                nothing = {k: "00000000-0000-7000-8000-000000000000" for k in parameters}
                if nothing:
                    missing = self.other.ask(method, path.format(**nothing), body)
                    self.assertEqual((missing.status, missing.json["detail"]),
                                     (404, refused.json["detail"]))
                self.assertEqual(self.admin.ask(method, target, body).status, admin_gets)
                r = self.owner.ask(method, target, body)
                self.assertEqual(r.status, owner_gets, r.raw)

    def test_what_is_for_administrators_is_for_nobody_else(self):
        for (method, path), make in ADMINS.items():
            with self.subTest(method=method, path=path):
                parameters, body = make(self)
                target = path.format(**parameters)
                self.refuses_who_is_nobody(method, target, body)
                self.assertProblem(self.other.ask(method, target, body), 403, "ADMIN_REQUIRED")
                self.assertProblem(self.owner.ask(method, target, body), 403, "ADMIN_REQUIRED")
                r = self.admin.ask(method, target, body)
                self.assertIn(r.status, (200, 204), r.raw)

    def test_no_route_is_forgotten(self):
        known = {*OWNED, *ADMINS, *PUBLIC}
        there = {(method, path): who for method, path, who, _, _, built, _ in table()
                 if built == "built" and re.search(r"\{\w+\}", path)}
        self.assertEqual(set(there) - known, set())
        self.assertEqual({k for k in known if "{" in k[1]} - set(there), set())
        for row, who in there.items():
            self.assertEqual(who, "user" if row in OWNED else
                             "admin" if row in ADMINS else "anyone", row)


if __name__ == "__main__":
    unittest.main()
