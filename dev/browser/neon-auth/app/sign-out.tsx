"use client";

import { authClient } from "@/lib/auth/client";

export function SignOut() {
  const leave = async () => {
    await authClient.signOut();
    location.assign("/auth/sign-in");
  };
  return (
    <button className="quiet" onClick={() => void leave()}>
      Sign out
    </button>
  );
}
