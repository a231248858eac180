// A real Better Auth on a port of its own, over the test's PostgreSQL. Settings come from the environment, as for
// any application: BETTER_AUTH_URL, BETTER_AUTH_SECRET, DATABASE_URL. ALGORITHM sets the key pairs' algorithm, COOKIE_CACHE
// the strategy of the cookie cache, COOKIE_PREFIX the prefix of all cookies.
// Prints "ready" when it answers; stops when standard input ends, so that it never outlives the test.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { admin, bearer, jwt } from "better-auth/plugins";
import pg from "pg";

const { ALGORITHM, BETTER_AUTH_URL, COOKIE_CACHE, COOKIE_PREFIX, DATABASE_URL } = process.env;

const auth = betterAuth({
  baseURL: BETTER_AUTH_URL,
  database: new pg.Pool({ connectionString: DATABASE_URL, max: 4 }),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  advanced: COOKIE_PREFIX ? { cookiePrefix: COOKIE_PREFIX } : {},
  session: COOKIE_CACHE ? { cookieCache: { enabled: true, strategy: COOKIE_CACHE, maxAge: 300 } } : {},
  plugins: [jwt(ALGORITHM ? { jwks: { keyPairConfig: { alg: ALGORITHM } } } : {}), bearer(), admin()],
});

const { runMigrations } = await getMigrations(auth.options);
await runMigrations();

const { hostname, port } = new URL(BETTER_AUTH_URL);
createServer(toNodeHandler(auth)).listen(Number(port), hostname, () => console.log("ready"));
process.stdin.on("end", () => process.exit(0)).resume();
