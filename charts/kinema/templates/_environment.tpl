{{- /* The operator's settings (kinema_operator/settings.py) as environment; .Values.settings wins over the rest. */ -}}
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
  "KINEMA_ALLOW_WEAK_FENCE" (ternary "true" "" .Values.store.allowWeakFence)
  "KINEMA_STORE_GENERATED_SECRET" (ternary "kinema-store" "" (and .Values.minio.enabled (not .Values.store.accessKey)))
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
