"""Runs the official clients, from their registries, against a server, and compares the store with what they sent.

    python3 tests/clients/run.py target/release/profiledb

What cannot be installed is named and does not fail the run, unless CLIENTS_REQUIRED=1. The clients are kept in
CLIENTS_DIR, or in a temporary folder.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent

# The script, the registry, and the packages that it needs.
CLIENTS = [
    ("python_client.py", "pypi", ["mixpanel"]),
    ("segment_python.py", "pypi", ["segment-analytics-python"]),
    ("utils_client.py", "pypi", ["mixpanel-utils"]),
    ("node_client.js", "npm", ["mixpanel"]),
    ("segment_node.js", "npm", ["@segment/analytics-node"]),
    ("rudder_node.js", "npm", ["@rudderstack/rudder-sdk-node"]),
]
NOT_IN_THESE_REGISTRIES = "Ruby, PHP, Go, Java, mixpanel-utils 3"

USER = {"plan": "pro", "first": 1, "logins": 2, "list": ["b", "c"], "unicode": "é漢😀+/="}
COMPANY = {"tier": "silver", "features": ["b"]}
TRAITS = {
    "$email": "a@example.org",
    "$first_name": "first",
    "$last_name": "last",
    "$name": "first last",
    "plan": "pro",
}


def expected():
    """By script: the profiles that it leaves, by kind and id, and the counts of its events by name."""
    python, node = {}, {}
    for name in ("plain", "buffered"):
        python["$distinct_id", f"python-{name}"] = {**USER, "$email": "a@example.org"}
        python["company", f"python-{name}"] = COMPANY
    for name in ("quiet", "verbose"):
        node["$distinct_id", f"node-{name}"] = {**USER, "$transactions": []}
        node["company", f"node-{name}"] = COMPANY
    messages = {}
    for name in ("segment-python", "segment-node", "rudder-node"):
        group = {"$name": "Acme", "employees": 3}
        messages[name] = {("$distinct_id", name): TRAITS, ("$group_id", name): group}
    utils = {("$distinct_id", f"utils-{n:04}"): {"made_by": "utils", "n": n, "plan": "pro"} for n in (1, 2)}
    return {
        "python_client.py": (python, {"visit": 2, "imported": 2}),
        "node_client.js": (node, {"visit": 2, "batched": 6, "imported": 6}),
        "segment_python.py": (messages["segment-python"], {"visit": 1, "Loaded a Page": 1}),
        "segment_node.js": (messages["segment-node"], {"visit": 1, "Loaded a Page": 1}),
        "rudder_node.js": (messages["rudder-node"], {"visit": 1}),
        "utils_client.py": (utils, {}),
    }


def install(folder):
    """Installs what can be had. Returns the scripts that can run, each with its command and environment."""
    runnable, missing = [], []
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=False)
    for script, registry, packages in CLIENTS:
        if registry == "pypi":
            command, environment = [python], {}
            installing = [python, "-m", "pip", "install", "--quiet", *packages]
        else:
            command, environment = ["node"], {"NODE_PATH": str(folder / "node_modules")}
            installing = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder, *packages]
        try:
            subprocess.run(installing, check=True, timeout=300)
            runnable.append((script, command, environment))
        except (OSError, subprocess.SubprocessError) as error:
            missing.append(f"{', '.join(packages)} ({registry}): {error}")
    return runnable, missing


def profiles_and_events(binary, store):
    """What is in a store, without the times that a clock sets."""
    profiles, events = {}, {}
    lines = subprocess.run([binary, "export", "--db", store], check=True, capture_output=True, text=True).stdout
    for line in map(json.loads, lines.splitlines()):
        computed = ("$last_seen", "$mp_first_event_time")
        properties = {name: value for name, value in line["$properties"].items() if name not in computed}
        kind = line.get("$group_key", "$distinct_id")
        profiles[kind, line.get("$group_id") or line["$distinct_id"]] = properties
    lines = subprocess.run([binary, "events", "--db", store], check=True, capture_output=True, text=True).stdout
    for line in map(json.loads, lines.splitlines()):
        events[line["event"]] = events.get(line["event"], 0) + 1
    return profiles, events


def run(binary, script, command, environment):
    """Runs one client against a server of its own. Returns what differs."""
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        serve = [binary, "serve", "--listen", "127.0.0.1:0", "--log", "warn", "--db", store]
        server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        try:
            url = server.stdout.readline().strip().removeprefix("listening on ")
            client = subprocess.run(
                [*command, HERE / script, url], env={**os.environ, **environment}, timeout=300, check=False
            )
        finally:
            server.terminate()
            status = server.wait(timeout=20)
        if client.returncode != 0 or status != 0:
            return [f"the client ended with {client.returncode}, the server with {status}"]
        found, due = profiles_and_events(binary, store), expected()[script]
        return [f"{what}:\n  found    {f}\n  expected {w}" for what, f, w in zip(("profiles", "events"), found, due) if f != w]


def main():
    binary = os.path.abspath(sys.argv[1])
    folder = pathlib.Path(os.environ.get("CLIENTS_DIR") or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    runnable, missing = install(folder)
    passed = failed = 0
    for script, command, environment in runnable:
        differences = run(binary, script, command, environment)
        print(f"{script}: {'ok' if not differences else 'FAILED'}")
        for difference in differences:
            print(f"  {difference}")
        passed, failed = passed + (not differences), failed + bool(differences)
    for what in missing:
        print(f"NOT HAD: {what}")
    print(f"NOT HAD, in no registry that is asked: {NOT_IN_THESE_REGISTRIES}")
    print(f"{passed} passed, {failed} failed, {len(missing)} skipped")
    sys.exit(failed > 0 or (missing and os.environ.get("CLIENTS_REQUIRED") == "1"))


main()
