{{/* What pods of all kinds have. */}}

{{/* The restricted profile of Pod Security, and a little more. */}}
{{- define "beaconpost.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "beaconpost.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* How `pod` of the values becomes a pod's spec. */}}
{{- define "beaconpost.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/*
A Deployment. `service` is which, `name` what it is called, `region` a prober's, `values` the service's own, `autoscaled` whether somebody else says how many.

Stopping takes preStopSeconds, then up to 10 s for requests in flight, then the grace and up to 10 s for what is closed after the work (pkg/service), then a
second for the admin port. What is left of 25 s is room: a process that the kubelet kills has its attempts made again.
*/}}
{{- define "beaconpost.deployment" -}}
{{- $root := .root -}}
{{- $v := .values -}}
{{- $pod := merge (dict) ($v.pod | default dict) $root.Values.pod -}}
{{- $selector := printf "%s\napp.kubernetes.io/component: %s" (include "beaconpost.selector" $root) .service -}}
{{- with .region -}}
{{- $selector = printf "%s\nbeaconpost.io/region: %s" $selector (quote .) -}}
{{- end -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels:
    {{- include "beaconpost.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .service }}
spec:
  {{- if not .autoscaled }}
  replicas: {{ $v.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  # A new pod is ready before an old one is stopped: there are never fewer than wanted. Two versions run together meanwhile, as they can.
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels: {{- $selector | nindent 6 }}
  template:
    metadata:
      labels:
        {{- $selector | nindent 8 }}
        app.kubernetes.io/part-of: beaconpost
        {{- with $pod.labels }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with $pod.annotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "beaconpost.fullname" $root }}-{{ .service }}
      automountServiceAccountToken: false
      # Without this Kubernetes adds a variable for each Service, named like ours.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add $root.Values.preStopSeconds $root.Values.shutdownGraceSeconds 25 }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "beaconpost.podSecurity" $root | nindent 8 }}
        {{- if eq .service "monitor" }}
        # icmp checks use sockets that need no privilege, where the group may.
        sysctls:
          - name: net.ipv4.ping_group_range
            value: "65532 65532"
        {{- end }}
      # Of each version by itself: during an upgrade new pods must not be where the old ones are not.
      topologySpreadConstraints:
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          matchLabelKeys: [pod-template-hash]
          labelSelector:
            matchLabels: {{- $selector | nindent 14 }}
        {{- end }}
      {{- with include "beaconpost.scheduling" $pod | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
        - name: {{ .service }}
          image: {{ include "beaconpost.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [{{ .service }}]
          ports:
            - name: http
              containerPort: {{ .port }}
            - name: admin
              containerPort: {{ .adminPort }}
          env:
            {{- include "beaconpost.environment" . | nindent 12 }}
            {{- with $pod.env }}{{ toYaml . | nindent 12 }}{{ end }}
          # The process runs: it has read its configuration. Neither Postgres nor NATS need to be there. It has two minutes.
          startupProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 60
          # Requests can be answered: Postgres answers, keys for tokens were read, and it is not stopping. NATS is not needed for it: events are accepted without.
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
          # The process answers at all. It does not ask for Postgres: a restart would mend nothing, and what is in flight would be lost to retries.
          livenessProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          # When a pod is told to stop, proxies are told at the same time, and take a moment to hear it. SIGTERM comes after this.
          lifecycle:
            preStop:
              sleep: {seconds: {{ $root.Values.preStopSeconds }}}
          resources: {{- toYaml $v.resources | nindent 12 }}
          securityContext: {{- include "beaconpost.containerSecurity" $root | nindent 12 }}
          {{- if or $root.Values.auth.jwks $pod.volumeMounts }}
          volumeMounts:
            {{- if $root.Values.auth.jwks }}
            - name: jwks
              mountPath: /etc/beaconpost/jwks
              readOnly: true
            {{- end }}
            {{- with $pod.volumeMounts }}{{ toYaml . | nindent 12 }}{{ end }}
          {{- end }}
      {{- if or $root.Values.auth.jwks $pod.volumes }}
      volumes:
        {{- if $root.Values.auth.jwks }}
        - name: jwks
          configMap: {name: {{ include "beaconpost.fullname" $root }}-jwks}
        {{- end }}
        {{- with $pod.volumes }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- end }}
{{- end -}}

{{/* Beside each Deployment: how many of it may be evicted at once. */}}
{{- define "beaconpost.disruption" -}}
{{- $root := .root -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "beaconpost.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .service }}
spec:
  {{- toYaml .values.podDisruptionBudget | nindent 2 }}
  # A pod that is not ready does not serve: it may always go, or a drain would wait for a database that is away.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "beaconpost.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .service }}
      {{- with .region }}
      beaconpost.io/region: {{ quote . }}
      {{- end }}
{{- end -}}

{{/* Beside each service: how it is reached, and who it is. */}}
{{- define "beaconpost.service" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "beaconpost.fullname" $root }}-{{ .service }}
  labels:
    {{- include "beaconpost.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .service }}
spec:
  selector:
    {{- include "beaconpost.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .service }}
  # Not the admin port: it shows profiles. Who scrapes asks the pods.
  ports:
    - name: http
      port: {{ .port }}
      targetPort: http
      appProtocol: http
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "beaconpost.fullname" $root }}-{{ .service }}
  labels:
    {{- include "beaconpost.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .service }}
  {{- with $root.Values.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
