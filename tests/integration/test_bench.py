"""What the bench (tests/bench) makes of measurements: medians, ratios, plots."""
import pathlib
import tempfile
import unittest
import xml.etree.ElementTree as ET

from tests.bench import plot, results


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

    def test_nothing_measured_draws_nothing(self):
        self.assertFalse(plot.lines("/nonexistent/a.svg", "t", [plot.Series("a", [])]))


if __name__ == "__main__":
    unittest.main()
