import type { KubernetesObject } from './kubernetes-object.ts';

/** Something worth telling the user about an object. */
export interface EventInput {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase: why (`SwitchoverDone`). */
  readonly reason: string;
  /** CamelCase: what was being done (`Switchover`). */
  readonly action: string;
  /** One sentence; cut at 1,024 characters. No secrets. */
  readonly note: string;
}

/** Writes Kubernetes Events. It never throws and never makes the caller wait. */
export interface EventRecorder {
  record(regarding: KubernetesObject, event: EventInput): void;
  /** Waits until all that was recorded is sent or given up. */
  flush(): Promise<void>;
}
