import { betterAuth } from "better-auth";
import { nextCookies } from "better-auth/next-js";
import { Pool } from "pg";

// Secret and base URL are BETTER_AUTH_SECRET and BETTER_AUTH_URL, the same that the gateway's side has.
export const auth = betterAuth({
  database: new Pool({ connectionString: process.env.DATABASE_URL }),
  emailAndPassword: {
    enabled: true,
    // Stands in for an e-mail.
    sendResetPassword: async ({ user, url }) => console.log(`reset link for ${user.email}: ${url}`),
  },
  // auth-verifier asks here who a cookie belongs to.
  rateLimit: { customRules: { "/get-session": false } },
  plugins: [nextCookies()],
});
