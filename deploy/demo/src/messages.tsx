// What the page says: once by sight, and once to screen readers, which hear what changes in a live region that was there before.

export type Message = { text: string; isError?: boolean; action?: { label: string; run: () => void } };

type Props = { message: Message | undefined; waiting: string | undefined; onDismiss: () => void };

export function Messages({ message, waiting, onDismiss }: Props) {
  const calm = waiting ?? (message?.isError ? undefined : message?.text);
  const alarm = waiting === undefined && message?.isError ? message.text : undefined;
  const isShown = calm !== undefined || alarm !== undefined;
  return (
    <div class={`message ${isShown ? "shown" : ""} ${alarm ? "alarm" : ""}`}>
      <p role="status">{calm}</p>
      <p role="alert">{alarm}</p>
      {isShown && waiting === undefined && (
        <>
          {message?.action && (
            <button class="link" onClick={message.action.run}>
              {message.action.label}
            </button>
          )}
          <button class="icon" aria-label="Dismiss" onClick={onDismiss}>
            ✕
          </button>
        </>
      )}
    </div>
  );
}
