// What the page asks of the tasks API, in its own words. Every write has a key, so that it can be sent again.
import { nextCursor, tasksApi, type NewTask, type Problem, type Task, type TaskChanges } from "./api/client.js";
import { patient } from "./api/patience.js";
import { SignedOut, me, renewed, token } from "./session.js";

export type { NewTask, Priority, Task, TaskChanges } from "./api/client.js";
export { SignedOut };

/** Where the gateway is. The page that came through it asks its own origin, with the session's cookie; others send a token. */
const said = document.querySelector<HTMLMetaElement>('meta[name="tasks-api"]')?.content;
export const origin = said || location.origin;
export const byToken = origin !== location.origin;

let tell: (why: string | undefined) => void = () => {};
/** Whoever shows why it takes so long. */
export const onWait = (show: typeof tell) => void (tell = show);

const send = patient({ waits: (why) => tell(why), ...(byToken ? { renewed } : {}) });
const api = tasksApi(origin, byToken ? token : undefined, send);

/** The API refused: `message` is a sentence for the person, `fields` say what is wrong with which. */
export class Refused extends Error {
  readonly status: number;
  readonly fields: Map<string, string>;
  constructor({ status, detail, errors = [] }: Problem) {
    super(detail);
    this.status = status;
    this.fields = new Map(errors.map(({ field, detail }) => [field, detail]));
  }
}

/** An answer's data, or else what was wrong. */
function taken<T>({ data, error, response }: { data?: T; error?: Problem; response: Response }): T {
  if (response.ok) return data as T;
  // 403: in another tab, somebody else has signed in. Whose tasks are meant stands in the path.
  if (response.status === 401 || response.status === 403) throw new SignedOut();
  // A proxy between us may answer with no problem at all.
  const detail = error?.detail ?? `The service answered ${response.status}. Try again in a moment.`;
  throw new Refused({ title: "", type: "", ...error, detail, status: response.status });
}

/** A name for one write: whoever sends it again sends the same one. */
export const newKey = () => crypto.randomUUID();

export type Sort = "created_at" | "due_date" | "priority" | "title";
export type Wanted = { search: string; status: "all" | "pending" | "completed"; sort: Sort };
export type Page = { tasks: Task[]; next: string | undefined; total: number };

/** A page of the list, as many as `limit`, behind `cursor`. */
export async function list({ search, status, sort }: Wanted, limit: number, cursor?: string, signal?: AbortSignal): Promise<Page> {
  const query = { status, sort, limit, total: true, ...(search ? { search } : {}), ...(cursor ? { cursor } : {}) };
  const answer = await api.GET("/api/{user_id}/tasks", { params: { path: { user_id: me() }, query }, ...(signal ? { signal } : {}) });
  const tasks = taken(answer);
  return { tasks, next: nextCursor(answer.response), total: Number(answer.response.headers.get("X-Total-Count")) };
}

/** A task, and the version that was read. */
export type Version = { task: Task; version: string };

const version = ({ headers }: Response) => headers.get("ETag") ?? "";
const path = ({ id }: Task) => ({ id, user_id: me() });

export async function read(task: Task): Promise<Version> {
  const answer = await api.GET("/api/{user_id}/tasks/{id}", { params: { path: path(task) } });
  return { task: taken(answer), version: version(answer.response) };
}

export async function add(task: NewTask, key: string): Promise<Task> {
  return taken(await api.POST("/api/{user_id}/tasks", { params: { path: { user_id: me() }, header: { "Idempotency-Key": key } }, body: task }));
}

/** Changes a task; nothing if somebody has changed it since that version. */
export async function change({ task, version }: Version, changes: TaskChanges, key: string): Promise<Task | undefined> {
  const header = { "If-Match": version, "Idempotency-Key": key };
  const answer = await api.PATCH("/api/{user_id}/tasks/{id}", { params: { path: path(task), header }, body: changes });
  return answer.response.status === 412 ? undefined : taken(answer);
}

/** Says whether it is done, rather than turns it over: two tabs that tick it have ticked it. */
export async function tick(task: Task, completed: boolean): Promise<Task> {
  const header = { "Idempotency-Key": newKey() };
  return taken(await api.PATCH("/api/{user_id}/tasks/{id}/complete", { params: { path: path(task), header }, body: { completed } }));
}

/** Removes a task. One that is gone already is what was wanted. */
export async function remove(task: Task): Promise<void> {
  const header = { "Idempotency-Key": newKey() };
  const answer = await api.DELETE("/api/{user_id}/tasks/{id}", { params: { path: path(task), header } });
  if (answer.response.status !== 404) taken(answer);
}

/** What a task was, to be made once more: another one to the API, with another id. */
export function copyOf({ title, description, completed, priority, due_date, tags }: Task): NewTask {
  return { title, description, completed, priority, due_date, tags };
}
