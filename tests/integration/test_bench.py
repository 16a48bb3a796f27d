"""What the bench (tests/bench) makes of measurements: medians, ratios, tables, plots.
Nothing is measured here."""
import os
import pathlib
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree as ET

from tests.bench import load, plot, raw_report, report, results, scenarios, servers, targets

WRK = """Running 2s test @ http://127.0.0.1:1/health
  1 threads and 64 connections
  Latency Distribution
     50%  900.00us
     75%    1.20ms
     90%    2.00ms
     99%    4.10ms
  1000 requests in 2.00s, 1.00MB read
"""


def row(server, turn, rps, **more):
    return {"scenario": "s", "server": server, "round": turn, "rps": rps, **more}


class Figures(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kae-bench-")
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "results.jsonl"

    def test_ratio_is_the_median_of_ratios_inside_rounds(self):
        # The machine is ten times slower in the second round: medians over rounds
        # would say 1, and each round says 2.
        rows = [row("a", 0, 200), row("b", 0, 100), row("a", 1, 20), row("b", 1, 10),
                row("a", 2, 100), row("b", 2, 50)]
        self.assertEqual(results.ratio(rows, "a", "b", "rps"), 2)
        self.assertEqual(results.median(rows, "rps"), 75)
        self.assertIsNone(results.ratio(rows, "a", "c", "rps"))
        self.assertIsNone(results.median([], "rps"))

    def test_sums_leave_out_the_stores(self):
        one = row("a", 0, 1, cpu_us={"gateway": 20, "gdpr": 5, "postgres": 9})
        self.assertEqual(results.value(one, "cpu_us"), 25)
        self.assertEqual(results.value(one, "cpu_us.postgres"), 9)
        self.assertIsNone(results.value(one, "rss_kb"))

    def test_a_scenario_that_is_measured_again_replaces_only_its_own(self):
        results.begin("s", self.path)
        results.add(self.path, **row("a", 0, 1))
        results.add(self.path, scenario="t", server="a", round=0, rps=7)
        results.begin("s", self.path)
        results.add(self.path, **row("a", 0, 2))
        found = results.read(self.path)
        self.assertEqual([(r["scenario"], r["rps"]) for r in found], [("t", 7), ("s", 2)])

    def test_a_line_that_was_cut_off_is_none(self):
        self.path.write_text('{"scenario": "s"}\n{"scenar')
        self.assertEqual(results.read(self.path), [{"scenario": "s"}])
        self.assertEqual(results.read(self.path.with_name("absent")), [])


class Plots(unittest.TestCase):
    def draw(self, series, **more):
        return plot.draw("A & b", series, "x", "y", **{"y_log": False, **more})

    def test_all_points_lie_on_the_card(self):
        for y_log in (False, True):
            for ys in ((0.01, 9999), (3, 3), (1e-3, 1e6), (7, 7.1)):
                series = [plot.Series("<n>", [(1, ys[0]), (512, ys[1])], peer=True),
                          plot.Series("m", [(8, ys[0])])]
                with self.subTest(y_log=y_log, ys=ys):
                    root = ET.fromstring(self.draw(series, y_log=y_log))
                    path = root.find(".//{*}polyline").get("points")
                    for pair in path.split():
                        x, y = map(float, pair.split(","))
                        self.assertTrue(plot.LEFT <= x <= plot.WIDTH - plot.RIGHT, pair)
                        self.assertTrue(plot.TOP - 1 <= y <= plot.HEIGHT - plot.BOTTOM + 1,
                                        pair)

    def test_names_stand_apart(self):
        series = [plot.Series(f"s{i}", [(1, 5), (8, 5 + i / 100)]) for i in range(7)]
        at = sorted(float(t.get("y")) for t in ET.fromstring(
            self.draw(series)).iter("{http://www.w3.org/2000/svg}text")
            if t.text.startswith("s") and len(t.text) == 2)
        self.assertEqual(len(at), 7)
        self.assertTrue(all(b - a >= 15 for a, b in zip(at, at[1:])), at)

    def test_what_was_never_answered_has_no_point(self):
        with tempfile.TemporaryDirectory(prefix="kae-bench-") as folder:
            path = pathlib.Path(folder) / "a.svg"
            self.assertTrue(plot.lines(path, "t", [
                plot.Series("a", [(1, 5), (8, 0.0), (64, None)]), plot.Series("b", [(1, 0.0)])],
                y_log=True))
            points = [p.get("points") for p in ET.parse(path).iter() if "polyline" in p.tag]
        self.assertEqual([len(p.split()) for p in points], [1])

    def test_nothing_measured_draws_nothing(self):
        self.assertFalse(plot.lines("/nonexistent/a.svg", "t", [plot.Series("a", [])]))


class Nobody:
    name = "nobody"

    def check_alive(self):
        pass

    def why(self):
        return ""


class Answers(unittest.TestCase):
    """What wrk says is only a figure when every answer was what was asked for."""

    def read(self, text, may_refuse=0):
        return load.read_wrk(Nobody(), scenarios.HEALTH, text, may_refuse)

    def test_figures(self):
        found = self.read(WRK)
        self.assertEqual((found["rps"], found["p50_ms"], found["p99_ms"], found["refused"]),
                         (500, 0.9, 4.1, 0))

    def test_one_answer_that_is_not_2xx_is_trouble(self):
        refused = WRK + "  Non-2xx or 3xx responses: 1\n"
        with self.assertRaises(servers.Trouble):
            self.read(refused)
        found = self.read(refused, may_refuse=0.05)
        self.assertEqual((found["rps"], found["refused"]), (499.5, 0.001))

    def test_a_lost_connection_or_no_answer_is_trouble(self):
        for text in (WRK + "  Socket errors: connect 0, read 1, write 0, timeout 0\n",
                     WRK.replace("1000 requests", "0 requests"), ""):
            with self.subTest(text=text[-60:]), self.assertRaises(servers.Trouble):
                self.read(text, may_refuse=1)


class Table(unittest.TestCase):
    def test_every_scenario_has_its_servers(self):
        self.assertEqual(len(set(scenarios.NAMES)), len(scenarios.NAMES))
        for s in scenarios.SCENARIOS:
            with self.subTest(s.name):
                self.assertLessEqual(set(s.servers), set(scenarios.SETUPS[s.setup]))
                self.assertLessEqual(set(s.servers), set(report.LABELS))

    def test_what_the_targets_are_about_is_measured(self):
        self.assertLessEqual(set(scenarios.TARGETS), set(scenarios.NAMES))
        self.assertLessEqual({c[1] for c in report.CHARTS}, set(scenarios.NAMES))


class Page(unittest.TestCase):
    """Of rows in which four programs are a quarter faster than nginx, and have 10 % of
    its p99 less."""

    def rows(self):
        figures = {"nginx-proxy": (40_000, 4.0, {"nginx": 24.0}),
                   "ipc": (50_000, 3.6, {"gateway": 20.0, "gdpr": 3.0, "postgres": 99.0}),
                   "flask": (5000, 20, {"gunicorn": 200.0})}
        return [{"scenario": "stats", "server": s, "c": c, "round": i, "rps": rps, "p50_ms": 1.0,
                 "p99_ms": p99, "cpu_us": cpu, "rss_kb": {"x": 2048}, "load_before": 0.1}
                for c in (8, 64) for i in range(3) for s, (rps, p99, cpu) in figures.items()]

    def test_targets_say_by_how_much(self):
        table = report.targets_table(self.rows())
        first = table.splitlines()[2]
        self.assertIn("| ≥ 1 × | 1.25 × | **yes**, by 25 % |", first)
        self.assertIn("p99 against nginx proxy_pass | ≤ 1 × | 0.90 × | **yes**, by 10 %", table)
        # What a database takes is not of our processes.
        self.assertIn("| ≤ 25 µs | 23.0 µs | **yes**, by 8 %", table)
        self.assertEqual(table.count("not measured"), len(targets.TARGETS) - 5)

    def test_another_build_is_told_beside(self):
        stats = next(s for s in scenarios.SCENARIOS if s.name == "stats")
        rows = self.rows()
        self.assertNotIn("the other build", report.brief(stats, rows))
        rows += [r | {"server": "ipc@other", "rps": 40_000, "cpu_us": {"gateway": 46.0}}
                 for r in rows if r["server"] == "ipc"]
        text = report.brief(stats, rows)
        self.assertIn("| 8 | four programs, ipc, the other build | 40.0k |", text)
        self.assertIn("| 8 | four programs, ipc | 1.25 | 1.00 | 1.00 | 0.50 | – |", text)

    def test_hops_are_medians_by_what_threads_are_for(self):
        rows = self.rows()
        self.assertNotIn("Where the CPU", report.text(rows, []))
        for r in rows:
            if r["server"] == "ipc":
                r |= {"switches": 0.5, "hops_us": {
                    "gateway http": 15 + r["round"], "gateway bus": 4.0, "gateway other": 1.0,
                    "services bus": 2.0, "services other": 0.5}}
        text = report.text(rows, [])
        self.assertIn("| four programs, ipc | 64 | 16.0 | 4.00 | 2.00 | – | 1.50 | 99.0 | 0.50 |",
                      text)
        self.assertEqual(text.count("read from the service cache | four programs"), 2)

    def test_a_thread_is_told_by_its_name(self):
        def busy():
            end = time.thread_time() + 0.02
            while time.thread_time() < end:
                pass
            told.update(servers.threads([os.getpid()]))
        told = {}
        t = threading.Thread(target=busy)
        t.start()
        t.join()
        self.assertIn(str(os.getpid()), told)
        self.assertTrue(all(hop == "other" for hop, _, _ in told.values()))
        self.assertGreater(max(spent for _, spent, _ in told.values()), 20_000)

    def test_page_is_replaced_between_its_marks_only(self):
        with tempfile.TemporaryDirectory(prefix="kae-bench-") as folder:
            page = pathlib.Path(folder) / "page.md"
            page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nbehind\n")
            for _ in range(2):
                report.write(self.rows(), page, pathlib.Path(folder) / "plots")
            text = page.read_text()
            plots = sorted(p.name for p in (pathlib.Path(folder) / "plots").iterdir())
        self.assertTrue(text.startswith(f"before\n{report.BEGIN}\n"))
        self.assertTrue(text.endswith(f"{report.END}\nbehind\n"))
        self.assertNotIn("old", text)
        self.assertEqual(plots, ["cached-p99.svg", "cached-throughput.svg"])
        self.assertIn("| 64 | four programs, ipc | 50.0k | 1.00 / 3.60 | 23.0 + postgres 99.0 "
                      "| 2 | 1.25 | 10.0 |", text)


class RawPage(unittest.TestCase):
    def rows(self):
        return [{"scenario": "start", "server": "one", "round": i, "ms": ms, "cpu_us": {"k": 25000},
                 "load_before": 0.5} for i, ms in enumerate((30, 31, 90))]

    def test_only_what_was_measured_is_told(self):
        text = raw_report.text(self.rows())
        self.assertIn("| first 200 of `knowalledge` | 31.0 ms |\n| CPU until then | 25.0 ms |\n",
                      text)
        self.assertEqual(text.count("###"), 1)
        self.assertNotIn("connection", text)
        self.assertNotIn(".svg", text)
        self.assertEqual(raw_report.text([]), "")

    def test_each_part_is_told(self):
        rows = self.rows() + [
            {"scenario": "connections", "server": "one-tls", "round": 0, "bytes": 36864},
            {"scenario": "leaderboard", "server": "rank", "round": 0, "people": 1000,
             "p50_ms": 0.5, "p99_ms": 1.5},
            *({"scenario": s, "server": server, "round": 0, "c": 8, "rps": rps}
              for s, server, rps in (("quiz", "ours", 300), ("quiz", "pgbench", 200),
                                     ("raw-postgres", "db_read", 100),
                                     ("raw-postgres", "pgbench", 400),
                                     ("raw-redis", "tier", 50), ("raw-redis", "asked", 75),
                                     ("raw-redis", "redis-benchmark", 50)))]
        text = raw_report.text(rows)
        self.assertEqual(text.count("###"), len(raw_report.PARTS))
        for line in ("| an idle kept connection with TLS | 36.0 KB |",
                     "| 1 000 | 0.50 / 1.50 |", "plots/leaderboard.svg", "| 1.50 |",
                     "| 0.25 |", "| 50 | 75 | 50 | 1.00 | 1.50 |"):
            self.assertIn(line, text)


if __name__ == "__main__":
    unittest.main()
