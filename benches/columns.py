"""Joins over sealed events compared with DuckDB, on the same data, with as many threads.

    python3 -m venv VENV && VENV/bin/pip install duckdb
    VENV/bin/python benches/columns.py DIR

DIR keeps the data, 1 GB for a million users and five million events; a second run takes what it finds there. `--only`
names parts, separated by commas:

    joins   every query in every database, interleaved; the answers are compared
    disk    the space that the events take

Databases take turns, and start in another order in each round. The time of a round is the least of `--repeats` runs one
after the other; ratios are of one round, and what is printed is the median of the rounds. profiledb measures itself,
from building the query to having the answer, and this script the others, from handing over the SQL to having the rows.
Sums are compared to a relative 1e-9, because those of the others are not exact; everything else must be equal.

The others are as fast as they could be made:

* "dense" tables have the number of the user in place of the id, and the busiest users have the least numbers, so that
  what is looked up for them is near together. Joins on them are inner joins, because DuckDB has a perfect hash join for
  those only, and every event has a user. Texts are ENUMs, on disk as well (2.2 times faster than VARCHAR).
* Events are sorted by day, user and time everywhere.
* The users of a plan are counted by a semi join, which is faster than count(distinct).
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIRST_DAY, DAYS, DAY_MILLIS = 19_800, 90, 86_400_000
FROM = (FIRST_DAY + DAYS - 30) * DAY_MILLIS
PLANS = ["free", "pro", "enterprise"]
COUNTRIES = ["DE", "FR", "US", "JP", "BR", "IN", "GB", "NG"]
NAMES = ["visit", "search", "purchase", "share", "sign in"]
OURS = "profiledb"

# What is asked, and how many values come before the measures in a row of the answer.
QUERIES = {
    "count_by_plan": 1,
    "sum_by_country": 1,  # of amount, where plan is pro and name is purchase, in the last 30 days
    "uniques_by_plan": 1,
    "few_users": 0,  # events of users with plan pro, country DE, age 30: one in two thousand
    "three_fields": 3,  # count and sum(amount) by plan, country and items, where age > 40 and amount > 50
    "both_sides": 1,  # count by plan where amount > age * 10
}


def joined(key, uniques, few):
    """The queries as joins of `events` and `users` by this column."""
    of = f"from events inner join users using ({key})"
    return {
        "count_by_plan": f"select plan, count(*) {of} group by plan",
        "sum_by_country": f"""select country, sum(amount), count(*) {of}
            where plan = 'pro' and name = 'purchase' and millis >= {FROM} group by country""",
        "uniques_by_plan": uniques,
        "few_users": few,
        "three_fields": f"""select plan, country, items, count(*), sum(amount) {of}
            where age > 40 and amount > 50 group by plan, country, items""",
        "both_sides": f"select plan, count(*) {of} where amount > age * 10 group by plan",
    }


# ----------------------------------------------------------------------------------------------------------------------
# profiledb


class Failed(Exception):
    """Something that must hold does not."""


class Store:
    """A process that has a store open, and answers a line by a line."""

    def __init__(self, options, path, days=DAYS, users=None):
        command = [options.program, "serve", path, str(users or options.users), str(days)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = self._read("open")["ns"]

    def _read(self, line):
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed(f"the process has ended: {line}")
        answer = json.loads(answer)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def ask(self, *words):
        line = " ".join(map(str, words))
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._read(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()
        self.process.stdout.close()


class Ours:
    def __init__(self, options, store):
        self.options, self.store = options, store

    def run(self, query):
        answer = self.store.ask(query, self.options.threads)
        return answer["ns"], answer["rows"]


def build_program(options):
    """Builds the benchmark, and returns its path."""
    command = ["cargo", "bench", "--features", "cli,laws", "--bench", "columns", "--no-run"]
    command += ["--message-format", "json-render-diagnostics"]
    # A developer's settings may be for compiling fast.
    command += ["--config", "profile.release.package.profiledb.opt-level=3", "--config", "build.incremental=false"]
    if options.target_dir:
        command += ["--target-dir", options.target_dir]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "columns":
            return message["executable"]
    raise Failed("cargo has built no benchmark of this name")


def make(options, folder, users, days):
    """Makes the stores and the CSV, unless they are there. Returns what sealing was."""
    made = os.path.join(folder, "made.json")
    sizes = {"users": users, "events": options.events, "days": days}
    if os.path.exists(made):
        with open(made) as file:
            made = json.load(file)
        if made["sizes"] != sizes:
            raise Failed(f"{folder} has other data: {made['sizes']}")
        return made
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    say(f"making {users} users and {options.events} events of {days} days in {folder}")
    command = [options.program, "make", folder, *map(str, sizes.values())]
    line = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    with open(made, "w") as file:
        json.dump(dict(json.loads(line), sizes=sizes), file)
    return make(options, folder, users, days)


# ----------------------------------------------------------------------------------------------------------------------
# The others


class DuckDb:
    """Tables with string ids, or with dense integers and ENUMs, in a file or in memory."""

    def __init__(self, options, path, is_dense):
        import duckdb

        self.version = duckdb.__version__
        self.connection = duckdb.connect(path)
        self.connection.execute(f"set threads = {options.threads}")
        key = "number" if is_dense else "id"
        if not self.connection.execute("show tables").fetchall():
            self._load(options.data, key)
        few = "plan = 'pro' and country = 'DE' and age = 30"
        self.queries = joined(
            key,
            uniques=f"select plan, count(*) from users where {key} in (select {key} from events) group by plan",
            few=f"select count(*) from events where {key} in (select {key} from users where {few})",
        )
        if not is_dense:
            # Without a perfect hash join, the one that keeps every event is the faster one.
            self.queries["count_by_plan"] = self.queries["count_by_plan"].replace("inner join", "left join")

    def _load(self, folder, key):
        users, events = duckdb_csv(folder)
        plan, country, name = "plan", "country", "name"
        # All or nothing: the next run takes what it finds.
        self.connection.begin()
        if key == "number":
            for enum, values in (("plans", PLANS), ("countries", COUNTRIES), ("names", NAMES)):
                self.connection.execute(f"create type {enum} as enum ({', '.join(map(repr, values))})")
            plan, country, name = "plan::plans as plan", "country::countries as country", "name::names as name"
        self.connection.execute(
            f"create table users as select {key}, {plan}, {country}, age::smallint as age from {users} order by {key}"
        )
        self.connection.execute(
            f"create table events as select {key}, {name}, millis, amount, items::smallint as items from {events} "
            f"order by millis // {DAY_MILLIS}, {key}, millis"
        )
        self.connection.commit()
        self.connection.execute("checkpoint")

    def run(self, query):
        started = time.perf_counter_ns()
        rows = self.connection.execute(self.queries[query]).fetchall()
        return time.perf_counter_ns() - started, [list(row) for row in rows]


def duckdb_csv(folder):
    def read(name, columns):
        columns = ", ".join(f"'{column}': '{kind}'" for column, kind in columns.items())
        return f"read_csv('{os.path.join(folder, name)}', header = false, columns = {{{columns}}})"

    users = {"number": "integer", "id": "varchar", "plan": "varchar", "country": "varchar", "age": "integer"}
    events = {"number": "integer", "id": "varchar", "name": "varchar", "millis": "bigint", "insert_id": "varchar"}
    events |= {"amount": "double", "area": "varchar", "browser": "varchar", "items": "integer"}
    return read("users.csv", users), read("events.csv", events)


def duckdb_bytes(options):
    """The size of a file that has the events with everything in them, and string ids."""
    import duckdb

    path = os.path.join(options.dir, "disk.duckdb")
    if not os.path.exists(path):
        _, events = duckdb_csv(options.data)
        with duckdb.connect(path + ".new") as connection:
            connection.execute(
                f"create table events as select * exclude (number) from {events} "
                f"order by millis // {DAY_MILLIS}, id, millis"
            )
            connection.execute("checkpoint")
        os.rename(path + ".new", path)
    return os.path.getsize(path)


def contenders(options):
    """Everything but profiledb, by name."""
    others = {}
    if "duckdb" in options.others:
        file = lambda name: os.path.join(options.dir, name)
        others["DuckDB, string ids"] = DuckDb(options, file("string.duckdb"), False)
        others["DuckDB, dense, disk"] = DuckDb(options, file("dense.duckdb"), True)
        others["DuckDB, dense, memory"] = DuckDb(options, ":memory:", True)
    return others


# ----------------------------------------------------------------------------------------------------------------------
# What is measured


def say(line=""):
    print(line, flush=True)


def load_average():
    return "load average " + " ".join(f"{load:.2f}" for load in os.getloadavg())


def ms(ns):
    return f"{ns / 1e6:.2f}"


def table(head, rows):
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    for first, *rest in [head, *rows]:
        say("  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:]))]))


def difference(query, expected, seen):
    """What is not the same in two answers, if anything."""
    keys = QUERIES[query]
    expected, seen = ({tuple(row[:keys]): row[keys:] for row in rows} for rows in (expected, seen))
    if expected.keys() != seen.keys():
        return f"buckets {sorted(expected.keys() ^ seen.keys())} are in one of them only"
    for key, measures in expected.items():
        for one, other in zip(measures, seen[key], strict=True):
            is_same = one == other
            if isinstance(one, float) or isinstance(other, float):
                is_same = math.isclose(one, other, rel_tol=1e-9)
            if not is_same:
                return f"{key}: {one} and {other}"
    return None


def joins(options):
    others = contenders(options)
    with Store(options, os.path.join(options.data, "sealed")) as store:
        databases = {OURS: Ours(options, store), **others}
        times, compared = {}, 0
        started = load_average()
        for at in range(options.rounds + 1):
            names = list(databases)
            first = at % len(names)
            for query in QUERIES:
                answers = {}
                for name in names[first:] + names[:first]:
                    runs = [databases[name].run(query) for _ in range(options.repeats)]
                    answers[name] = runs[-1][1]
                    # The first round fills caches.
                    if at > 0:
                        times.setdefault((query, name), []).append(min(ns for ns, _ in runs))
                for name in others:
                    what = difference(query, answers[OURS], answers[name])
                    if what:
                        raise Failed(f"{query}: {OURS} and {name} answer differently: {what}")
                    compared += 1
    say(f"joins: {options.users} users, {options.events} events of {DAYS} days, {options.threads} threads each")
    say(f"{options.rounds} rounds of {options.repeats} runs; at first {started}, at last {load_average()}")
    say(f"{compared} of {compared} answers are the same")
    say()
    say("ms, median of the rounds")
    medians = lambda query: [ms(statistics.median(times[query, name])) for name in databases]
    table(["", *databases], [[query, *medians(query)] for query in QUERIES])
    say()
    say(f"ratio to {OURS}, median of the rounds (least to most)")
    rows = []
    for query in QUERIES:
        ours, cells = times[query, OURS], []
        for name in others:
            ratios = [other / our for our, other in zip(ours, times[query, name])]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        rows.append([query, *cells])
    table(["", *others], rows)


def disk(options):
    made = make(options, options.data, options.users, DAYS)
    of = lambda tables: sum(size for name, size, _ in tables if name != "users")
    sealed = of(made["sealed"])
    sizes = [("profiledb, rows, compacted", of(made["rows"])), ("profiledb, sealed, compacted, with ids", sealed)]
    if "duckdb" in options.others:
        sizes.append(("DuckDB, string ids, sorted by day, id, time", duckdb_bytes(options)))
    rows = [[name, f"{size / 1e6:.1f}", f"{size / options.events:.1f}", f"{size / sealed:.2f}"] for name, size in sizes]
    table(["events", "MB", "bytes each", "to sealed"], rows)
    sealing, compacting = made["sealing"] / 1e9, made["compacting"] / 1e9
    rate = options.events / sealing / 1e6
    say(f"sealed in {sealing:.1f} s: {rate:.2f} million events/s; compacted in {compacting:.1f} s")


PARTS = {"joins": joins, "disk": disk}


def main():
    parser = argparse.ArgumentParser(description="Joins over sealed events compared with DuckDB.")
    parser.add_argument("dir", help="where the data is kept")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--threads", type=int, default=2, help="of each database")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="runs in a round, the least of which counts")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--others", type=lambda text: text.split(","), default=["duckdb"], help="duckdb; or none")
    parser.add_argument("--program", help="the built benchmark; it is built otherwise")
    parser.add_argument("--target-dir", help="where to build it")
    options = parser.parse_args()
    unknown = set(options.only) - PARTS.keys()
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    options.program = options.program or build_program(options)
    options.data = os.path.join(options.dir, "data")
    make(options, options.data, options.users, DAYS)
    for part in options.only:
        PARTS[part](options)
        say()


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"columns: {failed}")
