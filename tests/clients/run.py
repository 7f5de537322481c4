"""Runs the official clients, from their registries, against a server, and compares the store with what they sent, also by
the examples of docs/CLIENTS.md. Then sends what schemathesis makes of the description of the paths.

    python3 tests/clients/run.py target/release/profiledb [SCRIPT..]

What cannot be installed, or for which the time is not enough, is named and does not fail the run, unless
CLIENTS_REQUIRED=1. The clients are kept in CLIENTS_DIR, or in a temporary folder. CLIENTS_SECONDS bounds all of it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
DEADLINE = time.monotonic() + float(os.environ.get("CLIENTS_SECONDS") or 1_800)

# The script, the registry, and the packages that it needs.
CLIENTS = [
    ("python_client.py", "pypi", ["mixpanel"]),
    ("segment_python.py", "pypi", ["segment-analytics-python"]),
    ("utils_client.py", "pypi", ["mixpanel-utils"]),
    ("node_client.js", "npm", ["mixpanel"]),
    ("segment_node.js", "npm", ["@segment/analytics-node"]),
    ("analytics_node.js", "npm", ["analytics-node"]),
    ("rudder_node.js", "npm", ["@rudderstack/rudder-sdk-node"]),
    ("browser.js", "npm", ["mixpanel-browser", "playwright-core"]),
    ("rust_client.rs", "crates.io", ["mixpanel-rs"]),
    ("example_python.py", "pypi", ["mixpanel"]),
    ("example_node.js", "npm", ["mixpanel"]),
    ("example_utils.py", "pypi", ["mixpanel-utils"]),
    ("example_segment.py", "pypi", ["segment-analytics-python"]),
    ("example_segment.js", "npm", ["@segment/analytics-node"]),
    ("schemathesis", "pypi", ["schemathesis"]),
]
# The examples of docs/CLIENTS.md, by what each begins with. They talk to the address of the page.
EXAMPLES = {
    "example_python.py": "import mixpanel\n",
    "example_node.js": 'const Mixpanel = require("mixpanel");\n',
    "example_utils.py": "from mixpanel_utils import MixpanelUtils\n",
    "example_segment.py": "import segment.analytics as analytics\n",
    "example_segment.js": 'const { Analytics } = require("@segment/analytics-node");\n',
}
PAGE = HERE.parent.parent / "docs" / "CLIENTS.md"
PAGE_ADDRESS = "127.0.0.1:8090"
NOT_IN_THESE_REGISTRIES = "Ruby, PHP, Go, Java, mixpanel-utils 3"

RUST_PACKAGE = """[package]
name = "client"
version = "0.0.0"
edition = "2024"
publish = false

[workspace]

[dependencies]
mixpanel-rs = "0.3"
serde_json = "1"
tokio = { version = "1", features = ["macros", "rt"] }
"""

USER = {"plan": "pro", "first": 1, "logins": 2, "list": ["b", "c"], "unicode": "é漢😀+/="}
COMPANY = {"tier": "silver", "features": ["b"]}
TRAITS = {
    "$email": "a@example.org",
    "$first_name": "first",
    "$last_name": "last",
    "$name": "first last",
    "plan": "pro",
}
# What the browser library adds.
ADDED = {"$os", "$browser", "$browser_version", "$initial_referrer", "$initial_referring_domain"}


def expected():
    """By script: the profiles that it leaves, by kind and id, and the counts of its events by name."""
    python, node, rust, browser = {}, {}, {}, {}
    for name in ("plain", "buffered"):
        python["$distinct_id", f"python-{name}"] = {**USER, "$email": "a@example.org"}
        python["company", f"python-{name}"] = COMPANY
    for name in ("quiet", "verbose"):
        for library, profiles in (("node", node), ("rust", rust)):
            profiles["$distinct_id", f"{library}-{name}"] = {**USER, "$transactions": []}
            profiles["company", f"{library}-{name}"] = COMPANY
    for name in ("batch", "single", "json", "beacon", "headers", "features"):
        browser["$distinct_id", f"browser-{name}"] = USER
        browser["company", f"browser-{name}"] = COMPANY
    messages, alice = {}, ("$distinct_id", "alice")
    for name in ("segment-python", "segment-node", "analytics-node", "rudder-node"):
        group = {"$name": "Acme", "employees": 3}
        messages[name] = {("$distinct_id", name): TRAITS, ("$group_id", name): group}
    utils = {("$distinct_id", f"utils-{n:04}"): {"made_by": "utils", "n": n, "plan": "pro"} for n in (1, 2)}
    return {
        "python_client.py": (python, {"visit": 2, "imported": 2}),
        "node_client.js": (node, {"visit": 2, "batched": 6, "imported": 6}),
        "rust_client.rs": (rust, {"visit": 2, "batched": 120}),
        "browser.js": (browser, {"visit": 6, "$identify": 6}),
        "segment_python.py": (messages["segment-python"], {"visit": 1, "Loaded a Page": 1}),
        "segment_node.js": (messages["segment-node"], {"visit": 1, "Loaded a Page": 1}),
        "analytics_node.js": (messages["analytics-node"], {"visit": 1, "Loaded a Page": 1}),
        "rudder_node.js": (messages["rudder-node"], {"visit": 1}),
        "utils_client.py": (utils, {}),
        "example_python.py": ({alice: {"plan": "pro"}, ("company", "acme"): {"tier": "gold"}}, {}),
        "example_node.js": ({alice: {"plan": "pro"}}, {}),
        "example_utils.py": ({alice: {"plan": "pro"}}, {}),
        "example_segment.py": ({alice: {"$email": "alice@example.org"}}, {}),
        "example_segment.js": ({alice: {"$email": "alice@example.org"}}, {}),
    }


def left(most):
    """The seconds that a step has. Raises when there are none left."""
    seconds = min(most, DEADLINE - time.monotonic())
    if seconds < 1:
        raise TimeoutError("there is no time left")
    return seconds


def quietly(command, most, **options):
    """Runs a command that may fail, with its output in the error."""
    done = subprocess.run(
        command, timeout=left(most), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines() or ["no output"]
        raise OSError(f"{pathlib.Path(command[0]).name} ended with {done.returncode}: {lines[-1][:300]}")


def browser():
    """The path of Chromium, which is installed if it is missing and can be."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser"):
        if name and shutil.which(name):
            return shutil.which(name)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise OSError("chromium is missing")
    print("installing chromium")
    quietly(["apt-get", "update", "-qq"], 60)
    quietly(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], 120)
    return shutil.which("chromium")


def rust_client(folder):
    """Builds a package outside of the workspace, with a lock file and a target folder of its own."""
    package = folder / "rust"
    (package / "src").mkdir(parents=True, exist_ok=True)
    (package / "Cargo.toml").write_text(RUST_PACKAGE)
    shutil.copyfile(HERE / "rust_client.rs", package / "src" / "main.rs")
    own = {"CARGO_TARGET_DIR": str(package / "target"), "CARGO_NET_RETRY": "1", "CARGO_PROFILE_DEV_DEBUG": "0"}
    environment = {**os.environ, **own}
    quietly(["cargo", "build", "--quiet", "--manifest-path", package / "Cargo.toml"], 300, env=environment)
    return [package / "target" / "debug" / "client"]


def install(folder, script, registry, packages):
    """Installs a client. Returns its command and environment."""
    if registry == "crates.io":
        return rust_client(folder), {}
    if registry == "pypi":
        python = folder / "venv" / "bin" / "python"
        if not python.exists():
            quietly([sys.executable, "-m", "venv", folder / "venv"], 60)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
        quietly([*pip, "install", "--quiet", *packages], 120)
        return [python, HERE / script], {}
    npm = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--fetch-retries", "1", "--fetch-timeout", "15000"]
    quietly([*npm, "--prefix", folder, *packages], 120)
    environment = {"NODE_PATH": str(folder / "node_modules")}
    if script == "browser.js":
        environment["CHROMIUM"] = browser()
    return ["node", HERE / script], environment


def profiles_and_events(binary, store):
    """What is in a store, without the times that a clock sets."""
    profiles, events = {}, {}
    lines = subprocess.run([binary, "export", "--db", store], check=True, capture_output=True, text=True).stdout
    for line in map(json.loads, lines.splitlines()):
        computed = {"$last_seen", "$mp_first_event_time"}
        kind, own = line.get("$group_key", "$distinct_id"), line.get("$group_id") or line["$distinct_id"]
        if own.startswith("browser-"):
            computed |= ADDED
        properties = {name: value for name, value in line["$properties"].items() if name not in computed}
        profiles[kind, own] = properties
    lines = subprocess.run([binary, "events", "--db", store], check=True, capture_output=True, text=True).stdout
    for line in map(json.loads, lines.splitlines()):
        events[line["event"]] = events.get(line["event"], 0) + 1
    return profiles, events


def schemathesis(command, url):
    """The command that sends what the description of the paths allows, and what it does not."""
    checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    # One worker: with more, ast.parse of Python 3.11 fails now and then.
    bounds = ["--max-examples", "8", "--workers", "1", "--request-timeout", "10", "--suppress-health-check", "all"]
    phases = ["--phases", "examples,coverage,fuzzing", "--seed", "1", "--generation-database", "none", "--no-color"]
    tool = command[0].parent / "schemathesis"
    return [tool, "run", f"{url}/openapi.json", "--checks", ",".join(checks), *bounds, *phases]


def example(folder, script, url):
    """The path of an example of the page, which it copies to a file, with the address of this server."""
    (block,) = [block for block in PAGE.read_text().split("```")[1::2] if block.partition("\n")[2].startswith(EXAMPLES[script])]
    text = block.partition("\n")[2]
    assert PAGE_ADDRESS in text, f"{script} names no server"
    path = pathlib.Path(folder) / script
    path.write_text(text.replace(PAGE_ADDRESS, url.removeprefix("http://")))
    return path


def run(binary, script, command, environment):
    """Runs one client against a server of its own. Returns what differs."""
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        serve = [binary, "serve", "--listen", "127.0.0.1:0", "--log", "warn", "--db", store]
        server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        try:
            url = server.stdout.readline().strip().removeprefix("listening on ")
            if script == "schemathesis":
                command = schemathesis(command, url)
            elif script in EXAMPLES:
                command = [command[0], example(folder, script, url)]
            else:
                command = [*command, url]
            client = subprocess.run(
                command,
                env={**os.environ, **environment},
                cwd=folder,
                timeout=left(300),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        finally:
            server.terminate()
            status = server.wait(timeout=20)
        if client.returncode != 0 or status != 0:
            return [client.stdout, f"the client ended with {client.returncode}, the server with {status}"]
        if script == "schemathesis":
            return []
        found, due = profiles_and_events(binary, store), expected()[script]
        return [f"{what}:\n  found    {f}\n  expected {w}" for what, f, w in zip(("profiles", "events"), found, due) if f != w]


def main():
    binary = os.path.abspath(sys.argv[1])
    folder = pathlib.Path(os.environ.get("CLIENTS_DIR") or tempfile.mkdtemp()).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    passed = failed = skipped = 0
    for script, registry, packages in CLIENTS:
        if sys.argv[2:] and script not in sys.argv[2:]:
            continue
        started = time.monotonic()
        try:
            command, environment = install(folder, script, registry, packages)
            try:
                differences = run(binary, script, command, environment)
            except subprocess.TimeoutExpired as error:
                left(1)
                differences = [f"the client hangs: {error}"]
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"NOT TESTED: {', '.join(packages)} ({registry}): {error}", flush=True)
            skipped += 1
            continue
        verdict = "ok" if not differences else "FAILED"
        print(f"{script}: {verdict}, {time.monotonic() - started:.0f} s", flush=True)
        for difference in differences:
            print(f"  {difference}", flush=True)
        passed, failed = passed + (not differences), failed + bool(differences)
    print(f"NOT TESTED, in no registry that is asked: {NOT_IN_THESE_REGISTRIES}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(bool(failed) or (bool(skipped) and os.environ.get("CLIENTS_REQUIRED") == "1"))


main()
