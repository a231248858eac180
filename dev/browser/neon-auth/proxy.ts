import { auth } from "@/lib/auth/server";

// Who isn't signed in signs in first.
export default auth.middleware({ loginUrl: "/auth/sign-in" });

export const config = { matcher: ["/((?!api|_next/static|_next/image|favicon.ico).*)"] };
