"""The README's walk-through gives the answers that it prints."""
import re
import subprocess
import unittest

from tests.integration.stack import ROOT, OnStack


# What a person gives a second may take a busy machine ten.
SECOND = "sleep 1; "
UNTIL_XP = """for i in $(seq 100); do
curl -s localhost:5000/api/gamification/stats -H "$ME" | grep -q '"total_xp":0,' || break
sleep 0.1
done
"""


def walk():
    """(command, expected output) pairs of the ```console blocks; an ellipsis in
    the output stands for anything."""
    text = (ROOT / "README.md").read_text()
    pairs = []
    for block in re.findall(r"```console\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                pairs.append([line[2:], []])
            elif line.startswith("> "):
                pairs[-1][0] += "\n" + line[2:]
            else:
                pairs[-1][1].append(line)
    return [(command, "\n".join(out)) for command, out in pairs]


class Readme(OnStack):
    def test_the_walk_through_answers_as_printed(self):
        pairs = walk()
        self.assertGreater(len(pairs), 5)
        mark = "----8<----"
        script = "\n".join(f"{command}\necho; echo '{mark}'" for command, _ in pairs)
        self.assertEqual(script.count(SECOND), 1)
        script = script.replace(SECOND, UNTIL_XP)
        script = script.replace("localhost:5000", f"127.0.0.1:{self.stack.port}")
        got = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True,
                             timeout=60, check=False, cwd=self.stack.dir)
        answers = [a.strip() for a in got.stdout.split(mark)][:-1]
        self.assertEqual(len(answers), len(pairs), got.stderr)
        for (command, expected), answer in zip(pairs, answers):
            pattern = ".*".join(re.escape(p) for p in expected.strip().split("…"))
            with self.subTest(command=command):
                self.assertRegex(answer, re.compile(f"^{pattern}$", re.S))


if __name__ == "__main__":
    unittest.main()
