import type { V1PodSecurityContext, V1SecurityContext } from '@kubernetes/client-node';

/** Ids of the image's `postgres` user and group. */
const userId = 100;
const groupId = 102;

/** What every pod of the PostgreSQL image runs as. */
export const podSecurity: V1PodSecurityContext = {
  runAsNonRoot: true,
  runAsUser: userId,
  runAsGroup: groupId,
  fsGroup: groupId,
  fsGroupChangePolicy: 'OnRootMismatch',
  seccompProfile: { type: 'RuntimeDefault' },
};

/** What none of its containers may do. */
export const containerSecurity: V1SecurityContext = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
};
