// A page without a server, by deploy/neon-auth.toml: the gateway asks Neon, and makes its cookies those of its own host.
import assert from "node:assert/strict";
import { GATEWAY as origin, PASSWORD, add, ask, check, fill, log, titles, visitor } from "../../chromium.mjs";
import { CACHE, SESSION, asked, cookie, quiet } from "./neon.mjs";

const dee = await visitor();
const eli = await visitor();
const last = (path) => asked().findLast((request) => request.path.endsWith(path));

async function signUp(somebody, name) {
  const { page } = somebody;
  await page.goto(`${origin}/`);
  await fill(page, { Name: name, "E-mail": `${name.toLowerCase()}@example.com`, Password: PASSWORD });
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("heading", { name: `${name}’s tasks` }).waitFor();
}

check("somebody signs up by the SDK's client, straight at Neon", async () => {
  await signUp(dee, "Dee");
  const { httpOnly, sameSite, secure, domain, path, partitionKey } = await cookie(dee, SESSION);
  assert.deepEqual(
    { httpOnly, sameSite, secure, domain, path, partitionKey },
    { httpOnly: true, sameSite: "Lax", secure: true, domain: "localhost", path: "/", partitionKey: undefined },
  );
  assert.equal(await cookie(dee, CACHE), undefined, "that is an app's own, for its server");
});

check("Neon hears the page's origin, its own cookies, and nothing of the services'", async () => {
  await dee.context.addCookies([{ name: "theme", value: "dark", url: origin }]);
  await ask(dee.page, "/api/auth/get-session");
  const { cookies, headers, origin: told } = last("/get-session");
  assert.deepEqual(cookies, [SESSION]);
  assert.equal(told, origin);
  const heard = ["accept", "accept-language", "cookie", "host", "origin", "user-agent", "x-neon-auth-middleware"];
  assert.deepEqual(headers.filter((name) => !heard.includes(name)), []);
});

check("tasks are at the same origin, by cookie", async () => {
  await add(dee.page, "Straight");
  assert.deepEqual(await titles(dee.page), ["Straight"]);
  await dee.page.reload();
  await dee.page.locator("li", { hasText: "Straight" }).waitFor();
});

check("and by a token, without a cookie", async () => {
  const { token } = JSON.parse((await ask(dee.page, "/api/auth/token")).text);
  const { status, text } = await ask(dee.page, "/api/tasks", { credentials: "omit", headers: { authorization: `Bearer ${token}` } });
  assert.equal(status, 200, text);
  assert.equal(JSON.parse(text)[0].title, "Straight");
});

check("a second person sees nothing of the first", async () => {
  await signUp(eli, "Eli");
  assert.deepEqual(await titles(eli.page), []);
});

check("a foreign page signs nobody in or out", async () => {
  const { value } = await cookie(dee, SESSION);
  const count = asked().length;
  for (const path of ["/sign-in/email", "/sign-out"]) {
    const headers = { cookie: `${SESSION}=${value}`, origin: "https://evil.example", "content-type": "application/json" };
    const body = JSON.stringify({ email: "eli@example.com", password: PASSWORD });
    const { status } = await fetch(`${origin}/api/auth${path}`, { method: "POST", headers, body });
    assert.equal(status, 403, path);
  }
  assert.equal(asked().length, count, "Neon isn't even asked");
  assert.equal((await ask(dee.page, "/api/tasks")).status, 200);
});

check("what Neon refuses, the page says in Neon's words", async () => {
  const nobody = await visitor();
  await nobody.page.goto(`${origin}/`);
  await fill(nobody.page, { "E-mail": "dee@example.com", Password: "not hers at all" });
  await nobody.page.getByRole("button", { name: "Sign in" }).click();
  await nobody.page.locator("p[role=alert]", { hasText: /invalid email or password/i }).waitFor();
  await nobody.context.close();
});

check("who signs out has no tasks", async () => {
  await dee.page.getByRole("button", { name: "Sign out" }).click();
  await dee.page.getByRole("button", { name: "Create account" }).waitFor();
  assert.equal(await cookie(dee, SESSION), undefined);
  assert.equal((await ask(dee.page, "/api/tasks")).status, 401);
  dee.errors.splice(0);
});

check("whoever serves the pages has seen no cookie", () => assert.doesNotMatch(log("page"), /cookie/));
check("the consoles of both pages are empty", () => assert.deepEqual([...dee.errors, ...eli.errors], []));
quiet("usher-straight");
