// The page through the gateway: one origin, by the session's cookie.
import assert from "node:assert/strict";
import { GATEWAY, check, eventually } from "../../chromium.mjs";
import { changes, ends, walk } from "./walk.mjs";

const ada = await walk(GATEWAY);

check("everything was asked at one origin, by cookie: no preflight, no token", () => {
  assert.ok(ada.sent.length > 10);
  for (const { url, method, headers } of ada.sent) {
    assert.ok(url.startsWith(`${GATEWAY}/`), url);
    assert.notEqual(method, "OPTIONS", url);
    assert.equal(headers.authorization, undefined, url);
  }
  const toTasks = ada.sent.filter(({ url, onWire }) => url.includes("/tasks") && onWire);
  assert.ok(toTasks.length > 10);
  for (const { url, onWire } of toTasks) assert.match(onWire.cookie ?? "", /better-auth\.session_token=/, url);
  assert.deepEqual(ada.complaints, []);
});

check("the session's cookie is first-party and not the page's to read", async () => {
  const [cookie] = await ada.context.cookies();
  const { name, httpOnly, sameSite, domain } = cookie;
  assert.deepEqual({ name, httpOnly, sameSite, domain }, { name: "better-auth.session_token", httpOnly: true, sameSite: "Lax", domain: "localhost" });
  assert.equal(await ada.page.evaluate(() => document.cookie), "");
});

// Within AUTH_VERIFIER_REVOCATION_LAG_SECS.
ends(ada, () => eventually("401", async () => (await ada.ask("/api/tasks")).status() === 401));
changes(ada, () => {});
