// What the checks share: Chromium, people in it, and what those that run behind it have said.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

// The folder with the logs of what runs.
const out = process.env.OUT;

// The session's cookie, and the SDK's own beside it.
export const SESSION = "__Secure-neon-auth.session_token";
export const CACHE = "__Secure-neon-auth.local.session_data";

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: 120_000 });

// One thing that must hold. Those of a file follow from one another: behind the first that doesn't hold, none is tried.
let failed = false;
export const check = (what, holds) =>
  test(what, async (context) => {
    if (failed) return context.skip("after what failed");
    failed = true;
    await holds();
    failed = false;
  });
after(async () => {
  const pages = failed ? browser.contexts().flatMap((context) => context.pages()) : [];
  for (const [n, page] of pages.entries()) await page.screenshot({ path: `${out}/failed-${n}.png` });
  await browser.close();
});

export const log = (name) => readFileSync(`${out}/${name}.log`, "utf8");

// What Neon was asked; and how often by auth-verifier, whose a session is.
export const asked = () => log("neon").split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
export const lookUps = () => asked().filter(({ path, agent }) => path.endsWith("/get-session") && agent.startsWith("usher/")).length;

// Waits until something holds, as long as a slow machine may take; its value is what held.
export async function eventually(what, holds) {
  const until = Date.now() + 120_000;
  while (Date.now() < until) {
    const value = await holds();
    if (value) return value;
    await sleep(200);
  }
  throw new Error(`never: ${what}`);
}

// Somebody at a browser of their own. `errors` is what their page's console complains of.
export async function visitor() {
  const context = await browser.newContext();
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(`${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => errors.push(String(error)));
  return { context, page, errors };
}

export const password = "correct horse battery";
export const cookie = async ({ context }, name) => (await context.cookies()).find((cookie) => cookie.name === name);

export async function fill(page, fields) {
  for (const [label, text] of Object.entries(fields)) await page.getByLabel(label).fill(text);
}

// Has somebody sign up by the page of Next.js; they are at their tasks then.
export async function signUp(somebody, origin, name) {
  const { page } = somebody;
  const email = `${name.toLowerCase()}@example.com`;
  await page.goto(`${origin}/auth/sign-in`, { waitUntil: "networkidle" });
  await page.getByRole("button", { name: "I am new here" }).click();
  await fill(page, { Name: name, "E-mail": email, Password: password });
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("heading", { name: `${name}’s tasks` }).waitFor();
  await page.locator("ul[data-loaded=true]").waitFor({ state: "attached" });
  return Object.assign(somebody, { email });
}

export async function add(page, title) {
  await page.getByLabel("Title", { exact: true }).fill(title);
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.locator("ul[aria-label=Tasks] li", { hasText: title }).waitFor();
}

export const titles = (page) => page.locator("ul[aria-label=Tasks] li").allInnerTexts();

// A request by a page's own JavaScript: status, and the body as text.
export const ask = (page, url, init) =>
  page.evaluate(
    async ([url, init]) => {
      const response = await fetch(url, { credentials: "include", ...init });
      return { status: response.status, text: await response.text() };
    },
    [url, init],
  );

// Nobody behind the gateway has complained.
export const quiet = (name) =>
  check("the gateway and its services warn of nothing", () => {
    const complaints = log(name).split("\n").filter((line) => /"level":"(WARN|ERROR)"|^[^{]*(WARN|ERROR)/.test(line));
    assert.deepEqual(complaints, []);
  });
