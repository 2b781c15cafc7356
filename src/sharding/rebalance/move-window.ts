/** A day of the week. */
export type Day = 'Mon' | 'Tue' | 'Wed' | 'Thu' | 'Fri' | 'Sat' | 'Sun';

const days: readonly Day[] = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const minutesOfDay = 24 * 60;

/** When moves may start, in UTC. An end that is not after the start is on the next day. */
export interface MoveWindow {
  /** `22:00`. */
  readonly start: string;
  /** `04:30`. */
  readonly end: string;
  /** Days on which it opens; none: all. */
  readonly days?: readonly Day[] | undefined;
}

/** Whether moves may start now; no window is always open. */
export function isOpen(window: MoveWindow | undefined, now: Date): boolean {
  if (window === undefined) return true;
  const minute = now.getUTCHours() * 60 + now.getUTCMinutes();
  const start = minutesOf(window.start);
  const end = minutesOf(window.end);
  const length = end > start ? end - start : end + minutesOfDay - start;
  const since = minute - start;
  if (since >= 0) return opensOn(window, now.getUTCDay()) && since < length;
  return opensOn(window, (now.getUTCDay() + 6) % 7) && since + minutesOfDay < length;
}

function opensOn(window: MoveWindow, day: number): boolean {
  const name = days[day];
  return (
    window.days === undefined ||
    window.days.length === 0 ||
    (name !== undefined && window.days.includes(name))
  );
}

function minutesOf(text: string): number {
  const [hours, minutes] = text.split(':').map(Number);
  return (hours ?? 0) * 60 + (minutes ?? 0);
}
