{{- define "batch-retry-proxy._shared.check" -}}
{{- if not .Values.shared.allow -}}
{{- fail "shared.allow is empty: name the networks that clients' addresses are in, such as the cluster's pod network (--set 'shared.allow={10.244.0.0/16}')" -}}
{{- end -}}
{{- if hasKey (.Values.settings.listen | default dict) "allow" -}}
{{- fail "settings.listen.allow is shared.allow in the shared mode" -}}
{{- end -}}
{{- $ca := .Values.shared.ca -}}
{{- if and (eq $ca.from "secret") (not $ca.secret.name) -}}
{{- fail "shared.ca.secret.name is empty: name the Secret with ca.pem and ca-key.pem" -}}
{{- end -}}
{{- end -}}

{{- define "batch-retry-proxy._shared.claim" -}}
{{- .Values.shared.ca.claim.existing | default (printf "%s-ca" (include "batch-retry-proxy._fullname" .)) -}}
{{- end -}}

{{/* A safe value for shared use, unless the settings have their own: "key", "variable" and "value". */}}
{{- define "batch-retry-proxy._shared.default" -}}
{{- $path := splitList "." .key -}}
{{- if not (hasKey (get .settings (first $path) | default dict) (last $path)) -}}
- name: {{ .variable }}
  value: {{ .value | squote }}
{{- end -}}
{{- end -}}
