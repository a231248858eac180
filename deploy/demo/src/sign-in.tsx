// Sign in, or sign up.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Attempt } from "./app.js";
import { Field } from "./fields.js";
import { enter, type User } from "./session.js";

type Props = { email: string | undefined; attempt: Attempt; onEntered: (user: User) => void };

export function SignIn({ email, attempt, onEntered }: Props) {
  const [isNew, setNew] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const heading = useRef<HTMLHeadingElement>(null);
  // What was focused is gone.
  useEffect(() => heading.current?.focus(), []);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const field = (name: string) => String(form.get(name) ?? "");
    setBusy(true);
    await attempt(async () =>
      onEntered(await enter({ email: field("email"), password: field("password"), name: isNew ? field("name") : undefined })),
    );
    setBusy(false);
  };
  const title = isNew ? "Create an account" : "Sign in";
  return (
    <form class="card sign-in" onSubmit={submit} aria-label={title}>
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      {isNew && <Field label="Name">{(ids) => <input {...ids} name="name" autoComplete="name" required />}</Field>}
      <Field label="E-mail">
        {(ids) => <input {...ids} name="email" type="email" autoComplete="username" defaultValue={email ?? ""} required />}
      </Field>
      <Field label="Password" {...(isNew ? { hint: "At least eight characters." } : {})}>
        {(ids) => (
          <input
            {...ids}
            name="password"
            type="password"
            minLength={8}
            autoComplete={isNew ? "new-password" : "current-password"}
            required
          />
        )}
      </Field>
      <button disabled={isBusy}>{isNew ? "Create account" : "Sign in"}</button>
      <p class="hint">
        {isNew ? "You have an account? " : "You are new here? "}
        <button type="button" class="link" onClick={() => setNew(!isNew)}>
          {isNew ? "Sign in" : "Create an account"}
        </button>
      </p>
    </form>
  );
}
