// Sends with the official Node client: every verb of people and groups, GET and POST, batches and import.

const Mixpanel = require("mixpanel");

const base = new URL(process.argv[2]);
const settings = { host: base.host, protocol: "http", secret: undefined };
const done = (call) =>
  new Promise((resolve, reject) => call((error) => (error ? reject(error) : resolve())));

async function main() {
  for (const [name, extra] of [["quiet", {}], ["verbose", { verbose: true, geolocate: true }]]) {
    const mp = Mixpanel.init("token", { ...settings, ...extra, key: "token" });
    const user = `node-${name}`;
    const { people, groups } = mp;
    await done((end) => people.set(user, { plan: "free", unicode: "é漢😀+/=" }, end));
    await done((end) => people.set(user, "plan", "pro", { $ignore_time: true }, end));
    await done((end) => people.set_once(user, { plan: "never", first: 1 }, end));
    await done((end) => people.increment(user, { logins: 3 }, end));
    await done((end) => people.increment(user, "logins", -1, end));
    await done((end) => people.append(user, { list: "a" }, end));
    await done((end) => people.append(user, "list", "b", end));
    await done((end) => people.union(user, { list: ["b", "c"] }, end));
    await done((end) => people.remove(user, { list: "a" }, end));
    await done((end) => people.set(user, { gone: 1 }, end));
    await done((end) => people.unset(user, "gone", end));
    await done((end) => people.track_charge(user, 25, end));
    await done((end) => people.clear_charges(user, end));
    await done((end) => people.set(`${user}-deleted`, { x: 1 }, end));
    await done((end) => people.delete_user(`${user}-deleted`, end));
    await done((end) => groups.set("company", user, { tier: "silver", features: ["a"] }, end));
    await done((end) => groups.set_once("company", user, { tier: "never", color: "red" }, end));
    await done((end) => groups.union("company", user, { features: ["b", "a"] }, end));
    await done((end) => groups.remove("company", user, { features: "a" }, end));
    await done((end) => groups.unset("company", user, "color", end));
    await done((end) => groups.set("company", `${user}-deleted`, { x: 1 }, end));
    await done((end) => groups.delete_group("company", `${user}-deleted`, end));
    await done((end) => mp.track("visit", { distinct_id: user, page: "/" }, end));
    const events = [1, 2, 3].map((n) => ({ event: "batched", properties: { distinct_id: user, n } }));
    await done((end) => mp.track_batch(events, { max_batch_size: 2 }, end));
    const time = 1700000000;
    const properties = { distinct_id: user, $insert_id: `${user}-1` };
    await done((end) => mp.import("imported", time, properties, end));
    const past = [2, 3].map((n) => ({ event: "imported", properties: { ...properties, time, $insert_id: `${user}-${n}` } }));
    await done((end) => mp.import_batch(past, end));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
