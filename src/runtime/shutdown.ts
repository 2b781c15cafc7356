/** A signal that aborts with the first SIGTERM or SIGINT. A second one ends the process at once. */
export function terminationSignal(): AbortSignal {
  const controller = new AbortController();
  const receive = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(1);
    controller.abort(new Error(`received ${name}`));
  };
  process.on('SIGTERM', receive);
  process.on('SIGINT', receive);
  return controller.signal;
}
