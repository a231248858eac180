"use client";

import { SignIn } from "../../../../sign-in";
import { authClient } from "@/lib/auth/client";

export default function Page() {
  return <SignIn authClient={authClient} entered={() => location.assign("/")} />;
}
