import { createNeonAuth } from "@neondatabase/auth/next/server";

// As Neon's quick start has it.
export const auth = createNeonAuth({
  baseUrl: process.env.NEON_AUTH_BASE_URL!,
  cookies: {
    secret: process.env.NEON_AUTH_COOKIE_SECRET!,
    // In seconds; the quick start leaves it at 300. The checks don't wait that long.
    sessionDataTtl: Number(process.env.SESSION_DATA_TTL ?? 300),
  },
});
