// The web server of the demo: the built page, and Better Auth, at one address. Its settings are variables of the environment:
//
//     LISTEN              where it listens: 127.0.0.1:3000
//     PAGE_ORIGIN         where browsers find it: http://localhost:3000
//     API_ORIGIN          where browsers find the gateway: http://localhost:8000
//     DATABASE_URL        PostgreSQL, in which Better Auth's tables get a schema of their own
//     BETTER_AUTH_SECRET  what Better Auth signs with; auth-verifier has the same one
//
// With `--until-stdin-closes` it ends with its standard input, and so with whoever has started it.
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";
import pg from "pg";

const SCHEMA = "usher_demo";

// Bytes of a body, which Better Auth holds in memory: many times what signing in needs. (The gateway has a bound of its own.)
const BODY_MAX = 64 * 1024;

/** @param {string} name */
function said(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set`);
  process.exit(2);
}
const listen = new URL(`http://${said("LISTEN")}`);
const [page, api] = [said("PAGE_ORIGIN"), said("API_ORIGIN")];
const database = said("DATABASE_URL");
const secret = said("BETTER_AUTH_SECRET");

// A pooler between transactions (Neon's `-pooler`) takes no search_path: name the database's own host there.
const pool = new pg.Pool({ connectionString: database, options: `-c search_path=${SCHEMA}`, max: 4 });
// A connection that breaks while it is idle is replaced, and no reason to end.
pool.on("error", (error) => console.error(`PostgreSQL: ${error.message}`));

const auth = betterAuth({
  secret,
  database: pool,
  emailAndPassword: { enabled: true },
  // Browsers ask for it in two ways: at its own address, and through the gateway. With one of them, a text says it: `baseURL: page`.
  baseURL: { allowedHosts: [new URL(page).host, new URL(api).host], protocol: /** @type {"http"} */ (new URL(page).protocol.slice(0, -1)) },
  trustedOrigins: [page, api],
  // Tokens for the gateway. auth-verifier expects them from BETTER_AUTH_URL, whichever way they were asked for.
  plugins: [jwt({ jwt: { issuer: page, audience: page, expirationTime: "15m" } })],
  // auth-verifier asks here whose a cookie is: that is not to be counted to anybody.
  rateLimit: { customRules: { "/get-session": false } },
  telemetry: { enabled: false },
});

const TYPES = /** @type {Record<string, string>} */ ({
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
});
// The page may run and ask what is its own, and the gateway; nothing that somebody gets into it.
const POLICY = `default-src 'self'; connect-src 'self' ${api}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`;

/** The built page: what may be asked for, and nothing else. */
function built() {
  const folder = join(import.meta.dirname, "dist");
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  const named = files.map((file) => {
    const path = join(file.parentPath, file.name);
    return /** @type {const} */ ([path.slice(folder.length), readFileSync(path)]);
  });
  const answers = new Map(named);
  const html = answers.get("/index.html")?.toString() ?? "";
  // One build serves anybody: where the API is, the page is told when it is asked for.
  answers.set("/", Buffer.from(html.replace('name="tasks-api" content=""', `name="tasks-api" content="${api}"`)));
  answers.delete("/index.html");
  return answers;
}
const files = built();
const handleAuth = toNodeHandler(auth);

/**
 * Better Auth's answer, unless the body is too long: said to be, or found to be.
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 */
function answerAuth(request, response) {
  const refuse = () => {
    if (response.headersSent) return void request.destroy();
    response.writeHead(413, { "content-type": "text/plain", connection: "close" });
    response.end(`The body has more than ${BODY_MAX} bytes\n`, () => request.destroy());
  };
  if (Number(request.headers["content-length"]) > BODY_MAX) return refuse();
  // What it throws is about a host that nobody is to ask it by.
  handleAuth(request, response).catch(() => response.headersSent || response.writeHead(421).end());
  let length = 0;
  request.on("data", (chunk) => {
    length += chunk.length;
    if (length > BODY_MAX) refuse();
  });
}

const server = createServer((request, response) => {
  // Not by `new URL`, which throws at some of what may be asked for, such as `//`.
  const [path = ""] = (request.url ?? "").split("?", 1);
  if (path.startsWith("/api/auth/")) return answerAuth(request, response);
  // It listens only when all of it is ready.
  if (path === "/readyz") return void response.end();
  const found = files.get(path);
  if (!found) return void response.writeHead(404, { "content-type": "text/plain" }).end("Not found\n");
  if (request.method !== "GET" && request.method !== "HEAD") return void response.writeHead(405, { allow: "GET, HEAD" }).end();
  response.writeHead(200, {
    "content-type": TYPES[extname(path) || ".html"] ?? "application/octet-stream",
    "content-length": found.length,
    // The names of assets change with their content.
    "cache-control": path.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : found);
});

function stop() {
  server.close(() => void pool.end().then(() => process.exit(0)));
  server.closeIdleConnections();
  // Who keeps a connection busy longer than that is not waited for.
  setTimeout(() => process.exit(0), 3_000).unref();
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
if (process.argv.includes("--until-stdin-closes")) process.stdin.resume().on("end", stop);

try {
  await pool.query(`create schema if not exists ${SCHEMA}`);
  await (await getMigrations(auth.options)).runMigrations();
} catch (error) {
  console.error(`Better Auth's tables: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
server.on("error", (error) => {
  console.error(`listen on ${listen.host}: ${error.message}`);
  process.exit(1);
});
server.listen(Number(listen.port), listen.hostname.replace(/^\[|\]$/g, ""));
