"""What Grafana would be given, read as it would read it: GET /found says what there
is, in JSON, and which query its first data source has answered."""
import http.server
import json
import os
import pathlib
import urllib.parse
import urllib.request

import yaml

PROVISIONING = pathlib.Path("/etc/grafana/provisioning")
OWN = pathlib.Path("/var/lib/grafana")


def entries(kind, field):
    for file in (PROVISIONING / kind).glob("*.yaml"):
        yield from yaml.safe_load(file.read_text())[field]


def ask(url, query):
    query = urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def found(query):
    source, = entries("datasources", "datasources")
    folders = [p["options"]["path"] for p in entries("dashboards", "providers")]
    boards = [json.loads(file.read_text())
              for folder in folders for file in pathlib.Path(folder).glob("*.json")]
    password = pathlib.Path(os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"]).read_text()
    (OWN / "grafana.db").write_text("written")
    return {"source": source, "boards": [b["title"] for b in boards],
            "password": len(password), "result": ask(source["url"], query)}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        try:
            status, body = 200, found(query["query"][0])
        except Exception as e:  # the test shall see which
            status, body = 500, f"{type(e).__name__}: {e}"
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


http.server.ThreadingHTTPServer(("0.0.0.0", 3000), Handler).serve_forever()
