// Sends with RudderStack's Node library.

const Analytics = require("@rudderstack/rudder-sdk-node");

const client = new Analytics("token", { dataPlaneUrl: process.argv[2], flushAt: 10 });
const userId = "rudder-node";
const traits = { email: "a@example.org", firstName: "first", lastName: "last", plan: "pro" };
client.identify({ userId, traits });
client.group({ userId, groupId: userId, traits: { name: "Acme", employees: 3 } });
client.track({ userId, event: "visit", properties: { page: "/" } });
client.flush((error) => {
  if (error) {
    console.error(error);
    process.exit(1);
  }
  process.exit(0);
});
