"use client";

import { useEffect, useState } from "react";
import { authClient } from "@/lib/auth/client";
import { tasks, type Task } from "@/lib/tasks";

export function Tasks() {
  const [list, setList] = useState<Task[]>();
  const [byToken, setByToken] = useState<string>();
  const [problem, setProblem] = useState("");
  const attempt = async (work: () => Promise<void>) => {
    try {
      await work();
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  const show = async () => setList(await tasks.list());
  useEffect(() => void attempt(show), []);
  const add = (form: FormData) =>
    void attempt(async () => {
      await tasks.add(String(form.get("title")));
      await show();
    });
  const count = () =>
    void attempt(async () => {
      const { data } = await authClient.token();
      setByToken(`${(await tasks.listByToken(data?.token ?? "")).length} by a token`);
    });
  return (
    <>
      <form action={add}>
        <input name="title" aria-label="Title" placeholder="What is to be done?" required />
        <button>Add</button>
      </form>
      {problem && <p role="alert">{problem}</p>}
      <ul aria-label="Tasks" data-loaded={list !== undefined}>
        {list?.map((task) => (
          <li key={task.id}>
            <span>{task.title}</span>
          </li>
        ))}
      </ul>
      <button className="quiet" onClick={() => void attempt(show)}>
        Reload
      </button>
      <button className="quiet" onClick={count}>
        Count
      </button>
      <output>{byToken}</output>
    </>
  );
}
