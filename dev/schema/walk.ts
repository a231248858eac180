// A walk through the API with the typed client, as a frontend would take it. Every line of it is compiled strictly.
import assert from "node:assert/strict";
import { nextCursor, tasksApi, type Problem, type Task } from "./generated/client.js";

const said = (name: string) => process.env[name] ?? assert.fail(`${name} is not set`);
const [origin, token] = [said("ORIGIN"), said("TOKEN")];
const api = tasksApi(origin, () => token);

// Only what was written here: others may have written before.
const tag = `walk-${crypto.randomUUID()}`;

const created: Task[] = [];
for (const title of ["Buy milk", "Sweep", "Call Ada"]) {
  const { data, response } = await api.POST("/api/tasks", {
    body: { title, tags: [tag], priority: "high", due_date: "2026-01-31" },
    params: { header: { "Idempotency-Key": `${tag}-${title.replaceAll(" ", "-")}` } },
  });
  assert.equal(response.status, 201);
  assert.ok(data);
  assert.equal(response.headers.get("Location"), `/api/tasks/${data.id}`);
  assert.equal(data.due_date, "2026-01-31");
  created.push(data);
}

// A key that comes again is answered as it was, and does nothing.
const again = await api.POST("/api/tasks", {
  body: { title: "Buy milk", tags: [tag], priority: "high", due_date: "2026-01-31" },
  params: { header: { "Idempotency-Key": `${tag}-Buy-milk` } },
});
assert.equal(again.data?.id, created[0]?.id);

// Page by page.
const listed: Task[] = [];
let cursor: string | undefined;
let pages = 0;
do {
  const { data, response } = await api.GET("/api/tasks", {
    params: { query: { tag, sort: "title", limit: 2, total: true, ...(cursor === undefined ? {} : { cursor }) } },
  });
  assert.ok(data);
  assert.equal(response.headers.get("X-Total-Count"), "3");
  listed.push(...data);
  cursor = nextCursor(response);
  pages += 1;
} while (cursor !== undefined);
assert.equal(pages, 2);
assert.deepEqual(listed.map(({ title }) => title), ["Buy milk", "Call Ada", "Sweep"]);

// Changed by two who have read the same: the second one hears 412, and what it means is typed.
const id = listed[0]?.id ?? assert.fail("there is no task");
const path = { id };
const read = await api.GET("/api/tasks/{id}", { params: { path } });
const version = read.response.headers.get("ETag") ?? assert.fail("a task has an ETag");
const first = await api.PATCH("/api/tasks/{id}", {
  params: { path, header: { "If-Match": version } },
  body: { description: "two bottles", due_date: null },
});
assert.equal(first.data?.description, "two bottles");
assert.equal(first.data?.due_date, null);
assert.equal(first.data?.priority, "high");
const second = await api.PATCH("/api/tasks/{id}", {
  params: { path, header: { "If-Match": version } },
  body: { description: "three bottles" },
});
assert.equal(second.response.status, 412);
const stale: Problem = second.error ?? assert.fail("a refusal is a problem");
assert.equal(stale.type, "urn:usher:problem:precondition-failed");

// Unchanged, for who has it.
const unchanged = await api.GET("/api/tasks/{id}", {
  params: { path, header: { "If-None-Match": first.response.headers.get("ETag") ?? "" } },
});
assert.equal(unchanged.response.status, 304);

// Completed: said, and turned over.
const done = await api.PATCH("/api/tasks/{id}/complete", { params: { path }, body: { completed: true } });
assert.equal(done.data?.completed, true);
const open = await api.PATCH("/api/tasks/{id}/complete", { params: { path } });
assert.equal(open.data?.completed, false);

// The other form of path leads to the same.
const user_id = created[0]?.user_id ?? assert.fail("a task has its owner");
const same = await api.GET("/api/{user_id}/tasks/{id}", { params: { path: { id, user_id } } });
assert.deepEqual(same.data, open.data);
const foreign = await api.GET("/api/{user_id}/tasks", { params: { path: { user_id: "somebody-else" } } });
assert.equal(foreign.response.status, 403);

// Wrong input names its fields.
const wrong = await api.POST("/api/tasks", { body: { title: "x".repeat(201), tags: [""] } });
assert.equal(wrong.response.status, 422);
assert.deepEqual(wrong.error?.errors?.map(({ field }) => field), ["title", "tags[0]"]);

// Nobody is let in without a token.
const nobody = await tasksApi(origin, () => "x").GET("/api/tasks");
assert.equal(nobody.response.status, 401);

for (const task of created) {
  const { response } = await api.DELETE("/api/tasks/{id}", { params: { path: { id: task.id } } });
  assert.equal(response.status, 204);
}
const gone = await api.GET("/api/tasks/{id}", { params: { path } });
assert.equal(gone.response.status, 404);

// What the compiler refuses, it refuses.
// @ts-expect-error: a title is required.
void (() => api.POST("/api/tasks", { body: { completed: true } }));
// @ts-expect-error: there are four priorities.
void (() => api.POST("/api/tasks", { body: { title: "t", priority: "later" } }));
// @ts-expect-error: it may be null.
void ((task: Task): string => task.description);

console.log("walk: made, listed by pages, changed, refused, completed and removed as it is described");
