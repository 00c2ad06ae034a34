{{/* Variables of pods. All are in the pod's template, so that a change of one is a rollout. */}}

{{- define "beaconpost.fromSecret" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ get . "key" | default .variable }}
{{- end -}}

{{/* Where Postgres is. `secret` is whose URL is taken when it is in a Secret. */}}
{{- define "beaconpost.databaseURL" -}}
{{- if .root.Values.postgres.cluster.enabled -}}
{{- include "beaconpost.fromSecret" (dict "variable" "BEACONPOST_DATABASE_URL" "secret" (printf "%s-app" (include "beaconpost.postgres" .root)) "key" "uri") -}}
{{- else -}}
{{- include "beaconpost.fromSecret" (dict "variable" "BEACONPOST_DATABASE_URL" "secret" .secret) -}}
{{- end -}}
{{- end -}}

{{- define "beaconpost.natsURL" -}}
{{- if .Values.broker.url -}}
- name: BEACONPOST_NATS_URL
  value: {{ .Values.broker.url | quote }}
{{- else if .Values.nats.enabled -}}
- name: BEACONPOST_NATS_URL
  value: nats://{{ include "beaconpost.nats" . }}:4222
{{- else -}}
{{- include "beaconpost.fromSecret" (dict "variable" "BEACONPOST_NATS_URL" "secret" .Values.secret.name) -}}
{{- end -}}
{{- end -}}

{{/* Ninety per cent of the memory's limit, or nothing when it is written in another unit: Go's collector works harder before the kernel kills the process. */}}
{{- define "beaconpost.goMemory" -}}
{{- $limit := toString . -}}
{{- if regexMatch "^[0-9]+Mi$" $limit -}}
{{- div (mul (trimSuffix "Mi" $limit | int) 9) 10 -}}MiB
{{- else if regexMatch "^[0-9]+Gi$" $limit -}}
{{- div (mul (trimSuffix "Gi" $limit | int) 9216) 10 -}}MiB
{{- end -}}
{{- end -}}

{{/* `service` is ingest, delivery or monitor, `values` its own. */}}
{{- define "beaconpost.environment" -}}
{{- $root := .root -}}
{{- $config := merge (dict) (.values.config | default dict) $root.Values.config -}}
{{ include "beaconpost.databaseURL" (dict "root" $root "secret" $root.Values.secret.name) }}
{{ include "beaconpost.natsURL" $root }}
{{ include "beaconpost.fromSecret" (dict "variable" "BEACONPOST_SECRETS_KEYS" "secret" $root.Values.secret.name) }}
{{- range $root.Values.secret.optional }}
{{ include "beaconpost.fromSecret" (dict "variable" . "secret" $root.Values.secret.name) }}
{{- end }}
- name: BEACONPOST_LISTEN
  value: ":{{ .port }}"
- name: BEACONPOST_ADMIN_LISTEN
  value: ":{{ .adminPort }}"
- name: BEACONPOST_SHUTDOWN_GRACE
  value: {{ $root.Values.shutdownGraceSeconds }}s
{{- with $root.Values.auth }}
{{- if or .jwksURL .jwks }}
- name: BEACONPOST_AUTH_JWKS
  value: {{ .jwksURL | default "/etc/beaconpost/jwks/jwks.json" | quote }}
- name: BEACONPOST_AUTH_ISSUER
  value: {{ .issuer | quote }}
- name: BEACONPOST_AUTH_AUDIENCE
  value: {{ .audience | quote }}
{{- end }}
{{- end }}
{{- with .region }}
- name: BEACONPOST_MONITOR_REGION
  value: {{ . | quote }}
{{- end }}
{{- range $name, $value := $config }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with include "beaconpost.goMemory" (dig "limits" "memory" "" .values.resources) }}
- name: GOMEMLIMIT
  value: {{ . }}
{{- end }}
{{- end -}}
