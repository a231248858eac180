// The tasks of whoever is signed in: found, ticked, changed, removed and brought back.
import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Attempt, Say } from "./app.js";
import { daysUntil, inWords } from "./days.js";
import { EditTask } from "./edit-task.js";
import { PRIORITIES } from "./fields.js";
import { NewTask } from "./new-task.js";
import type { User } from "./session.js";
import { add, copyOf, list, newKey, remove, tick, type Page, type Sort, type Task, type Wanted } from "./tasks.js";

/** How many tasks come at a time, and the most that one answer of the API has. */
const PAGE = 20;
const PAGE_MAX = 1000;

/** How long after the last letter a search begins, in milliseconds. */
const PAUSE = 200;

const STATUSES = { all: "All", pending: "Open", completed: "Done" } as const;
const SORTS: Record<Sort, string> = { created_at: "Newest", due_date: "Due first", priority: "Priority", title: "Title" };

type Props = {
  user: User;
  isActive: boolean;
  say: Say;
  attempt: Attempt;
  /** What is said, for a dialog to show. */
  notice: ComponentChildren;
  onDialog: (isOpen: boolean) => void;
};

export function TaskList({ user, isActive, say, attempt, notice, onDialog }: Props) {
  const [wanted, setWanted] = useState<Wanted>({ search: "", status: "all", sort: "created_at" });
  const [page, setPage] = useState<Page>();
  const [edited, setEdited] = useState<Task>();
  const heading = useRef<HTMLHeadingElement>(null);
  const asking = useRef<AbortController>(undefined);
  const shown = useRef(0);
  shown.current = page?.tasks.length ?? 0;

  useEffect(() => onDialog(edited !== undefined), [edited]);

  /** Asks for all that is shown once more: what the API says is what is shown. Of several, the last one counts. */
  const load = useCallback(async () => {
    asking.current?.abort();
    const { signal } = (asking.current = new AbortController());
    const found = await list(wanted, Math.min(Math.max(PAGE, shown.current), PAGE_MAX), undefined, signal);
    setPage(found);
  }, [wanted]);

  useEffect(() => {
    if (!isActive) return;
    const begun = setTimeout(() => void attempt(load), page ? PAUSE : 0);
    const look = () => document.visibilityState === "visible" && void attempt(load);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearTimeout(begun);
      document.removeEventListener("visibilitychange", look);
    };
  }, [load, isActive]);

  const more = () =>
    attempt(async () => {
      if (!page?.next) return;
      const begins = page.tasks.length;
      const next = await list(wanted, PAGE, page.next);
      // One that came in meanwhile has moved the others: none is shown twice.
      const known = new Set(page.tasks.map(({ id }) => id));
      setPage({ ...next, tasks: [...page.tasks, ...next.tasks.filter(({ id }) => !known.has(id))] });
      say({ text: `${next.tasks.length} more tasks are shown.` });
      requestAnimationFrame(() => document.querySelectorAll<HTMLElement>(".tasks li input")[begins]?.focus());
    });

  const restore = (task: Task, key: string) =>
    attempt(async () => {
      await add(copyOf(task), key);
      say({ text: `“${task.title}” is back.` });
      await load();
      heading.current?.focus();
    });
  const removed = (task: Task) =>
    attempt(async () => {
      await remove(task);
      const key = newKey();
      say({ text: `“${task.title}” is deleted.`, action: { label: "Undo", run: () => void restore(task, key) } });
      // Its button is gone: whoever is at the keyboard goes on from here.
      heading.current?.focus();
      await load();
    });
  const ticked = (task: Task, completed: boolean) =>
    attempt(async () => {
      const after = await tick(task, completed);
      say({ text: `“${after.title}” is ${after.completed ? "done" : "open again"}.` });
    }).then(() => attempt(load));

  const isNarrowed = wanted.search !== "" || wanted.status !== "all";
  return (
    <>
      <NewTask
        attempt={attempt}
        onAdded={async (task) => {
          say({ text: `“${task.title}” is added.` });
          await load();
        }}
      />
      <section class="card" aria-labelledby="tasks">
        <div class="bar">
          <h1 id="tasks" ref={heading} tabIndex={-1}>
            {user.name}’s tasks {page && <span class="count">{page.total}</span>}
          </h1>
          <input
            type="search"
            aria-label="Search"
            placeholder="Search"
            value={wanted.search}
            onInput={(event) => setWanted({ ...wanted, search: event.currentTarget.value })}
          />
          <fieldset class="choice" aria-label="Show">
            {Object.entries(STATUSES).map(([status, label]) => (
              <label key={status}>
                <input
                  type="radio"
                  name="status"
                  checked={wanted.status === status}
                  onChange={() => setWanted({ ...wanted, status: status as Wanted["status"] })}
                />
                <span>{label}</span>
              </label>
            ))}
          </fieldset>
          <select
            aria-label="Sort by"
            value={wanted.sort}
            onChange={(event) => setWanted({ ...wanted, sort: event.currentTarget.value as Sort })}
          >
            {Object.entries(SORTS).map(([sort, label]) => (
              <option key={sort} value={sort}>
                {label}
              </option>
            ))}
          </select>
        </div>
        <ul class="tasks" aria-label="Tasks" aria-busy={page === undefined}>
          {page?.tasks.map((task) => (
            <li key={task.id} class={task.completed ? "done" : ""}>
              <input
                type="checkbox"
                aria-label={`Done: ${task.title}`}
                checked={task.completed}
                onChange={(event) => void ticked(task, event.currentTarget.checked)}
              />
              <div class="what">
                <span class="title">{task.title}</span>
                {task.description && <span class="description">{task.description}</span>}
              </div>
              <Marks task={task} />
              <div class="do">
                <button class="quiet" aria-label={`Edit: ${task.title}`} onClick={() => setEdited(task)}>
                  Edit
                </button>
                <button class="quiet" aria-label={`Delete: ${task.title}`} onClick={() => void removed(task)}>
                  Delete
                </button>
              </div>
            </li>
          ))}
        </ul>
        {page?.tasks.length === 0 && (
          <p class="empty">{isNarrowed ? "No task fits. Search for less, or show all." : "Nothing to do. Add your first task above."}</p>
        )}
        {page?.next && (
          <button class="quiet more" onClick={more}>
            Load more ({page.tasks.length} of {page.total})
          </button>
        )}
      </section>
      {edited && (
        <EditTask
          key={edited.id}
          task={edited}
          isActive={isActive}
          attempt={attempt}
          notice={notice}
          onClose={(text) => {
            setEdited(undefined);
            if (text === undefined) return;
            say({ text });
            void attempt(load);
          }}
        />
      )}
    </>
  );
}

/** When a task is due, and how much it matters. */
function Marks({ task: { due_date, priority, completed } }: { task: Task }) {
  const isLate = due_date !== null && !completed && daysUntil(due_date) < 0;
  return (
    <div class="marks">
      {priority && <span class={`mark ${priority}`}>{PRIORITIES.find(([name]) => name === priority)?.[1]}</span>}
      {due_date && (
        <span class={`mark ${isLate ? "late" : ""}`}>
          {isLate && <span class="unseen">Overdue: </span>}
          {inWords(due_date)}
        </span>
      )}
    </div>
  );
}
