"""Images and compose.yaml for real: a daemon of our own, base images from
mmdebstrap, the stack as a user starts it, and what a bad day does to it.

The long form, with KAE_FULL set (`make test-compose`), kills every container, goes
from one Compose to the other, and starts the profiles.
"""
import json
import os
import shutil
import ssl
import tempfile
import threading
import time
import unittest

from tests.containers.compose import (ADMIN_PORT, GRAFANA_PORT, HEALTHY_S, PORT, PROGRAMS,
                                      STORES, TLS_PORT, Compose)
from tests.containers.daemon import (HERE, ROOT, TO_RUN, Daemon, Unable, bare_debian,
                                     weigh)
from tests.containers.journey import Load, Person
from tests.harness.ask import get
from tests.harness.process import wait_until
from tests.integration.stack import Api

FULL = bool(os.environ.get("KAE_FULL"))
BASE = "debian:trixie-slim"
IMAGES = {"kae-gateway": "gateway", "kae-auth": "auth", "kae-content": "content",
          "kae-gdpr": "gdpr", "knowalledge-api": "knowalledge"}
MB = 1 << 20
daemon = compose = None


def setUpModule():
    global daemon, compose
    if os.environ.get("SKIP_DOCKER"):
        raise unittest.SkipTest("SKIP_DOCKER is set")
    daemon = Daemon()
    unittest.addModuleCleanup(daemon.stop)
    try:
        daemon.start()
    except Unable as e:
        raise unittest.SkipTest(f"no Docker daemon (SKIP_DOCKER): {e}") from None
    compose = Compose(daemon)
    timed("bare Debian", make_base)
    timed("images", make_images)
    weigh(daemon.dir.name, TO_RUN)


def timed(what, make):
    started = time.monotonic()
    make()
    print(f"{what}: {time.monotonic() - started:.0f} s", flush=True)


def make_base():
    if not daemon.has(BASE):
        daemon.docker("import", bare_debian(daemon.dir), BASE)


def make_images():
    failed = []

    def others():
        try:
            make_others()
        except AssertionError as e:
            failed.append(e)

    beside = threading.Thread(target=others)
    beside.start()
    try:
        # The plan's own line, which builds all of them.
        daemon.docker("build", "-t", "knowalledge-api", ".", cwd=ROOT)
    finally:
        beside.join()
    if failed:
        raise failed[0]
    compose("build")


def make_others():
    daemon.build(HERE / "stores", {"postgres:17": "postgres", "valkey/valkey:8": "valkey"})
    if FULL:
        daemon.build(HERE / "monitors", {"prom/prometheus:v3.5.0": "prometheus",
                                         "grafana/grafana:12.1.0": "grafana"})
        daemon.docker("build", "-t", "compose2", HERE / "compose2")


class Images(unittest.TestCase):
    def image(self, name):
        return json.loads(daemon.docker("image", "inspect", name))[0]

    def test_images_say_what_they_are(self):
        version = (ROOT / "VERSION").read_text().strip()
        for name, program in IMAGES.items():
            with self.subTest(image=name):
                c = self.image(name)["Config"]
                binary = program if program == "knowalledge" else f"kae-{program}"
                self.assertEqual(c["StopSignal"], "SIGTERM")
                self.assertEqual(c["User"], "10001:10001")
                self.assertEqual(c["Healthcheck"]["Test"], ["CMD", binary, "--health"])
                self.assertIn("/data", c["Volumes"])
                self.assertLessEqual({"ENVIRONMENT=production", "BIND=0.0.0.0",
                                      "ADMIN_BIND=0.0.0.0", "DATA_DIR=/data"},
                                     set(c["Env"]))
                labels = c["Labels"]
                self.assertEqual(labels["org.opencontainers.image.version"], version)
                self.assertEqual(labels["org.opencontainers.image.title"], binary)
                self.assertEqual(labels["org.opencontainers.image.licenses"],
                                 "Apache-2.0")

    def test_images_are_small_and_have_no_compiler_and_no_setuid(self):
        base = self.image(BASE)["Size"]
        for name in IMAGES:
            with self.subTest(image=name):
                self.assertLess(self.image(name)["Size"] - base, 80 * MB)
                said = daemon.docker(
                    "run", "--rm", "--user", "0", "--entrypoint", "sh", name, "-c",
                    "for c in gcc cc g++ clang ld as make; do command -v $c; done; "
                    "find / -xdev -perm /6000 -type f; echo end")
                self.assertEqual(said, "end\n")


class PlansOwnRun(unittest.TestCase):
    """docker run -p 5000:5000 --env-file .env knowalledge-api"""

    def start(self, *options):
        folder = tempfile.mkdtemp(prefix="kae-env-")
        self.addCleanup(shutil.rmtree, folder)
        shutil.copy(ROOT / ".env.example", f"{folder}/.env")
        c = daemon.docker("run", "-d", *options, "-p", "5000:5000", "--env-file", ".env",
                          "knowalledge-api", cwd=folder).strip()
        self.addCleanup(daemon.docker, "rm", "-f", "-v", c)
        compose.wait_one(c, "the one image")
        return c, lambda **kw: Api(5000, **kw)

    def end(self, c):
        daemon.docker("stop", "-t", "60", c)
        self.assertEqual(compose.inspect(c)["State"]["ExitCode"], 0)

    def test_it_answers_with_nothing_set(self):
        c, api = self.start()
        person = Person(self, api, "ada")
        person.learn()
        person.show_pictures()
        self.assertIn("sk_", daemon.docker("exec", c, "cat", "/data/admin.key"))
        person.leave()
        self.end(c)

    def test_a_read_only_root_does_and_the_volume_keeps_all(self):
        options = ("--read-only", "--cap-drop", "ALL", "-v", "kae-one:/data",
                   "--security-opt", "no-new-privileges")
        self.addCleanup(daemon.docker, "volume", "rm", "-f", "kae-one")
        c, api = self.start(*options)
        person = Person(self, api, "ada")
        person.show_pictures()
        token = person.token
        self.end(c)
        daemon.docker("rm", c)
        c, api = self.start(*options)
        self.assertEqual(api(token=token).get("/api/auth/validate").status, 200)
        self.end(c)


class OnStack(unittest.TestCase):
    """Each test leaves the stack as it has found it: whole."""

    person = None

    @classmethod
    def setUpClass(cls):
        if not compose.containers("gateway"):
            compose("up", "-d")
        compose.wait_healthy()

    def known(self):
        """One person for most tests: an address may log in ten times a minute."""
        if not OnStack.person:
            OnStack.person = Person(self, compose.api, "ada")
        return OnStack.person

    def replicas(self):
        """Of svc-content, that the gateway has a connection to now."""
        status, text = compose.admin("/readyz?verbose")
        if status != 200:
            return None
        check = json.loads(text)["parts"]["gateway"]["checks"]["content"]
        return int(check["detail"].split()[0])


class Stack(OnStack):
    def test_a_person_learns_takes_all_along_and_is_erased(self):
        person = Person(self, compose.api, "grace")
        person.learn()
        person.show_pictures()
        person.leave()

    def test_only_the_gateway_is_published_and_on_this_machine_alone(self):
        for line in daemon.docker("ps", "--format", "{{.Image}} {{.Ports}}").splitlines():
            image, _, ports = line.partition(" ")
            published = [p for p in ports.split(", ") if "->" in p]
            if image != "kae-gateway":
                self.assertEqual(published, [], line)
                continue
            self.assertEqual(sorted(published), sorted([
                f"127.0.0.1:{PORT}->5000/tcp",
                f"127.0.0.1:{ADMIN_PORT}->9400/tcp"]))

    def test_programs_have_no_rights_and_nowhere_to_write(self):
        for service in PROGRAMS:
            host = compose.inspect(compose.containers(service)[0])["HostConfig"]
            self.assertTrue(host["ReadonlyRootfs"])
            self.assertEqual(host["CapDrop"], ["ALL"])
            self.assertGreater(host["Memory"], 0)
            self.assertGreater(host["NanoCpus"], 0)
            self.assertEqual(host["RestartPolicy"]["Name"], "unless-stopped")

    def test_each_program_has_the_secrets_that_it_needs_and_no_others(self):
        both = {"bus_key", "bus_peer_keys", "redis_url"}
        want = {"gateway": both | {"tls.crt", "tls.key"},
                "svc-auth": both | {"database_url", "key_encryption_key", "admin_api_key"},
                "svc-content": both | {"database_url"},
                "svc-gdpr": both | {"database_url", "key_encryption_key"}}
        for service, names in want.items():
            got = daemon.docker("exec", compose.containers(service)[0],
                                "ls", "/run/secrets").split()
            self.assertEqual(set(got), names, service)
        before = daemon.docker("exec", compose.containers("svc-auth")[0], "sha256sum",
                               "/run/secrets/bus_key", "/run/secrets/database_url")
        compose("run", "--rm", "init")
        after = daemon.docker("exec", compose.containers("svc-auth")[0], "sha256sum",
                              "/run/secrets/bus_key", "/run/secrets/database_url")
        self.assertEqual(after, before)

    def test_the_gateway_follows_scaling_and_nobody_notices(self):
        person = self.known()
        with Load(compose.api, person) as load:
            for n in (3, 1):
                compose("up", "-d", "--no-recreate", "--scale", f"svc-content={n}")
                wait_until(lambda n=n: self.replicas() == n, HEALTHY_S, 0.2,
                           f"{n} replicas in /readyz?verbose")
            person.learn()
        self.assertGreater(len([s for s in load.statuses if s[0] == 200]), 20)
        # Of what a machine that stands still does to a database is not told here.
        self.assertEqual([s for s in load.statuses if s[0] != 200
                          and b"DATABASE_ERROR" not in s[1]], [])

    def test_what_is_killed_comes_back_and_the_journey_goes_on(self):
        person = self.known()
        for service in PROGRAMS + STORES if FULL else ("svc-content", "postgres"):
            with self.subTest(service=service):
                before = person.xp()
                compose.kill(compose.containers(service)[0])
                compose.wait_healthy()
                self.assertEqual(person.xp(), before)
        person.learn()

    def test_stores_may_be_away(self):
        person = self.known()
        before = person.xp()
        compose("stop", "valkey")
        person.learn()
        compose("start", "valkey")
        compose("stop", "postgres")
        self.assertEqual(compose.admin("/livez")[0], 200)
        r = person.me.get("/api/progress")
        self.assertEqual((r.status, "retry-after" in r.headers), (503, True), r.raw)
        compose("start", "postgres")
        compose.wait_healthy()
        self.assertGreater(person.xp(), before)
        for service in PROGRAMS:  # each has waited, none has given up
            self.assertTrue(compose.inspect(compose.containers(service)[0])
                            ["State"]["Running"])

    def test_down_and_up_keeps_everything(self):
        person = self.known()
        before = person.xp()
        person.me.close()
        compose("down")
        self.assertEqual(daemon.get("/containers/json"), [])
        compose("up", "-d")
        compose.wait_healthy()
        self.assertEqual(person.xp(), before)
        person.learn()


class StackAtLength(OnStack):
    def test_down_and_up_keeps_everything_and_either_compose_will_do(self):
        person = self.known()
        before = person.xp()
        person.me.close()
        compose("down")
        self.assertEqual(daemon.docker("ps", "-q").split(), [])
        compose.two("up", "-d", "--no-build", "--scale", "svc-content=2")
        compose.wait_healthy()
        self.assertEqual(person.xp(), before)
        wait_until(lambda: self.replicas() == 2, HEALTHY_S, 0.2, "2 replicas")
        person.learn()
        person.me.close()
        compose.two("down")
        compose("up", "-d")
        compose.wait_healthy()
        self.assertGreater(person.xp(), before)

    def test_tls_answers_with_the_certificate_of_init(self):
        compose("--profile", "tls", "up", "-d")
        self.addCleanup(compose, "--profile", "tls", "rm", "-s", "-f", "gateway-tls")
        compose.wait_healthy(("gateway-tls",))
        trust = ssl.create_default_context(cadata=daemon.docker(
            "exec", compose.containers("gateway-tls")[0], "cat", "/run/secrets/tls.crt"))
        person = Person(self, lambda **kw: Api(TLS_PORT, tls=trust, **kw), "tess")
        person.learn()
        person.leave()

    def test_monitoring_scrapes_every_replica_and_grafana_is_given_what_it_needs(self):
        compose("--profile", "monitoring", "up", "-d", "--scale", "svc-content=2")
        self.addCleanup(compose, "up", "-d", "--scale", "svc-content=1")
        self.addCleanup(compose, "--profile", "monitoring", "rm", "-s", "-f",
                        "prometheus", "grafana")
        want = {"9400": 1, "9401": 1, "9402": 2, "9403": 1}
        wait_until(lambda: self.scraped() == want, HEALTHY_S, 0.5, f"{want} scraped")
        status, text = get(GRAFANA_PORT, "/found?query=up")
        self.assertEqual(status, 200, text)
        found = json.loads(text)
        self.assertEqual(found["source"]["type"], "prometheus")
        self.assertEqual(found["boards"], ["KnowAllEdge"])
        self.assertEqual(found["password"], 64)

    def scraped(self):
        """How many programs are up behind each admin port."""
        _, text = get(GRAFANA_PORT, "/found?query=up%3D%3D1")
        try:
            up = json.loads(text)["result"]
        except (ValueError, TypeError):
            return text
        ports = [u["metric"]["instance"].rpartition(":")[2] for u in up
                 if u["metric"]["job"] == "knowalledge"]
        return {p: ports.count(p) for p in sorted(set(ports))}


if not FULL:
    del StackAtLength


if __name__ == "__main__":
    unittest.main()
