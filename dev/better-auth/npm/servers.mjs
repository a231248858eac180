// Real Better Auth servers for tests: as many as are asked for, each on a port and a PostgreSQL of its own.
//
//     node servers.mjs better-auth-1.6
//
// Each line of standard input asks for one thing, in JSON, and is answered by a line:
//     {"start": {"database": "postgresql://…", "secret": "…", "options": {…}}}   {"url": "http://127.0.0.1:4711"}
//     {"stop": "http://127.0.0.1:4711"}                                         {}
// `options` is what an application writes into betterAuth({…}). A text that begins with "function " names one of
// the functions below, since JSON has none; `plugins` maps the name of each to its options. The program ends with
// standard input, so that it never outlives the tests.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import pg from "pg";

// Standard output is for the answers alone. What the library logs is which credentials are broken, and most are
// meant to be.
const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
console.log = console.info = console.warn = console.error = () => {};

const library = process.argv[2];
const { betterAuth } = await import(library);
const { toNodeHandler } = await import(`${library}/node`);
const { symmetricEncodeJWT, verifyJWT: verifyHs256 } = await import(`${library}/crypto`);
const { getMigrations } = await import(`${library}/db/migration`).catch(() => import(`${library}/db`));
const plugins = {
  ...(await import(`${library}/plugins`)),
  ...(library === "better-auth" ? await import("@better-auth/oauth-provider") : {}),
  ...(library === "better-auth" ? await import("@better-auth/api-key") : {}),
};

// What secondaryStorage keeps, for all servers that have it.
const storage = new Map();

// The functions that options can name, for one server.
const functions = (server) => ({
  "plain password": { hash: async (password) => password, verify: async ({ hash, password }) => hash === password },
  "keep the link": async ({ token }) => void (server.mail = token),
  "payload of the name alone": ({ user }) => ({ name: user.name }),
  "payload with the session": ({ user, session }) => ({ ...user, sid: session.id }),
  "session without the session": async ({ user }) => ({ user }),
  "session without the user's id": async ({ session, user }) => ({ session, user: { name: user.name } }),
  // A storage beside the database, as Redis would be.
  kept: async (key) => storage.get(key) ?? null,
  keep: async (key, value) => void storage.set(key, value),
  drop: async (key) => void storage.delete(key),
  "sign HS256": (payload) => {
    const key = new TextEncoder().encode(server.auth.options.secret);
    return new SignJWT(payload).setProtectedHeader({ alg: "HS256" }).sign(key);
  },
});

// What is the same for all; what a test sets is laid over it.
const defaults = {
  emailAndPassword: { enabled: true, password: "function plain password" },
  emailVerification: { sendVerificationEmail: "function keep the link" },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { disabled: true },
  plugins: { jwt: {}, bearer: {}, admin: {} },
};

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const merged = (under, over) => {
  if (!isObject(under) || !isObject(over)) return over;
  const own = Object.entries(over).map(([name, value]) => [name, name in under ? merged(under[name], value) : value]);
  return { ...under, ...Object.fromEntries(own) };
};
const revived = (value, known) => {
  if (typeof value === "string" && value.startsWith("function ")) return known[value.slice("function ".length)];
  if (Array.isArray(value)) return value.map((item) => revived(item, known));
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, revived(item, known)]));
};

// What only the server itself can be asked: the library's own verdict on tokens, and tokens with any claims; also a
// proof that its sender has a key, some key, for whoever wants tokens bound to one (RFC 9449).
const oracle = {
  "/oracle/jwt": async ({ auth }, { token }) => (await auth.api.verifyJWT({ body: { token } })).payload,
  "/oracle/hs256": async ({ auth }, { token }) => verifyHs256(token, auth.options.secret),
  "/oracle/sign": async ({ auth }, body) => (await auth.api.signJWT({ body })).token,
  "/oracle/mail": async ({ mail }) => mail,
  "/oracle/told": async ({ url }) => told.get(url),
  "/oracle/proof": async (_, { url }) => {
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    return new SignJWT({ htm: "POST", htu: url })
      .setProtectedHeader({ typ: "dpop+jwt", alg: "ES256", jwk: await exportJWK(publicKey) })
      .setJti(crypto.randomUUID())
      .setIssuedAt()
      .sign(privateKey);
  },
  "/oracle/account": async ({ auth }, account) =>
    symmetricEncodeJWT(account, auth.options.secret, "better-auth-account"),
};

// What the OAuth clients of a server were told of a sign-out. They want to be told by TLS, and are nowhere.
const told = new Map();
const { fetch } = globalThis;
globalThis.fetch = async (to, request) => {
  const { hostname, searchParams } = new URL(to);
  if (hostname !== "app.example.com") return fetch(to, request);
  told.set(searchParams.get("server"), new URLSearchParams(request.body).get("logout_token"));
  return new Response();
};

const running = new Map();

async function start({ database, schema, secret, options }) {
  const server = { http: createServer() };
  await new Promise((ready) => server.http.listen(0, "127.0.0.1", ready));
  const url = (server.url = `http://127.0.0.1:${server.http.address().port}`);
  const search = schema ? { options: `-c search_path=${schema}` } : {};
  server.pool = new pg.Pool({ connectionString: database, max: 2, ...search });
  // The database may go before its idle connections do.
  server.pool.on("error", () => {});
  if (schema) await server.pool.query(`create schema if not exists "${schema}"`);
  const stated = merged({ ...defaults, baseURL: url, secret }, options);
  const { plugins: chosen, ...rest } = revived(stated, functions(server));
  const present = Object.entries(chosen).filter(([, options]) => options !== null);
  server.auth = betterAuth({
    ...rest,
    trustedOrigins: [url],
    database: server.pool,
    plugins: present.map(([name, options]) => plugins[name](options)),
  });
  const { runMigrations } = await getMigrations(server.auth.options);
  await runMigrations();

  const handle = toNodeHandler(server.auth);
  server.http.on("request", async (request, response) => {
    const ask = oracle[request.url];
    // What the library throws, a framework answers by 500.
    if (!ask) return handle(request, response).catch(() => response.writeHead(500).end());
    try {
      const found = await ask(server, JSON.parse((await text(request)) || "{}"));
      response.end(JSON.stringify(found ?? null));
    } catch (error) {
      response.writeHead(500).end(JSON.stringify(String(error)));
    }
  });
  running.set(url, server);
  return { url };
}

async function stop(url) {
  const { http, pool } = running.get(url);
  running.delete(url);
  http.close();
  http.closeAllConnections();
  await pool.end();
  return {};
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  try {
    answer(asked.start ? await start(asked.start) : await stop(asked.stop));
  } catch (error) {
    answer({ error: String(error?.stack ?? error) });
  }
}
process.exit(0);
