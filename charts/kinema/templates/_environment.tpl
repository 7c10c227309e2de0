{{- /* The operator's settings (kinema_operator/core/settings.py) as environment; .Values.settings wins over the rest. */ -}}
{{- define "kinema.operator.env" -}}
{{- if and .Values.watchNamespace (not .Values.namespaced) }}
{{- fail "watchNamespace needs namespaced: true; set it, or leave watchNamespace empty to watch all namespaces" }}
{{- end }}
{{- if and .Values.store.caBundle (not (hasPrefix "https://" (include "kinema.store.endpoint" .))) }}
{{- fail "store.caBundle is for a store that is reached by TLS: give a store.endpoint with https://, or remove store.caBundle" }}
{{- end }}
{{- $user := .Values.worker.runAsUser }}
{{- $env := dict
  "KINEMA_WORKER_IMAGE" .Values.worker.image
  "KINEMA_WORKER_IMAGE_PULL_POLICY" .Values.worker.imagePullPolicy
  "KINEMA_WORKER_RUNTIME_CLASS" .Values.worker.runtimeClassName
  "KINEMA_WORKER_USER" (ternary $user (int64 $user | toString) (kindIs "string" $user))
  "KINEMA_METRICS_AUTHENTICATION" (ternary "true" "" .Values.metrics.authentication)
  "KINEMA_IMAGE_PULL_SECRETS" (ternary (.Values.image.pullSecrets | toJson) "" (not (empty .Values.image.pullSecrets)))
  "KINEMA_WORKER_CPU_THREADS" (.Values.worker.cpuThreads | toString)
  "KINEMA_STORE_ENDPOINT" (include "kinema.store.endpoint" .)
  "KINEMA_STORE_PUBLIC_ENDPOINT" .Values.store.publicEndpoint
  "KINEMA_STORE_BUCKET" .Values.store.bucket
  "KINEMA_STORE_REGION" .Values.store.region
  "KINEMA_STORE_CA_BUNDLE" .Values.store.caBundle
  "KINEMA_STORE_CREDENTIALS_FILE" "/var/run/kinema/store/credentials.json"
  "KINEMA_ALLOWED_STORES" (ternary (.Values.allowedStores | toJson) "" (not (empty .Values.allowedStores)))
  "KINEMA_ALLOWED_CAPTION_ENDPOINTS" (ternary (.Values.allowedCaptionEndpoints | toJson) "" (not (empty .Values.allowedCaptionEndpoints)))
  "KINEMA_ALLOWED_SERVICE_ACCOUNTS" (ternary (.Values.allowedServiceAccounts | toJson) "" (not (empty .Values.allowedServiceAccounts)))
  "KINEMA_ALLOW_WEAK_FENCE" (ternary "true" "" .Values.store.allowWeakFence)
  "KINEMA_STORE_GENERATED_SECRET" (ternary "kinema-store" "" (and .Values.minio.enabled (not .Values.store.accessKey)))
  "KINEMA_LINKS" (ternary "" "false" (eq (include "kinema.links" .) "true"))
  "KINEMA_STATUS_URLS" (include "kinema.statusUrls" .)
  "KINEMA_WATCH_NAMESPACE" (ternary (include "kinema.watchNamespace" .) "" .Values.namespaced)
-}}
- name: KINEMA_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: KINEMA_POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- range $name, $value := mergeOverwrite $env (deepCopy .Values.settings) }}
{{- if $value }}
- {name: {{ $name | quote }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* "true" where the operator signs addresses on request: it must be allowed to ask the API server who asks. */ -}}
{{- define "kinema.links" -}}
{{- if and .Values.links.enabled (include "kinema.reviews" .) }}true{{ end }}
{{- end }}

{{- /* "true" where the operator may ask the API server about tokens and rights, a right on the whole cluster. */ -}}
{{- define "kinema.reviews" -}}
{{- if or .Values.metrics.authentication .Values.links.reviews (not .Values.namespaced) }}true{{ end }}
{{- end }}

{{- /* "true" where signed addresses stand in statuses: where the values say so, or where there is no other way to a clip. */ -}}
{{- define "kinema.statusUrls" -}}
{{- if kindIs "bool" .Values.links.inStatus }}
{{- ternary "true" "false" .Values.links.inStatus }}
{{- else if not (include "kinema.links" .) }}true{{ else }}false{{ end }}
{{- end }}
