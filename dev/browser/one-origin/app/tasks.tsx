"use client";

import { useEffect, useState } from "react";
import { tasks, type Task } from "@/lib/tasks";

export function Tasks() {
  const [list, setList] = useState<Task[]>();
  const [problem, setProblem] = useState("");
  const show = async (work: () => Promise<unknown>) => {
    try {
      await work();
      setList(await tasks.list());
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  useEffect(() => void show(async () => {}), []);
  const add = (form: FormData) => void show(() => tasks.add(String(form.get("title"))));
  return (
    <>
      <form action={add}>
        <input name="title" aria-label="Title" placeholder="What is to be done?" required />
        <button>Add</button>
      </form>
      {problem && <p role="alert">{problem}</p>}
      <ul aria-label="Tasks" data-loaded={list !== undefined}>
        {list?.map((task) => (
          <li key={task.id} className={task.completed ? "done" : ""}>
            <input
              type="checkbox"
              aria-label={`Done: ${task.title}`}
              checked={task.completed}
              onChange={() => void show(() => tasks.toggle(task.id))}
            />
            <span>{task.title}</span>
            <button className="quiet" aria-label={`Delete: ${task.title}`} onClick={() => void show(() => tasks.remove(task.id))}>
              Delete
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}
