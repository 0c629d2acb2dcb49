{{/*
What is in the ConfigMap of a component: its options, and the files that they name.
*/}}

{{- define "ai-prism.configDir" -}}/etc/ai-prism{{- end }}
{{- define "ai-prism.stateDir" -}}/var/lib/ai-prism{{- end }}

{{/* (scope) Files that options name, by the option: those that the values have text for, as JSON. */}}
{{- define "ai-prism.files" -}}
{{- $values := .root.Values }}
{{- $all := get (dict
    "analyzer" dict
    "router" (pick $values "catalogue")
    "limiter" (dict "catalogue" $values.catalogue "policy" $values.limiter.policy)
    "simulator" (pick $values.simulator "faults" "quotas" "latency")) .name }}
{{- $files := dict }}
{{- range $option, $text := $all }}{{ if $text }}{{ $_ := set $files $option $text }}{{ end }}{{ end }}
{{- toJson $files }}
{{- end }}

{{/* (scope) Options that follow from the chart, as JSON. Those of the values win. */}}
{{- define "ai-prism.ownOptions" -}}
{{- $values := .root.Values }}
{{- $own := dict
    "listen" (printf "%s:%s" $values.bindAddress (include "ai-prism.port" .name))
    "admin" (printf "%s:%s" $values.bindAddress (include "ai-prism.adminPort" .name)) }}
{{- range $option, $_ := include "ai-prism.files" . | fromJson }}
{{- $_ := set $own $option (printf "%s/%s.yaml" (include "ai-prism.configDir" $) $option) }}
{{- end }}
{{- $address := dict }}
{{- range include "ai-prism.enabled" .root | fromJsonArray }}
{{- $_ := set $address . (include "ai-prism.address" (dict "root" $.root "name" .)) }}
{{- end }}
{{- if eq .name "analyzer" }}
{{- with $address.router }}{{ $_ := set $own "router" . }}{{ end }}
{{- $_ := set $own "state_dir" (include "ai-prism.stateDir" .) }}
{{- else if eq .name "router" }}
{{- with $address.limiter }}{{ $_ := set $own "limiter" . }}{{ end }}
{{- $_ := set $own "ledger" ($address.analyzer | default "") }}
{{- with $address.simulator }}{{ $_ := set $own "bedrock_endpoint" (printf "http://%s" .) }}{{ end }}
{{- else if eq .name "limiter" }}
{{- if ne (toString $values.limiter.config.store) "redis" }}
{{- with $values.limiter.stateDir }}{{ $_ := set $own "state_dir" . }}{{ end }}
{{- end }}
{{- /* Nothing was granted to a provider that is none: no need to wait a window. */}}
{{- if $address.simulator }}{{ $_ := set $own "assume_new_store" true }}{{ end }}
{{- end }}
{{- toJson $own }}
{{- end }}

{{/* (scope) The options file. JSON scalars, because YAML would write 2000000 as 2e+06. */}}
{{- define "ai-prism.options" -}}
{{- $config := (index .root.Values .name).config }}
{{- range $key, $value := mergeOverwrite (include "ai-prism.ownOptions" . | fromJson) $config }}
{{ $key }}: {{ toRawJson $value }}
{{- end }}
{{- end }}

{{/* (scope) Everything that needs a new pod when it changes. */}}
{{- define "ai-prism.configData" -}}
options.yaml: |
  {{- include "ai-prism.options" . | trim | nindent 2 }}
{{- range $option, $text := include "ai-prism.files" . | fromJson }}
{{ $option }}.yaml: |
  {{- $text | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the schema cannot say. */}}
{{- define "ai-prism.checks" -}}
{{- if and .Values.router.enabled (not .Values.limiter.enabled) (not .Values.router.config.limiter) }}
{{- fail "the router asks a limiter before every call: enable limiter, or name one in router.config.limiter" }}
{{- end }}
{{- if and .Values.analyzer.enabled (not .Values.router.enabled) (not .Values.analyzer.config.router) }}
{{- fail "the analyzer asks a router: enable router, or name one in analyzer.config.router" }}
{{- end }}
{{- if and .Values.limiter.persistence.enabled (not .Values.limiter.stateDir) }}
{{- fail "limiter.persistence wants limiter.stateDir, the directory to keep" }}
{{- end }}
{{- if and .Values.simulator.enabled .Values.aws.existingSecret }}
{{- fail "simulator.enabled and aws.existingSecret: the router calls one or the other; leave one out" }}
{{- end }}
{{- end }}
