{{/*
What is in the ConfigMap of a component: its options, and the files that they name.
*/}}

{{- define "ai-prism.configDir" -}}/etc/ai-prism{{- end }}
{{- define "ai-prism.stateDir" -}}/var/lib/ai-prism{{- end }}

{{/* (scope) Options that follow from the chart, as JSON. Those of the values win. */}}
{{- define "ai-prism.ownOptions" -}}
{{- $values := .root.Values }}
{{- $own := dict
    "listen" (printf "%s:%s" $values.bindAddress (include "ai-prism.port" .name))
    "admin" (printf "%s:%s" $values.bindAddress (include "ai-prism.adminPort" .name)) }}
{{- $catalogue := printf "%s/catalogue.yaml" (include "ai-prism.configDir" .) }}
{{- if eq .name "analyzer" }}
{{- $_ := set $own "router" (include "ai-prism.address" (dict "root" .root "name" "router")) }}
{{- $_ := set $own "state_dir" (include "ai-prism.stateDir" .) }}
{{- else if eq .name "router" }}
{{- $_ := set $own "limiter" (include "ai-prism.address" (dict "root" .root "name" "limiter")) }}
{{- $ledger := $values.analyzer.enabled | ternary (include "ai-prism.address" (dict "root" .root "name" "analyzer")) "" }}
{{- $_ := set $own "ledger" $ledger }}
{{- if $values.catalogue }}{{ $_ := set $own "catalogue" $catalogue }}{{ end }}
{{- if $values.simulator.enabled }}
{{- $simulator := include "ai-prism.address" (dict "root" .root "name" "simulator") }}
{{- $_ := set $own "bedrock_endpoint" (printf "http://%s" $simulator) }}
{{- end }}
{{- else if eq .name "limiter" }}
{{- if $values.catalogue }}{{ $_ := set $own "catalogue" $catalogue }}{{ end }}
{{- if $values.limiter.policy }}
{{- $_ := set $own "policy" (printf "%s/policy.yaml" (include "ai-prism.configDir" .)) }}
{{- end }}
{{- with $values.limiter.stateDir }}{{ $_ := set $own "state_dir" . }}{{ end }}
{{- /* Nothing was granted to a provider that is none: no need to wait a window. */}}
{{- if $values.simulator.enabled }}{{ $_ := set $own "assume_new_store" true }}{{ end }}
{{- else if $values.simulator.faults }}
{{- $_ := set $own "faults" (printf "%s/faults.yaml" (include "ai-prism.configDir" .)) }}
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
{{- if and .root.Values.catalogue (has .name (list "router" "limiter")) }}
catalogue.yaml: |
  {{- .root.Values.catalogue | nindent 2 }}
{{- end }}
{{- if and (eq .name "limiter") .root.Values.limiter.policy }}
policy.yaml: |
  {{- .root.Values.limiter.policy | nindent 2 }}
{{- end }}
{{- if and (eq .name "simulator") .root.Values.simulator.faults }}
faults.yaml: |
  {{- .root.Values.simulator.faults | nindent 2 }}
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
