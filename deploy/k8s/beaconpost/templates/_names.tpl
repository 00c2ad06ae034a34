{{/* Names and labels. */}}

{{- define "beaconpost.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 24 characters are left for what is appended: the service, a region's name. */}}
{{- define "beaconpost.fullname" -}}
{{- $name := include "beaconpost.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 39 | trimSuffix "-" -}}
{{- end -}}

{{/* What never changes of a release: Deployments cannot change their selector. */}}
{{- define "beaconpost.selector" -}}
app.kubernetes.io/name: {{ include "beaconpost.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "beaconpost.labels" -}}
{{ include "beaconpost.selector" . }}
app.kubernetes.io/version: {{ include "beaconpost.tag" . | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: beaconpost
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "beaconpost.tag" -}}
{{- default .Chart.AppVersion .Values.image.tag -}}
{{- end -}}

{{- define "beaconpost.image" -}}
{{- $digest := empty .Values.image.digest | ternary "" (printf "@%s" .Values.image.digest) -}}
{{- printf "%s:%s%s" .Values.image.repository (include "beaconpost.tag" .) $digest -}}
{{- end -}}

{{/* The chart of NATS names its parts by the same rule. */}}
{{- define "beaconpost.nats" -}}
{{- $name := default "nats" (get .Values.nats "nameOverride") -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $release (get .Values.nats "fullnameOverride") | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "beaconpost.postgres" -}}
{{- include "beaconpost.fullname" . -}}-postgres
{{- end -}}
