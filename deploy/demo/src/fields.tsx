// The fields of a task, for those forms that have them.
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Priority } from "./tasks.js";

export const PRIORITIES: [Priority | "", string][] = [
  ["", "No priority"],
  ["low", "Low"],
  ["medium", "Medium"],
  ["high", "High"],
  ["urgent", "Urgent"],
];

type Ids = { id: string; "aria-invalid": boolean; "aria-describedby": string | undefined };
type Described = { label: string; hint?: string; problem?: string | undefined; children: (ids: Ids) => ComponentChildren };

/** A field with its label, and what there is to say about it: a hint, or what the service says is wrong. */
export function Field({ label, hint, problem, children }: Described) {
  const id = useId();
  const said = problem ?? hint;
  const isWrong = problem !== undefined;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, "aria-invalid": isWrong, "aria-describedby": said && `${id}-said` })}
      {said && (
        <small class={isWrong ? "problem" : "hint"} id={`${id}-said`}>
          {said}
        </small>
      )}
    </div>
  );
}

type Choice = { value: Priority | ""; onChange: (value: Priority | "") => void };

export function PriorityChoice({ value, onChange, ...ids }: Choice & Ids) {
  return (
    <select {...ids} value={value} onChange={(event) => onChange(event.currentTarget.value as Priority | "")}>
      {PRIORITIES.map(([value, label]) => (
        <option key={value} value={value}>
          {label}
        </option>
      ))}
    </select>
  );
}
