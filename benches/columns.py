"""Joins over sealed events compared with DuckDB and chDB, on the same data, with as many threads each.

    python3 -m venv VENV && VENV/bin/pip install duckdb chdb
    VENV/bin/python benches/columns.py DIR

DIR keeps the data, 1 GB for a million users and five million events; a second run takes what it finds there. `--only`
names parts, separated by commas:

    joins   every query in every database, interleaved; the answers are compared
    disk    the space that the events take
    first   the first query of a process: after a close, with nothing in the page cache, and after kill -9
    fold    rows with a property of their user, of sealed events and of rows
    held    a snapshot that is held while every profile is updated
    write   count by plan while a writer appends 20,000 events and updates 5,000 profiles a second
    record  updates with and without the records of changes that stored codes need
    appends appends alone, and while others are sealed
    growth  count by plan over 1 to 365 days, of a tenth of the users, of them, and of ten times as many; makes 3 GB more

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
* chDB with string ids joins with ALL INNER, which is faster than ANY LEFT and than looking up strings in a dictionary
  of layout COMPLEX_KEY_HASHED.
* chDB dense looks users up in a dictionary of layout FLAT with attributes of one byte, for events of a table in memory.
  Its conditions are in the order that is fastest, with short-circuit evaluation where that helps. Rare users are found
  by IN, with ids of the same type, which is 8 times faster than by the dictionary.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import signal
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


def joined(key, users="users", events="events"):
    """The queries as joins of two tables by this column."""
    of = f"from {events} as events inner join {users} as users using ({key})"
    few = f"select {key} from {users} where plan = 'pro' and country = 'DE' and age = 30"
    return {
        "count_by_plan": f"select plan, count(*) {of} group by plan",
        "sum_by_country": f"""select country, sum(amount), count(*) {of}
            where plan = 'pro' and name = 'purchase' and millis >= {FROM} group by country""",
        "uniques_by_plan": f"""select plan, count(*) from {users}
            where {key} in (select {key} from {events}) group by plan""",
        "few_users": f"select count(*) from {events} where {key} in ({few})",
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

    def __init__(self, options, path, days=DAYS, users=None, mode=()):
        command = [options.program, "serve", path, str(users or options.users), str(days), *mode]
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

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

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


@contextlib.contextmanager
def copied(options, name, number=0):
    """A copy of a store, to be changed."""
    copy = os.path.join(options.dir, f"copy-{number}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(os.path.join(options.data, name), copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


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
        self.queries = joined(key)
        if is_dense:
            # As a condition of the join, which a filter on both sides becomes, it would rule out the perfect hash join.
            self.queries["both_sides"] = """select plan, sum((amount > age * 10)::int) as matching
                from events inner join users using (number) group by plan having matching > 0"""
        else:
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


class ChDb:
    """MergeTree tables with string ids, or a FLAT dictionary of users and a table of events in memory."""

    def __init__(self, options):
        import chdb

        self.connection = chdb.connect(os.path.join(options.dir, "chdb"))
        self.ask(f"set max_threads = {options.threads}")
        users = ", ".join(["number UInt32", "id String", "plan String", "country String", "age UInt8"])
        events = "number UInt32, id String, name String, millis Int64, insert_id String, amount Float64, area String, "
        events += "browser String, items UInt8"
        csv = lambda name, columns: f"file('{os.path.join(options.data, name)}', 'CSV', '{columns}')"
        self.users, self.events = csv("users.csv", users), csv("events.csv", events)

    def ask(self, sql):
        answer = self.connection.query(sql, "JSONCompactEachRow")
        return [json.loads(line) for line in str(answer).splitlines()]

    def create(self, table, columns, engine, select):
        """Makes a table, unless it is there, as a whole."""
        database, name = table.split(".")
        if self.ask(f"select 1 from system.tables where database = '{database}' and name = '{name}'"):
            return
        self.ask(f"drop table if exists {table}_new")
        self.ask(f"create table {table}_new ({columns}) engine = {engine}")
        self.ask(f"insert into {table}_new {select}")
        if engine.startswith("MergeTree"):
            self.ask(f"optimize table {table}_new final")
        self.ask(f"rename table {table}_new to {table}")


class ChDbStrings:
    def __init__(self, chdb):
        self.chdb = chdb
        chdb.ask("create database if not exists strings")
        text = "LowCardinality(String)"
        chdb.create(
            "strings.users",
            f"id String, plan {text}, country {text}, age UInt8",
            "MergeTree order by id",
            f"select id, plan, country, age from {chdb.users}",
        )
        chdb.create(
            "strings.events",
            f"id String, name {text}, millis Int64, amount Float64, items UInt8",
            f"MergeTree order by (intDiv(millis, {DAY_MILLIS}), id, millis)",
            f"select id, name, millis, amount, items from {chdb.events}",
        )
        self.queries = joined("id", "strings.users", "strings.events")

    def run(self, query):
        started = time.perf_counter_ns()
        rows = self.chdb.ask(self.queries[query])
        return time.perf_counter_ns() - started, rows


class ChDbFlat:
    def __init__(self, chdb):
        self.chdb = chdb
        # The tables are in memory, and the dictionary is of them.
        chdb.ask("drop database if exists flat")
        chdb.ask("create database flat")
        of = lambda column, values: f"toUInt8(indexOf({values}, {column})) as {column}"
        chdb.create(
            "flat.users",
            "number UInt32, plan UInt8, country UInt8, age UInt8",
            "Memory",
            f"select number, {of('plan', PLANS)}, {of('country', COUNTRIES)}, age from {chdb.users} order by number",
        )
        chdb.create(
            "flat.events",
            "number UInt32, name UInt8, millis Int64, amount Float64, items UInt8",
            "Memory",
            f"select number, {of('name', NAMES)}, millis, amount, items from {chdb.events} "
            f"order by intDiv(millis, {DAY_MILLIS}), number, millis",
        )
        [[users]] = chdb.ask("select max(number) + 1 from flat.users")
        chdb.ask(f"""
            create dictionary flat.by_number (number UInt64, plan UInt8, country UInt8, age UInt8) primary key number
            source(clickhouse(db 'flat' table 'users')) lifetime(0)
            layout(flat(initial_array_size {users} max_array_size {users}))""")
        chdb.ask("system reload dictionary flat.by_number")
        plan, country, age = (f"dictGet('flat.by_number', '{name}', number)" for name in ("plan", "country", "age"))
        pro, purchase = PLANS.index("pro") + 1, NAMES.index("purchase") + 1
        few = f"plan = {pro} and country = {COUNTRIES.index('DE') + 1} and age = 30"
        self.queries = {
            "count_by_plan": f"select {plan} as plan, count() from flat.events group by plan",
            "sum_by_country": f"""
                select {country} as country, sum(amount), count() from flat.events
                where millis >= {FROM} and name = {purchase} and {plan} = {pro}
                group by country settings short_circuit_function_evaluation = 'force_enable'""",
            "uniques_by_plan": """
                select plan, count() from flat.users where number in (select number from flat.events) group by plan""",
            "few_users": f"""
                select count() from flat.events where number in (select number from flat.users where {few})""",
            "three_fields": f"""
                select {plan} as plan, {country} as country, items, count(), sum(amount) from flat.events
                where {age} > 40 and amount > 50 group by plan, country, items""",
            "both_sides": f"""
                select {plan} as plan, count() from flat.events where amount > {age} * 10 group by plan""",
        }
        names = {"plan": PLANS, "country": COUNTRIES}
        self.codes = {
            "count_by_plan": ["plan"],
            "sum_by_country": ["country"],
            "uniques_by_plan": ["plan"],
            "few_users": [],
            "three_fields": ["plan", "country"],
            "both_sides": ["plan"],
        }
        self.codes = {query: [names[name] for name in columns] for query, columns in self.codes.items()}

    def run(self, query):
        started = time.perf_counter_ns()
        rows = self.chdb.ask(self.queries[query])
        ns = time.perf_counter_ns() - started
        for at, names in enumerate(self.codes[query]):
            for row in rows:
                row[at] = names[row[at] - 1]
        return ns, rows


def contenders(options):
    """Everything but profiledb, by name."""
    others = {}
    if "duckdb" in options.others:
        file = lambda name: os.path.join(options.dir, name)
        others["DuckDB, string ids"] = DuckDb(options, file("string.duckdb"), False)
        others["DuckDB, dense, disk"] = DuckDb(options, file("dense.duckdb"), True)
        others["DuckDB, dense, memory"] = DuckDb(options, ":memory:", True)
    if "chdb" in options.others:
        chdb = ChDb(options)
        others["chDB, string ids"] = ChDbStrings(chdb)
        others["chDB, FLAT, memory"] = ChDbFlat(chdb)
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


def drop_cached(path):
    """Takes the files of a store out of the page cache."""
    for name in os.listdir(path):
        with open(os.path.join(path, name)) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def counted(rows, count):
    """Fails unless the buckets have this many events together."""
    seen = sum(row[-1] for row in rows)
    if seen != count:
        raise Failed(f"{seen} events are counted, not {count}")


def first(options):
    """Opens the store and asks for the count by plan, three times in each process."""
    changed = 1_000
    labels = ["warm", "cold", "after kill -9", "after a close"]
    opened, asked = ({label: [] for label in labels} for _ in range(2))
    for _ in range(options.rounds):
        for label in labels:
            with contextlib.ExitStack() as stack:
                path, count = os.path.join(options.data, "sealed"), options.events
                if label.startswith("after"):
                    path, count = stack.enter_context(copied(options, "sealed")), count + changed
                    with Store(options, path) as store:
                        store.ask("count_by_plan", options.threads)
                        # In the background, soon after the first join of a store.
                        store.ask("stored")
                        store.ask("change", changed, changed)
                        store.ask("count_by_plan", options.threads)
                        if label == "after kill -9":
                            store.kill()
                if label == "cold":
                    drop_cached(path)
                with Store(options, path) as store:
                    opened[label].append(store.opened)
                    answers = [store.ask("count_by_plan", options.threads) for _ in range(3)]
                    asked[label].append([answer["ns"] for answer in answers])
                    counted(answers[0]["rows"], count)
    rows = []
    for label in labels:
        first_ones, seconds, thirds = zip(*asked[label])
        both = [opening + asking for opening, asking in zip(opened[label], first_ones)]
        times = [opened[label], first_ones, both, seconds, thirds]
        rate = options.events / statistics.median(both) * 1e3
        rows.append([label, *(ms(statistics.median(each)) for each in times), f"{rate:.1f}"])
    say(f"count by plan in a new process, ms, medians of {options.rounds}; {load_average()}")
    say(f"the last two after {changed} updates and {changed} events, which are not sealed yet")
    table(["", "opening", "first query", "together", "second", "third", "M events/s together"], rows)


def fold(options):
    times = {"sealed": [], "rows": []}
    with contextlib.ExitStack() as stack:
        stores = {name: stack.enter_context(Store(options, os.path.join(options.data, name))) for name in times}
        for at in range(options.rounds + 1):
            for name, store in stores.items():
                answer = store.ask("fold", options.threads)
                counted(answer["rows"], options.events)
                if at > 0:
                    times[name].append(answer["ns"])
    say(f"every event as a row with the plan of its user, {options.rounds} rounds; {load_average()}")
    medians = {name: statistics.median(ns) for name, ns in times.items()}
    table(["", "ms", "M rows/s"], [[name, ms(ns), f"{options.events / ns * 1e3:.2f}"] for name, ns in medians.items()])
    ratios = [rows / sealed for rows, sealed in zip(times["rows"], times["sealed"])]
    say(f"rows to sealed: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def held(options):
    with copied(options, "sealed") as copy, Store(options, copy) as store:
        answer = store.ask("held", options.threads)
    if not answer["is_same"]:
        raise Failed("a held snapshot answers otherwise after updates")
    expected = odd_and_even(options)
    what = difference("count_by_plan", expected, answer["rows"])
    if what:
        raise Failed(f"a new snapshot does not see the updates: {what}")
    say(f"count by plan, ms, while the plan of {options.users} users is set anew; {load_average()}")
    say(f"all updated in {answer['ns'] / 1e9:.1f} s; the held snapshot answers as before, a new one sees all of it")
    labels = {"before": "before", "after": "held, after the updates", "now": "new, after the updates"}
    table(["snapshot", "first query", "second"], [[labels[name], *map(ms, answer[name])] for name in labels])


def odd_and_even(options):
    """How many events users with even and with odd numbers have."""
    counts = [0, 0]
    with open(os.path.join(options.data, "events.csv")) as file:
        for line in file:
            counts[int(line[: line.index(",")]) % 2] += 1
    return [["even", counts[0]], ["odd", counts[1]]]


def write(options):
    say("count by plan, ms, median, while 20,000 events are appended and 5,000 profiles updated every second")
    rows = []
    for every in (None, 0, 1_000):
        mode = [] if every is not None else ["background"]
        with copied(options, "sealed") as copy, Store(options, copy, mode=mode) as store:
            answer = store.ask("write", options.threads, options.seconds, every or 0)
        medians = {name: statistics.median(answer[name]) for name in ("alone", "during", "after", "sealed")}
        cells = [ms(median) for median in medians.values()]
        cells.insert(2, f"{medians['during'] / medians['alone']:.2f}")
        rates = [f"{answer['events_per_second']:.0f}", f"{answer['updates_per_second']:.0f}"]
        label = f"sealed every {every} ms" if every else "not sealed"
        label = "sealed in the background" if every is None else label
        rows.append([label, *cells, str(len(answer["during"])), *rates, str(answer["tail"]), str(answer["seals"])])
    head = ["", "alone", "writing", "ratio", "after it", "sealed"]
    table([*head, "queries", "events/s", "updates/s", "unsealed", "seals"], rows)
    say(f"{options.seconds} s of writing; {load_average()}")


def growth(options):
    rows = []
    for users in (options.users // 10, options.users, options.users * 10):
        folder = os.path.join(options.dir, f"growth-{users}")
        make(options, folder, users, 365)
        with Store(options, os.path.join(folder, "sealed"), 365, users) as store:
            times = {days: [] for days in (1, 10, 90, 365)}
            counts = {}
            for at in range(options.rounds + 1):
                for days in times:
                    answers = [store.ask("days", days, options.threads) for _ in range(options.repeats)]
                    counts[days] = sum(row[-1] for row in answers[0]["rows"])
                    if at > 0:
                        times[days].append(min(answer["ns"] for answer in answers))
            if counts[365] != options.events:
                raise Failed(f"{counts[365]} events are counted, not {options.events}")
        for days, ns in times.items():
            median = statistics.median(ns)
            rows.append([str(users), str(days), str(counts[days]), ms(median), f"{counts[days] / median * 1e3:.1f}"])
    say(f"count by plan over the last days of 365, {options.events} events in all; {load_average()}")
    table(["users", "days", "events", "ms", "M events/s"], rows)


def record(options):
    updates, times = 20_000, {"with": [], "without": []}
    with copied(options, "sealed") as copy, Store(options, copy) as store:
        for at in range(options.rounds + 1):
            answer = store.ask("record", options.threads, updates, at % 2)
            if not answer["is_recorded"]:
                raise Failed("no codes are stored, so that nothing is recorded")
            if at > 0:
                for name, ns in times.items():
                    ns.append(answer[name])
    say(f"{updates} buffered updates with and without the record of changes, {options.rounds} rounds; {load_average()}")
    rows = []
    for at, label in enumerate(("one by one", "in batches of 200")):
        pairs = [(with_[at], without[at]) for with_, without in zip(times["with"], times["without"])]
        ratios = [with_ / without for with_, without in pairs]
        each = [f"{statistics.median(side) / updates / 1e3:.2f}" for side in zip(*pairs)]
        rows.append([label, *each, f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"])
    table(["", "with, us each", "without", "ratio"], rows)


def appends(options):
    """Stores that seal in the background, by a call and not at all, in turns."""
    beside = {"in the background": [], "by a call": []}
    with contextlib.ExitStack() as stack:
        copies = [stack.enter_context(copied(options, "sealed", number)) for number in (1, 2)]
        none = stack.enter_context(Store(options, copies[0]))
        background = stack.enter_context(Store(options, copies[1], mode=["background"]))
        for at in range(options.rounds):
            stores = [none, background] if at % 2 == 0 else [background, none]
            rates = {store: store.ask("append", options.seconds / 2)["alone"] for store in stores}
            beside["in the background"].append((rates[background], rates[none]))
            answer = none.ask("appends", options.seconds / 2)
            beside["by a call"].append((answer["meanwhile"], answer["alone"]))
    rows = []
    for label, pairs in beside.items():
        ratios = [meanwhile / alone for meanwhile, alone in pairs]
        rates = [f"{statistics.median(side):.0f}" for side in zip(*pairs)]
        rows.append([label, *rates, f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"])
    say(f"events appended a second by one thread, {options.rounds} rounds; {load_average()}")
    table(["sealed", "meanwhile", "without", "ratio"], rows)


PARTS = {
    "joins": joins,
    "disk": disk,
    "first": first,
    "fold": fold,
    "held": held,
    "write": write,
    "record": record,
    "appends": appends,
    "growth": growth,
}


def main():
    parser = argparse.ArgumentParser(description="Joins over sealed events compared with DuckDB and chDB.")
    parser.add_argument("dir", help="where the data is kept")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--threads", type=int, default=2, help="of each database")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="runs in a round, the least of which counts")
    parser.add_argument("--seconds", type=float, default=10, help="of writing")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--others", type=lambda text: text.split(","), default=["duckdb", "chdb"], help="duckdb,chdb")
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
