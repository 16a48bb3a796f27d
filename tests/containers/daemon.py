"""A Docker daemon of the tests' own, on a private socket and in a private folder,
with the images that no registry gives them.

KAE_DOCKER_KEEP=FOLDER keeps the daemon's folder, and so its images, for the next
run; all else is removed.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from tests.harness.debian13 import archive
from tests.harness.process import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
# What bare Debian is made of is kept from run to run, as tests/clean.sh does.
BASE = ROOT / "build" / "containers" / "trixie.tar"
RELEASE = "trixie"
TOOLS = ("dockerd", "docker-compose", "debootstrap", "iptables-save")
START_S = 60
BUILD_S = 900


class Unable(Exception):
    """This machine does not let a daemon run: why."""


def run(command, timeout=BUILD_S, env=None, **kw):
    """Its output; an AssertionError with the last of it when it fails."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=timeout, env=env, check=False, **kw)
    out = done.stdout.decode(errors="replace")
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: exit status "
                             f"{done.returncode}\n{out[-6000:]}")
    return out


def bare_debian():
    """A tar of a Debian 13 that has only what every Debian has."""
    if not BASE.exists():
        BASE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kae-docker-root-") as folder:
            # What the tar is of is readable for all; the folder need not be.
            root = pathlib.Path(folder) / RELEASE
            run(["debootstrap", "--variant=minbase", RELEASE, root, archive()])
            shutil.rmtree(root / "var/cache/apt/archives")
            run(["tar", "-C", root, "-cf", f"{BASE}.new", "."])
        os.replace(f"{BASE}.new", BASE)
    return BASE


class Daemon:
    def __init__(self):
        kept = os.environ.get("KAE_DOCKER_KEEP")
        self.keep = bool(kept)
        self.dir = pathlib.Path(kept or tempfile.mkdtemp(prefix="kae-docker-"))
        self.dir.mkdir(exist_ok=True)
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{self.dir}/docker.sock",
                    # One way of building, and one that both Debians have.
                    "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "1",
                    "PATH": f"/usr/bin:{os.environ['PATH']}",
                    "COMPOSE_ANSI": "never", "COMPOSE_HTTP_TIMEOUT": "120"}
        self.process = None
        self.rules = ""

    def start(self):
        missing = [t for t in TOOLS if not shutil.which(t)]
        if os.geteuid() != 0 or missing:
            raise Unable(f"needs root, and {', '.join(missing) or 'nothing'} more")
        self.rules = run(["iptables-save"])
        log = self.dir / "log"
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", self.dir / "data", "--exec-root",
                 self.dir / "exec", "-H", self.env["DOCKER_HOST"],
                 "--pidfile", self.dir / "pid"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True)
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            if subprocess.run(["/usr/bin/docker", "info"], env=self.env, check=False,
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        said = log.read_text(errors="replace").splitlines()[-3:]
        self.stop()
        raise Unable("dockerd does not start: " + " ".join(said)[-400:])

    def docker(self, *args, timeout=BUILD_S):
        return run(["/usr/bin/docker", *args], timeout, self.env)

    def build(self, folder, targets):
        """Images {name: target} of a folder's Dockerfile, one after the other."""
        for name, target in targets.items():
            self.docker("build", "-q", "-t", name,
                        "--target", target, "--cpu-shares", "256", folder)

    def has(self, image):
        return image in self.docker("images", "--format", "{{.Repository}}:{{.Tag}}")

    def stop(self):
        """Ends every container and the daemon, and leaves nothing behind."""
        if self.process and self.process.poll() is None:
            names = self.docker("ps", "-aq").split()
            if names:
                self.docker("rm", "-f", "-v", *names)
            self.docker("network", "prune", "-f")
            self.docker("volume", "prune", "-f")
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.unwire()
        if not self.keep:
            # Overlays may still be let go of.
            wait_until(self.remove, 30, 0.2, "the end of the daemon's folder")

    def remove(self):
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            for line in mounts:
                at = line.split()[1]
                if at.startswith(f"{self.dir}/"):
                    subprocess.run(["umount", "-l", at], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
        return not self.dir.exists()

    def unwire(self):
        """Docker leaves its bridge and its rules; if they were not there before
        us, they go."""
        if "DOCKER" in self.rules:
            return
        subprocess.run(["iptables-restore"], input=self.rules.encode(), check=False)
        subprocess.run(["ip", "link", "del", "docker0"], check=False,
                       stderr=subprocess.DEVNULL)
