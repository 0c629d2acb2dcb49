{{/*
The pod of a component, whatever controls it. (scope)
*/}}
{{- define "ai-prism.pod" -}}
{{- $values := .root.Values }}
{{- $own := index $values .name }}
{{- $drain := $own.config.drain | default "25s" }}
metadata:
  labels:
    {{- include "ai-prism.labels" . | nindent 4 }}
    {{- with $own.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "ai-prism.configData" . | sha256sum }}
    kubectl.kubernetes.io/default-container: {{ .name }}
    {{- with $own.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "ai-prism.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $values.preStopSeconds (include "ai-prism.seconds" $drain) 10 }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "ai-prism.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command: [prism-{{ .name }}]
      args: [--config={{ include "ai-prism.configDir" . }}/options.yaml]
      {{- with include "ai-prism.env" . | trim }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      ports:
        - name: {{ include "ai-prism.portName" .name }}
          containerPort: {{ include "ai-prism.port" .name }}
        - name: http-admin
          containerPort: {{ include "ai-prism.adminPort" .name }}
      # Serving begins when the start is over, which may have a large store to check.
      startupProbe:
        httpGet: {path: /startupz, port: http-admin}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 150
      livenessProbe:
        httpGet: {path: /livez, port: http-admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http-admin}
        periodSeconds: 5
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $values.preStopSeconds }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: {{ include "ai-prism.configDir" . }}
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if eq .name "analyzer" }}
        - name: state
          mountPath: {{ include "ai-prism.stateDir" . }}
        {{- else if and (eq .name "limiter") $own.stateDir }}
        - name: state
          mountPath: {{ $own.stateDir }}
        {{- end }}
        {{- with $own.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "ai-prism.component" . }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- include "ai-prism.stateVolume" . | trim | nindent 4 }}
    {{- with $own.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $own.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml $own.topologySpreadConstraints | nindent 4 }}
  {{- else if gt (int $own.replicas) 1 }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "ai-prism.selectorLabels" $ | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}

{{/* (scope) Environment: who the router is to AWS, and what the values add. */}}
{{- define "ai-prism.env" -}}
{{- if eq .name "router" }}
{{- if .root.Values.simulator.enabled }}
# What prism-simulator takes by default; no secret of anybody.
- name: AWS_ACCESS_KEY_ID
  value: AKIDSIMULATOR
- name: AWS_SECRET_ACCESS_KEY
  value: simulator-secret
{{- else if .root.Values.aws.existingSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" "AWS_BEARER_TOKEN_BEDROCK" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $.root.Values.aws.existingSecret }}
      key: {{ . }}
      optional: true
{{- end }}
{{- end }}
{{- end }}
{{- with (index .root.Values .name).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* (scope) Where it is kept what must be kept, unless the controller asks for a volume of its own. */}}
{{- define "ai-prism.stateVolume" -}}
{{- $own := index .root.Values .name }}
{{- if or (eq .name "analyzer") (and (eq .name "limiter") $own.stateDir) }}
{{- if not $own.persistence.enabled }}
- name: state
  emptyDir: {}
{{- else if $own.persistence.existingClaim }}
- name: state
  persistentVolumeClaim:
    claimName: {{ $own.persistence.existingClaim }}
{{- end }}
{{- end }}
{{- end }}

{{/* (scope) A StatefulSet of one: its pod ends before the next begins, so the state has one owner. */}}
{{- define "ai-prism.statefulSet" -}}
{{- $own := index .root.Values .name -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "ai-prism.component" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "ai-prism.labels" . | nindent 4 }}
spec:
  replicas: {{ $own.replicas }}
  serviceName: {{ include "ai-prism.component" . }}-headless
  selector:
    matchLabels:
      {{- include "ai-prism.selectorLabels" . | nindent 6 }}
  template:
    {{- include "ai-prism.pod" . | nindent 4 }}
  {{- if and $own.persistence.enabled (not $own.persistence.existingClaim) }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: state
        labels:
          {{- include "ai-prism.selectorLabels" . | nindent 10 }}
        {{- with $own.persistence.annotations }}
        annotations:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes:
          {{- toYaml $own.persistence.accessModes | nindent 10 }}
        {{- with $own.persistence.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ $own.persistence.size }}
  {{- end }}
{{- end }}

{{/* (scope) */}}
{{- define "ai-prism.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "ai-prism.component" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "ai-prism.labels" . | nindent 4 }}
spec:
  replicas: {{ (index .root.Values .name).replicas }}
  revisionHistoryLimit: 3
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "ai-prism.selectorLabels" . | nindent 6 }}
  template:
    {{- include "ai-prism.pod" . | nindent 4 }}
{{- end }}
