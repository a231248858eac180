import { auth } from "@/lib/auth";

// Counts for whoever is signed in, an event each 300 ms; who comes again goes on behind what was heard last.
export async function GET(request: Request) {
  const session = await auth.api.getSession({ headers: request.headers });
  if (!session) return new Response(null, { status: 401 });
  let count = Number(request.headers.get("last-event-id") ?? 0);
  const resumed = count > 0;
  let timer: NodeJS.Timeout;
  const stream = new ReadableStream({
    start(controller) {
      const encoder = new TextEncoder();
      controller.enqueue(encoder.encode("retry: 300\n\n"));
      timer = setInterval(() => {
        count += 1;
        controller.enqueue(encoder.encode(`id: ${count}\ndata: ${count}${resumed ? " (resumed)" : ""}\n\n`));
      }, 300);
    },
    cancel: () => clearInterval(timer),
  });
  return new Response(stream, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
}
