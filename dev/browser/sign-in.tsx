"use client";

import { useState } from "react";

type Answer = Promise<{ error: { message?: string; statusText: string } | null }>;
type Client = {
  signUp: { email: (fields: { email: string; password: string; name: string }) => Answer };
  signIn: { email: (fields: { email: string; password: string }) => Answer };
};

/** Sign-up and sign-in by Better Auth's client, or Neon's; `entered` goes on from there. */
export function SignIn({ authClient, entered }: { authClient: Client; entered: () => void }) {
  const [isNew, setNew] = useState(false);
  const [problem, setProblem] = useState("");
  const submit = async (form: FormData) => {
    const [email, password, name] = ["email", "password", "name"].map((field) => String(form.get(field)));
    try {
      const { error } = isNew
        ? await authClient.signUp.email({ email, password, name })
        : await authClient.signIn.email({ email, password });
      if (error) return setProblem(error.message ?? error.statusText);
    } catch (error) {
      // Neon's client throws what Better Auth's answers.
      return setProblem((error as Error).message);
    }
    entered();
  };
  return (
    <>
      <h1>{isNew ? "Sign up" : "Sign in"}</h1>
      <form className="tall" action={submit}>
        {isNew && (
          <label>
            Name <input name="name" autoComplete="name" required />
          </label>
        )}
        <label>
          E-mail <input name="email" type="email" autoComplete="username" required />
        </label>
        <label>
          Password <input name="password" type="password" minLength={8} autoComplete="current-password" required />
        </label>
        {problem && <p role="alert">{problem}</p>}
        <button>{isNew ? "Create account" : "Sign in"}</button>
        <button type="button" className="quiet" onClick={() => setNew(!isNew)}>
          {isNew ? "I have an account" : "I am new here"}
        </button>
      </form>
    </>
  );
}
