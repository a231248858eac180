// The form for a new task.
import { useRef, useState } from "preact/hooks";
import type { Attempt } from "./app.js";
import { Field, PriorityChoice } from "./fields.js";
import { Refused, add, newKey, type Priority, type Task } from "./tasks.js";

export function NewTask({ attempt, onAdded }: { attempt: Attempt; onAdded: (task: Task) => Promise<void> }) {
  const [title, setTitle] = useState("");
  const [due, setDue] = useState("");
  const [priority, setPriority] = useState<Priority | "">("");
  const [problems, setProblems] = useState(new Map<string, string>());
  const [isBusy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  // The same task has the same key, however often it is sent.
  const sent = useRef({ text: "", key: "" });

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const task = { title, due_date: due || null, priority: priority || null };
    const text = JSON.stringify(task);
    if (sent.current.text !== text) sent.current = { text, key: newKey() };
    setBusy(true);
    setProblems(new Map());
    await attempt(async () => {
      try {
        const added = await add(task, sent.current.key);
        sent.current = { text: "", key: "" };
        setTitle("");
        setDue("");
        setPriority("");
        await onAdded(added);
      } catch (error) {
        if (error instanceof Refused) setProblems(error.fields);
        throw error;
      }
    });
    setBusy(false);
    first.current?.focus();
  };
  return (
    <form class="card new-task" onSubmit={submit} aria-label="Add a task">
      <Field label="New task" problem={problems.get("title")}>
        {(ids) => (
          <input
            {...ids}
            ref={first}
            value={title}
            onInput={(event) => {
              setTitle(event.currentTarget.value);
              setProblems(new Map());
            }}
            placeholder="What is to be done?"
            autoComplete="off"
            required
          />
        )}
      </Field>
      <Field label="Due" problem={problems.get("due_date")}>
        {(ids) => <input {...ids} type="date" value={due} onInput={(event) => setDue(event.currentTarget.value)} />}
      </Field>
      <Field label="Priority" problem={problems.get("priority")}>
        {(ids) => <PriorityChoice {...ids} value={priority} onChange={setPriority} />}
      </Field>
      <button aria-disabled={isBusy}>Add</button>
    </form>
  );
}
