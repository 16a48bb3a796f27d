"""An Idempotency-Key on every route that has an effect.

The routes are those of the table: one that is built and not a GET needs an entry
in CASES or, where it has no effect, in HARMLESS, or in REPEATABLE; else this
fails.
"""
import dataclasses
import http.client
import pathlib
import re
import threading
import time
import unittest
import uuid
from typing import Callable, Optional

from tests.harness.process import wait_until
from tests.integration.stack import ROOT, SERVICES, SHORT, Api, OnStack, load_on
from tests.integration.test_routes import table

REPLAYED = "idempotent-replayed"
AT_ONCE = 6


def fresh(word):
    return f"{word}.{uuid.uuid4().hex[:12]}"


@dataclasses.dataclass
class Request:
    """One request of somebody, and what shows its effect."""
    api: Api
    method: str
    path: str
    body: Optional[dict]
    other: tuple  # (path, body) of another request of the same method
    effects: Callable[[], int] = lambda: 1  # how often it was done
    elsewhere: Optional[Api] = None  # another person who may ask the same
    anew: tuple = (200, 201)  # what it answers when it runs a second time
    then: tuple = None  # what another person asks, where it must be another

    def send(self, key, api=None, path=None, body=None):
        return (api or self.api).ask(self.method, path or self.path, body=body or self.body,
                                     headers={"Idempotency-Key": key})


class From(Api):
    """A client in another network of this machine."""

    def __init__(self, port, address):
        super().__init__(port)
        self.address = address

    def ask(self, *args, **kw):
        self.connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=self.timeout, source_address=(self.address, 0))
        try:
            return super().ask(*args, **kw)
        finally:
            self.close()


def keys_of(api):
    r = api.get("/api/auth/keys")
    return r.json["count"] if r.status == 200 else -1


def register(stack):
    """Done when one can log in: the handle's only key is the answer's."""
    handle = fresh("new")

    def effects():
        r = stack.api().post("/api/auth/register", {"user_id": handle})
        return 1 if r.status == 409 else 0

    return Request(stack.api(), "POST", "/api/auth/register", {"user_id": handle},
                   ("/api/auth/register", {"user_id": fresh("other")}), effects,
                   From(stack.port, "127.0.7.1"), anew=(409,),
                   then=(None, {"user_id": fresh("elsewhere")}))


def login(stack):
    key, _ = stack.register(fresh("login"))
    other, _ = stack.register(fresh("login"))
    return Request(stack.api(), "POST", "/api/auth/login", {"api_key": key},
                   ("/api/auth/login", {"api_key": other}),
                   elsewhere=From(stack.port, "127.0.7.2"))


def change_password(stack):
    """A repeat without the key finds that the current password is another."""
    names = [f"{fresh('changer')}@example.org" for _ in range(2)]
    old, new = "gravel otter lampshade", "zither plinth morning"
    me, other = (stack.api(token=stack.api().post(
        "/api/auth/register", {"email": n, "password": old}).json["token"]) for n in names)
    path = "/api/auth/change-password"
    return Request(me, "POST", path, {"current_password": old, "new_password": new},
                   (path, {"current_password": new, "new_password": "another plinth yet"}),
                   lambda: int(stack.api().post("/api/auth/login", {
                       "email": names[0], "password": new}).status == 200), other, anew=(401,))


def add_key(stack):
    key, _ = stack.register(fresh("adder"))
    _, other = stack.register(fresh("adder"))
    me = stack.api(key=key)
    return Request(me, "POST", "/api/auth/keys", {"name": "laptop", "scopes": ["read"]},
                   ("/api/auth/keys", {"name": "phone"}), lambda: keys_of(me) - 1, other)


def revoke_key(stack):
    key, _ = stack.register(fresh("revoker"))
    other_key, other = stack.register(fresh("revoker"))
    me = stack.api(key=key)

    def extra(api):
        return api.post("/api/auth/keys", {"name": "old"}).json["key_id"]

    mine, spare, theirs = extra(me), extra(me), extra(stack.api(key=other_key))
    return Request(me, "DELETE", f"/api/auth/keys/{mine}", None,
                   (f"/api/auth/keys/{spare}", None), lambda: 3 - keys_of(me), other,
                   anew=(404,), then=(f"/api/auth/keys/{theirs}", None))


def generate_key(stack):
    admin = stack.api(key=stack.admin_key)
    r = admin.post("/api/auth/admin/generate-key", {"user_id": fresh("admin"), "role": "admin"})
    handle = fresh("given")
    mine = stack.api(key=admin.post("/api/auth/admin/generate-key",
                                    {"user_id": handle}).json["api_key"])
    return Request(admin, "POST", "/api/auth/admin/generate-key", {"user_id": handle},
                   ("/api/auth/admin/generate-key", {"user_id": fresh("given")}),
                   lambda: keys_of(mine) - 1, stack.api(key=r.json["api_key"]))


def presentation(stack):
    _, me = stack.register(fresh("reader"))
    _, other = stack.register(fresh("reader"))
    body = {"topic": "music", "educationLevel": "college", "levelOfDetail": "medium",
            "focus": ["Harmony"]}
    return Request(me, "POST", "/api/create_presentation", body,
                   ("/api/create_presentation", {**body, "focus": ["Rhythm"]}), elsewhere=other)


def quiz(stack):
    _, me = stack.register(fresh("quizzed"))
    _, other = stack.register(fresh("quizzed"))
    body = {"topic": "music", "subtopic": "Harmony", "count": 2}
    return Request(me, "POST", "/api/quiz/generate", body,
                   ("/api/quiz/generate", {**body, "count": 3}), elsewhere=other)


def submit(stack):
    _, me = stack.register(fresh("submitter"))
    _, other = stack.register(fresh("submitter"))
    body = {"topic": "law", "subtopic": "Torts", "score": 2, "total": 3}

    def effects():
        def done():
            stats = me.get("/api/gamification/stats")
            return stats.json["stats"]["progress"]["total_quizzes_completed"]
        wait_until(lambda: done() > 0, 20, what="the submitted quiz in the statistics")
        return done()

    return Request(me, "POST", "/api/quiz/submit", body,
                   ("/api/quiz/submit", {**body, "score": 1}), effects, other)


def logout(stack):
    """A session: its own key, and 401 when it has ended."""
    key, me = stack.register(fresh("leaver"))
    _, other = stack.register(fresh("leaver"))
    del key
    return Request(me, "POST", "/api/auth/logout", {}, ("/api/auth/logout", {"all": True}),
                   lambda: int(me.get("/api/auth/validate").status == 401), other, anew=(401,))


def refresh(stack):
    def entered():
        key, _ = stack.register(fresh("renewer"))
        return stack.api().post("/api/auth/login", {"api_key": key}).json["refresh_token"]

    return Request(stack.api(), "POST", "/api/auth/refresh", {"refresh_token": entered()},
                   ("/api/auth/refresh", {"refresh_token": entered()}),
                   elsewhere=From(stack.port, "127.0.7.3"))


def revoke_session(stack):
    def three():
        key, _ = stack.register(fresh("visitor"))
        for _ in range(2):
            stack.api().post("/api/auth/login", {"api_key": key})
        return stack.api(key=key)

    def sessions(api):
        return [s["id"] for s in api.get("/api/auth/sessions").json["sessions"]]

    me, other = three(), three()
    mine, spare, _ = sessions(me)
    return Request(me, "DELETE", f"/api/auth/sessions/{mine}", None,
                   (f"/api/auth/sessions/{spare}", None), lambda: 3 - len(sessions(me)), other,
                   anew=(404,), then=(f"/api/auth/sessions/{sessions(other)[0]}", None))


def on_person(method, suffix, body, done):
    """An administrator's request about somebody; done: of them afterwards."""
    def make(stack):
        admin = stack.api(key=stack.admin_key)
        r = admin.post("/api/auth/admin/generate-key",
                       {"user_id": fresh("admin"), "role": "admin"})
        handles = [fresh("subject") for _ in range(2)]
        for handle in handles:
            stack.register(handle)
        if suffix == "/enable":
            for handle in handles:
                admin.post(f"/api/admin/users/{handle}/disable", {})
        path = f"/api/admin/users/{handles[0]}"
        return Request(admin, method, path + suffix, body,
                       (f"/api/admin/users/{handles[1]}{suffix}", body),
                       lambda: int(done(admin.get(path).json["user"])),
                       stack.api(key=r.json["api_key"]))
    return make


def consent(stack):
    _, me = stack.register(fresh("agrees"))
    _, other = stack.register(fresh("agrees"))
    body = {"type": "marketing", "given": True}
    return Request(me, "POST", "/api/user/consent", body,
                   ("/api/user/consent", {**body, "given": False}),
                   lambda: me.get("/api/user/consent/history").json["count"], other)


def restrict(stack):
    _, me = stack.register(fresh("restricts"))
    _, other = stack.register(fresh("restricts"))
    body = {"restricted": True}
    return Request(me, "POST", "/api/user/restriction", body,
                   ("/api/user/restriction", {"restricted": False}),
                   lambda: int(me.get("/api/user/restriction").json["restricted"]), other)


def rectify(stack):
    _, me = stack.register(fresh("corrects"))
    _, other = stack.register(fresh("corrects"))
    body = {"updates": {"display_name": "Ada"}}
    return Request(me, "PATCH", "/api/user/rectify", body,
                   ("/api/user/rectify", {"updates": {"display_name": "Eve"}}), elsewhere=other)


def another_admin(stack):
    return stack.api(key=stack.api(key=stack.admin_key).post(
        "/api/auth/admin/generate-key",
        {"user_id": fresh("admin"), "role": "admin"}).json["api_key"])


def entered(stack, breach_type, *handles):
    """The id of a breach, once svc-gdpr knows these people."""
    found = []

    def told():
        found.append(stack.api(key=stack.admin_key).post("/api/user/breach/notify", {
            "breach_type": breach_type, "affected_data": "XP", "user_ids": list(handles)}))
        return found[-1].status == 200
    wait_until(told, 20, what=f"a breach for {handles}")
    return found[-1].json["breach_id"]


def notify(stack):
    handle = fresh("affected")
    _, me = stack.register(handle)
    entered(stack, "drill", handle)
    body = {"breach_type": "theft", "affected_data": "XP", "user_ids": [handle]}

    def effects():
        return sum(b["breach_type"] == "theft"
                   for b in me.get("/api/user/breaches").json["breaches"])
    return Request(stack.api(key=stack.admin_key), "POST", "/api/user/breach/notify", body,
                   ("/api/user/breach/notify", {**body, "breach_type": "loss"}), effects,
                   another_admin(stack))


def acknowledge(stack):
    handles = [fresh("affected") for _ in range(2)]
    me, other = (stack.register(h)[1] for h in handles)
    mine, theirs = (f"/api/user/breaches/{entered(stack, t, *handles)}/acknowledge"
                    for t in ("theft", "loss"))

    def effects():
        return sum(b["acknowledged_at"] is not None
                   for b in me.get("/api/user/breaches").json["breaches"])
    return Request(me, "POST", mine, {}, (theirs, {}), effects, other)


def reported(stack):
    handle = fresh("affected")
    stack.register(handle)
    mine, other = (f"/api/admin/breaches/{entered(stack, t, handle)}/reported"
                   for t in ("theft", "loss"))
    return Request(stack.api(key=stack.admin_key), "POST", mine, {}, (other, {}),
                   elsewhere=another_admin(stack))


def reaction(what, body, other, sum_of):
    """Of a graph that nobody else has, so the sum shows how often it was done."""
    def make(stack):
        _, me = stack.register(fresh("reacts"))
        _, elsewhere = stack.register(fresh("reacts"))
        graphs = [f"/api/social/graphs/{uuid.uuid4().hex[:16]}" for _ in range(2)]
        path = f"{graphs[0]}/{what}"
        return Request(me, "POST", path, body,
                       (path if other else f"{graphs[1]}/{what}", other or body),
                       lambda: me.get(graphs[0] + "/stats").json["stats"][sum_of], elsewhere)
    return make


def graph(stack):
    _, me = stack.register(fresh("looks"))
    _, other = stack.register(fresh("looks"))
    path = "/api/social/graphs/id"
    return Request(me, "POST", path, {"topic": "Law"}, (path, {"topic": "Music"}),
                   elsewhere=other)


def event(stack):
    admin, name, path = stack.api(key=stack.admin_key), fresh("task"), "/api/analytics"
    body = {"eventType": "task_completion", "data": {"taskName": name}}

    def effects():
        r = admin.get("/api/analytics/export?event_type=task_completion")
        return sum(e["data"]["name"] == name for e in r.json["events"])

    return Request(stack.api(), "POST", path, body,
                   (path, {"eventType": "task_completion", "data": {"taskName": fresh("task")}}),
                   effects, From(stack.port, "127.0.7.4"))


def cleanup(stack):
    admin = stack.api(key=stack.admin_key)
    r = admin.post("/api/auth/admin/generate-key", {"user_id": fresh("admin"), "role": "admin"})
    path = "/api/analytics/cleanup?days="
    return Request(admin, "POST", path + "30", {}, (path + "40", {}),
                   elsewhere=stack.api(key=r.json["api_key"]))


CASES = {
    ("POST", "/api/social/graphs/id"): graph,
    ("POST", "/api/social/graphs/{id}/like"): reaction(
        "like", {"liked": True}, {"liked": False}, "likes"),
    ("POST", "/api/social/graphs/{id}/rate"): reaction(
        "rate", {"rating": 4}, {"rating": 5}, "total_ratings"),
    ("POST", "/api/social/graphs/{id}/share"): reaction("share", {}, None, "shares"),
    ("POST", "/api/analytics"): event,
    ("POST", "/api/analytics/cleanup"): cleanup,
    ("POST", "/api/auth/register"): register,
    ("POST", "/api/auth/login"): login,
    ("POST", "/api/auth/refresh"): refresh,
    ("POST", "/api/auth/logout"): logout,
    ("DELETE", "/api/auth/sessions/{session_id}"): revoke_session,
    ("POST", "/api/admin/users/{user_id}/disable"): on_person(
        "POST", "/disable", {}, lambda u: u["state"] == "disabled"),
    ("POST", "/api/admin/users/{user_id}/enable"): on_person(
        "POST", "/enable", {}, lambda u: u["state"] == "active"),
    ("PATCH", "/api/admin/users/{user_id}"): on_person(
        "PATCH", "", {"quota_tier": "premium"}, lambda u: u["quota_tier"] == "premium"),
    ("POST", "/api/auth/change-password"): change_password,
    ("POST", "/api/auth/keys"): add_key,
    ("DELETE", "/api/auth/keys/{key_id}"): revoke_key,
    ("POST", "/api/auth/admin/generate-key"): generate_key,
    ("POST", "/api/create_presentation"): presentation,
    ("POST", "/api/quiz/generate"): quiz,
    ("POST", "/api/quiz/submit"): submit,
    ("POST", "/api/user/consent"): consent,
    ("POST", "/api/user/restriction"): restrict,
    ("PATCH", "/api/user/rectify"): rectify,
    ("POST", "/api/user/breach/notify"): notify,
    ("POST", "/api/user/breaches/{breach_id}/acknowledge"): acknowledge,
    ("POST", "/api/admin/breaches/{breach_id}/reported"): reported,
}
# A POST with a body for want of a GET with one; a key says nothing to them.
HARMLESS = {
    ("POST", "/api/create_subtopics"): ({"topic": "music"}, {"topic": "law"}),
    ("POST", "/api/recommendations"): ({"topic": "music"}, {"topic": "law"}),
    ("POST", "/api/metrics/estimate"): ({"daily_requests": 1}, {"daily_requests": 2}),
}
# The same, but what they take is a form, or needs a provider: test_images.py.
PICTURES = {
    ("POST", "/api/image2topic"),
    ("POST", "/api/generate_image"),
}
# The gateway's own: done twice is done once, and nothing is stored of them.
REPEATABLE = {
    ("POST", "/api/cache/clear"),
    ("POST", "/api/cache/invalidate"),
    ("POST", "/api/circuit-breaker/{name}/reset"),
    ("POST", "/api/metrics/performance"),
}
# The person is the key, and no answer about them is kept: tests/fault/test_erasure.py.
ERASES = {
    ("DELETE", "/api/user/delete"),
    ("DELETE", "/api/user/account"),
}
# They take codes that are good once, so there is no other request to compare with:
# tests/integration/test_factors.py and tests/store/test_auth_factor*.c.
CODES = {
    ("POST", "/api/auth/factors/totp"),
    ("POST", "/api/auth/factors/totp/confirm"),
    ("DELETE", "/api/auth/factors/totp"),
    ("POST", "/api/auth/factors/recovery-codes"),
}
# Its credential has ended with it, so a repeat does not come as far as the key.
ENDS_ITS_LOGIN = ("POST", "/api/auth/logout")


def built():
    return {(method, path) for method, path, who, _, _, state, _ in table()
            if state == "built" and who != "internal" and method != "GET"}


def documented():
    """The operations of docs/openapi.yaml that take the header."""
    path = method = None
    found = set()
    for line in (ROOT / "docs" / "openapi.yaml").read_text().splitlines():
        if m := re.match(r'  "(/.*)":$', line):
            path = m.group(1)
        elif m := re.match(r"    (get|post|put|patch|delete):$", line):
            method = m.group(1).upper()
        elif "parameters/IdempotencyKey" in line and path:
            found.add((method, path))
    return found


class EveryRoute(OnStack):
    def each(self, skip=()):
        for route, make in CASES.items():
            if route not in skip:
                yield " ".join(route), make(self.stack), str(uuid.uuid4())

    def database_files(self):
        folder = self.stack.postgres.data if self.stack.postgres else self.stack.dir / "data"
        files = [f for f in pathlib.Path(folder).rglob("*") if f.is_file()]
        self.assertGreater(len(files), 2)
        return files

    def assertReplayed(self, answer, first):
        self.assertEqual((answer.status, answer.raw), (first.status, first.raw))
        self.assertEqual(answer.headers.get(REPLAYED), "true")

    def test_none_is_forgotten(self):
        self.assertEqual(built(), set(CASES) | set(HARMLESS) | PICTURES | REPEATABLE | ERASES | CODES)
        self.assertEqual(documented() & built(), set(CASES) | CODES)
        for method, _ in documented():
            self.assertNotEqual(method, "GET")

    def test_a_repeat_is_the_first_answer_and_has_no_effect(self):
        for route, rq, key in self.each(skip=[ENDS_ITS_LOGIN]):
            with self.subTest(route=route):
                first = rq.send(key)
                self.assertIn(first.status, (200, 201), first.raw)
                self.assertNotIn(REPLAYED, first.headers)
                self.assertReplayed(rq.send(key), first)
                self.assertReplayed(rq.send(f'"{key}"'), first)  # as a string of RFC 8941
                self.assertEqual(rq.effects(), 1)
                self.assertReplayed(rq.send(key), first)

    def test_another_request_with_the_key_is_422_and_has_no_effect(self):
        for route, rq, key in self.each(skip=[ENDS_ITS_LOGIN]):
            with self.subTest(route=route):
                first = rq.send(key)
                path, body = rq.other
                self.assertProblem(rq.send(key, path=path, body=body), 422,
                                   "IDEMPOTENCY_KEY_REUSED")
                self.assertReplayed(rq.send(key), first)
                self.assertEqual(rq.effects(), 1)
                anew = rq.send(str(uuid.uuid4()), path=path, body=body)
                self.assertIn(anew.status, (200, 201), "the refused one was done")

    def test_the_key_of_another_person_says_nothing(self):
        for route, rq, key in self.each():
            with self.subTest(route=route):
                first = rq.send(key)
                path, body = rq.then or (None, None)
                theirs = rq.send(key, api=rq.elsewhere, path=path, body=body)
                self.assertEqual(theirs.status, first.status, theirs.raw)
                self.assertNotIn(REPLAYED, theirs.headers)

    def test_the_same_at_once_is_done_once(self):
        for route, rq, key in self.each(skip=[ENDS_ITS_LOGIN]):
            with self.subTest(route=route):
                answers, gate = [], threading.Barrier(AT_ONCE)

                def ask(rq=rq, key=key, answers=answers, gate=gate):
                    api = From(rq.api.port, "127.0.0.1")
                    api.token, api.key = rq.api.token, rq.api.key
                    gate.wait()
                    answers.append(rq.send(key, api=api))

                threads = [threading.Thread(target=ask) for _ in range(AT_ONCE)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
                done = [a for a in answers if a.status != 409]
                self.assertEqual(len({(a.status, a.raw) for a in done}), 1)
                self.assertEqual(sum(REPLAYED not in a.headers for a in done), 1)
                for a in answers:
                    if a.status == 409:
                        self.assertProblem(a, 409, "CONFLICT")
                        self.assertEqual(a.headers["retry-after"], "1")
                self.assertReplayed(rq.send(key), done[0])
                self.assertEqual(rq.effects(), 1)

    def test_a_session_ends_once_whatever_the_key_was_used_for(self):
        key, first = self.stack.register(fresh("sessions"))
        second = self.stack.api(token=self.stack.api().post(
            "/api/auth/login", {"api_key": key}).json["token"])
        idk = {"Idempotency-Key": str(uuid.uuid4())}
        for session in (first, second):
            r = session.post("/api/auth/logout", {}, headers=idk)
            self.assertEqual(r.status, 200)
            self.assertNotIn(REPLAYED, r.headers)
            wait_until(lambda session=session: session.get("/api/auth/validate").status == 401,
                       10, what="the end of the session")
            self.assertProblem(session.post("/api/auth/logout", {}, headers=idk), 401)

    def test_a_refusal_is_not_kept(self):
        _, me = self.stack.register(fresh("refused"))
        idk = {"Idempotency-Key": str(uuid.uuid4())}
        self.assertProblem(me.post("/api/quiz/submit", {"topic": "law"}, headers=idk), 400)
        good = {"topic": "law", "score": 1, "total": 3}
        r = me.post("/api/quiz/submit", good, headers=idk)
        self.assertEqual((r.status, r.headers.get(REPLAYED)), (200, None))
        handle = fresh("taken")
        self.stack.register(handle)
        idk = {"Idempotency-Key": str(uuid.uuid4())}
        for _ in range(2):
            r = self.api.post("/api/auth/register", {"user_id": handle}, headers=idk)
            self.assertProblem(r, 409, "ALREADY_EXISTS")
            self.assertNotIn(REPLAYED, r.headers)

    def test_weaker_credentials_do_not_get_the_answer_of_stronger_ones(self):
        key, me = self.stack.register(fresh("scopes"))
        weak = self.stack.api(key=self.stack.api(key=key).post(
            "/api/auth/keys", {"name": "weak", "scopes": ["write"]}).json["api_key"])
        idk = {"Idempotency-Key": str(uuid.uuid4())}
        body = {"name": "strong", "scopes": ["read", "write", "generate"]}
        self.assertEqual(me.post("/api/auth/keys", body, headers=idk).status, 201)
        r = weak.post("/api/auth/keys", body, headers=idk)
        self.assertProblem(r, 422, "IDEMPOTENCY_KEY_REUSED")
        self.assertNotIn(b"sk_", r.raw)

    def test_a_key_says_nothing_where_nothing_is_done(self):
        _, me = self.stack.register(fresh("reader"))
        self.assertEqual(set(HARMLESS) & documented(), set())
        for (method, path), bodies in HARMLESS.items():
            for body in bodies:
                with self.subTest(path=path, body=body):
                    r = me.ask(method, path, body=body, headers={"Idempotency-Key": "k"})
                    self.assertEqual((r.status, r.headers.get(REPLAYED)), (200, None))

    def test_the_form_of_the_field(self):
        for value, good in (("k", True), ('"k"', True), ("x" * 255, True), ("x" * 256, False),
                            ('"' + "x" * 255 + '"', True), ('"' + "x" * 256 + '"', False),
                            ("", False), ('""', False), ('"k', False), ("a b", False),
                            ('"a b"', True), ('"a\\"b"', True), ('"a\\b"', False),
                            ('"a";p=1', False), ("k\tk", False), ("k\u00e9", False)):
            with self.subTest(value=value[:12]):
                r = self.api.get("/api/gamification/achievements",
                                 headers={"Idempotency-Key": value.encode("latin-1")})
                self.assertEqual(r.status, 200 if good else 400)

    def test_nobody_needs_a_key_that_is_hard_to_guess(self):
        for key, status in (("k" * 15, 400), ("k" * 16, 201)):
            r = self.api.post("/api/auth/register", {"user_id": fresh("anonymous")},
                              headers={"Idempotency-Key": key})
            self.assertEqual(r.status, status)

    def test_what_is_secret_does_not_lie_in_the_files(self):
        key = str(uuid.uuid4())
        r = self.api.post("/api/auth/register", {"user_id": fresh("secret")},
                          headers={"Idempotency-Key": key})
        api_key = r.json["api_key"].encode()
        for f in self.database_files():
            self.assertNotIn(api_key, f.read_bytes())
            self.assertNotIn(key.encode(), f.read_bytes())


class Killed(OnStack):
    """SIGKILL of every service while requests run: done once, and told so."""

    def test_the_effect_is_there_once_and_the_answer_is_the_stored_one(self):
        for delay in (0.001, 0.02) if SHORT else (0, 0.001, 0.003, 0.01, 0.03):
            requests = [(route, make(self.stack), str(uuid.uuid4()))
                        for route, make in CASES.items()]
            first = {}

            def ask(route, rq, key, first=first):
                try:
                    first[route] = rq.send(key)
                except (OSError, http.client.HTTPException):
                    pass  # the gateway died with the answer

            threads = [threading.Thread(target=ask, args=r) for r in requests]
            for t in threads:
                t.start()
            time.sleep(delay)
            for name in self.stack.names():
                if name != "gateway":
                    self.stack.processes[name].kill()
                    self.stack.start_one(name)
            for t in threads:
                t.join()
            self.stack.wait_ready()
            for route, rq, key in requests:
                with self.subTest(route=" ".join(route), delay=delay):
                    self.ask_again(route, rq, key, first.get(route))

    def ask_again(self, route, rq, key, first):
        rq.api.close()
        told = first is not None and first.status in (200, 201)
        if first is not None and not told:
            self.assertIn(first.status, (502, 503, 504), first.raw)
        answer = rq.send(key)
        if route == ENDS_ITS_LOGIN:
            self.assertIn(answer.status, (200, 401), answer.raw)
            wait_until(lambda: rq.effects() == 1, 10, what="the end of the session")
            return
        self.assertIn(answer.status, (200, 201), answer.raw)
        if told:
            self.assertEqual(answer.headers.get(REPLAYED), "true")
            self.assertEqual((answer.status, answer.raw), (first.status, first.raw))
        again = rq.send(key)
        self.assertEqual((again.status, again.raw), (answer.status, answer.raw))
        self.assertEqual(again.headers.get(REPLAYED), "true")
        self.assertEqual(rq.effects(), 1)


class Expired(OnStack):
    env = {"IDEMPOTENCY_RETENTION_S": "1"}

    def purged(self):
        total = 0
        for name in ("knowalledge",) if self.layout == "one" else SERVICES:
            for line in self.stack.admin(name, "/metrics").raw.decode().splitlines():
                if line.startswith("kae_idempotency_purged_total"):
                    total += int(float(line.split()[-1]))
        return total

    def test_a_key_past_its_time_runs_anew_and_is_purged(self):
        requests = [(make(self.stack), str(uuid.uuid4())) for make in CASES.values()]
        firsts = [rq.send(key) for rq, key in requests]
        time.sleep(1.1)  # the retention is what is tested
        for (rq, key), first in zip(requests, firsts):
            with self.subTest(path=rq.path):
                self.assertIn(first.status, (200, 201))
                answer = rq.send(key)
                self.assertIn(answer.status, rq.anew, answer.raw)
                self.assertNotIn(REPLAYED, answer.headers)
        wait_until(lambda: self.purged() >= len(CASES), 20, what="a purge")


load_tests = load_on(("one", "tcp"), EveryRoute, Killed, Expired)

if __name__ == "__main__":
    unittest.main()
