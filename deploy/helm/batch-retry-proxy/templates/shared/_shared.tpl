{{- define "batch-retry-proxy._shared.check" -}}
{{- if not .Values.shared.allow -}}
{{- fail "shared.allow is empty: name the networks of the clients' addresses, such as the pod network (--set 'shared.allow={10.244.0.0/16}')" -}}
{{- end -}}
{{- $listen := .Values.settings.listen | default dict -}}
{{- if hasKey $listen "allow" -}}
{{- fail "settings.listen.allow is shared.allow in the shared mode" -}}
{{- end -}}
{{- if hasKey $listen "address" -}}
{{- fail "settings.listen.address is the chart's own in the shared mode: the Service leads to port 3128" -}}
{{- end -}}
{{- $ca := .Values.shared.ca -}}
{{- if and (eq $ca.from "secret") (not $ca.secret.name) -}}
{{- fail "shared.ca.secret.name is empty: name the Secret with ca.pem and ca-key.pem" -}}
{{- end -}}
{{- end -}}

{{- define "batch-retry-proxy._shared.claim" -}}
{{- .Values.shared.ca.claim.existing | default (printf "%s-ca" (include "batch-retry-proxy._fullname" .)) -}}
{{- end -}}

{{/* What the program's defaults should not be in the shared mode, unless the settings have their own. */}}
{{- define "batch-retry-proxy._shared.defaults" -}}
{{- if not (hasKey (.Values.settings.ca | default dict) "lifetime") }}
# Clients keep the certificate as long as it lives.
- name: BATCH_RETRY_PROXY__CA__LIFETIME
  value: 3650d
{{- end }}
{{- if not (hasKey (.Values.settings.forward | default dict) "allow") }}
# Plain http through here would reach what this pod reaches: the metadata service, with the node's identity.
- name: BATCH_RETRY_PROXY__FORWARD__ALLOW
  value: '["none.invalid"]'
{{- end }}
{{- end -}}
