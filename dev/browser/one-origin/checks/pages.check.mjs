// What Next.js does for its pages, through the gateway: nothing of it is lost or changed on the way.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { add, ask, check, eventually, log, titles, visitor } from "../../chromium.mjs";
import { origin, signUp } from "./origin.mjs";

const web = "http://127.0.0.1:3000";
const cy = await signUp(await visitor(), "Cy");
const { page } = cy;

// An answer as it comes, compressed if asked for so.
const raw = (url, options = {}) =>
  new Promise((done, fail) => {
    const sent = request(url, options, async (response) => {
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      done({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) });
    });
    sent.on("error", fail).end(options.body);
  });

// The same of the gateway and of Next.js itself: those of Next.js's headers that aren't the same.
async function changed(path, options) {
  const [through, direct] = await Promise.all([raw(origin + path, options), raw(web + path, options)]);
  assert.equal(through.status, direct.status);
  assert.deepEqual(through.body, direct.body);
  const ofAConnection = ["connection", "keep-alive", "transfer-encoding", "content-length", "date"];
  const headers = Object.keys(direct.headers).filter((name) => !ofAConnection.includes(name));
  return headers.filter((name) => through.headers[name] !== direct.headers[name]);
}
const asset = () => page.evaluate(() => new URL(document.querySelector("script[src*='/_next/static']").src).pathname);

check("what stands in /_next/static may be cached for ever, as Next.js says, and comes unchanged", async () => {
  const { headers } = await ask(page, await asset());
  assert.equal(headers["cache-control"], "public, max-age=31536000, immutable");
  assert.deepEqual(await changed(await asset()), []);
});

check("compression is the web server's, and comes as it is", async () => {
  const options = { headers: { "accept-encoding": "gzip" } };
  const { headers, body } = await raw(origin + (await asset()), options);
  assert.equal(headers["content-encoding"], "gzip");
  assert.deepEqual([...body.subarray(0, 2)], [0x1f, 0x8b]);
  assert.deepEqual(await changed(await asset(), options), []);
});

check("HEAD, a page that isn't there, and what hasn't changed are answered as Next.js answers", async () => {
  const head = await raw(`${origin}/large.bin`, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.body.length], [200, String(readFileSync("public/large.bin").length), 0]);
  const missing = await raw(`${origin}/nowhere`);
  assert.equal(missing.status, 404);
  assert.match(missing.body.toString(), /This page could not be found/);
  assert.deepEqual(await changed("/nowhere"), []);
  const { etag } = (await raw(`${origin}/sign-in`)).headers;
  assert.equal((await raw(`${origin}/sign-in`, { headers: { "if-none-match": etag } })).status, 304);
});

check("an image of next/image is shown", async () => {
  const image = page.locator("header img");
  assert.match(await image.getAttribute("src"), /^\/_next\/image/);
  await eventually("the image is there", () => image.evaluate((image) => image.complete && image.naturalWidth > 0));
});

check("8 MiB come whole, and a part of them where it is asked for", async () => {
  const file = readFileSync("public/large.bin");
  const got = await page.evaluate(async () => {
    const bytes = await (await fetch("/large.bin")).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  });
  assert.equal(got, createHash("sha256").update(file).digest("hex"));
  const part = await raw(`${origin}/large.bin`, { headers: { range: "bytes=1000000-1000009" } });
  assert.equal(part.status, 206);
  assert.equal(part.headers["content-range"], `bytes 1000000-1000009/${file.length}`);
  assert.deepEqual(part.body, file.subarray(1000000, 1000010));
});

check("a server component reads her tasks with her cookie, and streams: the fallback first", async () => {
  await add(page, "Seen by the server");
  // A browser that had to wait for its machine may take both at once: then it asks again.
  await eventually("the fallback comes before the tasks", async () => {
    const chunks = await page.evaluate(async () => {
      const reader = (await fetch("/summary")).body.pipeThrough(new TextDecoderStream()).getReader();
      const chunks = [];
      for (let next; !(next = await reader.read()).done; ) chunks.push(next.value);
      return chunks;
    });
    const fallback = chunks.findIndex((chunk) => chunk.includes("One moment"));
    const late = chunks.findIndex((chunk) => chunk.includes("Seen by the server"));
    assert.ok(fallback >= 0 && late >= fallback, `fallback in chunk ${fallback}, tasks in chunk ${late} of ${chunks.length}`);
    return late > fallback;
  });
  await page.getByRole("link", { name: "Summary" }).click();
  await page.getByTestId("summary").filter({ hasText: "1 tasks, 1 open: Seen by the server" }).waitFor();
  await page.getByRole("link", { name: "Tasks" }).click();
  await page.locator("ul[data-loaded=true] li").first().waitFor();
});

check("a server action adds a task, and redirects within the origin", async () => {
  await page.getByLabel("Title for the server").fill("By an action");
  await page.getByRole("button", { name: "Add on the server" }).click();
  await page.waitForURL(`${origin}/summary`);
  await page.getByTestId("summary").filter({ hasText: "By an action" }).waitFor();
});

check("so it does without JavaScript", async () => {
  const plain = await visitor({ storageState: await cy.context.storageState(), javaScriptEnabled: false });
  await plain.page.goto(`${origin}/`);
  await plain.page.getByLabel("Title for the server").fill("By a plain form");
  await plain.page.getByRole("button", { name: "Add on the server" }).click();
  await plain.page.waitForURL(`${origin}/summary`);
  await plain.context.close();
  await page.goto(`${origin}/`);
  await page.locator("ul[data-loaded=true] li").first().waitFor();
  assert.ok((await titles(page)).includes("By a plain form"));
});

check("a foreign page can't call a server action", async () => {
  const cookie = (await cy.context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const headers = { cookie, origin: "https://evil.example", "content-type": "text/plain;charset=UTF-8", "next-action": "00" };
  assert.equal((await raw(`${origin}/`, { method: "POST", headers, body: "[]" })).status, 403);
});

check("redirects stay at the public origin, whatever host a client claims", async () => {
  const headers = { "x-forwarded-host": "evil.example", forwarded: "host=evil.example" };
  const { status, headers: answer } = await raw(`${origin}/summary`, { headers });
  assert.equal(status, 307);
  assert.equal(new URL(answer.location, origin).href, `${origin}/sign-in`);
  const { status: refused } = await raw(`${origin}/sign-in`, { headers: { host: "evil.example" } });
  assert.equal(refused, 421);
});

check("a link to set a new password carries the public host, and leads to the page", async () => {
  const body = JSON.stringify({ email: cy.email, redirectTo: "/reset" });
  const headers = { "content-type": "application/json", "x-forwarded-host": "evil.example", origin };
  assert.equal((await raw(`${origin}/api/auth/request-password-reset`, { method: "POST", headers, body })).status, 200);
  const link = await eventually("the link is sent", () => log("next").match(/reset link for cy@example\.com: (\S+)/)?.[1]);
  assert.ok(link.startsWith(`${origin}/api/auth/reset-password/`), link);
  const { headers: answer } = await raw(link);
  assert.equal(new URL(answer.location, link).origin, origin);
  await page.goto(link);
  assert.ok(page.url().startsWith(`${origin}/reset?token=`), page.url());
  await page.getByRole("heading", { name: "Choose a new password" }).waitFor();
});

check("the page's console is empty, and no preflight was sent", () => {
  assert.deepEqual(cy.errors, []);
  assert.deepEqual(cy.preflights, []);
});
