// The page at its own web server: it calls the gateway across origins, by a token.
import assert from "node:assert/strict";
import { GATEWAY, check, eventually } from "../../chromium.mjs";
import { PAGE } from "./people.mjs";
import { changes, ends, walk } from "./walk.mjs";

const ada = await walk(PAGE);
const { page } = ada;
const asked = (path) => ada.sent.filter(({ url, method }) => url.includes(path) && method !== "OPTIONS");
const later = (minutes) => page.clock.setFixedTime(Date.now() + minutes * 60_000);

check("the gateway was asked across origins, after preflights, by token and without a cookie", () => {
  const toGateway = ada.sent.filter(({ url }) => url.startsWith(GATEWAY));
  assert.ok(toGateway.some(({ method }) => method === "OPTIONS"));
  const others = toGateway.filter(({ method }) => method !== "OPTIONS");
  assert.ok(others.length > 10);
  for (const { url, headers, onWire } of others) {
    assert.match(headers.authorization ?? "", /^Bearer \S+\.\S+\.\S+$/, url);
    assert.equal(onWire?.cookie, undefined, url);
  }
  assert.deepEqual(ada.complaints, []);
});

check("a token is asked for once, kept in memory alone, and renewed before it ends", async () => {
  const before = () => asked("/api/auth/token").length;
  await page.reload();
  await eventually("the list", async () => (await ada.titles()).length > 0);
  const once = before();
  await ada.add("With the same token");
  assert.equal(before(), once);
  assert.deepEqual(await page.evaluate(() => [Object.keys(localStorage), Object.keys(sessionStorage)]), [[], []]);
  // It lives for fifteen minutes. Two that are made within one second are the same, letter by letter.
  await later(14.5);
  const answered = page.waitForResponse((response) => response.url().includes("/api/auth/token"));
  await ada.add("With another one");
  assert.equal(before(), once + 1);
  const { token } = await (await answered).json();
  assert.equal(asked("/tasks").at(-1).headers.authorization, `Bearer ${token}`);
  await page.clock.setFixedTime(Date.now());
});

check("a token that is refused is renewed once, and nobody notices", async () => {
  const before = asked("/api/auth/token").length;
  let refused = 0;
  const spoil = (route) => {
    if (route.request().method() !== "POST" || refused > 0) return route.fallback();
    refused += 1;
    return route.continue({ headers: { ...route.request().headers(), authorization: "Bearer a.b.c" } });
  };
  await page.route("**/tasks", spoil);
  const answered = page.waitForResponse((response) => response.status() === 401);
  await ada.add("In spite of it");
  await answered;
  await page.unroute("**/tasks", spoil);
  assert.equal(asked("/api/auth/token").length, before + 1);
  assert.equal(await page.getByRole("alert").textContent(), "");
});

// Without a new one, a token is good until it ends.
ends(ada, () => later(15));
changes(ada, () => later(30));
