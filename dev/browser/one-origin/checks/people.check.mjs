// People sign up, keep tasks, sign out: by cookie alone.
import assert from "node:assert/strict";
import { after } from "node:test";
import pg from "pg";
import { add, ask, check, eventually, log, out, titles, visitor } from "../../chromium.mjs";
import { atForeignPage, origin, signIn, signUp } from "./origin.mjs";

const database = new pg.Pool({ connectionString: process.env.DATABASE_URL });
after(() => database.end());

const ada = await visitor();
const bob = await visitor();

check("who is nobody is sent to the sign-in page, at the same origin", async () => {
  await ada.page.goto(`${origin}/`);
  assert.equal(ada.page.url(), `${origin}/sign-in`);
  await ada.page.screenshot({ path: `${out}/sign-in.png` });
});

check("somebody signs up", async () => {
  await signUp(ada, "Ada");
  assert.equal(ada.page.url(), `${origin}/`);
  await ada.page.getByRole("heading", { name: "Ada’s tasks" }).waitFor();
});

check("the session's cookie is first-party: HttpOnly, SameSite=Lax, of the gateway's host alone", async () => {
  const cookies = await ada.context.cookies();
  assert.equal(cookies.length, 1);
  const [{ name, httpOnly, sameSite, domain, path, secure }] = cookies;
  assert.deepEqual(
    { name, httpOnly, sameSite, domain, path, secure },
    { name: "better-auth.session_token", httpOnly: true, sameSite: "Lax", domain: "localhost", path: "/", secure: false },
  );
});

check("Better Auth knows the browser's address, by which it limits rates", async () => {
  const { rows } = await database.query(`select "ipAddress" from session`);
  assert.match(rows[0].ipAddress, /^(127\.0\.0\.1|::1|0000:)/);
});

check("tasks are added, ticked and deleted", async () => {
  await add(ada.page, "Write a letter");
  await add(ada.page, "Post it");
  assert.deepEqual(await titles(ada.page), ["Post it", "Write a letter"]);
  await ada.page.getByLabel("Done: Post it").click();
  await ada.page.locator("li.done", { hasText: "Post it" }).waitFor();
  await ada.page.screenshot({ path: `${out}/tasks.png` });
  await ada.page.getByLabel("Delete: Write a letter").click();
  await ada.page.locator("li", { hasText: "Write a letter" }).waitFor({ state: "detached" });
  await ada.page.reload();
  await ada.page.locator("ul[data-loaded=true] li.done").waitFor();
  assert.deepEqual(await titles(ada.page), ["Post it"]);
});

check("a second person sees nothing of the first", async () => {
  await signUp(bob, "Bob");
  assert.deepEqual(await titles(bob.page), []);
  const [{ id }] = JSON.parse((await ask(ada.page, "/api/tasks")).text);
  await add(bob.page, "Bob's own");
  assert.deepEqual(await titles(bob.page), ["Bob's own"]);
  const before = bob.errors.length;
  assert.equal((await ask(bob.page, `/api/tasks/${id}`)).status, 404);
  assert.equal((await ask(bob.page, `/api/tasks/${id}`, { method: "DELETE" })).status, 404);
  bob.errors.splice(before);
  assert.equal((await ask(ada.page, `/api/tasks/${id}`)).status, 200);
});

check("the consoles of both pages are empty, and no preflight was sent", async () => {
  assert.deepEqual([...ada.errors, ...bob.errors], []);
  assert.deepEqual([...ada.preflights, ...bob.preflights], []);
  assert.doesNotMatch(log("usher"), /"method":"OPTIONS"/);
});

check("a page of another origin changes nothing with her cookies, though its site is the same", async () => {
  const foreign = await atForeignPage(ada);
  const answered = foreign.page.waitForResponse(`${origin}/api/tasks`);
  await foreign.page.evaluate(
    (to) => fetch(to, { method: "POST", mode: "no-cors", credentials: "include", body: '{"title":"Evil"}' }).catch(() => {}),
    `${origin}/api/tasks`,
  );
  // Without a cookie it would be 401.
  assert.equal((await answered).status(), 403);
  await foreign.context.close();
  assert.doesNotMatch((await ask(ada.page, "/api/tasks")).text, /Evil/);
});

check("Better Auth refuses a foreign page by itself", async () => {
  const [{ name, value }] = await ada.context.cookies();
  const headers = { cookie: `${name}=${value}`, origin: "https://evil.example", "content-type": "application/json" };
  const answer = await fetch(`${origin}/api/auth/sign-out`, { method: "POST", headers, body: "{}" });
  assert.equal(answer.status, 403);
  assert.match(JSON.stringify(await answer.json()), /origin/i);
});

check("who signs out has no tasks: 401 at once", async () => {
  await ada.page.getByRole("button", { name: "Sign out" }).click();
  await ada.page.waitForURL(`${origin}/sign-in`);
  assert.deepEqual(await ada.context.cookies(), []);
  const { status, text } = await ask(ada.page, "/api/tasks");
  assert.equal(status, 401);
  assert.equal(JSON.parse(text).status, 401);
});

check("and has them again after signing in", async () => {
  await signIn(ada, ada.email);
  assert.deepEqual(await titles(ada.page), ["Post it"]);
});

check("a session that was ended elsewhere ends here, and the page says so", async () => {
  await database.query(`delete from session where "userId" = (select id from "user" where email = $1)`, [ada.email]);
  // Within AUTH_VERIFIER_REVOCATION_LAG_SECS, five.
  await eventually("401", async () => (await ask(ada.page, "/api/tasks")).status === 401);
  await ada.page.getByLabel("Title", { exact: true }).fill("Too late");
  await ada.page.getByRole("button", { name: "Add", exact: true }).click();
  const said = await ada.page.locator("p[role=alert]").textContent();
  console.log(`      the page says: ${said}`);
  await ada.page.goto(`${origin}/`);
  await ada.page.waitForURL(`${origin}/sign-in`);
});

check("a session that has expired is over, too", async () => {
  await database.query(`update session set "expiresAt" = now() - interval '1 second'`);
  await eventually("401", async () => (await ask(bob.page, "/api/tasks")).status === 401);
  await bob.page.goto(`${origin}/`);
  await bob.page.waitForURL(`${origin}/sign-in`);
});
