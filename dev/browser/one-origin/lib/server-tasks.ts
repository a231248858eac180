import { headers } from "next/headers";
import type { Task } from "./tasks";

// The same API, asked by the server for whoever it is answering. Behind one origin, the gateway is at the app's own address; where the
// server reaches it by another one, GATEWAY_URL says so.
const origin = process.env.BETTER_AUTH_URL ?? "";
const gateway = process.env.GATEWAY_URL ?? origin;

async function ask(path: string, init?: RequestInit): Promise<Response> {
  const cookie = (await headers()).get("cookie") ?? "";
  // By its origin, the gateway knows that the change is this app's own.
  return fetch(`${gateway}${path}`, { ...init, cache: "no-store", headers: { ...init?.headers, cookie, origin } });
}

export async function list(): Promise<Task[]> {
  const response = await ask("/api/tasks");
  if (!response.ok) throw new Error(`tasks: ${response.status} ${await response.text()}`);
  return response.json();
}

export async function add(title: string): Promise<void> {
  const headers = { "content-type": "application/json" };
  const response = await ask("/api/tasks", { method: "POST", headers, body: JSON.stringify({ title }) });
  if (!response.ok) throw new Error(`tasks: ${response.status} ${await response.text()}`);
}
