"""A route is one row, one method row and one handler, as docs/architecture.md
says: its own code blocks are added to a copy of the tree and asked."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from tests.integration import stack as stacks
from tests.integration.stack import ROOT, SHORT, Stack


class AddRoute(unittest.TestCase):
    def test_the_example_in_the_document_works(self):
        page = (ROOT / "docs" / "architecture.md").read_text()
        blocks = dict(re.findall(r"```c (\S+)\n(.*?)```", page, re.S))
        self.assertEqual(len(blocks), 3)
        with tempfile.TemporaryDirectory(prefix="kae-", dir="/tmp") as folder:
            tree = pathlib.Path(folder) / "tree"
            bin_dir = stacks.BIN.resolve()
            flavor, build = bin_dir.parent.name, bin_dir.parent.parent
            tree.mkdir()
            for name in ("common", "gateway", "local", "svc-auth", "svc-content", "svc-gdpr",
                         "Makefile", "VERSION"):
                source = ROOT / name
                (shutil.copytree if source.is_dir() else shutil.copy2)(source, tree / name)
            # Objects are taken along, so that only what the example touches
            # is compiled; copies keep their times.
            objects = tree / "build" / flavor
            for name in ("common", "gateway", "local", "svc-auth", "svc-content", "svc-gdpr"):
                shutil.copytree(build / flavor / name, objects / name)
            # Dependency files name the build folder as make was told it.
            for deps in objects.rglob("*.d"):
                deps.write_text(deps.read_text().replace(f"{build}/", "build/"))
            for name, text in blocks.items():
                with open(tree / name, "a", encoding="utf-8") as f:
                    f.write(text)
            made = subprocess.run(
                ["make", "-s", f"FLAVOR={flavor}", f"build/{flavor}/bin/knowalledge"], cwd=tree,
                env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
                capture_output=True, text=True, timeout=600, check=False)
            self.assertEqual(made.returncode, 0, made.stderr[-3000:])
            stack = Stack("one")
            self.addCleanup(stack.close)
            stack.bin = objects / "bin"
            stack.start()
            _, me = stack.register("level.seeker")
            path = "/api/gamification/next-level"
            self.assertEqual(me.get(path).json,
                             {"success": True, "level": 2, "xp_missing": 100})
            self.assertEqual(me.get(path + "?levels=2").json["xp_missing"], 400)
            self.assertEqual(me.get(path + "?levels=0").status, 400)
            self.assertEqual(stack.api().get(path).status, 401)
            self.assertEqual(me.post(path, {}).status, 405)


def load_tests(loader, tests, _pattern):
    return unittest.TestSuite() if SHORT else tests  # once, without sanitizers


if __name__ == "__main__":
    unittest.main()
