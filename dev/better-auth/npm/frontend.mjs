// Runs the files of lib/ that docs/frontend.md and docs/tasks-api.md show, as an application would: with the library itself, against the API.
//
// Two lines of standard input, each answered by one in JSON:
//     {"files": {"lib/token.ts": "…", …}, "secret": "…"}    {"url": "http://127.0.0.1:4711"}: its Better Auth
//     {"api": "http://127.0.0.1:8000"}                      what came of it
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const asked = async () => JSON.parse((await lines.next()).value);
const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
// Standard output is for the answers alone.
console.log = console.info = console.warn = console.error = () => {};

const { files, secret } = await asked();
const server = createServer();
await new Promise((listens) => server.listen(0, "127.0.0.1", listens));
const url = `http://127.0.0.1:${server.address().port}`;

// What the page leaves out: the application's own options, its browser, its request.
const tables = () => ({ user: [], session: [], account: [], verification: [] });
const own = (database) => ({
  baseURL: url,
  secret,
  database: memoryAdapter(database),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
});
const jar = new Map();
const cookie = () => [...jar].map((pair) => pair.join("=")).join("; ");
const tokens = { asked: 0 };
globalThis.page = {
  options: own({ ...tables(), jwks: [] }),
  client: {
    baseURL: url,
    fetchOptions: {
      customFetchImpl: async (to, init) => {
        if (String(to).endsWith("/token")) tokens.asked += 1;
        const headers = new Headers(init.headers);
        headers.set("cookie", cookie());
        headers.set("origin", url);
        const response = await fetch(to, { ...init, headers });
        for (const set of response.headers.getSetCookie()) {
          const [name, value] = set.split(";")[0].split("=");
          if (set.includes("Max-Age=0")) jar.delete(name);
          else jar.set(name, value);
        }
        return response;
      },
    },
  },
  headers: async () => new Headers({ cookie: cookie() }),
};

// TypeScript without its types, which are few; modules of an application by those of here.
const folder = mkdtempSync(join(dirname(fileURLToPath(import.meta.url)), "page-"));
const plain = (text) =>
  text
    .replace(/: (string|RequestInit|\(path: string\) => Promise<Response>)(?=[ ,)])/g, "")
    .replace(/from "(\.\/[a-z-]+)"/g, 'from "$1.mjs"')
    .replace('from "better-auth/react"', 'from "better-auth/client"')
    .replace('import { headers } from "next/headers";', "const { headers } = globalThis.page;")
    .replace("/* what you have */", "...globalThis.page.options,")
    .replace("createAuthClient({", "createAuthClient({ ...globalThis.page.client,");
for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name.replace(/^lib\/(.*)\.ts$/, "$1.mjs")), plain(text));
const module = (name) => import(pathToFileURL(join(folder, `${name}.mjs`)));

try {
  const { auth } = await module("auth");
  server.on("request", toNodeHandler(auth));
  answer({ url });

  const { api: base } = await asked();
  process.env.NEXT_PUBLIC_API_URL = process.env.API_URL = base;
  const { authClient } = await module("auth-client");
  const { forgetToken } = await module("token");
  const { api } = await module("api");
  const fails = async (call) => call().then(() => "nothing failed", (error) => error.message);
  const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ title: "Buy milk" }) };

  const signedOut = await fails(() => api("/api/tasks"));
  const { error } = await authClient.signUp.email({ name: "ada", email: "ada@example.com", password: "correct horse" });
  if (error) throw new Error(JSON.stringify(error));
  const made = await api("/api/tasks", post);
  tokens.asked = 0;
  forgetToken();
  const lists = await Promise.all(Array.from({ length: 20 }, () => api("/api/tasks")));
  const tokens_asked = tokens.asked;
  const removed = await api(`/api/tasks/${made.id}`, { method: "DELETE" });

  const server_api = (await module("server-api")).api;
  const made_by_server = (await server_api("/api/tasks", post)).status;
  const listed_by_server = await (await server_api("/api/tasks")).json();
  await server_api("/api/tasks", post);
  // A page for each of the two.
  const { everyTask } = await module("every-task");
  let pages = 0;
  const walked = [];
  const ask = (path) => (pages++, server_api(path.replace("limit=100", "limit=1")));
  for await (const { title } of everyTask(ask)) walked.push(title);
  await authClient.signOut();
  forgetToken();
  const signed_out_again = await fails(() => api("/api/tasks"));
  const nobody_on_server = await fails(() => server_api("/api/tasks"));

  // The plugin without its table.
  const { betterAuth } = await import("better-auth");
  const { jwt } = await import("better-auth/plugins");
  const bare = betterAuth({ ...own(tables()), plugins: [jwt()] });
  const without_table = (await bare.handler(new Request(`${url}/api/auth/jwks`))).status;

  answer({
    signed_out: signedOut,
    made: made.title,
    tokens_asked,
    lists: lists.map((list) => list.length),
    removed: removed ?? null,
    made_by_server,
    listed_by_server: listed_by_server.map(({ title }) => title),
    pages,
    walked,
    signed_out_again,
    nobody_on_server,
    without_table,
  });
} catch (error) {
  answer({ failed: String(error.stack) });
} finally {
  rmSync(folder, { recursive: true });
  server.close();
  server.closeAllConnections();
  process.exit();
}
