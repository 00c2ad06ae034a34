{{/* Peers of network policies. */}}

{{- define "beaconpost.dnsRule" -}}
- to: {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "beaconpost.postgresRule" -}}
{{- $policy := .Values.networkPolicy -}}
- to:
    {{- if .Values.postgres.cluster.enabled }}
    - podSelector: {matchLabels: {cnpg.io/cluster: {{ include "beaconpost.postgres" . }}}}
    {{- else if $policy.postgresTo }}
    {{- toYaml $policy.postgresTo | nindent 4 }}
    {{- else }}
    {{- fail "networkPolicy.postgresTo: where is Postgres? [{ipBlock: {cidr: …}}] or [{podSelector: …}]; or networkPolicy.enabled=false" }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ $policy.postgresPort }}}
{{- end -}}

{{- define "beaconpost.natsRule" -}}
{{- $policy := .Values.networkPolicy -}}
- to:
    {{- if .Values.nats.enabled }}
    - podSelector: {matchLabels: {app.kubernetes.io/name: {{ default "nats" (get .Values.nats "nameOverride") }}, app.kubernetes.io/instance: {{ .Release.Name }}}}
    {{- else if $policy.natsTo }}
    {{- toYaml $policy.natsTo | nindent 4 }}
    {{- else }}
    {{- fail "networkPolicy.natsTo: where is NATS? [{ipBlock: {cidr: …}}] or [{podSelector: …}]; or networkPolicy.enabled=false" }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ $policy.natsPort }}}
{{- end -}}

{{/*
The internet: what is public by IANA's registries, less Azure's metadata service and the networks in `.`, separated by commas. IPv6 has its public addresses in
2000::/3; what is elsewhere is not reached anyway. A test compares this with the check that the services make themselves.
*/}}
{{- define "beaconpost.internet" -}}
{{- $v4 := list "0.0.0.0/8" "10.0.0.0/8" "100.64.0.0/10" "127.0.0.0/8" "168.63.129.16/32" "169.254.0.0/16" "172.16.0.0/12" "192.0.0.0/24" "192.0.2.0/24" "192.31.196.0/24" "192.52.193.0/24" "192.88.99.0/24" "192.168.0.0/16" "192.175.48.0/24" "198.18.0.0/15" "198.51.100.0/24" "203.0.113.0/24" "224.0.0.0/4" "240.0.0.0/4" -}}
{{- $v6 := list "2001::/23" "2001:db8::/32" "2002::/16" "2620:4f:8000::/48" "3fff::/20" -}}
{{- range splitList "," . -}}
{{- $network := trim . -}}
{{- if contains "." $network -}}
{{- $v4 = append $v4 $network -}}
{{- else if regexMatch "^[23][0-9a-fA-F]{3}:" $network -}}
{{- $v6 = append $v6 $network -}}
{{- end -}}
{{- end -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: {{- $v4 | uniq | toYaml | nindent 6 }}
- ipBlock:
    cidr: 2000::/3
    except: {{- $v6 | uniq | toYaml | nindent 6 }}
{{- end -}}

{{/*
What a service that tenants choose addresses for may reach. `prefix` is of the variables with its policy: they are said once, and hold in the process and here.
`tcp` leaves out all but TCP.
*/}}
{{- define "beaconpost.outwards" -}}
{{- $config := .config -}}
- to:
    {{- include "beaconpost.internet" (get $config (printf "%sDENY" .prefix) | default "") | nindent 4 }}
    {{- range splitList "," (get $config (printf "%sALLOW" .prefix) | default "") }}
    {{- with trim . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
    {{- end }}
    {{- if has (get $config (printf "%sALLOW_PRIVATE" .prefix)) (list "true" "1" "t" "T" "TRUE" "True") }}
    {{- range list "10.0.0.0/8" "172.16.0.0/12" "192.168.0.0/16" "fc00::/7" }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
    {{- end }}
  {{- $ports := list }}
  {{- range splitList "," (get $config (printf "%sPORTS" .prefix) | default "") }}
  {{- with trim . }}{{ $ports = append $ports . }}{{ end }}
  {{- end }}
  {{- if $ports }}
  ports:
    {{- range $port := $ports }}
    - {protocol: TCP, port: {{ $port }}}
    {{- if not $.tcp }}
    - {protocol: UDP, port: {{ $port }}}
    {{- end }}
    {{- end }}
  {{- else if .tcp }}
  ports:
    - {protocol: TCP}
  {{- end }}
{{- end -}}
