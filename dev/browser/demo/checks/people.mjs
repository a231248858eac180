// What the checks of the demo share: people, and what they do at its page.
import assert from "node:assert/strict";
import { GATEWAY, PASSWORD, ownBrowser } from "../../chromium.mjs";

/** The page's own web server. */
export const PAGE = "http://localhost:3000";

/** Somebody at a browser of their own, at the page that `origin` serves. */
export class Person {
  static async at(origin, options) {
    const context = await ownBrowser(options);
    return new Person({ origin, context, complaints: [] }).tab();
  }

  /** `complaints` is what the console of any of their tabs says is wrong. */
  constructor({ origin, context, complaints, email }) {
    Object.assign(this, { origin, context, complaints, email, asked: [], added: new Map() });
  }

  /** One more tab of the same browser. */
  async tab() {
    const tab = new Person(this);
    tab.page = await this.context.newPage();
    tab.page.on("pageerror", (error) => this.complaints.push(String(error)));
    // Chromium reports each refusal by itself; what the policy of the page blocks is a fault.
    tab.page.on("console", (said) => /Content Security Policy|CORS/.test(said.text()) && this.complaints.push(said.text()));
    // Playwright tells of no preflights.
    const devtools = await this.context.newCDPSession(tab.page);
    await devtools.send("Network.enable");
    const lower = (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    devtools.on("Network.requestWillBeSent", ({ request: { url, method, headers }, requestId }) =>
      // What stands in the page itself is asked of nobody.
      url.startsWith("http") && tab.asked.push({ requestId, url, method, headers: lower(headers) }),
    );
    // What the browser adds by itself, cookies among it; told before or after, and not of what a check has answered.
    devtools.on("Network.requestWillBeSentExtraInfo", ({ headers, requestId }) => tab.added.set(requestId, lower(headers)));
    tab.bodyOf = async (requestId) => (await devtools.send("Network.getRequestPostData", { requestId })).postData;
    await tab.page.goto(this.origin);
    return tab;
  }

  /** What this tab has asked for, in order; `onWire` are the headers that went out. */
  get sent() {
    return this.asked.map((request) => ({ ...request, onWire: this.added.get(request.requestId) }));
  }

  button = (name) => this.page.getByRole("button", { name, exact: true });
  field = (label) => this.page.getByLabel(label, { exact: true });
  status = (text) => this.page.getByRole("status").filter({ hasText: text }).waitFor();
  alert = (text) => this.page.getByRole("alert").filter({ hasText: text }).waitFor();
  row = (title) => this.page.locator(".tasks li").filter({ has: this.page.getByText(title, { exact: true }) });
  titles = () => this.page.locator(".tasks .title").allTextContents();
  total = () => this.page.locator("h1 .count");

  async signUp(name) {
    this.email = `${crypto.randomUUID()}@example.com`;
    await this.button("Create an account").click();
    await this.field("Name").fill(name);
    await this.field("E-mail").fill(this.email);
    await this.field("Password").fill(PASSWORD);
    await this.button("Create account").click();
    await this.page.getByRole("heading", { name: `${name}’s tasks` }).waitFor();
    return this;
  }

  async signIn(email = this.email, password = PASSWORD) {
    await this.field("E-mail").fill(email);
    await this.field("Password").fill(password);
    await this.button("Sign in").click();
  }

  async add(title, { due, priority } = {}) {
    await this.field("New task").fill(title);
    if (due) await this.field("Due").fill(due);
    if (priority) await this.field("Priority").selectOption(priority);
    await this.button("Add").click();
    await this.row(title).waitFor();
  }

  async edit(title, fields) {
    await this.button(`Edit: ${title}`).click();
    await this.page.getByRole("dialog").waitFor();
    for (const [label, text] of Object.entries(fields)) await this.page.getByRole("dialog").getByLabel(label).fill(text);
  }

  /** Presses Tab until something has the focus, as who has no mouse does. */
  async tabTo(locator) {
    for (let n = 0; n < 80; n += 1) {
      if (await locator.evaluate((element) => element === document.activeElement)) return;
      await this.page.keyboard.press("Tab");
    }
    throw new Error(`Tab does not lead to ${locator}`);
  }

  /** A request by this person's cookie from outside of the page, as of a page of the gateway's origin. */
  ask = (path, { method = "GET", data } = {}) =>
    this.context.request.fetch(`${GATEWAY}${path}`, { method, headers: { origin: GATEWAY }, ...(data ? { data } : {}) });

  /** All tasks that the service has of this person. */
  kept = async () => (await this.ask("/api/tasks")).json();

  /** Ends all of this person's sessions, from another device. */
  async endSessions() {
    const json = { "content-type": "application/json", origin: PAGE };
    const body = JSON.stringify({ email: this.email, password: PASSWORD });
    const entered = await fetch(`${PAGE}/api/auth/sign-in/email`, { method: "POST", headers: json, body });
    const cookie = entered.headers.getSetCookie().map((set) => set.split(";")[0]).join("; ");
    const ended = await fetch(`${PAGE}/api/auth/revoke-sessions`, { method: "POST", headers: { ...json, cookie }, body: "{}" });
    assert.equal(ended.status, 200);
  }
}

/** What axe finds that keeps people out, on what a page shows now. */
export async function barriers({ page }) {
  const { default: axe } = await import("axe-core");
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`);
}
