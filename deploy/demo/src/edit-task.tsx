// The dialog in which a task is changed; and what it says where somebody has changed it meanwhile.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Attempt } from "./app.js";
import { dayOf, inWords } from "./days.js";
import { Field, PRIORITIES, PriorityChoice } from "./fields.js";
import { Refused, change, newKey, read, type Priority, type Task, type TaskChanges, type Version } from "./tasks.js";

type Form = { title: string; description: string; due_date: string; priority: Priority | "" };
const LABELS: Record<keyof Form, string> = { title: "Title", description: "Description", due_date: "Due", priority: "Priority" };
const NAMES = Object.keys(LABELS) as (keyof Form)[];

const formOf = ({ title, description, due_date, priority }: Task): Form => ({
  title,
  description: description ?? "",
  due_date: due_date === null ? "" : dayOf(due_date),
  priority: priority ?? "",
});

/** What was changed, and nothing else: a moment that somebody else has set stays to the second. */
function changesOf(form: Form, begun: Form): TaskChanges {
  const changed = NAMES.filter((name) => form[name] !== begun[name]);
  return Object.fromEntries(changed.map((name) => [name, name === "title" ? form[name] : form[name] || null]));
}

/** A field's value, as people read it. */
function told(form: Form, name: keyof Form): string {
  if (form[name] === "") return "—";
  if (name === "due_date") return inWords(form.due_date);
  return name === "priority" ? (PRIORITIES.find(([value]) => value === form.priority)?.[1] ?? "") : form[name];
}

/** Two changes of one task, field by field, as far as either changed it: what will be there with mine, and what is there. */
function compared(form: Form, begun: Task, saved: Task): [label: string, mine: string, saved: string][] {
  const [before, now] = [formOf(begun), formOf(saved)];
  const fields = NAMES.filter((name) => form[name] !== before[name] || now[name] !== before[name]);
  const rows = fields.map((name): [string, string, string] => {
    const mine = form[name] === before[name] ? now : form;
    return [LABELS[name], told(mine, name), told(now, name)];
  });
  const done = saved.completed ? "Yes" : "No";
  return saved.completed === begun.completed ? rows : [...rows, ["Done", done, done]];
}

type Props = { task: Task; isActive: boolean; attempt: Attempt; notice: ComponentChildren; onClose: (text?: string) => void };

export function EditTask({ task, isActive, attempt, notice, onClose }: Props) {
  // What the changes are made to, and their fields as they were then.
  const [base, setBase] = useState<Version>();
  const [form, setForm] = useState(formOf(task));
  // What is there now, where that isn't what the changes were made to.
  const [theirs, setTheirs] = useState<Version>();
  const [problems, setProblems] = useState(new Map<string, string>());
  const dialog = useRef<HTMLDialogElement>(null);
  const conflict = useRef<HTMLHeadingElement>(null);

  useEffect(() => {
    const opener = document.activeElement as HTMLElement | null;
    void attempt(async () => {
      const found = await read(task);
      setBase(found);
      setForm(formOf(found.task));
    }).then((isRead) => isRead || onClose());
    return () => opener?.isConnected && opener.focus();
  }, []);
  useEffect(() => {
    if (isActive && base) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isActive, base !== undefined]);
  useEffect(() => conflict.current?.focus(), [theirs]);

  /** Saves the changes, on top of that version. */
  const save = (onto: Version) =>
    attempt(async () => {
      const changes = changesOf(form, formOf(base?.task ?? task));
      if (Object.keys(changes).length === 0) return onClose();
      setProblems(new Map());
      try {
        const saved = await change(onto, changes, newKey());
        if (saved) return onClose(`“${saved.title}” is saved.`);
        setTheirs(await read(task));
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (error.status === 404) return onClose(`“${task.title}” was deleted meanwhile.`);
        setProblems(error.fields);
        throw error;
      }
    });

  const set = (changed: Partial<Form>) => {
    setForm({ ...form, ...changed });
    setProblems(new Map());
  };
  const cancel = (event: Event) => {
    event.preventDefault();
    onClose();
  };
  return (
    <dialog ref={dialog} aria-labelledby="edit" onCancel={cancel}>
      {theirs && base ? (
        <>
          <h2 id="edit" ref={conflict} tabIndex={-1}>
            This task has been changed
          </h2>
          <p>While you were editing, it was saved in another place. Nothing is lost: choose which version to keep.</p>
          <table class="versions">
            <thead>
              <tr>
                <td />
                <th scope="col">Yours</th>
                <th scope="col">Saved meanwhile</th>
              </tr>
            </thead>
            <tbody>
              {compared(form, base.task, theirs.task).map(([label, mine, saved]) => (
                <tr key={label}>
                  <th scope="row">{label}</th>
                  <td>{mine}</td>
                  <td>{saved}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <div class="buttons">
            <button class="quiet" onClick={() => onClose(`“${theirs.task.title}” stays as it was saved.`)}>
              Take the saved one
            </button>
            <button onClick={() => void save(theirs)}>Save mine</button>
          </div>
        </>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (base) void save(base);
          }}
        >
          <h2 id="edit">Edit task</h2>
          <Field label="Title" problem={problems.get("title")}>
            {(ids) => <input {...ids} value={form.title} onInput={(event) => set({ title: event.currentTarget.value })} required />}
          </Field>
          <Field label="Description" problem={problems.get("description")}>
            {(ids) => (
              <textarea {...ids} rows={3} value={form.description} onInput={(event) => set({ description: event.currentTarget.value })} />
            )}
          </Field>
          <div class="pair">
            <Field label="Due" problem={problems.get("due_date")}>
              {(ids) => <input {...ids} type="date" value={form.due_date} onInput={(event) => set({ due_date: event.currentTarget.value })} />}
            </Field>
            <Field label="Priority" problem={problems.get("priority")}>
              {(ids) => <PriorityChoice {...ids} value={form.priority} onChange={(priority) => set({ priority })} />}
            </Field>
          </div>
          <div class="buttons">
            <button type="button" class="quiet" onClick={() => onClose()}>
              Cancel
            </button>
            <button>Save</button>
          </div>
        </form>
      )}
      {isActive && notice}
    </dialog>
  );
}
