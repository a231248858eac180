"use client";

import { useRouter } from "next/navigation";
import { SignIn } from "../../../sign-in";
import { authClient } from "@/lib/auth-client";

export default function Page() {
  const router = useRouter();
  const entered = () => {
    router.push("/");
    router.refresh();
  };
  return <SignIn authClient={authClient} entered={entered} />;
}
