/** Resolves when it holds: looks now, and again at all news; rejects with the signal's reason. */
export async function until(
  holds: () => boolean,
  onNews: (handler: () => void) => () => void,
  signal: AbortSignal,
): Promise<void> {
  if (holds()) return;
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const look = (): void => {
      if (!holds()) return;
      end();
      resolve();
    };
    const abort = (): void => {
      end();
      reject(signal.reason);
    };
    const forget = onNews(look);
    const end = (): void => {
      forget();
      signal.removeEventListener('abort', abort);
    };
    signal.addEventListener('abort', abort, { once: true });
  });
}
