import Link from "next/link";
import { Suspense } from "react";
import { list } from "@/lib/server-tasks";

// Read on the server with the caller's cookie, and late, so that the page's head comes before it.
async function Summary() {
  const [tasks] = await Promise.all([list(), new Promise((done) => setTimeout(done, 700))]);
  const open = tasks.filter((task) => !task.completed).length;
  return (
    <p data-testid="summary">
      {tasks.length} tasks, {open} open: {tasks.map((task) => task.title).join(", ")}
    </p>
  );
}

export default function Page() {
  return (
    <>
      <h1>Summary</h1>
      <Suspense fallback={<p>One moment…</p>}>
        <Summary />
      </Suspense>
      <nav>
        <Link href="/">Tasks</Link>
      </nav>
    </>
  );
}
