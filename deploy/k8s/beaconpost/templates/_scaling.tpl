{{/* How many pods there are, when somebody else than values says it. */}}

{{/* Fast up, because what waits is late; slowly down, because load that went comes back. */}}
{{- define "beaconpost.behaviour" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 30}
    - {type: Pods, value: 2, periodSeconds: 30}
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}

{{- define "beaconpost.autoscaler" -}}
{{- $a := .values.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels:
    {{- include "beaconpost.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .service }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ $a.minReplicas }}
  maxReplicas: {{ $a.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ $a.targetCPU }}
  behavior: {{- include "beaconpost.behaviour" . | nindent 4 }}
{{- end -}}

{{- define "beaconpost.scaledObject" -}}
{{- $a := .values.autoscaling -}}
{{- $k := $a.keda -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .name }}
  labels:
    {{- include "beaconpost.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .service }}
spec:
  scaleTargetRef:
    name: {{ .name }}
  minReplicaCount: {{ $a.minReplicas }}
  maxReplicaCount: {{ $a.maxReplicas }}
  pollingInterval: {{ $k.pollingInterval }}
  # When whoever is asked does not answer three times. CPU goes on counting.
  fallback:
    failureThreshold: 3
    replicas: {{ $k.fallbackReplicas }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{- include "beaconpost.behaviour" . | nindent 8 }}
  triggers:
    - type: cpu
      metricType: Utilization
      metadata:
        value: {{ $a.targetCPU | quote }}
    {{- if eq $k.trigger "prometheus" }}
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ required "delivery.autoscaling.keda.prometheusAddress: where is Prometheus? (or set trigger: nats-jetstream)" $k.prometheusAddress | quote }}
        # Every replica says the same of a consumer, so the most of them counts once.
        query: sum(max by (consumer) (beaconpost_consumer_pending{namespace="{{ .root.Release.Namespace }}",consumer=~"delivery-[0-9]+"}))
        threshold: {{ $k.lagPerReplica | quote }}
    {{- else }}
    {{- $endpoint := $k.natsMonitoringEndpoint }}
    {{- if and (not $endpoint) .root.Values.nats.enabled }}
    {{- $endpoint = printf "%s-headless.%s.svc:8222" (include "beaconpost.nats" .root) .root.Release.Namespace }}
    {{- end }}
    {{- range $shard := until 16 }}
    - type: nats-jetstream
      metricType: AverageValue
      metadata:
        natsServerMonitoringEndpoint: {{ required "delivery.autoscaling.keda.natsMonitoringEndpoint: where is the monitoring port of NATS?" $endpoint | quote }}
        account: {{ $k.natsAccount | quote }}
        stream: DELIVERIES
        consumer: delivery-{{ $shard }}
        lagThreshold: {{ $k.lagPerReplica | quote }}
    {{- end }}
    {{- end }}
{{- end -}}
