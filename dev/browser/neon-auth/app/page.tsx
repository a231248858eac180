import { auth } from "@/lib/auth/server";
import { SignOut } from "./sign-out";
import { Tasks } from "./tasks";

export const dynamic = "force-dynamic";

export default async function Page() {
  const { data } = await auth.getSession();
  return (
    <>
      <header>
        <h1>{data?.user?.name}’s tasks</h1>
        <SignOut />
      </header>
      <Tasks />
    </>
  );
}
