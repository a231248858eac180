// After all of it: what those who run this were told of.
import assert from "node:assert/strict";
import { check, log, warnings } from "../../chromium.mjs";

check("the gateway and its services warn of nothing", () => {
  assert.deepEqual(warnings("usher"), []);
});

check("Next.js and the WebSocket server complain of nothing", () => {
  // Better Auth tells of the foreign page that `people` sent.
  const isMeant = (line) => line.endsWith("Invalid origin: https://evil.example");
  const complaints = (name) => log(name).split("\n").filter((line) => /error|warn|refused/i.test(line) && !isMeant(line));
  assert.deepEqual([...complaints("next"), ...complaints("live")], []);
});
