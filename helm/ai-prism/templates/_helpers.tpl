{{/*
Names and labels. Where a template says (scope), it wants (dict "root" $ "name" "router"): the chart's
scope and the component.
*/}}

{{- define "ai-prism.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "ai-prism.fullname" -}}
{{- $name := include "ai-prism.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* (scope) */}}
{{- define "ai-prism.component" -}}
{{ include "ai-prism.fullname" .root }}-{{ .name }}
{{- end }}

{{/* Of every release pod, whatever its component. */}}
{{- define "ai-prism.releaseLabels" -}}
app.kubernetes.io/name: {{ include "ai-prism.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* (scope) Never change: selectors cannot. */}}
{{- define "ai-prism.selectorLabels" -}}
{{ include "ai-prism.releaseLabels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* (scope) */}}
{{- define "ai-prism.labels" -}}
{{ include "ai-prism.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/part-of: ai-prism
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The label by which a pod says that it is a client. */}}
{{- define "ai-prism.clientLabel" -}}
{{ include "ai-prism.fullname" . }}-client
{{- end }}

{{- define "ai-prism.image" -}}
{{- with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}
{{- else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* (scope) */}}
{{- define "ai-prism.serviceAccountName" -}}
{{- $account := (index .root.Values .name).serviceAccount }}
{{- $account.name | default (ternary (include "ai-prism.component" .) "default" $account.create) }}
{{- end }}

{{/* The components that are on, as a JSON list. */}}
{{- define "ai-prism.enabled" -}}
{{- $on := list }}
{{- range list "analyzer" "router" "limiter" "simulator" }}
{{- if (index $.Values .).enabled }}{{ $on = append $on . }}{{ end }}
{{- end }}
{{- toJson $on }}
{{- end }}

{{/* (name) The port that the component serves on; its admin port is ten higher. */}}
{{- define "ai-prism.port" -}}
{{ get (dict "analyzer" 7400 "router" 7401 "limiter" 7402 "simulator" 7403) . }}
{{- end }}

{{- define "ai-prism.adminPort" -}}
{{ include "ai-prism.port" . | int | add 10 }}
{{- end }}

{{/* (name) The name of that port: mesh and Gateway API read the protocol from it. */}}
{{- define "ai-prism.portName" -}}
{{ eq . "simulator" | ternary "http-bedrock" (printf "grpc-%s" .) }}
{{- end }}

{{/* (scope) Where others of the release find the component. */}}
{{- define "ai-prism.address" -}}
{{ include "ai-prism.component" . }}:{{ include "ai-prism.port" .name }}
{{- end }}

{{/* A duration of ours ("25s", "500ms") in seconds. */}}
{{- define "ai-prism.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int }}
{{- $unit := regexFind "[a-z]+$" . }}
{{- if eq $unit "ms" }}{{ div (add $number 999) 1000 }}
{{- else }}{{ mul $number (get (dict "s" 1 "m" 60 "h" 3600) $unit) }}{{ end }}
{{- end }}
