// Plays Neon: a real Better Auth, set up as Neon's documentation and its SDK show theirs to be. What isn't written anywhere (its rate
// limits, what else it does with the headers that the SDK sends) isn't played.
//
//     DATABASE_URL=postgresql://… ORIGINS=http://localhost:3000,… node neon/server.mjs
//
// Prints its base URL, as Neon's console gives it, and then a line for each request: what was asked for, and the names of what came along.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { admin, bearer, jwt, organization } from "better-auth/plugins";
import pg from "pg";

const port = 4400;
const here = `http://localhost:${port}`;
// With the name of the database, as Neon has it.
const basePath = "/neondb/auth";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, options: "-c search_path=neon_auth" });
await pool.query("create schema if not exists neon_auth");

// The organization that a session works for, as the claim `o`.
async function active({ activeOrganizationId: id, userId }) {
  if (!id) return {};
  const { rows } = await pool.query(
    'select o.id, o.slug, m.role from organization o join member m on m."organizationId" = o.id where o.id = $1 and m."userId" = $2',
    [id, userId],
  );
  return rows[0] ? { o: rows[0] } : {};
}

const auth = betterAuth({
  baseURL: here,
  basePath,
  // Nobody else has it, as with Neon: no cookie's signature can be checked elsewhere.
  secret: crypto.randomUUID() + crypto.randomUUID(),
  database: pool,
  trustedOrigins: (process.env.ORIGINS ?? "").split(",").filter(Boolean),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  advanced: {
    cookiePrefix: "neon-auth",
    // Pages are elsewhere.
    useSecureCookies: true,
    defaultCookieAttributes: { sameSite: "none", secure: true, partitioned: true },
    database: { generateId: "uuid" },
  },
  plugins: [
    admin(),
    organization(),
    bearer(),
    jwt({
      jwks: { jwksPath: "/.well-known/jwks.json", keyPairConfig: { alg: "EdDSA", crv: "Ed25519" } },
      jwt: {
        issuer: here,
        audience: here,
        expirationTime: "15m",
        definePayload: async ({ user, session }) => ({
          id: user.id,
          email: user.email,
          emailVerified: user.emailVerified,
          role: "authenticated",
          banned: user.banned ?? false,
          banReason: user.banReason ?? null,
          banExpires: user.banExpires ?? null,
          ...(await active(session)),
        }),
      },
    }),
  ],
});
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();

const handle = toNodeHandler(auth);
const server = createServer((request, response) => {
  const cookies = (request.headers.cookie ?? "").split(";").map((pair) => pair.split("=")[0].trim()).filter(Boolean);
  const headers = Object.keys(request.headers).sort();
  const { origin, "user-agent": agent } = request.headers;
  response.on("finish", () => {
    const path = request.url.split("?")[0];
    console.log(JSON.stringify({ method: request.method, path, status: response.statusCode, origin, agent, cookies, headers }));
  });
  handle(request, response);
});
server.listen(port, "localhost", () => console.log(`${here}${basePath}`));
