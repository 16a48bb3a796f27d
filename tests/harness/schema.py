"""JSON Schema (2020-12), as much of it as docs/openapi.yaml and
docs/export.schema.json use, and a reader of the YAML that the former is written in.

A keyword that is not known here is an error, so that no part of a schema goes
unheeded.
"""
import json
import re

TYPES = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}
FORMATS = {
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "date": r"\d{4}-\d\d-\d\d",
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "uri-reference": r"[^\s]+",
    "binary": r"(?s).*",
}
SILENT = {"description", "default", "example", "title", "$schema", "$defs"}
KNOWN = SILENT | {
    "$ref", "type", "enum", "const", "anyOf", "properties", "required", "items", "format",
    "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"}


def resolve(document, schema):
    while "$ref" in schema:
        at = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        schema = at
    return schema


def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def bounds(value, schema, where):
    size = len(value) if isinstance(value, (str, list)) else value
    names = {str: "Length", list: "Items"}.get(type(value), "imum")
    low, high = schema.get("min" + names), schema.get("max" + names)
    if low is not None and size < low or high is not None and size > high:
        yield f"{where}: {size} is not within {low} and {high}"


def faults(document, schema, value, where="", strict=False):
    """What is wrong with value, as texts; strict: undocumented members too."""
    schema = resolve(document, schema)
    unknown = set(schema) - KNOWN
    if unknown:
        raise AssertionError(f"{where}: keywords {unknown} are not understood")
    if "anyOf" in schema:
        each = [list(faults(document, s, value, where, strict)) for s in schema["anyOf"]]
        if all(each):
            yield f"{where}: fits none: {each}"
        return
    if "type" in schema and not is_type(value, schema["type"]):
        yield f"{where}: {value!r} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} is not {schema['const']!r}"
    if "format" in schema and not re.fullmatch(FORMATS[schema["format"]], value):
        yield f"{where}: {value!r} is no {schema['format']}"
    if isinstance(value, (str, list, int, float)) and not isinstance(value, bool):
        yield from bounds(value, schema, where)
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from faults(document, schema.get("items", {}), item, f"{where}/{i}", strict)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{where}/{name}: is missing"
        for name, member in value.items():
            if name in known:
                yield from faults(document, known[name], member, f"{where}/{name}", strict)
            elif strict and "properties" in schema:
                yield f"{where}/{name}: is not documented"


class Yaml:
    """Block maps and lists, plain words, JSON in one line; no more is written."""

    def __init__(self, text):
        self.lines = [(len(l) - len(l.lstrip(" ")), l.strip()) for l in text.splitlines()
                      if l.strip() and not l.lstrip().startswith("#")]
        self.at = 0

    @staticmethod
    def scalar(text):
        return text if re.fullmatch(r"[A-Za-z][\w./ -]*", text) and text not in (
            "true", "false", "null") else json.loads(text)

    def value(self, rest, depth):
        return self.scalar(rest) if rest else self.block(depth)

    def block(self, depth):
        indent, line = self.lines[self.at]
        assert indent >= depth, line
        return self.list(indent) if line.startswith("- ") else self.map(indent)

    def list(self, indent):
        out = []
        while self.at < len(self.lines) and self.lines[self.at][0] == indent \
                and self.lines[self.at][1].startswith("- "):
            rest = self.lines[self.at][1][2:]
            if re.match(r'("(?:[^"\\]|\\.)*"|[\w$./-]+):( |$)', rest):
                self.lines[self.at] = (indent + 2, rest)
                out.append(self.map(indent + 2))
            else:
                self.at += 1
                out.append(self.scalar(rest))
        return out

    def map(self, indent):
        out = {}
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            line = self.lines[self.at][1]
            m = re.match(r'("(?:[^"\\]|\\.)*"|[\w$./ -]+):(?: (.*))?$', line)
            assert m, line
            self.at += 1
            key = json.loads(m[1]) if m[1].startswith('"') else m[1]
            assert key not in out, f"{key} twice"
            out[key] = self.value(m[2], indent + 1)
        return out


def read_yaml(text):
    reader = Yaml(text)
    out = reader.block(0)
    assert reader.at == len(reader.lines), reader.lines[reader.at]
    return out
