// The same app behind the gateway, by deploy/one-origin.toml: its pages, the SDK's handler and tasks at one origin.
import assert from "node:assert/strict";
import { GATEWAY as origin, add, ask, check, signUp, titles, visitor } from "../../chromium.mjs";
import { CACHE, SESSION, asked, cookie, quiet } from "./neon.mjs";

const cy = await visitor();

check("somebody signs up behind the gateway: the SDK's handler works as it is", async () => {
  await signUp(cy, `${origin}/auth/sign-in`, "Cy");
  assert.equal(cy.page.url(), `${origin}/`);
  for (const name of [SESSION, CACHE]) assert.equal((await cookie(cy, name)).domain, "localhost");
  const { origin: told, headers } = asked().findLast(({ path }) => path.endsWith("/sign-up/email"));
  assert.equal(told, origin);
  assert.ok(headers.includes("x-neon-auth-middleware"));
});

check("tasks are at the same origin, by cookie and by token", async () => {
  await add(cy.page, "By one origin");
  assert.deepEqual(await titles(cy.page), ["By one origin"]);
  await cy.page.getByRole("button", { name: "Count" }).click();
  await cy.page.locator("output", { hasText: "1 by a token" }).waitFor();
});

check("who signs out has none", async () => {
  await cy.page.getByRole("button", { name: "Sign out" }).click();
  await cy.page.waitForURL(`${origin}/auth/sign-in`);
  assert.equal((await ask(cy.page, "/api/tasks")).status, 401);
  cy.errors.splice(0);
});

check("the page's console is empty", () => assert.deepEqual(cy.errors, []));
quiet("usher-one-origin");
