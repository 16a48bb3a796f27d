"""deploy/prometheus and deploy/grafana against a real Prometheus that scrapes the
running programs: rules that hold, panels that show something."""
import json
import pathlib
import re
import subprocess
import tempfile
import unittest
import urllib.parse

import yaml

from tests.harness.llm import Provider
from tests.harness.process import Process, free_port, wait_until
from tests.harness.redis import Redis
from tests.integration.stack import ROOT, Api, OnStack
from tests.integration.test_generate import good

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
RULES = ("slo.rules.yml", "alerts.rules.yml")
WORD = re.compile(r"\b(?:kae[_:][a-z0-9_:]+|(?:http|db|cache|circuit|process|app|gemini|quota)_[a-z0-9_]+)\b")
# Where nothing has gone wrong there is no such series.
MAY_BE_EMPTY = {"failures/s"}
# What is only counted when lessons are made, and then more than once.
OF_LESSONS = re.compile(r"gemini_|kae_llm_|kae_generated_")


def rules():
    for name in RULES:
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]:
            yield from group["rules"]


def queries():
    """(panel, legend, expression) of every panel of every dashboard."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["legendFormat"], target["expr"]


class Files(unittest.TestCase):
    def promtool(self, *args):
        done = subprocess.run(["promtool", *args], cwd=PROMETHEUS, capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_promtool_finds_no_fault(self):
        self.promtool("check", "config", "prometheus.yml")
        self.promtool("check", "rules", *RULES)

    def test_alerts_fire_when_they_should_and_not_before(self):
        self.promtool("test", "rules", "rules.test.yml")

    def test_every_alert_says_how_bad_it_is_and_what_to_do(self):
        known = (ROOT / "docs" / "operations.md").read_text()
        for rule in rules():
            if "alert" in rule:
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
                self.assertIn(f"### {rule['alert']}\n", known)

    def test_compose_and_provisioning_name_what_is_there(self):
        source, = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml")
                                 .read_text())["datasources"]
        ids = []
        for path in DASHBOARDS.glob("*.json"):
            for panel in json.loads(path.read_text())["panels"]:
                ids.append(panel["id"])
                if panel["type"] != "row":
                    self.assertEqual(panel["datasource"]["uid"], source["uid"])
                    self.assertTrue(panel["description"], panel["title"])
        self.assertEqual(len(ids), len(set(ids)))


class Scraped(OnStack):
    layout = "tcp"

    @classmethod
    def setUpClass(cls):
        redis = Redis()
        cls.addClassCleanup(redis.stop)
        provider = Provider(good)
        cls.addClassCleanup(provider.close)
        cls.env = {"REDIS_URL": redis.url, **provider.env(PRICE_IN="0.10", PRICE_OUT="0.40")}
        super().setUpClass()
        _, cls.me = cls.stack.register("watched")
        folder = tempfile.TemporaryDirectory(prefix="kae-", dir="/tmp")
        cls.addClassCleanup(folder.cleanup)
        cls.start_prometheus(pathlib.Path(folder.name))

    @classmethod
    def start_prometheus(cls, folder):
        """As deployed, but for where the programs are and how often they are asked."""
        conf = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        conf["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        conf["rule_files"] = [str(PROMETHEUS / r) for r in conf["rule_files"]]
        ports = {d["port"]: d["names"] for d in conf["scrape_configs"][0].pop("dns_sd_configs")}
        assert sorted(ports) == [9400, 9401, 9402, 9403], ports
        conf["scrape_configs"][0]["static_configs"] = [
            {"targets": [f"127.0.0.1:{p}" for p in cls.stack.admin_ports.values()]}]
        del conf["scrape_configs"][1:]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(conf))
        cls.port = free_port()
        cls.prometheus = Process(
            ["prometheus", f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{cls.port}"],
            {}, cwd=folder)
        cls.addClassCleanup(cls.prometheus.stop)

    def query(self, expression):
        r = Api(self.port).get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        if r.status == 503:
            raise ConnectionError("Prometheus is not ready yet")
        self.assertEqual(r.status, 200, (expression, r.raw))
        return r.json["data"]["result"]

    topics = 0

    def learn(self):
        """A model's answer, and the same from the cache."""
        Scraped.topics += 1
        for _ in range(2):
            r = self.me.post("/api/create_subtopics", {"topic": f"Tides of sea {self.topics}"})
            self.assertEqual(r.status, 200, r.raw)

    def use(self):
        for path in ("/api/gamification/stats", "/api/progress", "/api/gamification/leaderboard"):
            self.assertEqual(self.me.get(path).status, 200)

    def shown(self, expression):
        """What comes of it while people use the product; NaN is nothing."""
        def result():
            self.use()
            if OF_LESSONS.search(expression):
                self.learn()
            try:
                return [r for r in self.query(expression) if r["value"][1] != "NaN"]
            except OSError:
                self.assertTrue(self.prometheus.running(), self.prometheus.text()[-2000:])
                return None
        return wait_until(result, 30, every=0.2, what=expression)

    def test_every_panel_shows_something(self):
        self.shown('kae_ready{part="gateway"}')
        for panel, legend, expression in queries():
            if legend in MAY_BE_EMPTY:
                self.query(expression)
            else:
                with self.subTest(panel=panel, legend=legend):
                    self.shown(expression)

    def test_whatever_a_rule_speaks_of_is_there(self):
        made = {r["record"] for r in rules() if "record" in r}
        names = {w for r in rules() for w in WORD.findall(re.sub(r'"[^"]*"', "", r["expr"]))}
        self.assertGreater(len(names), 20)
        for name in sorted(names):
            with self.subTest(name=name):
                self.shown(f"count({name})" if name not in made else name)

    def test_lessons_are_counted_by_where_they_came_from(self):
        self.learn()

        def counted():
            made = {r["metric"]["source"]: float(r["value"][1])
                    for r in self.shown("sum by (source) (kae_generated_total)")}
            return {"llm", "cache"} <= set(made) and made
        made = wait_until(counted, 30, every=0.2, what="lessons of both sources")
        self.assertNotIn("offline", made)
        cost, = self.shown("sum(kae_llm_cost_dollars_total)")
        self.assertGreater(float(cost["value"][1]), 0)

    def test_nobody_is_woken_while_all_is_well(self):
        self.shown('count(up{job="knowalledge"} == 1) == 4')
        self.assertEqual(self.query('ALERTS{severity="page",alertstate="firing"}'), [])
        self.assertEqual(self.shown("min(kae_ready)")[0]["value"][1], "1")


if __name__ == "__main__":
    unittest.main()
