"""The verbs of mixpanel-utils: write, query with paging, export, delete, import, deduplicate."""

import json
import os
import sys
import tempfile

from mixpanel_utils import MixpanelUtils

base = sys.argv[1]
utils = MixpanelUtils("secret", token="token")
utils.import_api = base
utils.formatted_api = f"{base}/api"
utils.raw_api = f"{base}/api"

ids = [f"utils-{number:04}" for number in range(1_200)]
mine = 'properties["made_by"] == "utils"'


def mine_now(where=mine):
    return utils.query_engage({"where": where})


profiles = [{"$distinct_id": each, "$properties": {"made_by": "utils", "n": at}} for at, each in enumerate(ids)]
utils.import_people(profiles)
found = mine_now()
assert sorted(profile["$distinct_id"] for profile in found) == ids, len(found)

utils.people_set({"plan": "pro"}, query_params={"where": f'{mine} and properties["n"] < 10'}, backup=False)
assert len(mine_now(f'{mine} and properties["plan"] == "pro"')) == 10
utils.people_add({"n": 5}, profiles=[{"$distinct_id": ids[0], "$properties": {}}], backup=False)
utils.people_union({"tags": ["a", "b"]}, profiles=[{"$distinct_id": ids[0], "$properties": {}}], backup=False)
utils.people_append({"tags": "c"}, profiles=[{"$distinct_id": ids[0], "$properties": {}}], backup=False)
utils.people_remove({"tags": "a"}, profiles=[{"$distinct_id": ids[0], "$properties": {}}], backup=False)
utils.people_unset(["plan"], profiles=[{"$distinct_id": ids[0], "$properties": {}}], backup=False)
(first,) = utils.query_engage({"distinct_id": ids[0]})
kept = {name: value for name, value in first["$properties"].items() if name != "$last_seen"}
assert kept == {"made_by": "utils", "n": 5, "tags": ["b", "c"]}, first

# Export, delete, import: everything comes back.
with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "people.json")
    utils.export_people(file, {"where": mine}, format="json")
    before = {profile["$distinct_id"]: profile["$properties"] for profile in json.load(open(file))}
    assert len(before) == len(ids)
    utils.people_delete(query_params={"where": mine}, backup=False)
    assert mine_now() == []
    utils.import_people(file)
    after = {profile["$distinct_id"]: profile["$properties"] for profile in mine_now()}
    strip = lambda people: {key: {k: v for k, v in value.items() if k != "$last_seen"} for key, value in people.items()}
    assert strip(after) == strip(before)

# A filter that is not understood must not delete everyone.
try:
    utils.people_delete(query_params={"filter_by_cohort": '{"id": 1}'}, backup=False)
except Exception as error:  # noqa: BLE001 - whatever the library raises
    print("refused:", type(error).__name__)
assert len(mine_now()) == len(ids)
utils.people_delete(query_params={"where": f'{mine} and properties["n"] >= 3'}, backup=False)
print(sorted(profile["$distinct_id"] for profile in mine_now()))
