{{- define "herdsman.selector" -}}
app.kubernetes.io/name: herdsman
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "herdsman.labels" -}}
{{ include "herdsman.selector" . }}
app.kubernetes.io/part-of: herdsman
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "herdsman.metadata" -}}
name: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "herdsman.labels" . | nindent 2 }}
{{- end }}

{{- /* What the operator may do where it looks after clusters; in alphabetical order of group and resource. */}}
{{- define "herdsman.rules" -}}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, list, patch, update, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
# Read by name; never listed or watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, get, patch, update]
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: [create, delete, get, list, patch, update, watch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [create, delete, get, list, patch, update, watch]
- apiGroups: [herdsman.dev]
  resources: [poolerconfigs]
  verbs: [get, list, watch]
- apiGroups: [herdsman.dev]
  resources: [poolerconfigs/finalizers, poolerconfigs/status]
  verbs: [patch, update]
- apiGroups: [herdsman.dev]
  resources: [readreplicasets]
  verbs: [get, list, watch]
- apiGroups: [herdsman.dev]
  resources: [readreplicasets/finalizers, readreplicasets/status]
  verbs: [patch, update]
- apiGroups: [herdsman.dev]
  resources: [shardedclusters]
  verbs: [get, list, patch, update, watch]
- apiGroups: [herdsman.dev]
  resources: [shardedclusters/finalizers, shardedclusters/status, shardmaps/status]
  verbs: [patch, update]
- apiGroups: [herdsman.dev]
  resources: [shardmaps]
  verbs: [create, get, list, patch, update, watch]
- apiGroups: [herdsman.dev]
  resources: [shardmoves]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [herdsman.dev]
  resources: [shardmoves/finalizers, shardmoves/status]
  verbs: [patch, update]
# Processor time of members, where there is a metrics server.
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, delete, get, list, patch, update, watch]
# For the members' own rights: the operator cannot give more than it has.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings, roles]
  verbs: [create, delete, get, list, patch, update, watch]
{{- end }}
