{{- define "herdsman.selector" -}}
app.kubernetes.io/name: herdsman
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "herdsman.labels" -}}
{{ include "herdsman.selector" . }}
app.kubernetes.io/part-of: herdsman
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "herdsman.metadata" -}}
name: {{ .Release.Name | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "herdsman.labels" . | nindent 2 }}
{{- end }}

{{- /*
What the operator may do where it looks after clusters; in alphabetical order of group and resource. Applying on the server's
side takes create and patch.
*/}}
{{- define "herdsman.rules" -}}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [delete, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [delete, get, list, patch, watch]
# Read by name; never listed or watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, get, patch]
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [herdsman.dev]
  resources: [poolerconfigs]
  verbs: [list, watch]
# For references to owners with blockOwnerDeletion, where OwnerReferencesPermissionEnforcement is on, as in OpenShift.
- apiGroups: [herdsman.dev]
  resources: [poolerconfigs/finalizers, readreplicasets/finalizers, shardedclusters/finalizers]
  verbs: [update]
- apiGroups: [herdsman.dev]
  resources: [poolerconfigs/status, readreplicasets/status, shardedclusters/status]
  verbs: [patch]
- apiGroups: [herdsman.dev]
  resources: [readreplicasets]
  verbs: [get, list, watch]
- apiGroups: [herdsman.dev]
  resources: [shardedclusters]
  verbs: [get, list, patch, watch]
# Changed by compare-and-swap alone.
- apiGroups: [herdsman.dev]
  resources: [shardmaps]
  verbs: [create, get, list, update, watch]
- apiGroups: [herdsman.dev]
  resources: [shardmoves]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [herdsman.dev]
  resources: [shardmoves/status]
  verbs: [update]
# Processor time of members, where there is a metrics server.
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [list]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, delete, get, list, patch, watch]
# For the members' own rights: the operator cannot give more than it has.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings, roles]
  verbs: [create, delete, get, list, patch, watch]
{{- end }}
