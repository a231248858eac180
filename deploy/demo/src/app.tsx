// The page: whoever is signed in and their tasks, or the form to sign in.
import { useCallback, useEffect, useState } from "preact/hooks";
import { Messages, type Message } from "./messages.js";
import { SignedOut, leave, whoami, type User } from "./session.js";
import { SignIn } from "./sign-in.js";
import { TaskList } from "./task-list.js";
import { byToken, onWait, origin } from "./tasks.js";

export type Say = (message: Message | undefined) => void;
/** Does something that may fail, and says so; whether it succeeded. */
export type Attempt = (work: () => Promise<unknown>) => Promise<boolean>;

export function App() {
  const [isLoaded, setLoaded] = useState(false);
  const [user, setUser] = useState<User>();
  // Their session has ended: what they see and have typed is kept for them, out of sight, until they are back.
  const [isOver, setOver] = useState(false);
  const [message, say] = useState<Message>();
  const [waiting, setWaiting] = useState<string>();
  // A dialog makes all else inert, live regions too: what is said meanwhile is said in it.
  const [isInDialog, setInDialog] = useState(false);

  const attempt: Attempt = useCallback(async (work) => {
    try {
      await work();
      return true;
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return false;
      if (error instanceof SignedOut) setOver(true);
      say({ text: error instanceof Error ? error.message : String(error), isError: true });
      return false;
    }
  }, []);

  useEffect(() => {
    onWait(setWaiting);
    void attempt(async () => setUser(await whoami())).then(() => setLoaded(true));
  }, []);
  useEffect(() => {
    document.title = user && !isOver ? `${user.name}’s tasks` : "Tasks";
    if (!user || isOver) return;
    const look = () =>
      document.visibilityState === "visible" &&
      void attempt(async () => {
        if (!(await whoami())) throw new SignedOut();
      });
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [user, isOver]);

  const entered = (next: User) => {
    say({ text: `Welcome, ${next.name}.` });
    setUser(next);
    setOver(false);
  };
  const signOut = () =>
    attempt(async () => {
      await leave();
      setUser(undefined);
      say({ text: "You have signed out." });
    });

  const dismiss = () => say(undefined);
  const notice = <Messages message={message} waiting={waiting} onDismiss={dismiss} />;
  const isIn = user !== undefined && !isOver;
  return (
    <>
      <header>
        <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="9" />
          <path d="M9 16.5l5 5 9.5-11" />
        </svg>
        <span class="brand">Tasks</span>
        {isIn && (
          <>
            <span class="who" title={user.email}>
              {user.name}
            </span>
            <button class="quiet" onClick={signOut}>
              Sign out
            </button>
          </>
        )}
      </header>
      <main>
        {user && (
          <div hidden={isOver}>
            <TaskList key={user.id} user={user} isActive={!isOver} say={say} attempt={attempt} notice={notice} onDialog={setInDialog} />
          </div>
        )}
        {isLoaded && !isIn && <SignIn email={user?.email} attempt={attempt} onEntered={entered} />}
      </main>
      <footer>
        {byToken ? (
          <>
            <b>Bearer token, across origins.</b> This page is at {location.host} and asks {new URL(origin).host} with a token of
            Better Auth’s.
          </>
        ) : (
          <>
            <b>Session cookie, one origin.</b> Page, sign-in and tasks come through the gateway at {location.host}.
          </>
        )}
      </footer>
      {isInDialog && isIn ? <Messages message={undefined} waiting={undefined} onDismiss={dismiss} /> : notice}
    </>
  );
}
