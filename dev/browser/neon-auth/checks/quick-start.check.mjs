// The app of Neon's quick start at its own origin, the gateway at another one: nothing is set but what Neon's console gives.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after } from "node:test";
import pg from "pg";
import { PASSWORD, add, ask, check, eventually, signUp, titles, visitor } from "../../chromium.mjs";
import { CACHE, SESSION, cookie, lookUps, quiet } from "./neon.mjs";

const origin = "http://localhost:3000";
const api = "http://localhost:8000/api/tasks";
const database = new pg.Pool({ connectionString: process.env.DATABASE_URL });
after(() => database.end());
const ada = await visitor();
const bob = await visitor();

// A JWT as the SDK signs its cache of a session.
function signed(claims) {
  const text = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${createHmac("sha256", process.env.NEON_AUTH_COOKIE_SECRET).update(text).digest("base64url")}`;
}
const claimsOf = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));

// The same request as a page's, with other cookies.
const withCookies = async (cookies) => {
  const header = Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join("; ");
  const answer = await fetch(api, { headers: { cookie: header, origin } });
  return { status: answer.status, tasks: answer.ok ? (await answer.json()).map(({ title }) => title) : null };
};

check("who is nobody is sent to the sign-in page, and has no tasks", async () => {
  await ada.page.goto(`${origin}/`);
  assert.equal(new URL(ada.page.url()).pathname, "/auth/sign-in");
  assert.equal((await ask(ada.page, api)).status, 401);
  ada.errors.splice(0);
});

check("somebody signs up, by the SDK's client and its handler", async () => {
  await signUp(ada, `${origin}/auth/sign-in`, "Ada");
  for (const name of [SESSION, CACHE]) {
    const { httpOnly, sameSite, secure, domain, path } = await cookie(ada, name);
    assert.deepEqual({ httpOnly, sameSite, secure, domain, path }, { httpOnly: true, sameSite: "Lax", secure: true, domain: "localhost", path: "/" });
  }
});

check("tasks are added and listed at another origin, by cookie", async () => {
  await add(ada.page, "Write a letter");
  await add(ada.page, "Post it");
  assert.deepEqual(await titles(ada.page), ["Post it", "Write a letter"]);
});

check("and by a token of authClient.token(), without any cookie", async () => {
  await ada.page.getByRole("button", { name: "Count" }).click();
  await ada.page.locator("output", { hasText: "2 by a token" }).waitFor();
});

check("a task's owner is the user of Neon's table", async () => {
  const [{ user_id: owner }] = JSON.parse((await ask(ada.page, api)).text);
  const { rows } = await database.query(`select email from neon_auth."user" where id = $1`, [owner]);
  assert.deepEqual(rows, [{ email: ada.email }]);
});

check("a second person sees nothing of the first", async () => {
  await signUp(bob, `${origin}/auth/sign-in`, "Bob");
  assert.deepEqual(await titles(bob.page), []);
  const [{ id }] = JSON.parse((await ask(ada.page, api)).text);
  await add(bob.page, "Bob's own");
  assert.deepEqual(await titles(bob.page), ["Bob's own"]);
  assert.equal((await ask(bob.page, `${api}/${id}`)).status, 404);
  assert.equal((await ask(bob.page, `${api}/${id}`, { method: "DELETE" })).status, 404);
  bob.errors.splice(0);
});

check("when the SDK's cache is gone, Neon is asked, and she has her tasks", async () => {
  await ada.context.clearCookies({ name: CACHE });
  const before = lookUps();
  await eventually("Neon is asked", async () => {
    const { status, text } = await ask(ada.page, api);
    assert.equal(status, 200, text);
    return lookUps() > before;
  });
  await ada.page.getByRole("button", { name: "Reload" }).click();
  assert.deepEqual(await titles(ada.page), ["Post it", "Write a letter"]);
});

check("a cache that has ended, or is another session's, makes nobody somebody else", async () => {
  const hers = (await cookie(ada, SESSION)).value;
  const his = await cookie(bob, CACHE);
  const own = ["Post it", "Write a letter"];
  const ended = signed({ ...claimsOf(his.value), exp: Math.floor(Date.now() / 1000) - 1 });
  for (const cache of [his.value, ended, signed({ ...claimsOf(his.value), sub: "somebody" })]) {
    const { status, tasks } = await withCookies({ [SESSION]: hers, [CACHE]: cache });
    assert.deepEqual({ status, tasks }, { status: 200, tasks: own });
  }
  // Alone it is nothing, nor is it a token.
  assert.equal((await withCookies({ [CACHE]: his.value })).status, 401);
  const asToken = await fetch(api, { headers: { authorization: `Bearer ${his.value}` } });
  assert.equal(asToken.status, 401);
  const made = await withCookies({ [SESSION]: `${"a".repeat(32)}.${"b".repeat(43)}%3D` });
  assert.equal(made.status, 401);
});

check("who signs out has no tasks, and her cookies are worth nothing", async () => {
  const { value } = await cookie(ada, SESSION);
  await ada.page.getByRole("button", { name: "Sign out" }).click();
  await ada.page.waitForURL(`${origin}/auth/sign-in`);
  assert.equal(await cookie(ada, SESSION), undefined);
  assert.equal(await cookie(ada, CACHE), undefined);
  assert.equal((await ask(ada.page, api)).status, 401);
  ada.errors.splice(0);
  // Within AUTH_VERIFIER_REVOCATION_LAG_SECS, five.
  await eventually("401", async () => (await withCookies({ [SESSION]: value })).status === 401);
});

check("who is banned at Neon has none, either", async () => {
  const neon = process.env.NEON_AUTH_BASE_URL;
  const post = (path, body, headers) =>
    fetch(`${neon}${path}`, { method: "POST", headers: { "content-type": "application/json", origin, ...headers }, body: JSON.stringify(body) });
  // Who may ban is an administrator of Better Auth's, as Neon's console is.
  const operator = await post("/sign-up/email", { name: "Operator", email: "operator@example.com", password: PASSWORD });
  await database.query(`update neon_auth."user" set role = 'admin' where email = 'operator@example.com'`);
  const { rows } = await database.query(`select id from neon_auth."user" where email = $1`, [bob.email]);
  const cookies = operator.headers.getSetCookie().map((set) => set.split(";")[0]).join("; ");
  const banned = await post("/admin/ban-user", { userId: rows[0].id, banReason: "rude" }, { cookie: cookies });
  assert.equal(banned.status, 200, await banned.text());
  const refused = await eventually("he is refused", async () => {
    const { status } = await ask(bob.page, api);
    return status !== 200 && status;
  });
  assert.ok([401, 403].includes(refused), String(refused));
  bob.errors.splice(0);
});

check("the consoles of both pages are empty", () => assert.deepEqual([...ada.errors, ...bob.errors], []));
quiet("usher-quick-start");
