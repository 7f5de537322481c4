// Sends with the browser library, in Chromium, from a page of another origin: batched, one by one, as JSON, by beacons,
// with headers of its own, and with flags, remote settings and session recording switched on.

const fs = require("fs");
const http = require("http");
const path = require("path");
const { chromium } = require("playwright-core");

const server = process.argv[2];
const library = path.dirname(require.resolve("mixpanel-browser"));

// A page, and the files of the library that it loads.
const pages = http.createServer((request, response) => {
  const name = path.basename(new URL(request.url, "http://page").pathname);
  if (!name.endsWith(".js")) {
    response.setHeader("content-type", "text/html; charset=utf-8");
    return response.end('<!doctype html><title>page</title><p>text<script src="/mixpanel.umd.js"></script>');
  }
  response.setHeader("content-type", "text/javascript; charset=utf-8");
  fs.createReadStream(path.join(library, name)).on("error", () => response.writeHead(404).end()).pipe(response);
});

// Runs in the page.
async function send({ name, config, deletes }) {
  const mp = window.mixpanel;
  mp.init("token", config);
  mp.identify(name);
  // One after the other, also where each is a request of its own. A batch only takes a note of them.
  const done = (call) => new Promise((resolve) => call(resolve));
  await done((next) => mp.people.set({ plan: "pro", unicode: "é漢😀+/=" }, next));
  await done((next) => mp.people.set_once({ plan: "never", first: 1 }, next));
  await done((next) => mp.people.increment({ logins: 2 }, next));
  await done((next) => mp.people.union({ list: ["b", "c"] }, next));
  const company = mp.get_group("company", name);
  await done((next) => company.set({ tier: "silver", features: ["b"] }, next));
  if (deletes) {
    // Beacons may arrive in any order.
    await done((next) => mp.people.append("list", "a", next));
    await done((next) => mp.people.remove("list", "a", next));
    await done((next) => mp.people.set("gone", 1, next));
    await done((next) => mp.people.unset("gone", next));
    await done((next) => company.union("features", ["a"], next));
    await done((next) => company.remove("features", "a", next));
    await done((next) => company.set_once({ tier: "never" }, next));
  }
  mp.track("visit", { page: "/" });
  if (config.flags) {
    await mp.flags.is_enabled("nothing");
  }
}

const batch = { batch_flush_interval_ms: 200 };
const cases = [
  { name: "browser-batch", config: batch, deletes: true },
  { name: "browser-single", config: { batch_requests: false }, deletes: true },
  { name: "browser-json", config: { ...batch, api_payload_format: "json" }, deletes: true },
  { name: "browser-beacon", config: { batch_requests: false, api_transport: "sendBeacon" }, deletes: false },
  { name: "browser-headers", config: { ...batch, xhr_headers: { "X-Own": "1" } }, deletes: true },
  {
    name: "browser-features",
    config: { ...batch, flags: true, record_sessions_percent: 100, remote_settings_mode: "fallback" },
    deletes: true,
  },
];

async function asked(query) {
  const response = await fetch(`${server}/api/2.0/${query}`);
  return response.text();
}

async function main() {
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${pages.address().port}`;
  const flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking";
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: [...flags.split(" "), "--disable-component-update", "--disable-sync"],
  });
  const wrong = [];
  const recorded = [];
  for (const { name, config, deletes } of cases) {
    // The library ignores headless browsers by their name.
    const context = await browser.newContext({ userAgent: "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0.0.0" });
    const page = await context.newPage();
    page.on("console", (message) => message.type() === "error" && wrong.push(`${name}: ${message.text()}`));
    page.on("pageerror", (error) => wrong.push(`${name}: ${error}`));
    page.on("requestfailed", (request) => {
      wrong.push(`${name}: ${request.method()} ${request.url()}: ${request.failure().errorText}`);
    });
    page.on("response", (response) => {
      if (response.status() >= 400 && !response.url().endsWith("favicon.ico")) {
        wrong.push(`${name}: ${response.status()} of ${response.url()}`);
      }
      if (new URL(response.url()).pathname.startsWith("/record")) {
        recorded.push(response.status());
      }
    });
    await page.goto(`${origin}/${name}`);
    const own = { api_host: server, persistence: "localStorage", recorder_src: "/mixpanel-recorder.min.js" };
    await page.evaluate(send, { name, deletes, config: { ...own, ...config } });
    // Until all of it is there; run.py compares.
    const filter = encodeURIComponent(`properties["first"] == 1 and properties["logins"] == 2`);
    for (let tries = 0; tries < 100; tries += 1) {
      const [users, groups, events] = await Promise.all([
        asked(`engage?distinct_id=${name}&where=${filter}`),
        asked(`engage?data_group_id=company&distinct_id=${name}`),
        asked(`export?from_date=2020-01-01&to_date=2099-01-01&where=${encodeURIComponent(`"${name}" == properties["distinct_id"] and properties["page"] == "/"`)}`),
      ]);
      if (users.includes('"list":["b","c"]') && groups.includes('"features":["b"]') && events) {
        break;
      }
      await page.waitForTimeout(100);
    }
    for (let tries = 0; config.record_sessions_percent && tries < 150 && !recorded.length; tries += 1) {
      await page.waitForTimeout(100);
    }
    await context.close();
  }
  await browser.close();
  pages.close();
  if (!recorded.length) {
    wrong.push("no recording was sent");
  }
  wrong.forEach((what) => console.error(what));
  process.exit(wrong.length ? 1 : 0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
