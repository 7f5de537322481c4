"""The questions of `benches/join.rs` to DuckDB, on the same data in its own tables, with two threads.

    PROFILEDB_BENCH_DIR=DIR/store PROFILEDB_BENCH_CSV=DIR cargo bench --features cli,laws --bench join
    pip install duckdb
    python3 benches/join_duckdb.py DIR

Loading is not measured. Each figure is the median of five runs after one that warms up.
"""

import os
import statistics
import sys
import time

import duckdb

DAY_MILLIS = 86_400_000
FIRST_DAY, DAYS = 19_800, 90

folder = sys.argv[1]
path = os.path.join(folder, "join.duckdb")
db = duckdb.connect(path)
db.execute("set threads = 2")
if not db.execute("show tables").fetchall():
    users = "{'id': 'varchar', 'name': 'varchar', 'email': 'varchar', 'plan': 'varchar', 'country': 'varchar', 'age': 'int'}"
    events = "{'id': 'varchar', 'name': 'varchar', 'millis': 'bigint', 'amount': 'double', 'area': 'varchar', 'items': 'int'}"
    for table, columns in (("users", users), ("events", events)):
        csv = os.path.join(folder, table + ".csv")
        db.execute(f"create table {table} as from read_csv('{csv}', header = false, columns = {columns})")

QUESTIONS = {
    "count by plan": "select plan, count(*) from events left join users using (id) group by plan",
    "amount by country": f"""
        select country, sum(amount), count(*) from events left join users using (id)
        where plan = 'pro' and events.name = 'purchase' and millis >= {(FIRST_DAY + DAYS - 30) * DAY_MILLIS}
        group by country""",
    "one day, one name": f"""
        select events.id, plan from events left join users using (id)
        where events.name = 'purchase' and millis >= {(FIRST_DAY + 45) * DAY_MILLIS}
          and millis < {(FIRST_DAY + 46) * DAY_MILLIS}""",
    "count of few users'": """
        select count(*) from events left join users using (id) where plan = 'pro' and country = 'DE' and age = 30""",
}

print(f"duckdb {duckdb.__version__}, 2 threads")
for name, question in QUESTIONS.items():
    times = []
    for _ in range(6):
        started = time.perf_counter()
        rows = db.execute(question).fetchall()
        times.append(time.perf_counter() - started)
    print(f"{name:<20} {statistics.median(times[1:]):8.3f} s  {len(rows):>6} rows out")
