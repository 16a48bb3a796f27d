"""What tests/run.py makes of programs that fail, always or once."""
import io
import os
import pathlib
import stat
import tempfile
import unittest
from unittest import mock

from tests import run

PASSES = """echo '[==========] Running 1 test(s).'
echo '[       OK ] holds'
echo '[==========] 1 test(s) run.'
"""
FAILS = """echo '[==========] Running 1 test(s).'
echo '[  ERROR   ] --- 0x1 != 0x2'
echo '[   LINE   ] --- t.c:7: error: Failure!'
echo '[  FAILED  ] holds'
echo '[==========] 1 test(s) run.'
echo '[  FAILED  ] 1 test(s), listed below:'
echo '[  FAILED  ] holds'
exit 1
"""
SETUP_FAILS = FAILS.replace("FAILED  ] holds", "ERROR   ] holds", 1)
MODULE = """import pathlib, unittest
class Claims(unittest.TestCase):
    def test_it(self):
        mark = pathlib.Path({mark!r})
        first, _ = not mark.exists(), mark.touch()
        {claim}
"""


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kae-run-")
        self.addCleanup(folder.cleanup)
        self.dir, self.said = pathlib.Path(folder.name), io.StringIO()
        self.runner = run.Runner(out=self.said)

    def program(self, name, first, later=PASSES):
        """One that does the first thing when run first."""
        path, ran = self.dir / name, self.dir / f"{name}.ran"
        path.write_text(f"#!/bin/sh\necho x >> {ran}\n"
                        f"if [ $(wc -l < {ran}) = 1 ]; then\n{first}\nelse\n{later}\nfi\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.runner.add("unit", [(name, run.run_cmocka, [str(path)], {})])

    def times(self, name):
        return len((self.dir / f"{name}.ran").read_text().splitlines())

    def result(self, **env):
        """(exit status, the lines that were said), in an environment of its own."""
        with mock.patch.dict(os.environ, env):
            for name in ("CI", "KAE_STRICT"):
                if name not in env:
                    os.environ.pop(name, None)
            self.runner.run()
            status = self.runner.summary(1)
        return status, self.said.getvalue().splitlines()

    def assertFailsAtOnce(self, first):
        self.program("bad", first)
        status, lines = self.result()
        self.assertEqual((status, self.times("bad")), (1, 1), lines)
        self.assertEqual(lines[-3], "FAILED: unit bad")

    def test_what_only_waits_takes_the_place_of_no_other(self):
        mark = self.dir / "mark"
        for i in range(run.JOBS):
            self.program(f"busy{i}", f"n=0; until [ -e {mark} ] || [ $n = 600 ]; do "
                                     f"sleep 0.1; n=$((n+1)); done\n[ -e {mark} ] || exit 1\n"
                                     + PASSES)
        with mock.patch.object(run, "WAITING", {"waits"}):
            self.program("waits", f"touch {mark}\n{PASSES}")
        status, lines = self.result()
        self.assertEqual((status, lines[-1]),
                         (0, f"{run.JOBS + 1} passed, 0 failed, 0 skipped"))

    def test_the_processors_time_of_a_job_and_its_children_is_told(self):
        spin = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
        self.program("spins", f"{spin}\nsh -c '{spin}'\n{PASSES}")
        self.result()
        self.assertGreater(self.runner.outcomes[0].cpu, 0.1)

    def test_what_passes_is_run_once(self):
        self.program("good", PASSES)
        status, lines = self.result()
        self.assertEqual((status, self.times("good")), (0, 1))
        self.assertEqual(lines[-1], "1 passed, 0 failed, 0 skipped")

    def test_what_fails_twice_has_failed_and_is_said_again_at_the_end(self):
        self.program("bad", FAILS, FAILS.replace("0x1", "0x9"))
        self.program("good", PASSES)
        status, lines = self.result()
        self.assertEqual((status, self.times("bad")), (1, 2))
        self.assertEqual(lines[-3], "FAILED: unit bad")
        self.assertEqual(lines[-1], "1 passed, 1 failed, 0 skipped")
        end = lines[lines.index("FAILED: unit bad"):]
        self.assertIn("      | [  ERROR   ] --- 0x9 != 0x2", end)

    def test_what_fails_once_is_run_after_all_others_and_listed(self):
        order = self.dir / "order"
        self.program("flaky", FAILS, f"echo flaky >> {order}\n{PASSES}")
        for name in ("b", "c", "d"):
            self.program(name, f"sleep 0.1; echo {name} >> {order}\n{PASSES}")
        status, lines = self.result()
        self.assertEqual(status, 0)
        self.assertEqual(order.read_text().split()[-1], "flaky")
        self.assertEqual(lines[-1], "4 passed, 0 failed, 0 skipped")
        self.assertEqual(lines[-3], "FLAKY: unit flaky")
        told = lines.index("FLAKY: unit flaky (first failure: holds: 0x1 != 0x2)")
        self.assertIn("      | [   LINE   ] --- t.c:7: error: Failure!", lines[told:])

    def test_a_strict_run_counts_it_as_a_failure(self):
        self.program("flaky", FAILS)
        status, lines = self.result(KAE_STRICT="1")
        self.assertEqual(status, 1)
        self.assertEqual(lines[-1], "1 passed, 1 failed, 0 skipped")

    def test_a_setup_that_fails_is_a_claim_too(self):
        self.program("flaky", SETUP_FAILS)
        self.assertEqual(self.result()[0], 0)
        self.assertEqual(self.times("flaky"), 2)

    def test_reports_of_sanitizers_are_not_run_again(self):
        for n, report in enumerate((
                "==7==ERROR: AddressSanitizer: heap-use-after-free",
                "==7==ERROR: LeakSanitizer: detected memory leaks",
                "WARNING: ThreadSanitizer: data race",
                "x.c:1:2: runtime error: signed integer overflow")):
            with self.subTest(report):
                self.setUp()
                self.assertFailsAtOnce(f"echo '{report}'\n{FAILS}")

    def test_crashes_are_not_run_again(self):
        for end in ("kill -ABRT $$", "kill -SEGV $$", "exit 0", "exit 3",
                    PASSES + "exit 23", FAILS.replace("exit 1", "exit 66"),
                    "echo '[  ERROR   ] --- Test failed with exception: Bus error(7)'\n"
                    + FAILS):
            with self.subTest(end):
                self.setUp()
                self.assertFailsAtOnce(end)

    def test_what_does_not_end_is_not_run_again(self):
        with mock.patch.object(run, "UNIT_TIMEOUT_S", 0.5):
            self.assertFailsAtOnce(FAILS.replace("exit 1", "sleep 60"))

    def test_what_is_not_built_has_failed(self):
        self.runner.add("unit", [("none", run.run_cmocka, [str(self.dir / "none")], {})])
        self.assertEqual(self.result()[0], 1)

    def test_nothing_at_all_is_no_success(self):
        self.assertEqual(self.result()[0], 1)

    def test_what_is_skipped_unasked_fails_in_ci(self):
        skips = PASSES.replace("       OK ] holds", "  SKIPPED ] SKIP_IT")
        for env, want in (({}, 0), ({"CI": "true"}, 1),
                          ({"CI": "true", "SKIP_IT": "1"}, 0)):
            with self.subTest(env):
                self.setUp()
                self.program("skips", skips)
                self.program("good", PASSES)
                self.assertEqual(self.result(**env)[0], want)

    def module(self, claim):
        (self.dir / "claims.py").write_text(
            MODULE.format(mark=str(self.dir / "mark"), claim=claim))
        self.runner.add("fault", [("claims", run.run_module,
                                   {"PYTHONPATH": str(self.dir)})])
        return self.result()

    def test_a_module_that_fails_once_is_flaky(self):
        status, lines = self.module("self.assertFalse(first)")
        self.assertEqual(status, 0)
        self.assertTrue(any(l.startswith("FLAKY: fault claims (first failure: test_it")
                            and "True is not false" in l for l in lines), lines)

    def test_a_module_whose_product_crashed_once_has_failed(self):
        for text in ("gateway ended with -11:", "kae-auth did not stop in 30 s",
                     "==7==ERROR: AddressSanitizer: heap-use-after-free"):
            with self.subTest(text):
                self.setUp()
                status, _ = self.module(f"self.assertFalse(first, {text!r})")
                self.assertEqual(status, 1)

    def test_a_job_may_add_others(self):
        def more(name):
            self.program("later", PASSES)
            return run.Outcome(name, passed=1)

        self.runner.add("first", [("more", more)])
        self.assertEqual(self.result()[1][-1], "2 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    unittest.main()
