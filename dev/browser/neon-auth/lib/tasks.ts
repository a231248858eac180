// The tasks API is the gateway's, at an origin of its own: the page shows that it is signed in by the cookies that the browser sends, or by
// a token.
const api = process.env.NEXT_PUBLIC_API_URL ?? "http://localhost:8000";

export type Task = { id: string; title: string; completed: boolean };

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers = { "content-type": "application/json", ...init.headers };
  const response = await fetch(`${api}/api/tasks${path}`, { credentials: "include", ...init, headers });
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.status === 204 ? (undefined as T) : response.json();
}

export const tasks = {
  list: () => ask<Task[]>(""),
  add: (title: string) => ask<Task>("", { method: "POST", body: JSON.stringify({ title }) }),
  // Without any cookie.
  listByToken: (token: string) =>
    ask<Task[]>("", { credentials: "omit", headers: { authorization: `Bearer ${token}` } }),
};
