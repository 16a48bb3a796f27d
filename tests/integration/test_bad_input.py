"""Bad input gets a clear error, and nothing is lost."""
import json
import socket
import unittest

from tests.integration.stack import OnStack, load_on

BIDI = "\u202b\u05e9\u05dc\u05d5\u05dd"  # a right-to-left embedding is refused


class BadInput(OnStack):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key, cls.me = cls.stack.register("tester")
        cls.other_key, cls.other = cls.stack.register("somebody.else")

    def post_raw(self, raw, path="/api/create_subtopics", **headers):
        return self.me.ask("POST", path, raw=raw, headers=headers)

    def test_what_is_not_json_is_refused_with_its_place(self):
        for raw in (b"", b"   ", b"{", b"nope", b"{'topic': 'x'}", b'{"topic": "x",}',
                    b'{"topic": "x"} x', b'{"topic": "x", "topic": "y"}',
                    b'{"a": 1, "\\u0061": 2}', b'{"topic": "\\ud800"}',
                    b'{"topic": "\\ud800\\u0041"}', b'{"topic": "a\\u0000b"}',
                    b'{"topic": "a\x00b"}', b'{"topic": "\xff\xfe"}',
                    b'{"topic": "\xc0\xaf"}', b'{"topic": "\xed\xa0\x80"}',
                    b'\xef\xbb\xbf{"topic": "x"}',
                    b'{"topic": "x", "n": 18446744073709551616}',
                    b'{"topic": "x", "n": -9223372036854775809}',
                    b'{"topic": "x", "n": 1e999}', b'{"topic": "x", "n": 01}',
                    b'{"topic": "x", "n": NaN}',
                    b'{"topic": "x", "d": ' + b"[" * 64 + b"]" * 64 + b"}"):
            with self.subTest(raw=raw[:60]):
                body = self.assertProblem(self.post_raw(raw), 400)
                if raw:
                    self.assertRegex(body["detail"], r"byte \d+")
                else:  # no body is an object without members
                    self.assertEqual(body["details"][0]["pointer"], "/topic")

    def test_a_body_that_is_not_an_object_is_refused(self):
        for raw in (b"[]", b'["topic"]', b'"x"', b"7", b"null", b"true"):
            with self.subTest(raw=raw):
                self.assertProblem(self.post_raw(raw), 400)

    def test_integers_up_to_64_bits_pass(self):
        r = self.post_raw(b'{"topic": "music", "n": 18446744073709551615, '
                          b'"m": -9223372036854775808}')
        self.assertEqual(r.status, 200, r.raw)

    def test_a_body_over_the_limit_is_refused_without_reading_on(self):
        with socket.create_connection(("127.0.0.1", self.stack.port), 10) as s:
            s.sendall(b"POST /api/create_subtopics HTTP/1.1\r\nHost: localhost\r\n"
                      b"Authorization: Bearer " + self.me.token.encode() +
                      b"\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 500000000\r\n\r\n{")
            s.settimeout(10)
            head = s.recv(65536)
        self.assertIn(b" 413 ", head.split(b"\r\n", 1)[0])
        self.assertIn(b"connection: close", head.lower())

    def test_a_chunked_body_over_the_limit_is_refused(self):
        with socket.create_connection(("127.0.0.1", self.stack.port), 10) as s:
            s.sendall(b"POST /api/create_subtopics HTTP/1.1\r\nHost: localhost\r\n"
                      b"Authorization: Bearer " + self.me.token.encode() +
                      b"\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n")
            s.settimeout(10)
            try:
                for _ in range(2000):
                    s.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                head = s.recv(65536)
            except ConnectionResetError:
                self.fail("the refusal was lost in a reset")
        self.assertIn(b" 413 ", head.split(b"\r\n", 1)[0])

    def test_another_content_type_is_415(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml",
                     "application/jsonp"):
            with self.subTest(kind=kind):
                r = self.me.ask("POST", "/api/create_subtopics", raw=b'{"topic": "x"}',
                                headers={"Content-Type": kind})
                self.assertProblem(r, 415, "UNSUPPORTED_MEDIA_TYPE")
        for kind in ("application/json; charset=utf-8", "Application/JSON"):
            r = self.me.ask("POST", "/api/create_subtopics", raw=b'{"topic": "music"}',
                            headers={"Content-Type": kind})
            self.assertEqual(r.status, 200, r.raw)

    def assertFault(self, path, body, pointer):
        with self.subTest(path=path, body=json.dumps(body)[:80]):
            problem = self.assertProblem(self.me.post(path, body), 400, "VALIDATION_ERROR")
            self.assertIn(pointer, [d["pointer"] for d in problem["details"]], problem)
            for d in problem["details"]:
                self.assertTrue(d["code"] and d["message"])

    def test_fields_out_of_bounds_are_named(self):
        for topic in (None, 7, "", "   ", "x" * 201, ["x"], {"a": 1}, True, "a\u0007b",
                      "<b>bold</b>", BIDI):
            self.assertFault("/api/create_subtopics", {"topic": topic}, "/topic")
        self.assertFault("/api/create_subtopics", {}, "/topic")
        whole = {"topic": "Music", "educationLevel": "juniorLevel",
                 "levelOfDetail": "lowDetail", "focus": ["Rhythm"]}
        for focus in (None, [], ["x"] * 21, "Rhythm", {}, 3):
            self.assertFault("/api/create_presentation", {**whole, "focus": focus}, "/focus")
        for bad in (7, None, {}, "", "y" * 201):
            self.assertFault("/api/create_presentation",
                             {**whole, "focus": ["ok", bad]}, "/focus/1")
        for missing in ("educationLevel", "levelOfDetail"):
            self.assertFault("/api/create_presentation",
                             {k: v for k, v in whole.items() if k != missing},
                             "/" + missing)
        quiz = {"topic": "Music", "subtopic": "Rhythm"}
        for count in (0, 21, -1, "3", 2.5, 10 ** 12):
            self.assertFault("/api/quiz/generate", {**quiz, "count": count}, "/count")
        for score, total, pointer in ((-1, 3, "/score"), (4, 3, "/score"),
                                      (0, 0, "/total"), (1_000_000, 3, "/score"),
                                      ("3", 3, "/score"), (1, -1, "/total")):
            self.assertFault("/api/quiz/submit", {**quiz, "score": score, "total": total},
                             pointer)

    def test_a_wrong_attempt_is_refused(self):
        for body in ({"attempt_id": "nope", "answers": []},
                     {"attempt_id": "00000000-0000-7000-8000-000000000000", "answers": [
                         {"question_id": "1", "option": "x"}]},
                     {"attempt_id": 7, "answers": 7}):
            with self.subTest(body=body):
                r = self.me.post("/api/quiz/submit", body)
                self.assertIn(r.status, (400, 404), r.raw)
                self.assertProblem(r, r.status)

    def test_another_person_s_attempt_does_not_exist(self):
        quiz = self.other.post("/api/quiz/generate", {"topic": "Music", "subtopic": "Rhythm",
                                                      "count": 1}).json
        r = self.me.post("/api/quiz/submit", {"attempt_id": quiz[0]["attempt_id"],
                                              "answers": [{"question_id": quiz[0]["question_id"],
                                                           "option": quiz[0]["correct_answer"]}]})
        self.assertProblem(r, 404)

    def test_unknown_fields_are_ignored(self):
        r = self.me.post("/api/create_subtopics", {"topic": "Music", "language": "en",
                                                   "x": {"y": [1, 2.5, None, True]}})
        self.assertEqual(r.status, 200, r.raw)

    def test_a_learning_style_that_is_no_text_is_general(self):
        body = {"topic": "Music", "educationLevel": "juniorLevel",
                "levelOfDetail": "lowDetail", "focus": ["Rhythm"]}
        general = self.me.post("/api/create_presentation",
                               {**body, "learningStyle": "General"})
        odd = self.me.post("/api/create_presentation", {**body, "learningStyle": {}})
        self.assertEqual((general.status, odd.status), (200, 200), odd.raw)
        self.assertEqual(general.json["explanations"][0]["explanation"],
                         odd.json["explanations"][0]["explanation"])

    def test_bearer_null_is_no_credential(self):
        for value in ("Bearer null", "Bearer undefined", "Bearer ", "Bearer"):
            with self.subTest(value=value):
                r = self.api.get("/api/gamification/stats", headers={"Authorization": value})
                self.assertProblem(r, 401, "AUTH_REQUIRED")
                r = self.api.get("/api/gamification/stats", headers={
                    "Authorization": value, "X-API-Key": self.key})
                self.assertEqual(r.status, 200, r.raw)

    def test_one_invalid_credential_of_two_is_401(self):
        for head in ({"Authorization": f"Bearer {self.me.token}", "X-API-Key": "sk_wrong"},
                     {"Authorization": "Bearer wrong", "X-API-Key": self.key},
                     {"Authorization": "Basic dXNlcjpwdw==", "X-API-Key": "sk_wrong"}):
            with self.subTest(head=head):
                self.assertProblem(self.api.get("/api/auth/validate", headers=head), 401)

    def test_two_valid_credentials_of_different_people_are_403(self):
        r = self.api.get("/api/auth/validate", headers={
            "Authorization": f"Bearer {self.me.token}", "X-API-Key": self.other_key})
        self.assertProblem(r, 403)
        r = self.api.get("/api/auth/validate", headers={
            "Authorization": f"Bearer {self.me.token}", "X-API-Key": self.key})
        self.assertEqual(r.status, 200, r.raw)

    def test_another_person_s_user_id_is_403(self):
        for ask in (lambda: self.me.get("/api/gamification/stats?user_id=somebody.else"),
                    lambda: self.me.get("/api/gamification/stats",
                                        headers={"X-User-ID": "somebody.else"})):
            self.assertProblem(ask(), 403)
        for ask in (lambda: self.me.get("/api/gamification/stats?user_id=TESTER"),
                    lambda: self.me.get("/api/gamification/stats",
                                        headers={"X-User-ID": "tester"})):
            r = ask()
            self.assertEqual(r.status, 200, r.raw)

    def test_every_script_is_kept_byte_for_byte(self):
        for i, text in enumerate(("שלום עולם", "الرياضيات", "機械学習", "e\u0301tude",
                                  "प्रकाश संश्लेषण", "𝒜𝓁𝑔𝑒𝒷𝓇𝒶 🧮", "C++", "O'Reilly & Søns")):
            with self.subTest(text=text):
                r = self.me.post("/api/quiz/submit", {"topic": text, "subtopic": text,
                                                      "score": 1, "total": 2})
                self.assertEqual(r.status, 200, r.raw)
                kept = {(p["topic"], p["subtopic"]) for p in self.me.get("/api/progress").json}
                self.assertIn((text, text), kept)
                r = self.me.post("/api/create_subtopics", {"topic": text})
                self.assertEqual((r.status, len(r.json["subtopics"])), (200, 15), r.raw)

    def test_a_query_that_is_no_number_is_400(self):
        for query in ("limit=x", "limit=0", "limit=101", "limit=-1", "limit=1e3",
                      "limit=5&limit=6", "limit=%ff", "limit=%zz", "limit=1%00"):
            with self.subTest(query=query):
                r = self.api.get("/api/gamification/leaderboard?" + query)
                self.assertProblem(r, 400)

    def test_hostile_ids_are_not_found(self):
        for path in ("/api/auth/keys/%2e%2e", "/api/auth/keys/'%20or%201=1",
                     "/api/auth/keys/" + "9" * 300, "/problems/..%2f..%2fetc"):
            with self.subTest(path=path):
                r = self.me.ask("DELETE" if "keys" in path else "GET", path)
                self.assertIn(r.status, (400, 404), r.raw)


load_tests = load_on(("one", "tcp"), BadInput)

if __name__ == "__main__":
    unittest.main()
