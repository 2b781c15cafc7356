import type { V1Container } from '@kubernetes/client-node';
import { containerSecurity } from '../../sharded-cluster/desired/pod-security.ts';
import { poolerPort } from '../names.ts';
import { maxPauseFile, settingsDirectory, socketDirectory } from './settings.ts';

/** The socket of the instance, in its pod. */
export const localSocket = `${socketDirectory}/.s.PGSQL.${poolerPort}`;

/** Speaks to the instance of the same pod by its socket, as the pod's own user: that needs no password. */
export const localConsole = `psql -h ${socketDirectory} -p ${poolerPort} -U pgbouncer -d pgbouncer -XAt`;

const columns =
  'host port database force_user size min reserve lifetime mode balance most now clients_most clients paused disabled';

/**
 * Lets clients go on when they were paused for as long as they may be. Whoever paused them does that earlier, but an operator may
 * end in the middle of a switchover. One session looks every second; a second one is opened only to resume.
 */
export const guardScript = `
look() {
  echo 'SHOW DATABASES \\watch 1' | ${localConsole} -F'|'
}
while :; do
  until [ -S ${localSocket} ]; do sleep 0.2; done
  look | while IFS='|' read -r name ${columns}; do
    case $name in '' | *[!a-z0-9_]*) continue ;; esac
    case $paused in
      1) eval "seen=\\$((\\\${seen_$name:-0} + 1))" ;;
      *) seen=0 ;;
    esac
    if [ "$seen" -ge "$(cat ${settingsDirectory}/${maxPauseFile})" ] && [ "$seen" -gt 0 ]; then
      echo "database $name was paused for $seen s: its clients go on"
      ${localConsole} -c "RESUME $name" && seen=0
    fi
    eval "seen_$name=$seen"
  done
  sleep 1
done
`;

/** The container that runs it, as long as PgBouncer: an instance that is about to go may be paused, too. */
export function guard(image: string): V1Container {
  return {
    name: 'guard',
    image,
    imagePullPolicy: 'IfNotPresent',
    restartPolicy: 'Always',
    args: ['sh', '-c', guardScript],
    resources: { requests: { cpu: '5m', memory: '16Mi' }, limits: { memory: '64Mi' } },
    securityContext: containerSecurity,
    volumeMounts: [
      { name: 'settings', mountPath: settingsDirectory, readOnly: true },
      { name: 'run', mountPath: socketDirectory },
    ],
  };
}
