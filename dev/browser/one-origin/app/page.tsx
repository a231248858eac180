import { headers } from "next/headers";
import Image from "next/image";
import Link from "next/link";
import { redirect } from "next/navigation";
import { auth } from "@/lib/auth";
import { add } from "@/lib/server-tasks";
import icon from "./icon.png";
import { Live } from "./live";
import { SignOut } from "./sign-out";
import { Tasks } from "./tasks";

// A server action: the browser posts here, and the server asks the tasks API for it.
async function addOnServer(form: FormData) {
  "use server";
  await add(String(form.get("title")));
  redirect("/summary");
}

export default async function Page() {
  const session = await auth.api.getSession({ headers: await headers() });
  if (!session) redirect("/sign-in");
  return (
    <>
      <header>
        <Image src={icon} alt="" width={32} height={32} />
        <h1>{session.user.name}’s tasks</h1>
        <SignOut />
      </header>
      <Tasks />
      <h2>Added by the server</h2>
      <form action={addOnServer}>
        <input name="title" aria-label="Title for the server" placeholder="By a server action" required />
        <button>Add on the server</button>
      </form>
      <h2>Live</h2>
      <Live />
      <nav>
        <Link href="/summary">Summary</Link>
      </nav>
    </>
  );
}
