{{/*
Which paths are whose; all others are ingest's. A test asks the services for their routes and compares.
*/}}
{{- define "beaconpost.routes" -}}
delivery:
  - /v1/deliveries
  - /docs/delivery
  - /openapi/delivery.json
monitor:
  - /v1/alert-channels
  - /v1/alert-policies
  - /v1/heartbeats
  - /v1/incidents
  - /v1/maintenance-windows
  - /v1/monitors
  - /docs/monitor
  - /openapi/monitor.json
ingest:
  - /
{{- end -}}

{{- define "beaconpost.ports" -}}
ingest: 8080
delivery: 8081
monitor: 8082
{{- end -}}
