// What the checks share: Chromium, people in it, and what their consoles say.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

// Where people come in, and the folder with the logs of what runs behind it.
export const origin = "http://localhost:8000";
export const out = process.env.OUT;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: 120_000 });
const close = () => browser.close();

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
  await close();
});

// A log of what runs: usher, next, live.
export const log = (name) => readFileSync(`${out}/${name}.log`, "utf8");

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

// Somebody at a browser of their own. `errors` is what their page's console complains of, `preflights` what CORS asked before.
export async function visitor(options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const errors = [];
  const preflights = [];
  page.on("console", (message) => message.type() === "error" && errors.push(`${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => errors.push(String(error)));
  const devtools = await context.newCDPSession(page);
  await devtools.send("Network.enable");
  devtools.on("Network.requestWillBeSent", ({ request }) => request.method === "OPTIONS" && preflights.push(request.url));
  return { context, page, errors, preflights };
}

// Sends the form of the sign-in page, again where Better Auth says that there were too many (three in ten seconds). React
// has emptied it by then.
async function enter({ page, errors }, fields, button) {
  await eventually("signed in", async () => {
    for (const [label, text] of Object.entries(fields)) await page.getByLabel(label).fill(text);
    const answered = page.waitForResponse((response) => response.url().includes("/api/auth/sign-"));
    await page.getByRole("button", { name: button }).click();
    const answer = await answered;
    if (answer.status() === 429) {
      await sleep(5_000);
      // The console has told, and that was as it should be.
      errors.splice(errors.findIndex((error) => error.includes("429")), 1);
      return false;
    }
    if (!answer.ok()) throw new Error(await answer.text());
    await page.locator("ul[data-loaded=true]").waitFor({ state: "attached" });
    return true;
  });
}
const password = "correct horse battery";

// Has somebody sign up by the page; they are at their tasks then.
export async function signUp(somebody, name) {
  const { page } = somebody;
  const email = `${name.toLowerCase()}@example.com`;
  await page.goto(`${origin}/sign-in`, { waitUntil: "networkidle" });
  await page.getByRole("button", { name: "I am new here" }).click();
  await enter(somebody, { Name: name, "E-mail": email, Password: password }, "Create account");
  return Object.assign(somebody, { email });
}

export async function signIn(somebody, email) {
  await somebody.page.goto(`${origin}/sign-in`, { waitUntil: "networkidle" });
  await enter(somebody, { "E-mail": email, Password: password }, "Sign in");
}

export const titles = (page) => page.locator("ul[aria-label=Tasks] li span").allTextContents();

export async function add(page, title) {
  await page.getByLabel("Title", { exact: true }).fill(title);
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.locator("ul[aria-label=Tasks] li", { hasText: title }).waitFor();
}

// A request by a page's own JavaScript: status, headers, and the body as text.
export const ask = (page, path, init) =>
  page.evaluate(
    async ([path, init]) => {
      const response = await fetch(path, init);
      return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
    },
    [path, init],
  );

// A page of another origin, with somebody's cookies: `localhost` is one site whatever the port, so SameSite=Lax lets them go along.
export async function atForeignPage({ context }) {
  const server = createServer((_request, response) => response.setHeader("content-type", "text/html").end("<p>evil"));
  await new Promise((done) => server.listen(3002, "127.0.0.1", done));
  const foreign = await visitor({ storageState: await context.storageState() });
  await foreign.page.goto("http://localhost:3002/");
  server.close();
  return foreign;
}

// The gateway, told to end; `cargo run` starts it again.
export function endGateway() {
  const services = execFileSync("ps", ["--ppid", process.env.USHER_PID, "-o", "pid=,args="], { encoding: "utf8" });
  const [, pid] = services.match(/^ *(\d+) .* gateway( |$)/m);
  process.kill(Number(pid), "SIGTERM");
  return eventually("the gateway ended", () => !existsSync(`/proc/${pid}`));
}

export const healthy = () =>
  eventually("the gateway is back", () => fetch(`${origin}/health`).then((answer) => answer.ok, () => false));
