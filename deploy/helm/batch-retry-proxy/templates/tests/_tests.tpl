{{/* Another name than the proxy's, or its Service would send clients here. */}}
{{- define "batch-retry-proxy._test.metadata" -}}
labels:
  app.kubernetes.io/name: {{ include "batch-retry-proxy._name" . }}-test
  app.kubernetes.io/instance: {{ .Release.Name }}
annotations:
  helm.sh/hook: test
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "batch-retry-proxy._test.spec" -}}
restartPolicy: Never
automountServiceAccountToken: false
{{- with include "batch-retry-proxy._pullSecrets" . | fromYamlArray }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
