// After all of it: what those who run this were told of.
import assert from "node:assert/strict";
import { check, warnings } from "../../chromium.mjs";

check("the gateway, its services and Better Auth warn of nothing", () => {
  // Better Auth tells of the person whom `walk` has it refuse.
  const isMeant = (line) => line.endsWith("WARN [Better Auth]: User not found");
  assert.deepEqual(warnings("demo").filter((line) => !isMeant(line)), []);
});
