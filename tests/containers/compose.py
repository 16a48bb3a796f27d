"""compose.yaml as a user runs it, by either Compose, and what can be asked of the
stack that it makes."""
import json
import urllib.parse

from tests.containers.daemon import ROOT, run
from tests.harness.ask import get
from tests.harness.process import wait_until
from tests.integration.stack import Api

PROJECT = "kae"
PROGRAMS = ("gateway", "svc-auth", "svc-content", "svc-gdpr")
STORES = ("postgres", "valkey")
# What compose.yaml says where nobody says otherwise; the network is ours alone.
PORT, ADMIN_PORT, TLS_PORT, GRAFANA_PORT = 5000, 9400, 5443, 3000
HEALTHY_S = 180  # ten times what it takes


class Compose:
    def __init__(self, daemon):
        self.daemon = daemon
        self.no_env = daemon.dir / "empty.env"  # in the place of one that lies about
        self.no_env.touch()
        for name in [n for n in daemon.env if n.startswith("KAE_")]:
            del daemon.env[name]

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
            "compose2", "-p", PROJECT, "--env-file", "/dev/null", *args)

    def containers(self, service):
        labels = [f"com.docker.compose.{k}={v}"
                  for k, v in (("project", PROJECT), ("service", service))]
        query = urllib.parse.urlencode({"all": 1, "filters": json.dumps({"label": labels})})
        return [c["Id"] for c in self.daemon.get(f"/containers/json?{query}")]

    def inspect(self, container):
        return self.daemon.get(f"/containers/{container}/json")

    def health(self, container):
        state = self.inspect(container)["State"]
        return state["Health"]["Status"] if state["Running"] else state["Status"]

    def wait_healthy(self, services=PROGRAMS + STORES):
        for service in services:
            for c in self.containers(service):
                self.wait_one(c, service)

    def wait_one(self, container, name):
        try:
            wait_until(lambda: self.health(container) == "healthy", HEALTHY_S, 0.2,
                       f"health of {name}")
        except AssertionError as e:
            raise AssertionError(
                f"{e}\n{self.inspect(container)['State']}\n"
                f"{self.daemon.docker('logs', '--tail', '40', container)}") from None

    def kill(self, container):
        """As the kernel would; `docker kill` is a wish that it stay away."""
        before = self.inspect(container)
        self.daemon.kill(before["State"]["Pid"])
        wait_until(lambda: self.inspect(container)["RestartCount"]
                   > before["RestartCount"], HEALTHY_S, 0.1, "the restart")

    def api(self, **kw):
        return Api(PORT, **kw)

    def admin(self, path):
        return get(ADMIN_PORT, path)
