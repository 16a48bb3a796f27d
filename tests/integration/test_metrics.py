"""The figures that operators of the old system know, and the bounds of labels."""
import re
import unittest

from tests.integration.stack import OnStack, load_on

THERE = {
    "http_requests_total": {"method", "endpoint", "status"},
    "http_request_duration_seconds": {"method", "endpoint", "status_class"},
    "http_requests_in_progress": {"method", "endpoint"},
    "application_errors_total": {"endpoint", "error_type"},
    "cache_operations_total": {"service", "layer", "operation", "result"},
    "cache_hit_rate": {"service"},
    "cache_size_bytes": {"service", "layer"},
    "cache_items_count": {"service", "layer"},
    "circuit_breaker_state": {"service", "backend"},
    "circuit_breaker_failures_total": {"service", "backend"},
    "circuit_breaker_successes_total": {"service", "backend"},
    "db_pool_size": {"service"},
    "db_connections_in_use": {"service"},
    "db_pool_overflow": {"service"},
    "app_info": {"name", "version", "environment"},
    "quota_exceeded_total": {"limit_type"},
    "quota_requests_current_minute": set(),
    "quota_requests_today": set(),
    "quota_tokens_current_minute": set(),
    "quota_tokens_today": set(),
    "quota_rpm_limit": set(),
    "quota_tpm_limit": set(),
    "quota_rpm_remaining": set(),
    "quota_tpm_remaining": set(),
}
METHOD = "kae_method_duration_seconds"
NO_MODEL = "no language model is configured here whose calls and quota could be counted"
NOT_THERE = {
    "gemini_api_calls_total": NO_MODEL,
    "gemini_api_tokens_total": NO_MODEL,
    "gemini_api_duration_seconds": NO_MODEL,
    "images_generated_total": NO_MODEL,
    "content_quality_score": "the built-in lexicon's texts are checked, not scored",
    "subtopics_generated_total": f"{METHOD}, method content.create_subtopics, outcome ok",
    "explanations_generated_total": f"{METHOD}, method content.create_presentation, outcome ok",
    "validation_failures_total": "http_requests_total with status 400, by endpoint",
    "db_errors_total": "application_errors_total by code, and kae_db_pool_timeouts_total, "
                       "kae_db_conflicts_total and kae_db_pings_failed_total",
    "db_query_duration_seconds": f"{METHOD} and kae_db_pool_wait_seconds",
}


class Metrics(OnStack):
    def lines(self):
        return self.stack.admin("gateway", "/metrics").raw.decode().splitlines()

    def families(self):
        out = {}
        for line in self.lines():
            m = re.match(r"([a-z_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$", line)
            if m and not line.startswith("#"):
                labels = set(re.findall(r'(\w+)="', m.group(2) or "")) - {"le"}
                for name in {m.group(1), line.split("{")[0].split(" ")[0]}:
                    out.setdefault(name, set()).update(labels)
        return out

    def test_each_name_of_old_is_there_or_says_why_not(self):
        self.api.get("/api/gamification/leaderboard")
        admin = self.stack.api(key=self.stack.admin_key)
        admin.get("/api/study-tools/notes")  # 501: an answer of 500 and above
        found = self.families()
        for name, labels in THERE.items():
            with self.subTest(name=name):
                self.assertEqual(found.get(name), labels)
        for name, reason in NOT_THERE.items():
            with self.subTest(name=name):
                self.assertTrue(reason)
                self.assertNotIn(name, found, "it is there: move it")

    def test_every_line_is_of_a_family_with_help_and_type(self):
        told = {}
        for line in self.lines():
            if m := re.match(r"# (HELP|TYPE) (\S+) (.+)", line):
                told.setdefault(m.group(2), set()).add(m.group(1))
                continue
            name = re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line).group()
            base = name if name in told else re.sub(r"_(bucket|sum|count)$", "", name)
            self.assertEqual(told.get(base), {"HELP", "TYPE"}, line)
            float(line.rsplit(" ", 1)[1])

    def test_hostile_requests_make_no_label_of_their_own(self):
        def series():
            return {line.rsplit(" ", 1)[0] for line in self.lines()
                    if line.startswith(("http_", "application_"))}

        def hostile(i):
            self.api.ask(f"VERB{i}", f"/hostile/{i}")
            self.api.get(f"/problems/{i}")
            self.api.get("/api/progress", headers={
                "User-Agent": f"agent-{i}", "X-Request-ID": f"id-{i}",
                "Authorization": f"Bearer token-{i}"})

        hostile(0)
        before = series()
        for i in range(1, 100):
            hostile(i)
        self.assertEqual(series(), before)


load_tests = load_on(("one",), Metrics)

if __name__ == "__main__":
    unittest.main()
