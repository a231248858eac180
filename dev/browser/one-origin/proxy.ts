import { getSessionCookie } from "better-auth/cookies";
import { NextResponse, type NextRequest } from "next/server";

// Who has no session cookie signs in first, as Better Auth's documentation has it; the pages themselves check the session.
export function proxy(request: NextRequest) {
  return getSessionCookie(request) ? NextResponse.next() : NextResponse.redirect(new URL("/sign-in", request.url));
}

export const config = { matcher: ["/", "/summary"] };
