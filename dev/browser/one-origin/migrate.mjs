// Makes Better Auth's tables, as its command line does (`npx auth migrate`).
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const { options } = betterAuth({ database: pool, emailAndPassword: { enabled: true } });
await (await getMigrations(options)).runMigrations();
await pool.end();
