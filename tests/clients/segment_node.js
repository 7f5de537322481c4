// Sends with Segment's Node library.

const { Analytics } = require("@segment/analytics-node");

const analytics = new Analytics({ writeKey: "token", host: process.argv[2], path: "/v1/batch", maxRetries: 1 });
const failed = (error) => {
  console.error(error);
  process.exit(1);
};
analytics.on("error", failed);
const userId = "segment-node";
const traits = { email: "a@example.org", firstName: "first", lastName: "last", plan: "pro" };
analytics.identify({ userId, traits });
analytics.group({ userId, groupId: userId, traits: { name: "Acme", employees: 3 } });
analytics.track({ userId, event: "visit", properties: { page: "/" } });
analytics.page({ userId, name: "start" });
analytics.closeAndFlush().catch(failed);
