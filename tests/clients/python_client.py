"""Sends with the official Python client: every verb of people and groups, both consumers, tracking and import."""

import sys

import mixpanel

base = sys.argv[1]
urls = {
    "events_url": f"{base}/track",
    "people_url": f"{base}/engage",
    "groups_url": f"{base}/groups",
    "import_url": f"{base}/import",
}
consumers = {
    "plain": mixpanel.Consumer(**urls),
    "buffered": mixpanel.BufferedConsumer(max_size=7, **urls),
}
for name, consumer in consumers.items():
    mp = mixpanel.Mixpanel("token", consumer=consumer)
    user, company = f"python-{name}", f"python-{name}"
    mp.people_set(user, {"plan": "free", "$email": "a@example.org", "unicode": "é漢😀+/="})
    mp.people_set(user, {"plan": "pro"}, meta={"$ip": 0, "$ignore_time": True})
    mp.people_set_once(user, {"plan": "never", "first": 1})
    mp.people_increment(user, {"logins": 3})
    mp.people_increment(user, {"logins": -1})
    mp.people_append(user, {"list": "a"})
    mp.people_append(user, {"list": "b"})
    mp.people_union(user, {"list": ["b", "c"]})
    mp.people_remove(user, {"list": "a"})
    mp.people_set(user, {"gone": 1})
    mp.people_unset(user, ["gone"])
    mp.people_track_charge(user, 25)
    mp.people_clear_charges(user)
    mp.people_set(f"{user}-deleted", {"x": 1})
    mp.people_delete(f"{user}-deleted")
    mp.group_set("company", company, {"tier": "silver", "features": ["a"]})
    mp.group_set_once("company", company, {"tier": "never", "color": "red"})
    mp.group_union("company", company, {"features": ["b", "a"]})
    mp.group_remove("company", company, {"features": "a"})
    mp.group_unset("company", company, ["color"])
    mp.group_set("company", f"{company}-deleted", {"x": 1})
    mp.group_delete("company", f"{company}-deleted")
    mp.track(user, "visit", {"page": "/"})
    mp.import_data("secret", user, "imported", 1700000000, {"$insert_id": f"{user}-1"})
    if name == "buffered":
        consumer.flush()

try:
    mixpanel.Mixpanel("token", consumer=consumers["plain"]).people_set("", {"x": 1})
except mixpanel.MixpanelException as error:
    print(error)
else:
    sys.exit("an update without an id was taken")
