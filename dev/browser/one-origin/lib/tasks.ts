// What the tasks API answers, and how it is asked: by the browser at its own origin, with the session cookie that it sends anyway.
export type Task = { id: string; title: string; completed: boolean };

async function answered<T>(response: Response): Promise<T> {
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.status === 204 ? (undefined as T) : response.json();
}

const json = { "content-type": "application/json" };

export const tasks = {
  list: async () => answered<Task[]>(await fetch("/api/tasks")),
  add: async (title: string) =>
    answered<Task>(await fetch("/api/tasks", { method: "POST", headers: json, body: JSON.stringify({ title }) })),
  toggle: async (id: string) => answered<Task>(await fetch(`/api/tasks/${id}/complete`, { method: "PATCH" })),
  remove: async (id: string) => answered<void>(await fetch(`/api/tasks/${id}`, { method: "DELETE" })),
};
