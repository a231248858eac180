// What stays open: server-sent events and WebSockets, also when the gateway goes and comes back.
import assert from "node:assert/strict";
import { ask, check, endGateway, eventually, log, visitor } from "../../chromium.mjs";
import { atForeignPage, healthy, origin, signUp } from "./origin.mjs";

const dee = await signUp(await visitor(), "Dee");
const { page } = dee;
const socket = "ws://localhost:8000/ws";

// Opens a WebSocket in a page; what the console says where that fails.
async function refusal({ page, errors }, url) {
  const before = errors.length;
  const opened = await page.evaluate(
    (url) =>
      new Promise((done) => {
        const socket = new WebSocket(url);
        socket.onopen = () => done(true);
        socket.onerror = () => done(false);
      }),
    url,
  );
  assert.equal(opened, false);
  return eventually("the console says why", () => errors.splice(before).find((said) => said.includes("WebSocket")));
}

check("events come one by one, while the stream is open", async () => {
  const four = () =>
    page.evaluate(
      () =>
        new Promise((done, fail) => {
          const events = new EventSource("/events");
          const seen = [];
          events.onerror = () => fail(new Error("the stream ended"));
          events.onmessage = (event) => {
            seen.push({ id: event.lastEventId, at: Math.round(event.timeStamp), open: events.readyState === EventSource.OPEN });
            if (seen.length < 4) return;
            events.close();
            done(seen);
          };
        }),
    );
  // A browser that had to wait for its machine may take two at once: then four others are.
  const seen = await eventually("one by one", async () => {
    const seen = await four();
    assert.deepEqual(seen.map(({ id, open }) => `${id} ${open}`), ["1 true", "2 true", "3 true", "4 true"]);
    return new Set(seen.map(({ at }) => at)).size === 4 && seen;
  });
  console.log(`      at ${seen.map(({ at }) => at - seen[0].at).join(", ")} ms`);
});

check("the server of a WebSocket hears who has opened it, and sees no cookie of hers", async () => {
  const { user } = JSON.parse((await ask(page, "/api/auth/get-session")).text);
  const heard = await page.evaluate(
    (url) =>
      new Promise((done, fail) => {
        const socket = new WebSocket(url);
        const heard = [];
        socket.onerror = () => fail(new Error("not opened"));
        socket.onopen = () => socket.send("to be said again");
        socket.onmessage = (message) => {
          heard.push(message.data);
          if (heard.length < 2) return;
          socket.close(1000);
          done(heard);
        };
      }),
    socket,
  );
  assert.deepEqual(JSON.parse(heard[0]), { user: user.id, cookie: null });
  assert.equal(heard[1], "to be said again");
});

check("a page of another origin can't open it, though its site is the same and her cookie goes along", async () => {
  const foreign = await atForeignPage(dee);
  assert.match(await refusal(foreign, socket), /Unexpected response code: 403/);
  await foreign.context.close();
});

check("nor can anybody who isn't signed in", async () => {
  const nobody = await visitor();
  await nobody.page.goto(`${origin}/sign-in`);
  // Chromium's words for 401.
  assert.match(await refusal(nobody, socket), /HTTP Authentication failed/);
  await nobody.context.close();
});

check("when the gateway ends, WebSockets close with 1001, and events go on behind the last one once it is back", async () => {
  assert.deepEqual(dee.errors, []);
  await page.evaluate(
    (url) =>
      new Promise((done) => {
        window.seen = [];
        window.events = new EventSource("/events");
        window.events.onmessage = (event) => window.seen.push(event.data);
        const socket = new WebSocket(url);
        socket.onclose = (event) => (window.closedWith = event.code);
        socket.onopen = done;
      }),
    socket,
  );
  await eventually("two events", () => page.evaluate(() => window.seen.length > 1));
  await endGateway();
  await healthy();
  assert.equal(await eventually("the WebSocket closes", () => page.evaluate(() => window.closedWith)), 1001);
  const seen = await eventually("events go on", () =>
    page.evaluate(() => (window.seen.at(-1)?.includes("resumed") ? window.seen : null)),
  );
  assert.deepEqual(seen.map((data) => Number.parseInt(data)), seen.map((_, n) => n + 1));
  await eventually("the WebSocket server hears it, too", () => log("live").includes("closed with 1001"));
});

check("and she is still signed in", async () => {
  assert.equal((await ask(page, "/api/tasks")).status, 200);
});
