"""compose.yaml as a user runs it, by either Compose, and what can be asked of the
stack that it makes."""
import http.client
import json
import os
import signal

from tests.containers.daemon import ROOT, run
from tests.harness.process import free_port, wait_until
from tests.integration.stack import Api

PROJECT = "kae"
PROGRAMS = ("gateway", "svc-auth", "svc-content", "svc-gdpr")
STORES = ("postgres", "valkey")
HEALTHY_S = 120  # ten times what it takes


class Compose:
    def __init__(self, daemon):
        self.daemon = daemon
        self.port, self.admin_port = free_port(), free_port()
        self.no_env = daemon.dir / "empty.env"  # in the place of one that lies about
        self.no_env.touch()
        daemon.env.update(KAE_PORT=str(self.port), KAE_ADMIN_PORT=str(self.admin_port))

    def __call__(self, *args):
        """Compose 1.29 of Debian 12."""
        return run(["docker-compose", "-p", PROJECT, "--project-directory", ROOT, "-f",
                    ROOT / "compose.yaml", "--env-file", self.no_env, *args],
                   env=self.daemon.env)

    def two(self, *args):
        """Compose 2 of Debian 13, from a container."""
        socket = self.daemon.env["DOCKER_HOST"].removeprefix("unix://")
        return self.daemon.docker(
            "run", "--rm", "--network", "none", "-v", f"{socket}:/var/run/docker.sock",
            "-v", f"{ROOT}:{ROOT}:ro", "-w", ROOT,
            "-e", f"KAE_PORT={self.port}", "-e", f"KAE_ADMIN_PORT={self.admin_port}",
            "compose2", "-p", PROJECT, "--env-file", "/dev/null", *args)

    def containers(self, service):
        return self.daemon.docker(
            "ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}",
            "--filter", f"label=com.docker.compose.service={service}").split()

    def inspect(self, container):
        return json.loads(self.daemon.docker("inspect", container))[0]

    def health(self, container):
        state = self.inspect(container)["State"]
        return state["Health"]["Status"] if state["Running"] else state["Status"]

    def wait_healthy(self, services=PROGRAMS + STORES):
        for service in services:
            for c in self.containers(service):
                try:
                    wait_until(lambda c=c: self.health(c) == "healthy", HEALTHY_S, 0.2,
                               f"health of {service}")
                except AssertionError as e:
                    raise AssertionError(f"{e}\n{self.daemon.docker('logs', '--tail', '40', c)}"
                                         ) from None

    def kill(self, container):
        """As the kernel would; `docker kill` is a wish that it stay away."""
        before = self.inspect(container)
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        wait_until(lambda: self.inspect(container)["RestartCount"]
                   > before["RestartCount"], HEALTHY_S, 0.1, "the restart")

    def api(self, **kw):
        return Api(self.port, **kw)

    def admin(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return r.status, r.read().decode()
        except (OSError, http.client.HTTPException):
            return None, ""
        finally:
            c.close()
