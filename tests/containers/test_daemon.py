"""That the tests' Docker daemon leaves nothing behind, however its tests end."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

from tests.containers.daemon import CGROUPS, ROOT, remove_abandoned, run
from tests.harness.process import wait_until

# A container of one static program, without a base.
PAUSE = "#include <unistd.h>\nint main(void) { return pause(); }\n"
SAID_UNABLE = 3
CHILD = f"""
import signal, sys
from tests.containers.daemon import Daemon, Unable
d = Daemon()
try:
    d.start()
except Unable as e:
    print(e)
    sys.exit({SAID_UNABLE})
d.docker("import", "-c", "CMD /pause", sys.argv[1], "pause")
d.docker("run", "-d", "--restart", "always", "-v", "/kept", "-p", "5000:5000", "pause", "/pause")
print(d.dir, flush=True)
signal.pause()
"""
END_S = 60


def network():
    """What of the machine's network a daemon would change."""
    links = sorted(os.listdir("/sys/class/net"))
    rules = [line for line in run(["iptables-save"]).splitlines()
             if line[:1] in "-:" and "[" not in line]
    forward = pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text()
    return links, rules, forward


def processes_of(folder):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


class Ends(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.environ.get("SKIP_DOCKER"):
            raise unittest.SkipTest("SKIP_DOCKER is set")
        folder = tempfile.mkdtemp(prefix="kae-pause-")
        cls.addClassCleanup(run, ["rm", "-rf", folder])
        (pathlib.Path(folder) / "pause.c").write_text(PAUSE)
        run(["cc", "-static", "-o", f"{folder}/pause", f"{folder}/pause.c"])
        cls.tar = f"{folder}/pause.tar"
        run(["tar", "-C", folder, "-cf", cls.tar, "pause"])

    def end(self, number):
        """The daemon's folder, after tests that this signal has ended."""
        before = network()
        with subprocess.Popen([sys.executable, "-c", CHILD, self.tar], cwd=ROOT,
                              env={k: v for k, v in os.environ.items()
                                   if k != "KAE_DOCKER_KEEP"},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as child:
            said = child.stdout.readline()
            if not said.startswith("/"):
                _, errors = child.communicate()
                if child.returncode == SAID_UNABLE:
                    self.skipTest(f"no Docker daemon (SKIP_DOCKER): {said.strip()}")
                self.fail(f"{said}\n{errors}")
            folder = said.strip()
            self.assertNotEqual(processes_of(folder), [])
            child.send_signal(number)
            child.communicate(timeout=END_S)
        wait_until(lambda: not processes_of(folder), END_S, what="the end of all")
        self.assertEqual(network(), before)
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            self.assertNotIn(folder, mounts.read())
        return folder

    def assertGone(self, folder):
        self.assertFalse(os.path.exists(folder))
        name = os.path.basename(folder)
        self.assertEqual([*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")], [])

    def test_interrupted_tests_take_everything_with_them(self):
        self.assertGone(self.end(signal.SIGTERM))

    def test_killed_tests_leave_a_folder_for_the_next_to_remove(self):
        folder = self.end(signal.SIGKILL)
        self.assertTrue(os.path.exists(folder))
        remove_abandoned()
        self.assertGone(folder)


if __name__ == "__main__":
    unittest.main()
