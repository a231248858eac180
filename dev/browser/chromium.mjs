// What the checks of every frontend here share: Chromium, people in it, and what they and those who run it hear.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

/** Where people come in, the folder with the logs of what runs behind it, and what everybody's password is. */
export const GATEWAY = "http://localhost:8000";
export const out = process.env.OUT;
export const PASSWORD = "correct horse battery";

/** As long as a slow machine may take, in ms. */
const PATIENCE = 120_000;

let browser;

/** One thing that must hold. Those of a file follow from one another: behind the first that doesn't hold, none is tried. */
let failed = false;
export const check = (what, holds) =>
  test(what, async (context) => {
    if (failed) return context.skip("after what failed");
    failed = true;
    await holds();
    failed = false;
  });
after(async () => {
  const pages = failed ? (browser?.contexts() ?? []).flatMap((context) => context.pages()) : [];
  for (const [n, page] of pages.entries()) await page.screenshot({ path: `${out}/failed-${n}.png` });
  await browser?.close();
});

/** Waits until something holds; its value is what held. */
export async function eventually(what, holds) {
  const until = Date.now() + PATIENCE;
  while (Date.now() < until) {
    const value = await holds();
    if (value) return value;
    await sleep(100);
  }
  throw new Error(`never: ${what}`);
}

/** A log of what runs, and its lines that complain. */
export const log = (name) => readFileSync(`${out}/${name}.log`, "utf8");
export const warnings = (name) => log(name).split("\n").filter((line) => /"level":"(WARN|ERROR)"|^[^{]*(WARN|ERROR)/.test(line));

/** A browser of somebody's own. */
export async function ownBrowser(options) {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: PATIENCE });
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  return context;
}

/** Somebody at a page. `errors` is what its console complains of, `preflights` what CORS asked before. */
export async function visitor(options) {
  const context = await ownBrowser(options);
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

export async function fill(page, fields) {
  for (const [label, text] of Object.entries(fields)) await page.getByLabel(label).fill(text);
}

/**
 * Sends the form of the shared sign-in page, again where Better Auth says that there were too many (three in ten seconds). React
 * has emptied it by then.
 */
async function enter({ page, errors }, fields, button) {
  await eventually("signed in", async () => {
    await fill(page, fields);
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

/** The sign-in page, once React has taken it over: what is clicked before may be lost. */
async function atSignIn({ page }, url) {
  await page.goto(url);
  await page.waitForFunction(() => Object.keys(document.querySelector("form") ?? {}).some((key) => key.startsWith("__react")));
}

/** Has somebody sign up by the page; they are at their tasks then. */
export async function signUp(somebody, url, name) {
  const email = `${name.toLowerCase()}@example.com`;
  await atSignIn(somebody, url);
  await somebody.page.getByRole("button", { name: "I am new here" }).click();
  await enter(somebody, { Name: name, "E-mail": email, Password: PASSWORD }, "Create account");
  await somebody.page.getByRole("heading", { name: `${name}’s tasks` }).waitFor();
  return Object.assign(somebody, { email });
}

export async function signIn(somebody, url, email) {
  await atSignIn(somebody, url);
  await enter(somebody, { "E-mail": email, Password: PASSWORD }, "Sign in");
}

export const titles = (page) => page.locator("ul[aria-label=Tasks] li span").allTextContents();

export async function add(page, title) {
  await page.getByLabel("Title", { exact: true }).fill(title);
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.locator("ul[aria-label=Tasks] li", { hasText: title }).waitFor();
}

/** A request by a page's own JavaScript, with its cookies: status, headers, and the body as text. */
export const ask = (page, url, init) =>
  page.evaluate(
    async ([url, init]) => {
      const response = await fetch(url, { credentials: "include", ...init });
      return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
    },
    [url, init],
  );

/** The gateway, told to end; `cargo run` starts it again. */
export function endGateway() {
  const services = execFileSync("ps", ["--ppid", process.env.USHER_PID, "-o", "pid=,args="], { encoding: "utf8" });
  const [, pid] = services.match(/^ *(\d+) .* gateway( |$)/m);
  process.kill(Number(pid), "SIGTERM");
  return eventually("the gateway ended", () => !existsSync(`/proc/${pid}`));
}
