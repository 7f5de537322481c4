// Sends with Segment's earlier Node library.

const Analytics = require("analytics-node");

const failed = (error) => {
  console.error(error);
  process.exit(1);
};
const analytics = new Analytics("token", { host: process.argv[2], flushAt: 10, retryCount: 0, errorHandler: failed });
const userId = "analytics-node";
const traits = { email: "a@example.org", firstName: "first", lastName: "last", plan: "pro" };
analytics.identify({ userId, traits });
analytics.group({ userId, groupId: userId, traits: { name: "Acme", employees: 3 } });
analytics.track({ userId, event: "visit", properties: { page: "/" } });
analytics.page({ userId, name: "start" });
analytics.flush((error) => (error ? failed(error) : process.exit(0)));
