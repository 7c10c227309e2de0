{{- define "kinema.labels" -}}
app.kubernetes.io/name: kinema
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kinema
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "kinema.operator.selector" -}}
app.kubernetes.io/name: kinema
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "kinema.minio.selector" -}}
app.kubernetes.io/name: minio
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: object-store
{{- end }}

{{- define "kinema.watchNamespace" -}}
{{- .Values.watchNamespace | default .Release.Namespace }}
{{- end }}

{{- define "kinema.store.secret" -}}
{{- .Values.store.existingSecret | default "kinema-store" }}
{{- end }}

{{- define "kinema.store.endpoint" -}}
{{- if .Values.store.endpoint }}{{ .Values.store.endpoint }}
{{- else if .Values.minio.enabled }}{{ printf "http://minio.%s.svc:9000" .Release.Namespace }}
{{- end }}
{{- end }}

{{- /* Port of the store's endpoint; 80 or 443 where it names none. */ -}}
{{- define "kinema.store.port" -}}
{{- $url := urlParse (include "kinema.store.endpoint" .) }}
{{- $named := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $named | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{- define "kinema.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Registry credentials of a pod of the chart. */ -}}
{{- define "kinema.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
