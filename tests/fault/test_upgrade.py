"""Every program is replaced by its next version, one replica at a time, while people
work: not one request is lost, nothing that was acknowledged is lost or done twice, and
whoever was logged in stays so.

The long form (KAE_FULL, make test-upgrade) replaces an earlier version that it builds
(tests/harness/previous.py). The short form replaces this version by itself: what a
replica does with its work when it has to go is the same.
"""
import base64
import collections
import itertools
import json
import os
import re
import secrets
import unittest

from tests.harness import previous
from tests.harness.clients import Client, Crowd
from tests.harness.fleet import PROGRAMS, SERVICES, Fleet
from tests.harness.process import wait_until
from tests.integration.stack import BIN, ROOT, Api
from tests.integration.test_routes import filled, table

FULL = bool(os.environ.get("KAE_FULL"))
TOPIC = "Photosynthesis"
DOCUMENTED = ("auth", "content", "gdpr", "gateway")  # docs/operations.md
handles = (f"person.{n}" for n in itertools.count())
tag = secrets.token_hex(3)


def sub_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["sub"]


def migrations_of(service):
    """How many the source of this version has."""
    text = (ROOT / f"svc-{service}" / "migrations.h").read_text()
    return int(re.search(r"_MIGRATIONS (\d+)", text).group(1))


# --- who works meanwhile -----------------------------------------------------------

class Newcomer(Client):
    """Registers, logs in, looks round; every third leaves for good."""

    def __init__(self, port):
        super().__init__(port)
        self.people, self.erased = [], []  # (handle, API key, sub), (handle, token, receipt)

    def round(self):
        handle = f"{next(handles)}.{tag}"
        key = self.ask("POST", "/api/auth/register", {"user_id": handle}, (201,)).json["api_key"]
        login = self.ask("POST", "/api/auth/login", {"api_key": key}).json
        me = Api(self.api.port, token=login["token"])
        try:
            who = self.ask("GET", "/api/auth/validate", api=me).json
            self.claim(f"{handle} is {who['user_id']}", who["user_id"] == handle)
            self.ask("GET", "/api/gamification/stats", api=me)
            if self.rounds % 3 == 2:
                told = self.ask("DELETE", "/api/user/delete", {"reason": "because"},
                                (200, 202), api=me).json
                self.erased.append((handle, login["token"], told["receipt_id"]))
            else:
                self.people.append((handle, key, sub_of(login["token"])))
        finally:
            me.close()


class Learner(Client):
    """Answers quizzes right; hands each in twice under one key."""

    def __init__(self, port, token):
        super().__init__(port, token=token)
        self.sub, self.attempts = sub_of(token), []

    def round(self):
        quiz = self.ask("POST", "/api/quiz/generate", {
            "topic": TOPIC, "subtopic": f"Part {self.rounds % 7}", "count": 1}).json
        attempt = quiz[0]["attempt_id"]
        answers = {"attempt_id": attempt, "answers": [
            {"question_id": q["question_id"], "option": q["correct_answer"]} for q in quiz]}
        key = f"quiz-{attempt}"
        done = self.ask("POST", "/api/quiz/submit", answers, key=key)
        self.attempts.append(attempt)
        again = self.ask("POST", "/api/quiz/submit", answers, key=key)
        self.claim(f"{attempt} was {done.raw} and is {again.raw}", again.raw == done.raw)
        self.ask("GET", f"/api/progress?topic={TOPIC}")


class Reader(Client):
    """Has an API key and a login from before the upgrade, and only looks."""

    def round(self):
        self.ask("GET", "/api/gamification/leaderboard")
        self.ask("GET", "/api/gamification/stats")
        self.ask("GET", "/api/auth/validate")


class Author(Client):
    """Has topics broken up and explained: some anew, some from the cache."""

    def round(self):
        topic = TOPIC if self.rounds % 2 else f"Music {self.rounds % 20}"
        got = self.ask("POST", "/api/create_subtopics", {"topic": topic}).json
        self.claim(f"{topic} has subtopics", len(got["subtopics"]) > 0)
        shown = self.ask("POST", "/api/create_presentation", {
            "topic": topic, "educationLevel": "highSchoolLevel",
            "levelOfDetail": "mediumDetail", "focus": got["subtopics"][:1]}).json
        self.claim(f"{topic} is explained", shown["success_count"] == 1)


class Exporter(Client):
    """Asks for everything about themselves, which all three services give."""

    def __init__(self, port, token):
        super().__init__(port, token=token)
        self.sub = sub_of(token)

    def round(self):
        document = self.ask("GET", "/api/user/export").json
        self.claim(f"an export of {sorted(document['stores'])}",
                   set(document["stores"]) == set(SERVICES))
        self.claim("their own export", self.sub in json.dumps(document))


class Session(Client):
    """Lives on by refresh tokens: each is good for one login and one answer."""

    def __init__(self, port, login):
        super().__init__(port, token=login["token"])
        self.refresh_token = login["refresh_token"]

    def round(self):
        got = self.ask("POST", "/api/auth/refresh", {"refresh_token": self.refresh_token}).json
        self.api.token, self.refresh_token = got["access_token"], got["refresh_token"]
        self.ask("GET", "/api/auth/validate")


# --- the claims --------------------------------------------------------------------

class OnFleet(unittest.TestCase):
    def start(self, bin_dir):
        self.fleet = Fleet(bin_dir)
        self.addCleanup(self.fleet.close)

    def person(self, name):
        """Of before the upgrade: (API key, the login's answer)."""
        api = Api(self.fleet.port)
        try:
            r = api.post("/api/auth/register", {"user_id": f"{name}.{tag}"})
            self.assertEqual(r.status, 201, r.raw)
            key = r.json["api_key"]
            r = api.post("/api/auth/login", {"api_key": key})
            self.assertEqual(r.status, 200, r.raw)
            return key, r.json
        finally:
            api.close()

    def crowd(self):
        port = self.fleet.port
        logins = {n: self.person(n) for n in ("ada", "grace", "kay", "mary", "alan", "joan")}
        self.newcomer = Newcomer(port)
        self.learners = [Learner(port, logins[n][1]["token"]) for n in ("ada", "grace")]
        return Crowd([
            self.newcomer, *self.learners, Author(port, key=logins["kay"][0]),
            Reader(port, token=logins["mary"][1]["token"]),
            Exporter(port, logins["alan"][1]["token"]), Session(port, logins["joan"][1])])

    def replace_all(self, bin_dir, order, crowd, replicas=2):
        """One at a time; everybody gets something done between two of them."""
        for name in order:
            for n in range(replicas):
                before = crowd.rounds()
                self.fleet.replace(name, n, bin_dir)
                wait_until(lambda b=before: all(n > was for n, was in zip(crowd.rounds(), b)),
                           120, what=f"a round of everybody after {name} {n}: "
                                     f"{crowd.all_said('first')[:5]}")

    def assertNothingFailed(self, crowd):
        """Not even once, where no other tests take the machine's time."""
        for member in ("wrong", "lost", "first") if FULL else ("wrong", "lost"):
            said = crowd.all_said(member)
            self.assertEqual(said[:10], [], f"{len(said)} {member}")

    def sql(self, text):
        return self.fleet.postgres.sql(text)

    def assertEffectsOnce(self):
        """What was acknowledged is there, and once."""
        wait_until(lambda: [r for s in SERVICES for r in self.sql(
            f"SELECT 1 FROM {s}.outbox LIMIT 1")] == [], 60, what="every event to be told")
        for learner in self.learners:
            sub = learner.sub
            kept = [r[0] for r in self.sql(
                f"SELECT attempt_id FROM content.results WHERE sub = '{sub}' ORDER BY at")]
            self.assertEqual(sorted(kept), sorted(learner.attempts))
            self.assertEqual(self.sql(
                f"SELECT quizzes FROM gdpr.person WHERE sub = '{sub}'"), [[str(len(kept))]])
            paid = collections.Counter(r[0] for r in self.sql(
                f"SELECT kind FROM gdpr.ledger WHERE sub = '{sub}'"))
            self.assertEqual(paid["quiz"], len(kept), paid)
            self.assertEqual(*self.sql(
                f"SELECT sum(xp) FROM gdpr.ledger WHERE sub = '{sub}' UNION ALL "
                f"SELECT total_xp FROM gdpr.person WHERE sub = '{sub}'"))
            wait_until(lambda a=learner.api, n=len(kept): a.get("/api/gamification/stats").json[
                "stats"]["progress"]["total_quizzes_completed"] == n, 30, what="their own figures")
        for handle, _, sub in self.newcomer.people:
            self.assertEqual(self.sql(
                f"SELECT sub, (SELECT count(*) FROM auth.api_keys k WHERE k.sub = u.sub) "
                f"FROM auth.users u WHERE handle = '{handle}'"), [[sub, "1"]])

    def assertBoard(self):
        """Every bucket of the leaderboard, with the moves that are not in it yet, has as
        many people as are in it (svc-gdpr/board.h), whichever version has counted them."""
        self.assertEqual(self.sql("""
            WITH l (level, shift) AS (VALUES (4, 40), (0, 35), (5, 31), (1, 26), (2, 11), (3, 0)),
            held AS (
                SELECT level, bucket, people AS n FROM gdpr.rank_bucket UNION ALL
                SELECT level, new_key >> shift, 1 FROM gdpr.rank_move, l WHERE new_key >= 0
                UNION ALL
                SELECT level, old_key >> shift, -1 FROM gdpr.rank_move, l WHERE old_key >= 0
                UNION ALL
                SELECT level, rank_key >> shift, -1 FROM gdpr.person, l WHERE rank_key >= 0)
            SELECT level, bucket, sum(n) FROM held GROUP BY 1, 2 HAVING sum(n) <> 0"""), [])

    def assertErased(self):
        api = Api(self.fleet.port)
        self.addCleanup(api.close)
        self.assertGreater(len(self.newcomer.erased), 0)
        for handle, token, receipt in self.newcomer.erased:
            wait_until(lambda r=receipt: api.get(f"/api/user/erasure/{r}").json["state"]
                       == "complete", 90, what=f"the erasure of {handle}")
            r = api.get("/api/auth/validate", headers={"Authorization": f"Bearer {token}"})
            self.assertEqual(r.status, 401, r.raw)

    def assertAllAre(self, bin_dir):
        for name in PROGRAMS:
            for r in self.fleet.at[name]:
                self.assertEqual(os.readlink(f"/proc/{r.process.pid}/exe"),
                                 os.path.realpath(bin_dir / f"kae-{name}"))
                self.assertTrue(r.ready(), r.admin("/readyz"))

    def newest(self, service):
        return int(self.sql(f"SELECT max(number) FROM {service}.schema_migrations")[0][0])

    def upgrade(self, old, new, order, replicas=2):
        self.start(old)
        crowd = self.crowd()
        with crowd:
            self.replace_all(new, order, crowd, replicas)
        self.assertNothingFailed(crowd)
        self.assertEffectsOnce()
        self.assertErased()
        self.assertBoard()
        self.assertAllAre(new)


class Short(OnFleet):
    def test_a_replica_of_each_service_is_replaced_by_itself(self):
        """Gateways: test_rolling.py."""
        self.upgrade(BIN, BIN, SERVICES, replicas=1)


class FromTheEarlierVersion(OnFleet):
    @classmethod
    def setUpClass(cls):
        try:
            cls.old = previous.programs()
        except previous.NoHistory as why:
            raise unittest.SkipTest(f"{why} (SKIP_UPGRADE)") from None

    def migrated(self, service):
        """Whether this version has given its tables something that the old has not."""
        return self.newest(service) == migrations_of(service)

    def test_in_the_documented_order(self):
        self.upgrade(self.old, BIN, DOCUMENTED)
        self.assertEqual([s for s in SERVICES if not self.migrated(s)], [])

    def test_in_the_opposite_order(self):
        """As when everything is rolled out at once, which has no order."""
        self.upgrade(self.old, BIN, tuple(reversed(DOCUMENTED)))
        self.assertEqual([s for s in SERVICES if not self.migrated(s)], [])

    def test_an_old_replica_that_ends_does_not_come_back_on_the_new_tables(self):
        self.start(self.old)
        _, login = self.person("ada")
        me = Api(self.fleet.port, token=login["token"])
        self.addCleanup(me.close)
        newer = [s for s in SERVICES if self.newest(s) < migrations_of(s)]
        self.assertNotEqual(newer, [], "name an older version in tests/fault/upgrade_from")
        for name in newer:
            before = self.newest(name)
            self.fleet.replace(name, 0, BIN)
            old = self.fleet.at[name][1]
            old.process.kill()
            self.fleet.start(name, 1, self.old)
            self.assertEqual(old.process.wait(60), 2, old.process.text()[-2000:])
            told = old.process.events("db.schema_newer")
            self.assertEqual([(e["number"], e["known"]) for e in told],
                             [(migrations_of(name), before)])
            self.fleet.start(name, 1, BIN)
            self.fleet.wait_ready(name, 1)
        self.assertEqual(me.get("/api/progress").status, 200)

    def test_what_old_services_do_not_know_is_refused_clearly(self):
        """Every route of svc-content through a new gateway: an answer, or a refusal in
        the one shape, 501 where the old service has no such method."""
        self.start(self.old)
        for n in range(len(self.fleet.at["gateway"])):
            self.fleet.replace("gateway", n, BIN)
        _, login = self.person("ada")
        apis = {"user": Api(self.fleet.port, token=login["token"]),
                "admin": Api(self.fleet.port, key=self.fleet.env["ADMIN_API_KEY"]),
                "anyone": Api(self.fleet.port)}
        refused = set()
        for method, path, who, service, call, built, _ in table():
            if (service, built) != ("content", "built") or who not in apis:
                continue
            r = apis[who].ask(method, filled(path), body={} if method != "GET" else None)
            if r.status >= 400:
                self.assertEqual(r.json["status"], r.status)
                self.assertIn(r.status, {*range(400, 500), 501}, f"{method} {path}: {r.raw}")
            if r.status == 501:
                self.assertEqual(r.json["error_code"], "NOT_IMPLEMENTED")
                refused.add(call)
        for api in apis.values():
            api.close()
        self.assertNotEqual(refused, set())
        wait_until(lambda: {e["method"] for e in self.fleet.events("method.unknown")} == refused,
                   30, what=f"lines on the log of {refused}")


def load_tests(loader, _tests, _pattern):
    wanted = FromTheEarlierVersion if FULL else Short
    return loader.loadTestsFromTestCase(wanted)


if __name__ == "__main__":
    unittest.main()
