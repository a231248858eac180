// Days as people say them. A task's due date is a day alone, or, where another frontend wrote it, a moment.

const DAY = /^\d{4}-\d\d-\d\d$/;

/** Today where the person is, as the API writes a day. */
export function today(now = new Date()): string {
  const pad = (number: number) => String(number).padStart(2, "0");
  return `${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}`;
}

/** The local day of a due date. */
export const dayOf = (due: string): string => (DAY.test(due) ? due : today(new Date(due)));

const noon = (day: string) => new Date(`${day}T12:00:00`);

/** How many days it is from now to a due date. */
export const daysUntil = (due: string): number =>
  Math.round((noon(dayOf(due)).getTime() - noon(today()).getTime()) / 86_400_000);

/** A due date in words. */
export function inWords(due: string): string {
  const days = daysUntil(due);
  if (Math.abs(days) <= 1) return ["Yesterday", "Today", "Tomorrow"][days + 1] ?? "";
  const date = noon(dayOf(due));
  const isThisYear = date.getFullYear() === new Date().getFullYear();
  return date.toLocaleDateString("en", { day: "numeric", month: "short", ...(isThisYear ? {} : { year: "numeric" }) });
}
