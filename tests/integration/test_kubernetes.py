"""deploy/k8s as kubectl renders it, held against what the programs themselves say:
ports, probes, settings, secrets, who may reach whom, how long ending takes."""
import base64
import functools
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

from tests.harness.debian13 import tool
from tests.harness.process import Process, free_port, wait_until
from tests.integration.stack import BIN, ROOT, Api

K8S = ROOT / "deploy" / "k8s"
NAME = "app.kubernetes.io/name"
PROGRAMS = {"gateway": "kae-gateway", "auth": "kae-auth", "content": "kae-content",
            "gdpr": "kae-gdpr"}
SECRETS = "/run/secrets/knowalledge"
# What is made by hand before overlays/prod is applied (deploy/k8s/README.md).
BY_HAND = {"bus-key", "redis-url", "auth-database-url", "content-database-url",
           "gdpr-database-url", "key-encryption-key", "admin-api-key", "llm-api-key"}


def render(folder):
    done = subprocess.run([tool("kubectl", "kubectl"), "kustomize", folder],
                          capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(f"{folder}: {done.stderr}")
    return [o for o in yaml.safe_load_all(done.stdout) if o]


def with_components(overlay, *components):
    """As an operator writes it: an overlay with more components."""
    with tempfile.TemporaryDirectory(dir=K8S, prefix=".test-") as folder:
        (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "resources": [f"../overlays/{overlay}"],
            "components": [f"../components/{c}" for c in components]}))
        return render(folder)


def says(program, *args, env=None):
    return subprocess.run([BIN / program, *args], env={"PATH": os.environ["PATH"], **(env or {})},
                          capture_output=True, text=True, timeout=60, check=False)


class Rendered:
    """The objects of one overlay, by kind and name."""

    def __init__(self, objects):
        self.objects = objects

    def all(self, kind):
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] == kind}

    def deployments(self):
        return {n: d for n, d in self.all("Deployment").items() if n in PROGRAMS}

    def pods(self):
        """(name, pod spec, labels) of whatever makes pods."""
        for kind in ("Deployment", "StatefulSet"):
            for name, o in self.all(kind).items():
                template = o["spec"]["template"]
                yield name, template["spec"], template["metadata"]["labels"]

    def container(self, name):
        found, = self.deployments()[name]["spec"]["template"]["spec"]["containers"]
        return found

    def ports(self, name):
        return {p["name"]: p["containerPort"] for p in self.container(name)["ports"]}

    def settings(self, name):
        """What the program gets as its environment."""
        c, env = self.container(name), {}
        for source in c["envFrom"]:
            env.update(self.all("ConfigMap")[source["configMapRef"]["name"]]["data"])
        for e in c["env"]:
            env[e["name"]] = e.get("value", "pod-1")
        return env

    def mounted(self, name):
        """(keys of Secrets that are mounted, the names of those Secrets)."""
        pod = self.deployments()[name]["spec"]["template"]["spec"]
        keys, names = set(), set()
        for v in pod["volumes"]:
            for source in v.get("projected", {}).get("sources", ()):
                names.add(source["secret"]["name"])
                keys |= {i["key"] for i in source["secret"]["items"]}
        return keys, names


def each(test):
    """Runs a test for each program of each overlay."""
    @functools.wraps(test)
    def run(self):
        for overlay, r in self.overlays.items():
            self.assertEqual(set(r.deployments()), set(PROGRAMS))
            for name in PROGRAMS:
                with self.subTest(overlay=overlay, program=name):
                    test(self, r, name)
    return run


class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.overlays = {o: Rendered(render(K8S / "overlays" / o)) for o in ("dev", "prod")}

    # --- what the programs say --------------------------------------------------

    @each
    def test_each_setting_is_one_of_the_program(self, r, name):
        known = {program: {line.partition("=")[0] for line in
                           says(program, "--print-config").stdout.splitlines()}
                 for program in (PROGRAMS[name], "knowalledge")}
        for setting in r.settings(name):  # the ConfigMap is everybody's
            self.assertIn(setting.removesuffix("_FILE"), known["knowalledge"])
        for e in r.container(name)["env"]:
            self.assertIn(e["name"].removesuffix("_FILE"), known[PROGRAMS[name]])

    @each
    def test_the_admin_port_is_the_programs_own(self, r, name):
        told = says(PROGRAMS[name], "--help").stdout
        own = re.search(r"(\d+) %s" % name, told.partition("ADMIN_PORT=")[2])
        self.assertEqual(r.ports(name)["admin"], int(own[1]))

    @each
    def test_the_programs_start_so_and_answer_the_probes(self, r, name):
        """The very environment; but for addresses that only a cluster has."""
        with tempfile.TemporaryDirectory(prefix="kae-", dir="/tmp") as folder:
            self.probe(r, name, pathlib.Path(folder))

    def probe(self, r, name, folder):
        env = r.settings(name)
        keys, _ = r.mounted(name)
        for key in keys:
            value = {"redis-url": "redis://127.0.0.1:1"}.get(key, "k" * 40)
            if key.endswith("database-url"):
                value = "postgresql://nobody@127.0.0.1:1/none"
            (folder / key).write_text(value)
        for setting, value in env.items():
            if setting.endswith("_FILE"):
                self.assertTrue(value.startswith(SECRETS + "/"), value)
                self.assertIn(value.removeprefix(SECRETS + "/"), keys, setting)
                env[setting] = value.replace(SECRETS, str(folder))
        port = free_port()
        env |= {"DATA_DIR": str(folder / "data"), "ADMIN_PORT": str(port), "BIND": "127.0.0.1",
                "PORT": str(free_port()), "ADMIN_BIND": "127.0.0.1"}
        if "BUS_LISTEN" in env:
            env["BUS_LISTEN"] = f"tcp://127.0.0.1:{free_port()}"
        p = Process([BIN / PROGRAMS[name]], env)
        try:
            api, c = Api(port), r.container(name)

            def answers(probe):
                try:
                    return api.get(c[probe]["httpGet"]["path"])
                except OSError:
                    self.assertTrue(p.running(), p.text())
                    return None
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                self.assertEqual(c[probe]["httpGet"]["port"], "admin")
                got = wait_until(lambda probe=probe: answers(probe), 30, what=probe)
                self.assertEqual(got.status, 503 if probe == "readinessProbe" else 200, got.raw)
            self.assertEqual(p.events("config.ignored"), [])
            annotations = r.deployments()[name]["spec"]["template"]["metadata"]["annotations"]
            self.assertEqual(annotations["prometheus.io/port"], str(r.ports(name)["admin"]))
            self.assertEqual(api.get(annotations["prometheus.io/path"]).status, 200)
        finally:
            self.assertEqual(p.stop(), 0, p.text()[-2000:])

    @each
    def test_the_bus_is_where_the_others_look_for_it(self, r, name):
        env = r.settings(name)
        for peer in ("auth", "content", "gdpr"):
            host, port = re.fullmatch(r"tcp://([^:]+):(\d+)", env[f"BUS_{peer.upper()}"]).groups()
            service = r.all("Service")[host]["spec"]
            self.assertEqual(service["selector"], {NAME: peer})
            self.assertEqual((service["clusterIP"], service["publishNotReadyAddresses"]),
                             ("None", True))
            self.assertEqual([p["port"] for p in service["ports"]], [int(port)])
            self.assertEqual(r.ports(peer)["bus"], int(port))
            self.assertEqual(r.settings(peer)["BUS_LISTEN"], f"tcp://0.0.0.0:{port}")

    @each
    def test_ending_takes_no_longer_than_it_may(self, r, name):
        pod = r.deployments()[name]["spec"]["template"]["spec"]
        asleep = int(r.container(name)["lifecycle"]["preStop"]["exec"]["command"][1])
        grace = int(r.settings(name)["SHUTDOWN_GRACE_S"])
        self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], asleep + grace + 5)
        # Nobody is sent here any more by then.
        seen = r.container(name)["readinessProbe"]
        self.assertGreaterEqual(asleep, seen["periodSeconds"] * seen["failureThreshold"])

    # --- what belongs together ------------------------------------------------------

    @each
    def test_secrets_are_there_and_each_program_sees_its_own(self, r, name):
        keys, names = r.mounted(name)
        there = r.all("Secret")
        for secret in names:
            have = set(there[secret].get("data", {})) if there else BY_HAND
            self.assertLessEqual(keys, have)
        read = {v.removeprefix(SECRETS + "/") for k, v in r.settings(name).items()
                if k.endswith("_FILE")}
        self.assertLessEqual(read - {"bus-key", "redis-url"}, keys)
        self.assertEqual(keys, read)
        for other in set(PROGRAMS) - {name}:
            self.assertNotIn(f"{other}-database-url", keys)

    def test_the_secrets_of_dev_are_long_enough(self):
        data = next(iter(self.overlays["dev"].all("Secret").values()))["data"]
        for key in ("bus-key", "key-encryption-key", "admin-api-key"):
            self.assertGreaterEqual(len(base64.b64decode(data[key])), 32, key)

    def test_no_overlay_for_production_has_a_secret(self):
        self.assertEqual(self.overlays["prod"].all("Secret"), {})

    @each
    def test_each_program_scales_on_its_own(self, r, name):
        hpa = r.all("HorizontalPodAutoscaler")[name]["spec"]
        self.assertEqual(hpa["scaleTargetRef"]["name"], name)
        self.assertGreater(hpa["maxReplicas"], hpa["minReplicas"])
        self.assertNotIn("replicas", r.deployments()[name]["spec"])
        self.assertIn("cpu", r.container(name)["resources"]["requests"])
        for kind, path in (("PodDisruptionBudget", ("selector", "matchLabels")),
                           ("Deployment", ("selector", "matchLabels"))):
            at = r.all(kind)[name]["spec"]
            for step in path:
                at = at[step]
            self.assertEqual(at, {NAME: name})
        pod = r.deployments()[name]["spec"]["template"]["spec"]
        self.assertEqual({t["topologyKey"] for t in pod["topologySpreadConstraints"]},
                         {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})

    def test_every_pod_is_restricted(self):
        """What the restricted Pod Security Standard asks for, and read-only roots."""
        for overlay, r in self.overlays.items():
            enforced = next(iter(r.all("Namespace").values()))["metadata"]["labels"]
            self.assertEqual(enforced["pod-security.kubernetes.io/enforce"], "restricted")
            for name, pod, _ in r.pods():
                with self.subTest(overlay=overlay, pod=name):
                    self.assertFalse(pod["automountServiceAccountToken"])
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                    self.assertEqual(pod["securityContext"]["seccompProfile"]["type"],
                                     "RuntimeDefault")
                    for c in pod["containers"]:
                        self.assertEqual(c["securityContext"], {
                            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}})
                        self.assertIn("memory", c["resources"]["limits"])

    @each
    def test_policies_are_the_edges_of_the_bus(self, r, name):
        made = says("knowalledge", "--doc", "policies").stdout
        self.assertEqual((K8S / "base" / "network-policies.yaml").read_text(), made,
                         "run `make docs`")
        policy = r.all("NetworkPolicy")[name]["spec"]
        self.assertEqual(policy["podSelector"]["matchLabels"], {NAME: name})
        let_in = {p["port"] for rule in policy["ingress"] for p in rule["ports"]}
        self.assertEqual(let_in, set(r.ports(name).values()))
        out = {(t["podSelector"]["matchLabels"][NAME], rule["ports"][0]["port"])
               for rule in policy["egress"] for t in rule.get("to", ())}
        self.assertEqual(out, {(peer, r.ports(peer)["bus"]) for peer in PROGRAMS
                               if peer != "gateway" and peer in EDGES[name]})
        outside = {p["port"] for rule in policy["egress"] if "to" not in rule
                   for p in rule["ports"]}
        self.assertEqual(5432 in outside, name != "gateway")
        self.assertIn(6379, outside)

    def test_the_ingress_leads_to_the_gateway(self):
        r = self.overlays["prod"]
        rule, = r.all("Ingress")["knowalledge"]["spec"]["rules"]
        to = rule["http"]["paths"][0]["backend"]["service"]
        service = r.all("Service")[to["name"]]["spec"]
        port, = [p for p in service["ports"] if p["name"] == to["port"]["name"]]
        self.assertEqual(service["selector"], {NAME: "gateway"})
        self.assertEqual(r.ports("gateway")[port["targetPort"]], 5000)
        self.assertTrue(r.settings("gateway")["TRUSTED_PROXIES"])

    def test_production_names_the_images_of_this_version(self):
        version = (ROOT / "VERSION").read_text().strip()
        for name in PROGRAMS:
            image = self.overlays["prod"].container(name)["image"]
            self.assertTrue(image.endswith(f"/{PROGRAMS[name]}:{version}"), image)

    # --- components ---------------------------------------------------------------------

    def test_every_component_fits_on_production(self):
        r = Rendered(with_components("prod", "llm", "in-flight", "scrape", "postgres", "valkey"))
        self.assertIn("llm-api-key", r.mounted("content")[0])
        self.assertEqual(r.settings("content")["LLM_API_KEY_FILE"], f"{SECRETS}/llm-api-key")
        for name in ("auth", "content", "gdpr"):
            kinds = [m["type"] for m in r.all("HorizontalPodAutoscaler")[name]["spec"]["metrics"]]
            self.assertEqual(kinds, ["Resource", "Pods"])
        monitor = r.all("PodMonitor")["knowalledge"]["spec"]
        for name, _, labels in r.pods():
            if name in PROGRAMS:
                self.assertEqual(labels | monitor["selector"]["matchLabels"], labels)
                self.assertIn(monitor["podMetricsEndpoints"][0]["port"], r.ports(name))
        self.assertEqual(json.dumps(r.all("Secret")), "{}")


EDGES = {"gateway": {"auth", "content", "gdpr"}, "auth": {"gdpr"}, "content": {"gdpr"},
         "gdpr": {"auth", "content"}}


if __name__ == "__main__":
    unittest.main()
